//! A command that goes on printing until it is ended.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

use super::{DEADLINE, Pmctl, wait_until};

/// A running command whose standard output is read line by line; ended by its drop at the latest.
pub struct Watcher {
    child: Child,
    lines: Receiver<String>,
}

impl Watcher {
    #[track_caller]
    pub fn start(pmctl: &Pmctl, args: &[&str]) -> Self {
        let mut command = pmctl.command(args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a watching command");
        let stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line, one JSON document.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE).expect("one more line");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("not JSON Lines: {e}: {line}"))
    }

    /// Waits for the command's own end; the exit code, -1 when a signal ended it.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let status = wait_until("the end of the watching command", || {
            let status = self.child.try_wait().map_err(|e| e.to_string())?;
            status.ok_or_else(|| "still watching".to_owned())
        });
        status.code().unwrap_or(-1)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
