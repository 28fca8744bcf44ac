//! The service manager that started this process, told how it fares by the protocol of systemd
//! (sd_notify(3)): datagrams of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// What the manager says to this process alone: nobody that it starts is to feed its watchdog.
pub const MANAGER_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// What the manager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerState {
    /// `READY=1`: the start is complete.
    Ready,
    /// `STOPPING=1`: the stop has begun.
    Stopping,
    /// `WATCHDOG=1`: it still does its work.
    Alive,
    /// `EXTEND_TIMEOUT_USEC=…`: the start or stop under way may take so much longer from now on,
    /// whatever the unit says.
    Extend(Duration),
    /// `STATUS=…`: a line for whoever looks.
    Status(String),
}

/// Tells the manager. Cheap to clone. What is told is sent by a thread of its own: a manager that
/// does not read must not stop the server.
#[derive(Clone, Debug)]
pub struct ServiceManager {
    sender: Sender<Vec<ManagerState>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that waits to be told; `None` where nobody does.
    pub fn of_this_process() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let (sender, told) = mpsc::channel::<Vec<ManagerState>>();
        let send = move || {
            let mut is_lost = false;
            for states in told {
                match send(&states) {
                    Ok(()) => is_lost = false,
                    // Said on its edge: the watchdog's beat goes on.
                    Err(error) if !is_lost => {
                        is_lost = true;
                        tracing::warn!(%error, "the service manager could not be told");
                    }
                    Err(_) => {}
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("manager".into()).spawn(send) {
            tracing::warn!(%error, "the service manager is not told anything");
            return None;
        }
        Some(Self { sender, watchdog: watchdog() })
    }

    /// Tells these states in one message.
    pub fn tell(&self, states: Vec<ManagerState>) {
        // The thread lives as long as anybody can tell it something.
        self.sender.send(states).ok();
    }

    /// How often at least [`ManagerState::Alive`] is expected (`WATCHDOG_USEC`, where
    /// `WATCHDOG_PID` is this process or not set); `None` where it is not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

/// Whether there is a manager that takes datagrams.
#[cfg(target_os = "linux")]
pub(in crate::host) fn can_be_told() -> bool {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let address = match abstract_name() {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => match std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) {
            Some(path) => SocketAddr::from_pathname(path),
            None => return false,
        },
    };
    let reached = |address| UnixDatagram::unbound()?.connect_addr(&address);
    address.and_then(reached).is_ok()
}

#[cfg(unix)]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

#[cfg(not(unix))]
fn watchdog() -> Option<Duration> {
    None
}

#[cfg(unix)]
fn send(states: &[ManagerState]) -> std::io::Result<()> {
    use sd_notify::NotifyState;

    let sent = |state: &ManagerState| match state {
        ManagerState::Ready => "READY=1".to_owned(),
        ManagerState::Stopping => "STOPPING=1".to_owned(),
        ManagerState::Alive => "WATCHDOG=1".to_owned(),
        // The protocol has 64 bits, the library's own state half of that: 71 minutes.
        ManagerState::Extend(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        // The end of the line ends the value.
        ManagerState::Status(line) => format!("STATUS={}", line.replace(['\n', '\r'], " ")),
    };
    let lines: Vec<String> = states.iter().map(sent).collect();
    #[cfg(target_os = "linux")]
    if let Some(name) = abstract_name() {
        return send_to_abstract(&name, &lines.join("\n"));
    }
    let states: Vec<NotifyState<'_>> = lines.iter().map(|line| NotifyState::Custom(line)).collect();
    sd_notify::notify(&states)
}

/// The name behind `@`: a socket that no file stands for, which the library does not know.
#[cfg(target_os = "linux")]
fn abstract_name() -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let socket = std::env::var_os("NOTIFY_SOCKET")?;
    socket.as_bytes().strip_prefix(b"@").map(<[u8]>::to_vec)
}

#[cfg(target_os = "linux")]
fn send_to_abstract(name: &[u8], lines: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let manager = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &manager).map(drop)
}

#[cfg(not(unix))]
fn send(_states: &[ManagerState]) -> std::io::Result<()> {
    Ok(())
}
