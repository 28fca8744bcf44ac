//! How the layers become [`Settings`], every mistake collected on the way.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layers::{Layers, Origin, Written};
use super::settings::{
    AccessSettings, ColorChoice, LimitSettings, LogFormat, LogLevel, LogSettings, OnConflict,
    OnHang, OutputFormat, ServeSettings, Settings,
};
use super::{ConfigError, Flags, Key, Surroundings, dirs, file, parse};
use crate::model::NodeName;
use crate::text::{self, Lang, Message};

impl Settings {
    /// Resolves flags over environment over file over defaults. Reads the configuration file and
    /// nothing else. The error has every mistake of all of them.
    pub fn resolve(flags: &Flags, around: &Surroundings) -> Result<Self, ConfigError> {
        let (mut notes, mut mistakes) = (Vec::new(), Vec::new());
        let mut layers = Layers::above_the_file(flags, around);
        let invoker = dirs::invoker(around);
        let named = layers.get(Key::Config).map(|written| PathBuf::from(&written.value));
        let found =
            file::find(named.as_deref(), around, invoker.as_ref(), &mut notes, &mut mistakes);
        if let Some(found) = &found {
            for (key, written) in file::values(found, &mut mistakes) {
                layers.put_below(key, written);
            }
        }
        let exclusions = [(Key::Direct, Key::Server), (Key::Direct, Key::NoFallback)];
        let mut resolver = Resolver { layers, mistakes };
        for (one, other) in exclusions {
            resolver.exclude(one, other);
        }
        resolver.exclude(Key::Verbose, Key::Quiet);

        let verbosity = resolver.verbosity();
        let serve = resolver.serve(around, verbosity);
        let eureka = resolver.eureka(around);
        let (database_url, sudo_user) = match resolver.database(around) {
            Some(url) => (Some(url), None),
            None => {
                let state = dirs::state_dir(around, invoker.as_ref());
                let url = resolver.default_database(state.as_deref());
                (url, invoker.as_ref().map(|i| i.name.clone()))
            }
        };
        let database_is_named = resolver.layers.get(Key::DatabaseUrl).is_some();
        if let (Some(user), Some(url)) = (&sudo_user, &database_url) {
            notes.push(text::config::sudo_database(user, url));
        }
        let port_range = match PORTS.parse() {
            Ok(default) => {
                resolver.get(Key::PortRange, default, |w| parse::utf8(w)?.trim().parse())
            }
            Err(mistake) => return Err(ConfigError { mistakes: vec![mistake] }),
        };
        let settings = Self {
            database_url: database_url.unwrap_or_default(),
            database_is_named,
            server_url: resolver.get(Key::Server, None, |w| parse::server_url(w).map(Some)),
            token_file: resolver.path(Key::TokenFile, around),
            ca_file: resolver.path(Key::Ca, around),
            direct: resolver.get(Key::Direct, false, parse::switch),
            no_fallback: resolver.get(Key::NoFallback, false, parse::switch),
            timeout: resolver.duration(Key::Timeout, secs(5), millis(1), DAY),
            output: resolver.get(Key::Output, OutputFormat::default(), |w| {
                let words = [("table", OutputFormat::Table), ("json", OutputFormat::Json)];
                parse::choice(w, &words)
            }),
            lang: resolver.get(Key::Lang, locale(around), |w| {
                let unknown = |_| {
                    let value = w.value.to_string_lossy();
                    text::config::choice_invalid(&w.origin, value, "en, zh-CN")
                };
                parse::utf8(w)?.trim().parse().map_err(unknown)
            }),
            color: resolver.get(Key::Color, ColorChoice::default(), |w| {
                let (auto, always) = (("auto", ColorChoice::Auto), ("always", ColorChoice::Always));
                parse::choice(w, &[auto, always, ("never", ColorChoice::Never)])
            }),
            verbosity,
            node_name: resolver
                .get(Key::NodeName, NodeName::default(), |w| parse::utf8(w)?.parse()),
            port_range,
            sudo_user,
            state_dir: dirs::state_dir(around, invoker.as_ref()),
            config_file: found.map(|found| found.path),
            notes,
            eureka,
            serve,
        };
        match resolver.mistakes.is_empty() {
            true => Ok(settings),
            false => Err(ConfigError { mistakes: resolver.mistakes }),
        }
    }
}

/// Where `--port auto` looks.
const PORTS: &str = "20000-29999";

