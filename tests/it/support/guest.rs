//! A program that takes part in a test, of another language as a rule, ended by its drop at the latest.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{wait_until, wait_within};

/// How long a virtual machine or an interpreter may take to start on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Guest {
    child: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Guest {
    /// Starts it; what it says goes to the file `log`.
    #[track_caller]
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let out = File::create(&log).expect("a file for what it says");
        command.stderr(out.try_clone().expect("the same file"));
        command.stdin(Stdio::piped()).stdout(out);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let input = child.stdin.take();
        Self { child, input, log }
    }

    /// Both streams in one text.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for what `probe` finds; it must not end before.
    #[track_caller]
    pub fn wait<T>(&mut self, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
        wait_within(PATIENCE, what, || {
            if let Some(status) = self.child.try_wait().expect("its status") {
                panic!("it ended before: {what}: {status}\n{}", self.log());
            }
            probe().map_err(|status| format!("{status}\n{}", self.log()))
        })
    }

    /// Waits until it has said a line that `is_it`.
    #[track_caller]
    pub fn wait_line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) {
        let log = self.log.clone();
        self.wait(what, || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.lines().any(&is_it).then_some(()).ok_or_else(|| "not said".to_owned())
        });
    }

    /// A line of its standard input.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its standard input is open");
        writeln!(input, "{line}").unwrap_or_else(|e| panic!("{e}\n{}", self.log()));
    }

    /// Kills it, as the machine's memory killer would, and waits until it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("its end");
    }

    /// Ends its standard input and waits for its end.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let status = wait_until("the end of a guest", || {
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            ended.ok_or_else(|| format!("running\n{}", self.log()))
        });
        (status, self.log())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Ended already, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the recipe of a module's doc puts into the environment.
#[track_caller]
pub fn of_the_recipe(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see the module's doc"))
}
