//! One round: a server under load, its end, what is left.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::check;
use super::churn::{Churned, Ledger, churn};
use super::load::{Load, Lost, connect};
use super::sandbox::{Sandbox, Server, is_gone, poll};
use crate::host;
use crate::model::{EndSignal, ProcessIdentity, Way};
use crate::text::{self, Message};

/// How long a server is used before its end begins, at most.
const LONGEST_LIFE: Duration = Duration::from_millis(600);

/// When a server that is killed while it starts is killed at the latest.
const LONGEST_START: Duration = Duration::from_millis(300);

/// What a round came to.
pub(super) struct Round {
    pub(super) requests: u64,
    pub(super) writes: u64,
    /// From the beginning of the end until nothing was left.
    pub(super) took: Duration,
    pub(super) violations: Vec<Message>,
}

/// How the end went.
struct End {
    began: Instant,
    took: Duration,
    violations: Vec<Message>,
}

/// What a server says of itself once it is ready.
struct Ready {
    guardian: Option<ProcessIdentity>,
}

/// Runs a round. An error is one of the sandbox itself.
pub(super) fn run(
    sandbox: &Sandbox,
    way: Way,
    ledger: &mut Ledger,
    chance: &mut fastrand::Rng,
) -> io::Result<Round> {
    if way == Way::KillStarting {
        return killed_starting(sandbox, ledger, chance);
    }
    let mut server = sandbox.serve()?;
    let Some(ready) = ready(sandbox)? else {
        let said = text::selftest::violation_start(server.last_words());
        let nothing = Duration::ZERO;
        return Ok(Round { requests: 0, writes: 0, took: nothing, violations: vec![said] });
    };
    let load = Load::start(&sandbox.proxies)?;
    let (life, stop_changes) = (moment(chance, LONGEST_LIFE), AtomicBool::new(false));
    let mut changes_by = chance.fork();
    let (end, churned) = thread::scope(|scope| {
        let changing = scope.spawn(|| churn(sandbox, ledger, &mut changes_by, &stop_changes));
        // Every client has been served once, so that there is something to lose.
        poll(|| (load.answered() >= 50).then_some(()));
        thread::sleep(life);
        let end = end(sandbox, way, &mut server, &ready);
        stop_changes.store(true, Ordering::Relaxed);
        let churned = changing.join().unwrap_or_else(|_| Ok(Churned::default()));
        (end, churned)
    });
    let (requests, lost) = (load.answered(), load.finish());
    let (end, churned) = (end?, churned?);
    let mut violations = end.violations;
    violations.extend(lost_requests(way, &lost, end.began));
    violations.extend(check::changes(&churned, end.began));
    let mut processes = vec![server.identity.clone()];
    processes.extend(ready.guardian);
    violations.extend(check::leftovers(sandbox, &processes)?);
    violations.extend(check::rows(sandbox, ledger)?);
    Ok(Round { requests, writes: churned.acknowledged, took: end.took, violations })
}

/// A moment before `longest`.
fn moment(chance: &mut fastrand::Rng, longest: Duration) -> Duration {
    longest.mul_f64(chance.f64())
}

fn lost_requests(way: Way, lost: &[Lost], began: Instant) -> Vec<Message> {
    // A second signal and a kill promise nothing about what is under way.
    let are_promised = matches!(way, Way::Stop | Way::Shutdown | Way::KillGuardian);
    check::requests(lost, began, are_promised)
}

fn ready(sandbox: &Sandbox) -> io::Result<Option<Ready>> {
    let status = sandbox.run(&["status", "--wait", "ready", "--timeout", "60s"])?;
    if status.code != 0 {
        return Ok(None);
    }
    let guardian = || {
        let status = sandbox.run(&["status"]).ok()?;
        let pid = u32::try_from(status.document["guardian"]["pid"].as_u64()?).ok()?;
        host::identity_of(pid).ok()
    };
    Ok(Some(Ready { guardian: poll(guardian) }))
}

