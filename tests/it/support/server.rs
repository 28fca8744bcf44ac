//! A `pmctl serve` of a test, ended by its drop at the latest.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http1::{Response, Wire, get};
use super::sandbox::show;
use super::{Pmctl, free_port, wait_until};

pub struct Server {
    child: Child,
    control: SocketAddr,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Server {
    /// Starts `serve` on a control port of its own and waits for nothing. `wrapper` is a command
    /// that replaces itself by the program (`env …`, `sh -c '… exec "$@"' sh`), or empty.
    pub fn spawn(pmctl: &Pmctl, wrapper: &[&str], args: &[&str]) -> Self {
        let control = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::spawn_on(pmctl, control, wrapper, args)
    }

    /// [`Server::spawn`] on a given control address.
    pub fn spawn_on(pmctl: &Pmctl, control: SocketAddr, wrapper: &[&str], args: &[&str]) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let stdout = pmctl.dir().join(format!("serve-{run}.out"));
        let stderr = pmctl.dir().join(format!("serve-{run}.err"));
        let listen = control.to_string();
        let all = [&["serve", "--listen", &listen], args].concat();
        let mut command = pmctl.wrapped(wrapper, &all);
        command.stdout(File::create(&stdout).expect("a file for standard output"));
        command.stderr(File::create(&stderr).expect("a file for standard error"));
        command.stdin(Stdio::null());
        let shown = show(&command);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        Self { child, control, command: shown, stdout, stderr, ended: None }
    }

    /// Waits for `/readyz` to say 200.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        wait_until(&format!("a ready server: {}", self.command), || {
            if let Some(status) = self.try_exit() {
                panic!("the server ended before it was ready: {status}\n{self}");
            }
            match get(self.control, "/readyz") {
                Ok(response) if response.status == 200 => Ok(()),
                other => Err(format!("/readyz: {other:?}\n{self}")),
            }
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Its guardian, while it has one.
    #[cfg(unix)]
    pub fn guardian(&self) -> Option<Pid> {
        guardian_of(self.pid())
    }

    /// The control URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// A raw connection to the control port.
    #[track_caller]
    pub fn connect(&self) -> Wire {
        Wire::connect(self.control)
    }

    /// One request to the control port with these further header lines, of which one may be its `Host`.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, fields: &str) -> Response {
        let mut wire = self.connect();
        let host = match fields.contains("Host:") {
            true => String::new(),
            false => format!("Host: {}\r\n", self.control),
        };
        wire.send(format!("{method} {path} HTTP/1.1\r\n{host}{fields}Content-Length: 0\r\n\r\n"));
        wire.response()
    }

    /// GET on the control port.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        get(self.control, path).unwrap_or_else(|e| panic!("GET {path}: {e:?}\n{self}"))
    }

    /// GET on the control port; the answer is 200 and one JSON document.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "GET {path}: {response:?}");
        response.json()
    }

    /// Sends a signal; the child is not reaped before its end was seen, so the pid is its own.
    #[track_caller]
    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "the server has ended already\n{self}");
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|e| panic!("cannot signal: {e}\n{self}"));
    }

    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child's status");
        }
        self.ended
    }

    /// Waits for the end; the exit code, -1 when a signal ended it.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let code = self.wait_end();
        let log = self.stderr();
        assert!(!log.contains("panicked at"), "the server panicked\n{self}");
        code
    }

    /// The same for a server that was made to panic.
    #[track_caller]
    pub fn wait_end(&mut self) -> i32 {
        let status = wait_until(&format!("the end of {}", self.command), || {
            self.try_exit().ok_or_else(|| format!("running\n{self}"))
        });
        status.code().unwrap_or(-1)
    }

    /// SIGTERM, which must end in exit 0.
    #[track_caller]
    #[cfg(unix)]
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let code = self.wait_exit();
        assert_eq!(code, 0, "a stop in order exits 0\n{self}");
        self.stderr()
    }

    /// SIGKILL, as the machine's memory killer would; on Windows what the task manager does.
    #[track_caller]
    pub fn kill_hard(mut self) {
        self.child.kill().expect("the end of the server");
        assert_eq!(self.wait_exit(), if cfg!(windows) { 1 } else { -1 });
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Both streams in one text.
    pub fn all_output(&self) -> String {
        format!("{}\n{}", self.stdout(), self.stderr())
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }
}

/// The guardian among the children of a process.
#[cfg(unix)]
pub fn guardian_of(pid: u32) -> Option<Pid> {
    let is_guardian = |child: &&str| {
        let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"__guardian")
    };
    // Each thread has its own children.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    threads.into_iter().find_map(|thread| {
        let children = fs::read_to_string(thread.path().join("children")).ok()?;
        let child = children.split_whitespace().find(is_guardian)?;
        Pid::from_raw(child.parse().ok()?)
    })
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (self.stdout(), self.stderr());
        write!(f, "$ {}\n--- stdout\n{out}\n--- stderr\n{err}", self.command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.try_exit().is_none() {
            // What it would clean up is about to be removed with the test's folder.
            #[cfg(unix)]
            let guardian = self.guardian();
            let _ = self.child.kill();
            #[cfg(unix)]
            if let Some(guardian) = guardian {
                let _ = kill_process(guardian, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}
