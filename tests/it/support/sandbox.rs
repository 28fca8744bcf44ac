//! The program in a sandbox: a home, a state folder and an environment of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
#[cfg(unix)]
use std::os::unix::{fs::chown, process::CommandExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[cfg(unix)]
use super::is_root;
use super::{Database, Server, wait_within};

/// The uid of `nobody` on every common system.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

/// One user of pmctl with one database. Nothing of the caller's environment but `PATH` gets in.
pub struct Pmctl {
    // Declared before the folder it lives in is removed: fields drop in order.
    env: BTreeMap<String, String>,
    program: PathBuf,
    #[cfg(unix)]
    uid: Option<u32>,
    dir: TempDir,
}

/// What a finished command did.
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    command: String,
}

impl Pmctl {
    /// A sandbox whose database is named by `PMCTL_DATABASE_URL` and does not exist yet.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pmctl-it-").tempdir().expect("a sandbox");
        let mut env = BTreeMap::new();
        for (name, folder) in [
            ("HOME", "home"),
            ("XDG_STATE_HOME", "xdg/state"),
            ("XDG_CONFIG_HOME", "xdg/config"),
            ("XDG_DATA_HOME", "xdg/data"),
            ("XDG_CACHE_HOME", "xdg/cache"),
            ("XDG_RUNTIME_DIR", "xdg/run"),
            ("TMPDIR", "tmp"),
            // The same for Windows.
            ("USERPROFILE", "home"),
            ("LOCALAPPDATA", "xdg/state"),
            ("APPDATA", "xdg/config"),
            ("TMP", "tmp"),
            ("TEMP", "tmp"),
        ] {
            let path = dir.path().join(folder);
            fs::create_dir_all(&path).expect("a folder of the sandbox");
            env.insert(name.to_owned(), path.to_string_lossy().into_owned());
        }
        fs::create_dir_all(dir.path().join("work")).expect("a working directory");
        env.insert("LANG".to_owned(), "C.UTF-8".to_owned());
        // Without the second one Windows finds no socket.
        for name in ["PATH", "SystemRoot"] {
            env.extend(std::env::var(name).map(|value| (name.to_owned(), value)));
        }
        let database = dir.path().join("state/pmctl.db").display().to_string();
        let database =
            if cfg!(windows) { format!("/{}", database.replace('\\', "/")) } else { database };
        env.insert("PMCTL_DATABASE_URL".to_owned(), format!("sqlite://{database}"));
        // A commit waits for the disk, which other tests and builds may keep busy for seconds: a
        // test that is about the timeout names its own.
        env.insert("PMCTL_TIMEOUT".to_owned(), "30s".to_owned());
        Self {
            env,
            program: PathBuf::from(env!("CARGO_BIN_EXE_pmctl")),
            #[cfg(unix)]
            uid: None,
            dir,
        }
    }

    /// Run by somebody without special rights, whoever runs the tests.
    #[cfg(unix)]
    pub fn as_ordinary_user() -> Self {
        match is_root() {
            true => Self::as_user(NOBODY),
            false => Self::new(),
        }
    }

    /// Run by the user of that number, which only root can do.
    #[cfg(unix)]
    pub fn as_user(uid: u32) -> Self {
        let mut pmctl = Self::new();
        pmctl.uid = Some(uid);
        give_away(pmctl.dir.path(), uid);
        // The program may lie where `nobody` cannot reach it. It stays root's: a link given away
        // would give the original away too.
        let program = pmctl.dir.path().join("pmctl");
        if fs::hard_link(&pmctl.program, &program).is_err() {
            fs::copy(&pmctl.program, &program).expect("a copy of the program");
        }
        pmctl.program = program;
        pmctl
    }

    /// No database is named: the default one of the state folder counts.
    pub fn with_default_database() -> Self {
        Self::new().without("PMCTL_DATABASE_URL")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// The whole sandbox; removed at the end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The working directory of every command, where `pmctl.toml` is looked for.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Where the named database lies or will lie.
    pub fn database(&self) -> PathBuf {
        self.dir.path().join("state/pmctl.db")
    }

    /// Where the default database lies or will lie.
    pub fn default_database(&self) -> PathBuf {
        self.dir.path().join("xdg/state/pmctl/pmctl.db")
    }

    /// Writes `text` to the `pmctl.toml` of the working directory.
    pub fn write_config(&self, text: &str) {
        let path = self.work().join("pmctl.toml");
        fs::write(&path, text).expect("pmctl.toml");
        #[cfg(unix)]
        if let Some(uid) = self.uid {
            give_away(&path, uid);
        }
    }

    /// Services are announced in the registry at `url`, renewed and looked after every second.
    pub fn announce_in(&self, url: &str) {
        self.announce_in_all(&[url]);
    }

    /// [`Pmctl::announce_in`] a registry that has several servers.
    pub fn announce_in_all(&self, urls: &[&str]) {
        self.write_config(&format!(
            "[server]\nsync_interval = \"1s\"\n[eureka]\nurls = {urls:?}\ninterval = \"1s\"\n\
             lease_duration = \"3s\"\n"
        ));
    }

    /// The program with `args`, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        self.confine(Command::new(&self.program), args)
    }

    /// `wrapper` that runs the program with `args` as its last arguments.
    pub fn wrapped(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let Some((first, rest)) = wrapper.split_first() else {
            return self.command(args);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(&self.program);
        self.confine(command, args)
    }

    /// A line of shell as a person would paste it, with `pmctl` on the path.
    pub fn shell(&self, line: &str) -> Ran {
        let mut command = self.confine(Command::new("sh"), &["-c", line]);
        let folder = self.program.parent().expect("the program's folder").display().to_string();
        command.env("PATH", format!("{folder}:{}", self.env["PATH"]));
        finish(command)
    }

    fn confine(&self, mut command: Command, args: &[&str]) -> Command {
        command.args(args).env_clear().envs(&self.env).current_dir(self.work());
        command.stdin(Stdio::null());
        #[cfg(unix)]
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Runs to the end, whatever the exit status.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args))
    }

    /// Runs, and must exit 0.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Ran {
        self.run(args).expect(0)
    }

    /// Runs with `-o json`, must exit 0, and its standard output is one document that says so.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let document = self.run(&with_json(args)).expect(0).json();
        assert_eq!(document["success"], true, "{args:?}: {document:#}");
        document
    }

    /// Runs, must exit `code` with a sentence on standard error and nothing on standard output.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.run(args).expect(code);
        assert!(ran.stderr.trim().len() > 10, "no sentence:\n{ran}");
        assert_eq!(ran.stdout, "", "a failure on standard output:\n{ran}");
        ran
    }

    /// Runs with `-o json`, must exit `code`; the failure document: `success`, `error`, `code`.
    #[track_caller]
    pub fn fails_json(&self, code: i32, args: &[&str]) -> Value {
        let ran = self.run(&with_json(args)).expect(code);
        let document = ran.json();
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let stable =
            document["code"].as_str().is_some_and(|c| !c.is_empty() && c.chars().all(kebab));
        let sentence = document["error"].as_str().is_some_and(|e| e.len() > 10);
        assert!(document["success"] == false && stable && sentence, "no failure document:\n{ran}");
        document
    }

    /// Registers a service with one target named `main`, and must succeed.
    #[track_caller]
    pub fn add(&self, name: &str, port: u16, url: &str) {
        let (port, target) = (port.to_string(), format!("main={url}"));
        self.ok(&[
            "service",
            "add",
            name,
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--target",
            &target,
        ]);
    }

    /// What the database says of every service: name → (desired, actual).
    #[track_caller]
    pub fn rows(&self) -> BTreeMap<String, (String, String)> {
        let list = self.json(&["--direct", "service", "list"]);
        let word = |service: &Value, key: &str| service[key].as_str().expect("a word").to_owned();
        let services = list["services"].as_array().expect("services").iter();
        services.map(|s| (word(s, "name"), (word(s, "desired"), word(s, "actual")))).collect()
    }

    /// Changes the database behind the program's back.
    #[track_caller]
    pub fn sql(&self, statement: &str) {
        let mut database = Database::open(self);
        database.run(statement);
        database.close();
    }

    /// The services as the database has them, for a comparison before and after.
    #[track_caller]
    pub fn services(&self) -> Value {
        self.json(&["--direct", "service", "list"])["services"].clone()
    }

    /// A ready server on a port of its own.
    #[track_caller]
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// A ready server without a guardian: what it leaves when it is killed stays.
    #[track_caller]
    pub fn serve_alone(&self) -> Server {
        self.serve_with(&["--no-guardian"])
    }

    /// A ready server with more arguments.
    #[track_caller]
    pub fn serve_with(&self, args: &[&str]) -> Server {
        let mut server = Server::spawn(self, &[], args);
        server.wait_ready();
        server
    }
}

