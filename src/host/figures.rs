//! What this process uses.

use super::platform;

/// What this process uses; `None` where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_descriptors: Option<u64>,
    /// Processor time so far, user and system together, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// The figures now. A few system calls; before Linux 6.2 one more for every hundred descriptors.
pub fn own_figures() -> ProcessFigures {
    platform::own_figures()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_figures_follow_what_the_process_does() {
        let before = own_figures();
        let files: Vec<_> = (0..500).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let ballast = vec![1_u8; 64 << 20];
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed().as_millis() < 50 {
            sum = std::hint::black_box(sum + u64::from(ballast[sum as usize % ballast.len()]));
        }
        let after = own_figures();
        let grown = after.resident_bytes.unwrap().saturating_sub(before.resident_bytes.unwrap());
        assert!(grown > 48 << 20, "{grown}");
        // Other tests open and close some meanwhile.
        let opened =
            after.open_descriptors.unwrap() as i64 - before.open_descriptors.unwrap() as i64;
        assert!((300..700).contains(&opened), "{opened}");
        assert!(after.cpu_seconds.unwrap() > before.cpu_seconds.unwrap());
        assert!(after.threads.unwrap() >= 1);
        drop(files);
    }
}