pub(super) const DAY: Duration = Duration::from_secs(24 * 3_600);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The language the locale asks for, by the order of POSIX.
pub(crate) fn locale(around: &Surroundings) -> Lang {
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
    let value = names.into_iter().find_map(|name| around.var(name));
    value.as_deref().and_then(OsStr::to_str).map_or(Lang::En, Lang::from_locale)
}

pub(super) struct Resolver {
    pub(super) layers: Layers,
    pub(super) mistakes: Vec<Message>,
}

impl Resolver {
    /// The parsed value of `key`; the default where it is absent, and where it is wrong (which is
    /// then among the mistakes).
    pub(super) fn get<T>(
        &mut self,
        key: Key,
        default: T,
        parse: impl FnOnce(&Written) -> Result<T, Message>,
    ) -> T {
        match self.layers.get(key).map(parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(mistake)) => {
                self.mistakes.push(mistake);
                default
            }
        }
    }

    /// The parsed entries of a list; those that are wrong are among the mistakes.
    fn all<T>(&mut self, key: Key, parse: impl Fn(&Written) -> Result<T, Message>) -> Vec<T> {
        let mut values = Vec::new();
        for entry in self.layers.each(key) {
            match parse(entry) {
                Ok(value) => values.push(value),
                Err(mistake) => self.mistakes.push(mistake),
            }
        }
        values
    }

    fn duration(
        &mut self,
        key: Key,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        self.get(key, default, |written| parse::duration(written, least, most))
    }

    /// Of two settings that contradict each other, the one from the higher layer holds; from the
    /// same layer they are a mistake. A switch that is off contradicts nothing.
    fn exclude(&mut self, one: Key, other: Key) {
        let is_off = |w: &Written| parse::switch(w) == Ok(false);
        let (Some(a), Some(b)) = (self.layers.get(one), self.layers.get(other)) else { return };
        if is_off(a) || is_off(b) {
            return;
        }
        match a.origin.rank().cmp(&b.origin.rank()) {
            std::cmp::Ordering::Less => self.layers.remove(one),
            std::cmp::Ordering::Greater => self.layers.remove(other),
            std::cmp::Ordering::Equal => {
                let mistake = text::config::settings_exclude_each_other(&a.origin, &b.origin);
                self.mistakes.push(mistake);
            }
        }
    }

    fn verbosity(&mut self) -> i8 {
        let quiet = self.get(Key::Quiet, false, parse::switch);
        let verbose = self.get(Key::Verbose, 0, |written| parse::number(written, 0, 9));
        match quiet {
            true => -1,
            false => i8::try_from(verbose.min(2)).unwrap_or(2),
        }
    }

    /// The database URL as named; a relative path in it starts where it was written.
    fn database(&mut self, around: &Surroundings) -> Option<String> {
        let written = self.layers.get(Key::DatabaseUrl)?;
        match parse::utf8(written) {
            Ok(url) => Some(rebased(url.trim(), &written.origin, &around.working_dir)),
            Err(mistake) => {
                self.mistakes.push(mistake);
                Some(String::new())
            }
        }
    }

    fn default_database(&mut self, state: Option<&Path>) -> Option<String> {
        let Some(state) = state else {
            self.mistakes.push(text::config::home_unknown());
            return None;
        };
        let path = state.join("pmctl.db");
        let url = dirs::sqlite_url(&path);
        if url.is_none() {
            self.mistakes.push(text::config::path_not_unicode(path.display()));
        }
        url
    }

    fn serve(&mut self, around: &Surroundings, verbosity: i8) -> ServeSettings {
        let default_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 3000));
        let listen = self.get(Key::Listen, default_listen, parse::listen);
        ServeSettings {
            listen,
            access: self.access(listen, around),
            shutdown_timeout: self.duration(Key::ShutdownTimeout, secs(30), millis(100), DAY),
            service_timeout: self.duration(Key::ServiceTimeout, secs(10), Duration::ZERO, DAY),
            heartbeat_timeout: self.duration(Key::HeartbeatTimeout, secs(5), millis(100), HOUR),
            lame_duck: self.duration(Key::LameDuck, secs(0), Duration::ZERO, HOUR),
            sync_interval: self.duration(Key::SyncInterval, secs(10), secs(1), HOUR),
            on_conflict: self.get(Key::OnConflict, OnConflict::default(), |written| {
                use OnConflict::{Fail, KillResidue, Wait};
                let words = [("fail", Fail), ("wait", Wait), ("kill-residue", KillResidue)];
                parse::choice(written, &words)
            }),
            on_hang: self.get(Key::OnHang, OnHang::default(), |written| {
                parse::choice(written, &[("log", OnHang::Log), ("exit", OnHang::Exit)])
            }),
            guardian: !self.get(Key::NoGuardian, false, parse::switch),
            workers: self.get(Key::Workers, around.cpus.clamp(1, 1_024), |written| {
                parse::number(written, 1, 1_024)
            }),
            limits: self.limits(),
            log: self.log(around, verbosity),
        }
    }

    fn access(&mut self, listen: SocketAddr, around: &Surroundings) -> AccessSettings {
        let (cert, key) = (self.path(Key::TlsCert, around), self.path(Key::TlsKey, around));
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                self.mistakes.push(text::access::tls_half("--tls-cert", "--tls-key"));
                None
            }
            (None, Some(_)) => {
                self.mistakes.push(text::access::tls_half("--tls-key", "--tls-cert"));
                None
            }
        };
        let is_half =
            self.layers.get(Key::TlsCert).is_some() || self.layers.get(Key::TlsKey).is_some();
        if let Some(written) = self.layers.get(Key::Listen)
            && !listen.ip().to_canonical().is_loopback()
            && !is_half
        {
            self.mistakes.push(text::access::listen_without_tls(&written.origin, listen));
        }
        AccessSettings {
            control_group: self
                .get(Key::ControlGroup, None, |w| Ok(Some(parse::utf8(w)?.trim().to_owned()))),
            control_names: self.all(Key::ControlNames, parse::host_name),
            tls,
            open_metrics: self.get(Key::OpenMetrics, false, parse::switch),
        }
    }

    /// A path; a relative one starts where it was written.
    fn path(&self, key: Key, around: &Surroundings) -> Option<PathBuf> {
        let written = self.layers.get(key)?;
        Some(written.origin.base(&around.working_dir).join(PathBuf::from(&written.value)))
    }

    fn limits(&mut self) -> LimitSettings {
        LimitSettings {
            header_timeout: self.duration(Key::HeaderTimeout, secs(10), millis(100), HOUR),
            connect_timeout: self.duration(Key::ConnectTimeout, secs(5), millis(10), HOUR),
            first_byte_timeout: self.duration(Key::FirstByteTimeout, secs(60), millis(10), DAY),
            idle_timeout: self.duration(Key::IdleTimeout, secs(75), millis(100), DAY),
            max_connections: self
                .get(Key::MaxConnections, 10_000, |written| parse::number(written, 1, 1_000_000)),
            max_head_bytes: self.get(Key::MaxHeadBytes, 64 << 10, |written| {
                parse::number(written, 1 << 10, 1 << 20)
            }),
        }
    }

    fn log(&mut self, around: &Surroundings, verbosity: i8) -> LogSettings {
        let format = self.get(Key::LogFormat, LogFormat::default(), |written| {
            parse::choice(written, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
        });
        let file = self.path(Key::LogFile, around);
        let named = self.get(Key::LogLevel, LogLevel::default(), |written| {
            use LogLevel::{Debug, Error, Info, Trace, Warn};
            let levels = [Error, Warn, Info, Debug, Trace].map(|level| (level.as_str(), level));
            parse::choice(written, &levels)
        });
        let rank = |key| self.layers.get(key).map(|written: &Written| written.origin.rank());
        // `-v` typed now is meant more than a level that stands in the environment or the file.
        let loudness = rank(Key::Verbose).max(rank(Key::Quiet));
        let level = match verbosity {
            _ if loudness < rank(Key::LogLevel) || loudness.is_none() => named,
            ..0 => LogLevel::Warn,
            0 => named,
            1 => LogLevel::Debug,
            2.. => LogLevel::Trace,
        };
        LogSettings { format, file, level }
    }
}

/// `sqlite:rel.db` and `sqlite://rel.db` with the path made absolute; every other URL as it is, for
/// the store to judge.
fn rebased(url: &str, origin: &Origin, working_dir: &Path) -> String {
    let Some(rest) = url.strip_prefix("sqlite:") else { return url.to_owned() };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(':') || is_absolute(path) {
        return url.to_owned();
    }
    let absolute = origin.base(working_dir).join(path);
    dirs::sqlite_url(&absolute).unwrap_or_else(|| url.to_owned())
}

/// Whether the path of a URL is absolute, which `/C:/x` is too where there are drives.
fn is_absolute(path: &str) -> bool {
    let behind = path.strip_prefix('/').filter(|_| cfg!(windows)).unwrap_or(path);
    Path::new(path).is_absolute() || Path::new(behind).is_absolute()
}

#[cfg(test)]
mod tests;