/// Ends the server in that way and waits until it, and whoever cleans up after it, are gone.
fn end(sandbox: &Sandbox, way: Way, server: &mut Server, ready: &Ready) -> io::Result<End> {
    let mut violations = Vec::new();
    let guardian = ready.guardian.as_ref();
    if guardian.is_none() {
        violations.push(text::selftest::violation_no_guardian());
    }
    if way == Way::KillGuardian {
        kill(guardian)?;
        // A new one takes its place, and nobody notices.
        if poll(|| next_guardian(sandbox, guardian)).is_none() {
            violations.push(text::selftest::violation_no_guardian());
        }
    }
    let mut slow = match way {
        Way::SecondSignal => Some(slow_request(sandbox)?),
        _ => None,
    };
    let successor = match way {
        Way::KillGuardian => next_guardian(sandbox, guardian),
        _ => None,
    };
    let began = Instant::now();
    let (mut expected, mut cleans_up) = (None, None);
    match way {
        Way::Stop | Way::KillGuardian => {
            let ended = if cfg!(unix) {
                server.end(Some(EndSignal::Term)).map_err(io::Error::other)
            } else {
                shutdown(sandbox, &mut violations)
            };
            ended?;
            expected = Some(0);
        }
        Way::Shutdown => {
            shutdown(sandbox, &mut violations)?;
            expected = Some(0);
        }
        Way::SecondSignal => {
            server.end(Some(EndSignal::Term)).map_err(io::Error::other)?;
            // It has heard the first one: nobody is let in any more.
            poll(|| connect(sandbox.proxies[0]).is_err().then_some(()));
            server.end(Some(EndSignal::Term)).map_err(io::Error::other)?;
            expected = Some(1);
        }
        Way::KillServer => server.end(Some(EndSignal::Kill)).map_err(io::Error::other)?,
        Way::KillBoth => {
            kill(guardian)?;
            server.end(Some(EndSignal::Kill)).map_err(io::Error::other)?;
            cleans_up = Some(vec!["cleanup"]);
        }
        Way::Freeze => {
            server.freeze().map_err(io::Error::other)?;
            let status = sandbox.run(&["status", "--timeout", "500ms"])?;
            if status.document["server"]["state"] != "unresponsive" {
                violations.push(text::selftest::violation_silent());
            }
            cleans_up = Some(vec!["cleanup", "--force"]);
        }
        Way::KillStarting => {}
    }
    if let Some(words) = cleans_up {
        cleanup(sandbox, &words, &mut violations)?;
    }
    match (server.wait()?, expected) {
        (None, _) => violations.push(text::selftest::violation_lives_on()),
        (Some(code), Some(expected)) if code != expected => {
            let words = server.last_words();
            violations.push(text::selftest::violation_exit(code, expected, words));
        }
        _ => {}
    }
    for guardian in guardian.into_iter().chain(&successor) {
        if poll(|| is_gone(guardian).then_some(())).is_none() {
            violations.push(text::selftest::violation_process(guardian));
        }
    }
    let took = began.elapsed();
    if let Some(stream) = &mut slow {
        // Cut: its end must be seen, not waited for.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    Ok(End { began, took, violations })
}

/// A server that is killed before it is ready.
fn killed_starting(
    sandbox: &Sandbox,
    ledger: &mut Ledger,
    chance: &mut fastrand::Rng,
) -> io::Result<Round> {
    let mut server = sandbox.serve()?;
    thread::sleep(moment(chance, LONGEST_START));
    let began = Instant::now();
    // It may have ended by itself, which is not asked about here.
    let _ = server.end(Some(EndSignal::Kill));
    let mut violations = Vec::new();
    if server.wait()?.is_none() {
        violations.push(text::selftest::violation_lives_on());
    }
    cleanup(sandbox, &["cleanup"], &mut violations)?;
    let took = began.elapsed();
    violations.extend(check::leftovers(sandbox, std::slice::from_ref(&server.identity))?);
    violations.extend(check::rows(sandbox, ledger)?);
    Ok(Round { requests: 0, writes: 0, took, violations })
}

fn cleanup(sandbox: &Sandbox, words: &[&str], violations: &mut Vec<Message>) -> io::Result<()> {
    let ran = sandbox.run(words)?;
    if ran.code != 0 {
        let error = ran.document["error"].as_str().unwrap_or(ran.stderr.trim());
        violations.push(text::selftest::violation_cleanup(ran.code, error));
    }
    Ok(())
}

fn shutdown(sandbox: &Sandbox, violations: &mut Vec<Message>) -> io::Result<()> {
    let ran = sandbox.run(&["shutdown", "--wait"])?;
    if ran.code != 0 {
        violations.push(text::selftest::violation_shutdown(ran.code));
    }
    Ok(())
}

fn kill(process: Option<&ProcessIdentity>) -> io::Result<()> {
    let Some(process) = process else { return Ok(()) };
    let pinned = host::pin(process).map_err(io::Error::other)?;
    pinned.end(Some(EndSignal::Kill)).map_err(io::Error::other)?;
    pinned.wait(super::sandbox::PATIENCE);
    Ok(())
}

fn next_guardian(sandbox: &Sandbox, old: Option<&ProcessIdentity>) -> Option<ProcessIdentity> {
    let status = sandbox.run(&["status"]).ok()?;
    let pid = u32::try_from(status.document["guardian"]["pid"].as_u64()?).ok()?;
    let found = host::identity_of(pid).ok()?;
    (Some(&found) != old).then_some(found)
}

/// A request whose answer takes ten seconds, with its first bytes here.
fn slow_request(sandbox: &Sandbox) -> io::Result<std::net::TcpStream> {
    let mut stream = connect(sandbox.proxies[0])?;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: selftest\r\n\r\n")?;
    stream.read_exact(&mut [0; 12])?;
    Ok(stream)
}