/// Hands a file or folder, and what is in it, to a user.
#[cfg(unix)]
fn give_away(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).expect("chown to another user");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            give_away(&entry.expect("an entry").path(), uid);
        }
    }
}

fn with_json<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["-o", "json"], args].concat()
}

/// Runs `command` to its end with both streams caught.
#[track_caller]
fn finish(mut command: Command) -> Ran {
    let shown = show(&command);
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait_for(&mut child, &shown);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let ran = Ran {
        status,
        stdout: text(stdout.join().unwrap_or_default()),
        stderr: text(stderr.join().unwrap_or_default()),
        took: started.elapsed(),
        command: shown,
    };
    assert!(!ran.stderr.contains("panicked at"), "the program panicked\n{ran}");
    ran
}

fn drain(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// No command of these tests runs longer; one that does is killed, and the test fails.
#[track_caller]
fn wait_for(child: &mut Child, shown: &str) -> ExitStatus {
    let limit = Duration::from_secs(90);
    let started = Instant::now();
    wait_within(limit + Duration::from_secs(10), &format!("the end of {shown}"), || {
        if started.elapsed() > limit {
            let _ = child.kill();
        }
        child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "running".to_owned())
    })
}

/// The command as a person would write it.
pub fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

impl Ran {
    /// The exit code, -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// It exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "wrong exit status\n{self}");
        self
    }

    /// Standard output as exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("standard output is not one JSON document: {e}\n{self}"))
    }

    /// Both streams in one text.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, status, stdout, stderr, took } = self;
        write!(
            f,
            "$ {command}\n{status} after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}
