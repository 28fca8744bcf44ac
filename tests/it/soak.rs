//! A server that is used for long: services come and go, targets change, connections open and close,
//! and it needs no more of the machine than in its first minute.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Pmctl, Registry, Upstream, Wire, anonymous_memory, free_ports, wait_until};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// What a look finds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    descriptors: usize,
    memory: u64,
}

fn look(pid: u32, begun: Instant) -> Sample {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
    Sample { at: begun.elapsed(), descriptors, memory: anonymous_memory(pid) }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// A client that opens a connection, asks some times, and closes it, again and again.
fn visit(to: SocketAddr, end: &AtomicBool, answered: &AtomicU64) {
    let mut turn = 0_usize;
    while !end.load(Ordering::Relaxed) {
        turn += 1;
        let Ok(mut wire) = Wire::try_connect(to) else { continue };
        for _ in 0..turn % 7 {
            let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n");
            if wire.try_send(request).is_err() || wire.try_response().is_err() {
                break;
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
#[ignore = "takes two minutes; .ci/run runs it, .ci/long for twenty"]
fn a_server_that_is_used_for_long_needs_no_more_descriptors_and_no_more_memory() {
    let seconds = std::env::var("PMCTL_TEST_SOAK_SECONDS").ok().and_then(|s| s.parse().ok());
    let whole = Duration::from_secs(seconds.unwrap_or(120));
    let pmctl = Pmctl::new();
    let registry = Registry::start(&pmctl, &[]);
    pmctl.write_config(&format!(
        "[eureka]\nurls = ['{}']\nadvertise = '127.0.0.1'\ninterval = '1s'\n",
        registry.url()
    ));
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let ports = free_ports(4);
    for (at, port) in ports.iter().enumerate() {
        let name = format!("web-{at}");
        pmctl.add(&name, *port, &blue.url());
        pmctl.ok(&["service", "target", "add", &name, &format!("green={}", green.url())]);
    }
    let server = pmctl.serve();
    let (end, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let mut clients = Vec::new();
    for port in &ports {
        for _ in 0..2 {
            let to = SocketAddr::from(([127, 0, 0, 1], *port));
            let (end, answered) = (Arc::clone(&end), Arc::clone(&answered));
            clients.push(thread::spawn(move || visit(to, &end, &answered)));
        }
    }
    let (begun, mut samples, mut turn) = (Instant::now(), Vec::new(), 0_u32);
    while begun.elapsed() < whole {
        turn += 1;
        let guest = format!("guest-{turn}");
        let target = format!("main={}", blue.url());
        let add = ["service", "add", &guest, "--port", "auto", "--bind", "127.0.0.1"];
        pmctl.ok(&[&add[..], &["--target", &target]].concat());
        let color = if turn.is_multiple_of(2) { "green" } else { "main" };
        pmctl.ok(&["service", "switch", &format!("web-{}", turn % 4), color]);
        pmctl.ok(&["service", "remove", &guest]);
        let is_due = samples.last().is_none_or(|last: &Sample| begun.elapsed() > last.at + LOOK);
        if is_due {
            samples.push(look(server.pid(), begun));
        }
    }
    let before = answered.load(Ordering::Relaxed);
    wait_until("clients that are still served", || match answered.load(Ordering::Relaxed) {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    });
    end.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    // What the first minute, or half of a shorter run, came to is what it may need.
    let settled = Duration::from_secs(60).min(whole / 2);
    let first: Vec<Sample> =
        samples.iter().filter(|s| s.at > settled / 2 && s.at <= settled).copied().collect();
    let last: Vec<Sample> = samples.iter().rev().take(first.len().max(1)).copied().collect();
    assert!(first.len() >= 3, "too few looks: {samples:?}");
    let memory = |of: &[Sample]| median(of.iter().map(|sample| sample.memory));
    let descriptors = |of: &[Sample]| median(of.iter().map(|sample| sample.descriptors));
    let (was, is) = (memory(&first), memory(&last));
    let may_be = (was + was / 10).max(was + (2 << 20));
    assert!(is <= may_be, "memory grew from {was} to {is}: {samples:?}");
    let (was, is) = (descriptors(&first), descriptors(&last));
    assert!(is <= was + 8, "descriptors grew from {was} to {is}: {samples:?}");
    server.stop();
}
