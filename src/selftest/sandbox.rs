//! A database, a registry, upstreams and a program that knows of no others.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::eureka::{CALL, HttpRegistries, NodeMark, Registries, RegistrySettings};
use crate::host::{self, PinError};
use crate::lifecycle::{Stop, Tasks};
use crate::model::{EndSignal, Fault, FaultKind, ProcessIdentity, RegistryUrl};
use crate::serve::{PrivateDirectory, RegistryServer, demo_upstream};
use crate::text::{self, Lang};

/// Services under load; each has both upstreams as targets.
pub(super) const SERVICES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The targets.
pub(super) const TARGETS: [&str; 2] = ["blue", "green"];

/// Between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(5);

/// For whatever must happen soon: longer than the guardian's 15 s, on a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// See the module's documentation. Dropping it removes everything.
pub(super) struct Sandbox {
    program: PathBuf,
    /// Where the proxies listen, in the order of [`SERVICES`].
    pub(super) proxies: Vec<SocketAddr>,
    registry: RegistryUrl,
    runtime: Runtime,
    directory: PrivateDirectory,
}

/// What a command came to.
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) document: Value,
    pub(super) stderr: String,
}

impl Ran {
    /// What went wrong, in its own words.
    fn said(&self) -> String {
        let word = self.document["error"].as_str().unwrap_or(self.stderr.trim());
        format!("exit {}: {word}", self.code)
    }
}

/// A failure of the sandbox itself, not of what is tested in it.
pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::caused(FaultKind::Internal, text::selftest::selftest_broken(), error)
}

impl Sandbox {
    pub(super) fn new(lang: Lang) -> Result<Self, Fault> {
        let program = env::current_exe().map_err(|error| broken(&error))?;
        let directory = PrivateDirectory::new("pmctl-selftest").map_err(|error| broken(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| broken(&error))?;
        // Nobody asks these for their end: they go with the runtime.
        let tasks = Tasks::new(Stop::new());
        let (registry, targets) = runtime.block_on(surroundings(&tasks, lang))?;
        let mut sandbox = Self { program, proxies: Vec::new(), registry, runtime, directory };
        // Automatic ports of its own: after a kill another sandbox would take the lowest one.
        let first = fastrand::u16(22_000..29_000);
        let config = format!(
            "database_url = {}\n\n[server]\nport_range = \"{first}-{}\"\n\n[eureka]\nurls = [\"{}\"]\n\
             advertise = \"127.0.0.1\"\ninterval = \"1s\"\n",
            // Escaped as the format has it: a path may hold anything.
            toml::Value::String(database_url(&sandbox.path("pmctl.db"))),
            first + 200,
            sandbox.registry
        );
        fs::write(sandbox.path("pmctl.toml"), config).map_err(|error| broken(&error))?;
        for name in SERVICES {
            let port = free_port().map_err(|error| broken(&error))?;
            let mut words = vec!["service".to_owned(), "add".to_owned(), name.to_owned()];
            words.extend(["--port".to_owned(), port.to_string()]);
            words.extend(["--bind".to_owned(), "127.0.0.1".to_owned()]);
            for (target, address) in TARGETS.iter().zip(&targets) {
                words.extend(["--target".to_owned(), format!("{target}=http://{address}")]);
            }
            let ran = sandbox.run(&words).map_err(|error| broken(&error))?;
            if ran.code != 0 {
                return Err(broken(&io::Error::other(ran.said())));
            }
            sandbox.proxies.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        Ok(sandbox)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program with `words`, in the sandbox.
    fn command(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(self.path("pmctl.toml"));
        for (name, _) in env::vars_os() {
            // What the caller set for its own servers.
            if name.to_string_lossy().starts_with("PMCTL_") {
                command.env_remove(name);
            }
        }
        command.env_remove("NOTIFY_SOCKET").current_dir(self.directory.path()).stdin(Stdio::null());
        // Ctrl-C is for the selftest alone: it would be an end that no round asked for.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }

    /// Runs a command to its end, with JSON.
    pub(super) fn run(&self, words: &[impl AsRef<OsStr>]) -> io::Result<Ran> {
        let output = self.command(words).args(["-o", "json"]).output()?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            document: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts a server and waits for nothing.
    pub(super) fn serve(&self) -> io::Result<Server> {
        let log = File::create(self.path("server.log"))?;
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn()?;
        let identity = host::identity_of(child.id()).map_err(io::Error::other)?;
        Ok(Server { child, identity, log: self.path("server.log"), ended: None })
    }

    /// Instances in the registry that any server of this sandbox announced.
    pub(super) fn announced(&self) -> io::Result<Vec<String>> {
        let urls = std::slice::from_ref(&self.registry);
        let registries = HttpRegistries::new(urls, None, CALL).map_err(io::Error::other)?;
        let Some(registry) = registries.configured() else { return Ok(Vec::new()) };
        let (listed, _) =
            self.runtime.block_on(registry.applications()).map_err(io::Error::other)?;
        let own = listed.instances().filter(|instance| NodeMark::is_any(instance));
        Ok(own.map(|instance| instance.id().to_owned()).collect())
    }
}

/// A registry and the upstreams, on free ports of loopback.
async fn surroundings(tasks: &Tasks, lang: Lang) -> Result<(RegistryUrl, Vec<SocketAddr>), Fault> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let registry = RegistryServer::bind(any, &RegistrySettings::default(), None, lang).await?;
    let url = RegistryUrl::parse(&registry.url()).map_err(|error| broken(&error))?;
    registry.serve_until_end(tasks);
    let mut targets = Vec::new();
    for name in TARGETS {
        targets.push(demo_upstream(name, tasks).await.map_err(|error| broken(&error))?);
    }
    Ok((url, targets))
}

/// The URL of the database at the absolute `path`, with what would end or change it escaped.
fn database_url(path: &Path) -> String {
    let path = path.display().to_string();
    let path = if cfg!(windows) { path.replace('\\', "/") } else { path };
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite:///{}", path.trim_start_matches('/'))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A server of the sandbox. Its drop ends it, if nothing else did.
pub(super) struct Server {
    child: Child,
    pub(super) identity: ProcessIdentity,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Server {
    fn try_exit(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Waits for its end; the exit code, -1 when a signal ended it. `None`: it lives on.
    pub(super) fn wait(&mut self) -> io::Result<Option<i32>> {
        let status = poll(|| self.try_exit().transpose()).transpose()?;
        Ok(status.map(|status| status.code().unwrap_or(-1)))
    }

    /// Asks it to end, or ends it.
    pub(super) fn end(&self, signal: Option<EndSignal>) -> Result<(), PinError> {
        host::pin(&self.identity)?.end(signal)
    }

    /// Lets nothing of it run any more.
    pub(super) fn freeze(&self) -> Result<(), PinError> {
        host::pin(&self.identity)?.freeze()
    }

    /// The last lines that it logged.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.try_exit(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What `look` finds, as soon as it finds it; `None` if it does not within [`PATIENCE`].
pub(super) fn poll<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if begun.elapsed() > PATIENCE {
            return None;
        }
        thread::sleep(LOOK);
    }
}

/// Whether a process is gone, zombies included.
pub(super) fn is_gone(identity: &ProcessIdentity) -> bool {
    host::liveness(identity) == host::Liveness::Dead
}

/// The directory of the sandbox, for a person who wants to look into it.
impl AsRef<Path> for Sandbox {
    fn as_ref(&self) -> &Path {
        self.directory.path()
    }
}
