//! How the layers become [`Settings`], every mistake collected on the way.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layers::{Layers, Origin, Written};
use super::settings::{
    ColorChoice, LimitSettings, LogFormat, LogLevel, LogSettings, OutputFormat, ServeSettings,
    Settings,
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
            direct: resolver.get(Key::Direct, false, parse::switch),
            no_fallback: resolver.get(Key::NoFallback, false, parse::switch),
            timeout: resolver.duration(Key::Timeout, secs(5), millis(10), DAY),
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

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);

const fn secs(secs: u64) -> Duration {
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

struct Resolver {
    layers: Layers,
    mistakes: Vec<Message>,
}

impl Resolver {
    /// The parsed value of `key`; the default where it is absent, and where it is wrong (which is
    /// then among the mistakes).
    fn get<T>(
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
            std::cmp::Ordering::Less => drop(self.layers.remove(one)),
            std::cmp::Ordering::Greater => drop(self.layers.remove(other)),
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
        ServeSettings {
            listen: self.get(Key::Listen, default_listen, parse::listen),
            shutdown_timeout: self.duration(Key::ShutdownTimeout, secs(30), millis(100), DAY),
            service_timeout: self.duration(Key::ServiceTimeout, secs(10), Duration::ZERO, DAY),
            workers: self.get(Key::Workers, around.cpus.clamp(1, 1_024), |written| {
                parse::number(written, 1, 1_024)
            }),
            limits: self.limits(),
            log: self.log(around, verbosity),
        }
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
        let file = self.layers.get(Key::LogFile).map(|written| {
            written.origin.base(&around.working_dir).join(PathBuf::from(&written.value))
        });
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
    if path.is_empty() || path.starts_with(':') || Path::new(path).is_absolute() {
        return url.to_owned();
    }
    let absolute = origin.base(working_dir).join(path);
    dirs::sqlite_url(&absolute).unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use super::*;

    fn around(env: &[(&str, &str)], working_dir: &Path) -> Surroundings {
        let env: HashMap<String, OsString> =
            env.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        Surroundings {
            env: Box::new(move |name| env.get(name).cloned()),
            working_dir: working_dir.to_owned(),
            user: dirs::effective_user(),
            home_of: |uid| (uid == 1_234).then(|| PathBuf::from("/home/ann")),
            cpus: 3,
        }
    }

    fn flags(given: &[(Key, &str)]) -> Flags {
        let mut flags = Flags::default();
        for (key, value) in given {
            flags.set(*key, value);
        }
        flags
    }

    fn folder_with(file: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pmctl.toml"), file).unwrap();
        folder
    }

    fn codes(error: ConfigError) -> Vec<&'static str> {
        error.mistakes.iter().map(Message::code).collect()
    }

    #[test]
    fn with_nothing_configured_every_setting_has_its_default() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let around = around(&[("HOME", &home)], folder.path());
        let settings = Settings::resolve(&Flags::default(), &around).unwrap();
        assert_eq!(settings.serve.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(settings.serve.workers, 3);
        assert_eq!(settings.serve.shutdown_timeout, secs(30));
        assert_eq!(settings.port_range.to_string(), "20000-29999");
        assert_eq!(settings.node_name, NodeName::default());
        assert!(!settings.database_is_named);
        assert_eq!((settings.timeout, settings.verbosity), (secs(5), 0));
        #[cfg(target_os = "linux")]
        assert_eq!(settings.database_url, format!("sqlite://{home}/.local/state/pmctl/pmctl.db"));
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let folder = folder_with(
            "database_url = 'sqlite:///file.db'\n[server]\nnode_name = 'file'\nlisten = '127.0.0.1:1'\n",
        );
        let around = around(
            &[("PMCTL_NODE_NAME", "env"), ("PMCTL_DATABASE_URL", "sqlite:///env.db")],
            folder.path(),
        );
        let given = flags(&[(Key::NodeName, "flag")]);
        let settings = Settings::resolve(&given, &around).unwrap();
        assert_eq!(settings.node_name.as_str(), "flag");
        assert_eq!(settings.database_url, "sqlite:///env.db");
        assert_eq!(settings.serve.listen.port(), 1);
        assert!(settings.database_is_named);
        assert_eq!(settings.config_file, Some(folder.path().join("pmctl.toml")));
    }

    #[test]
    fn every_mistake_of_every_place_is_reported_at_once_with_its_place() {
        let folder = folder_with(
            "databse_url = 'x'\n[server]\nshutdown_timeout = '5'\nworkers = 0\neureka = 1\n[limits]\nmax_connections = 'many'\n[log]\nformat = 'xml'\n",
        );
        let around = around(
            &[("HOME", "/h"), ("PMCTL_PORT_RANGE", "9-1"), ("PMCTL_LANG", "tlh")],
            folder.path(),
        );
        let given = flags(&[(Key::Listen, "0.0.0.0:3000"), (Key::Timeout, "1000h")]);
        let error = Settings::resolve(&given, &around).unwrap_err();
        let text = error.to_string();
        let mut codes = codes(error);
        codes.sort_unstable();
        assert_eq!(
            codes,
            [
                "choice-invalid",
                "choice-invalid",
                "duration-invalid",
                "duration-out-of-bounds",
                "listen-not-loopback",
                "number-invalid",
                "port-range-reversed",
                "setting-type-wrong",
                "setting-unknown",
                "setting-unknown-similar",
            ]
        );
        assert!(text.contains("pmctl.toml:1:1: databse_url"), "{text}");
        assert!(text.contains("did you mean `database_url`?"), "{text}");
        assert!(text.contains("pmctl.toml:4:1: server.workers"), "{text}");
        assert!(text.contains("--listen: 0.0.0.0:3000"), "{text}");
    }

    #[test]
    fn bad_toml_is_shown_with_line_column_and_the_text_there() {
        let folder = folder_with("[server]\nlisten = = 3\n");
        let error = Settings::resolve(&Flags::default(), &around(&[("HOME", "/h")], folder.path()))
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 2, column"), "{text}");
        assert!(text.contains("listen = = 3"), "{text}");
    }

    #[test]
    fn a_named_file_must_exist_and_a_directory_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pmctl.toml")).unwrap();
        let around = around(&[("HOME", "/h")], folder.path());
        let missing = flags(&[(Key::Config, "none.toml")]);
        let error = Settings::resolve(&missing, &around).unwrap_err();
        assert_eq!(codes(error), ["config-file-unreadable"]);
        let error = Settings::resolve(&Flags::default(), &around).unwrap_err();
        assert_eq!(codes(error), ["config-file-unreadable"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_another_user_in_the_working_directory_is_passed_over_and_said() {
        let folder = folder_with("[server]\nnode_name = 'theirs'\n");
        let mut around = around(&[("HOME", "/nowhere")], folder.path());
        around.user = around.user.map(|user| user + 1);
        let settings = Settings::resolve(&Flags::default(), &around).unwrap();
        assert_eq!(settings.node_name, NodeName::default());
        assert_eq!(settings.notes[0].code(), "config-file-of-another");
        let named = flags(&[(Key::Config, "pmctl.toml")]);
        assert_eq!(Settings::resolve(&named, &around).unwrap().node_name.as_str(), "theirs");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn under_sudo_the_default_database_is_the_invoking_users_and_a_named_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let env = [("HOME", "/root"), ("SUDO_UID", "1234"), ("SUDO_USER", "ann")];
        let mut around = around(&env, folder.path());
        around.user = Some(0);
        let settings = Settings::resolve(&Flags::default(), &around).unwrap();
        let expected = "sqlite:///home/ann/.local/state/pmctl/pmctl.db";
        assert_eq!(settings.database_url, expected);
        assert_eq!(settings.sudo_user.as_deref(), Some("ann"));
        assert!(settings.notes[0].to_string().contains(expected));
        let named = flags(&[(Key::DatabaseUrl, "sqlite:///x.db")]);
        let settings = Settings::resolve(&named, &around).unwrap();
        assert_eq!((settings.sudo_user, settings.notes.len()), (None, 0));
        around.user = Some(1_000);
        let settings = Settings::resolve(&Flags::default(), &around).unwrap();
        assert!(settings.database_url.starts_with("sqlite:///root/"));
    }

    #[test]
    fn settings_of_one_place_that_contradict_each_other_are_a_mistake_else_the_higher_holds() {
        let folder = tempfile::tempdir().unwrap();
        let url = "http://127.0.0.1:3000";
        let env = [("HOME", "/h"), ("PMCTL_SERVER", url), ("PMCTL_NO_FALLBACK", "1")];
        let around = around(&env, folder.path());
        let direct = flags(&[(Key::Direct, "true")]);
        let settings = Settings::resolve(&direct, &around).unwrap();
        assert!(settings.direct && !settings.no_fallback && settings.server_url.is_none());
        let both = flags(&[(Key::Direct, "true"), (Key::Server, url)]);
        let error = Settings::resolve(&both, &around).unwrap_err();
        assert_eq!(error.mistakes[0].code(), "settings-exclude-each-other");
        assert!(error.to_string().contains("--direct and --server"));
    }

    #[test]
    fn a_relative_path_of_the_file_starts_at_the_file_and_one_typed_at_the_working_directory() {
        let folder = folder_with("database_url = 'sqlite:a.db'\n[log]\nfile = 'a.log'\n");
        let (inside, elsewhere) = (folder.path().join("x"), tempfile::tempdir().unwrap());
        let around = around(&[("HOME", "/h")], elsewhere.path());
        let config = inside.join("../pmctl.toml");
        std::fs::create_dir(&inside).unwrap();
        let named = flags(&[(Key::Config, config.to_str().unwrap())]);
        let settings = Settings::resolve(&named, &around).unwrap();
        assert!(settings.database_url.ends_with("x/../a.db"), "{}", settings.database_url);
        assert!(settings.serve.log.file.unwrap().ends_with("x/../a.log"));
        let typed = flags(&[(Key::DatabaseUrl, "sqlite://b.db"), (Key::LogFile, "b.log")]);
        let settings = Settings::resolve(&typed, &around).unwrap();
        let expected = format!("sqlite://{}/b.db", elsewhere.path().display());
        assert_eq!(settings.database_url, expected);
        assert_eq!(settings.serve.log.file, Some(elsewhere.path().join("b.log")));
    }

    #[test]
    fn a_typed_verbosity_beats_a_level_that_stands_in_the_file() {
        let folder = folder_with("[log]\nlevel = 'error'\n");
        let around = around(&[("HOME", "/h")], folder.path());
        let level = |given: &[(Key, &str)]| {
            Settings::resolve(&flags(given), &around).unwrap().serve.log.level
        };
        assert_eq!(level(&[]), LogLevel::Error);
        assert_eq!(level(&[(Key::Verbose, "1")]), LogLevel::Debug);
        assert_eq!(level(&[(Key::Quiet, "true")]), LogLevel::Warn);
    }

    #[test]
    fn a_server_is_a_plain_http_url_and_a_secret_in_it_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let around = around(&[("HOME", "/h")], folder.path());
        let server = |url: &str| {
            Settings::resolve(&flags(&[(Key::Server, url)]), &around).map(|s| s.server_url)
        };
        assert_eq!(server("http://Host:80/").unwrap().as_deref(), Some("http://host"));
        assert_eq!(server("http://[::1]:3000").unwrap().as_deref(), Some("http://[::1]:3000"));
        for bad in ["127.0.0.1:3000", "https://a", "http://a/x", "http://a:0", "ann:s3cret@a"] {
            assert!(server(bad).is_err(), "{bad}");
        }
        let error = server("http://ann:s3cret@a").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
