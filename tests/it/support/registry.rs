//! A `pmctl eureka serve` of a test, ended by its drop at the latest.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http1::{Response, Wire};
use super::{Pmctl, wait_until};

pub struct Registry {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    address: SocketAddr,
    ended: Option<ExitStatus>,
}

impl Registry {
    /// Starts one on a free port of loopback and waits until it serves.
    #[track_caller]
    pub fn start(pmctl: &Pmctl, args: &[&str]) -> Self {
        Self::start_on(pmctl, "127.0.0.1:0", args)
    }

    /// [`Registry::start`] on a given address.
    #[track_caller]
    pub fn start_on(pmctl: &Pmctl, listen: &str, args: &[&str]) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let stdout = pmctl.dir().join(format!("registry-{run}.out"));
        let stderr = pmctl.dir().join(format!("registry-{run}.err"));
        let all = [&["-o", "json", "eureka", "serve", "--listen", listen], args].concat();
        let mut command = pmctl.command(&all);
        command.stdout(File::create(&stdout).expect("a file for standard output"));
        command.stderr(File::create(&stderr).expect("a file for standard error"));
        let child = command.spawn().expect("the registry");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut registry = Self { child, stdout, stderr, address, ended: None };
        registry.address = wait_until("a registry that is ready", || {
            if let Some(status) = registry.try_exit() {
                panic!("the registry ended before it was ready: {status}\n{}", registry.log());
            }
            let text = fs::read_to_string(&registry.stdout).unwrap_or_default();
            let ready: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text:?}"))?;
            let url = ready["url"].as_str().expect("a URL").to_owned();
            let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/eureka"));
            Ok(address.and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("{url}")))
        });
        registry
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, for clients.
    pub fn url(&self) -> String {
        format!("http://{}/eureka", self.address)
    }

    /// A request below the base URL that reads JSON; `body` is JSON too.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        let mut wire = Wire::connect(self.address);
        wire.send(format!(
            "{method} /eureka{path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ));
        wire.response()
    }

    /// Registers an instance of `app`, whose id and host are `id`.
    #[track_caller]
    pub fn register(&self, app: &str, id: &str) {
        let body = serde_json::json!({"instance": {
            "instanceId": id, "hostName": id, "ipAddr": "127.0.0.1", "app": app,
            "vipAddress": app, "port": {"$": 8080, "@enabled": "true"},
            "dataCenterInfo": {"@class": "x", "name": "MyOwn"},
        }});
        let answer = self.ask("POST", &format!("/apps/{app}"), &body.to_string());
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "the registry has ended already\n{}", self.log());
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child's status");
        }
        self.ended
    }

    /// Waits for the end; the exit code, -1 when a signal ended it.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let status = wait_until("the end of the registry", || {
            self.try_exit().ok_or_else(|| format!("running\n{}", self.log()))
        });
        assert!(!self.log().contains("panicked at"), "{}", self.log());
        status.code().unwrap_or(-1)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if self.try_exit().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
