//! What a guardian does all its life: nothing, until its server is gone.

use super::charge::{Charge, Word};
use crate::host;

/// How the watch ended.
pub enum Watched {
    /// The server said goodbye, or was gone before it had anything to clean up.
    Goodbye,
    /// The server ended without a goodbye, and this is to be done.
    Died(Box<Charge>),
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    charge: Option<Box<Charge>>,
    bytes: Vec<u8>,
}

impl Heard {
    /// Takes in what was read; whether goodbye was among it. A charge that came is given to `watch`.
    fn take(&mut self, chunk: &[u8], mut watch: impl FnMut(&Charge)) -> bool {
        self.bytes.extend_from_slice(chunk);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            match Word::read(&self.bytes[..end]) {
                Some(Word::Goodbye) => return true,
                Some(Word::Charge(new)) => {
                    watch(&new);
                    self.charge = Some(new);
                }
                None => {}
            }
            self.bytes.drain(..=end);
        }
        false
    }

    /// No goodbye will come any more.
    fn ended(self) -> Watched {
        self.charge.map_or(Watched::Goodbye, Watched::Died)
    }
}

pub use platform::watch;

#[cfg(target_os = "linux")]
mod platform {
    use std::io::{self, BufRead};

    use super::{Heard, Watched, host};
    use crate::host::Pinned;

    /// Waits for the end of the server whose words come by standard input. Takes no processor time
    /// while the server lives, be it stopped by a signal or not.
    pub fn watch() -> Watched {
        let (mut heard, mut pinned): (Heard, Option<Pinned>) = (Heard::default(), None);
        loop {
            if pinned.as_ref().is_some_and(Pinned::ends_before_input) {
                break;
            }
            let mut input = io::stdin().lock();
            let length = match input.fill_buf() {
                Ok([]) => break,
                // One that is gone already, or cannot be pinned, is told by the end of the pipe.
                Ok(chunk) => match heard.take(chunk, |new| pinned = host::pin(&new.server).ok()) {
                    true => return Watched::Goodbye,
                    false => chunk.len(),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                // A pipe that cannot be read tells nothing any more.
                Err(_) => break,
            };
            // Left empty, so that the next wait sees what comes next.
            input.consume(length);
        }
        heard.ended()
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    //! Nothing waits for a pipe and a process at once here, so a thread waits for each.

    use std::io::{self, Read};
    use std::sync::mpsc::{self, Sender};
    use std::thread;
    use std::time::Duration;

    use super::{Heard, Watched, host};
    use crate::model::ProcessIdentity;

    /// For what a server said right before its end: the pipe ends with it.
    const LAST_WORDS: Duration = Duration::from_millis(500);

    /// Longer than any server lives.
    const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

    enum Sign {
        Words(Vec<u8>),
        PipeEnded,
        ServerEnded,
    }

    /// Waits for the end of the server whose words come by standard input. Takes no processor time
    /// while the server lives.
    pub fn watch() -> Watched {
        let (sender, signs) = mpsc::channel();
        let mut heard = Heard::default();
        let reader = sender.clone();
        // Without a thread to be had there is nobody to wait for either: the pipe alone tells then.
        if thread::Builder::new().spawn(move || read(&reader)).is_err() {
            return heard.ended();
        }
        let mut is_alive = true;
        loop {
            let sign = match is_alive {
                true => signs.recv().ok(),
                false => signs.recv_timeout(LAST_WORDS).ok(),
            };
            match sign {
                Some(Sign::Words(words)) => {
                    if heard.take(&words, |new| wait_for(&new.server, &sender)) {
                        return Watched::Goodbye;
                    }
                }
                Some(Sign::ServerEnded) => is_alive = false,
                Some(Sign::PipeEnded) | None => return heard.ended(),
            }
        }
    }

    /// Says what comes by standard input, and when it ends.
    fn read(signs: &Sender<Sign>) {
        let mut chunk = [0; 4096];
        loop {
            let sign = match io::stdin().lock().read(&mut chunk) {
                Ok(0) => Sign::PipeEnded,
                Ok(length) => Sign::Words(chunk[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A pipe that cannot be read tells nothing any more.
                Err(_) => Sign::PipeEnded,
            };
            let is_last = matches!(sign, Sign::PipeEnded);
            if signs.send(sign).is_err() || is_last {
                return;
            }
        }
    }

    /// Says when the server has ended. One that is gone already, or cannot be pinned, is told by the
    /// end of the pipe.
    fn wait_for(server: &ProcessIdentity, signs: &Sender<Sign>) {
        let Ok(server) = host::pin(server) else { return };
        let signs = signs.clone();
        let wait = move || {
            if server.wait(NEVER) {
                // Whoever waited may have heard goodbye.
                signs.send(Sign::ServerEnded).ok();
            }
        };
        if let Err(error) = thread::Builder::new().spawn(wait) {
            tracing::debug!(%error, "only the end of the pipe tells of the server's");
        }
    }
}
