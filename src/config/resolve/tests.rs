use std::collections::HashMap;
use std::ffi::OsString;

use super::*;

fn around(env: &[(&str, &str)], working_dir: &Path) -> Surroundings {
    let mut env: HashMap<String, OsString> =
        env.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
    // Where Windows looks for it.
    env.entry("USERPROFILE".to_owned()).or_insert_with(|| r"C:\Users\ann".into());
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
        "database_url = 'sqlite:///C:/file.db'\n[server]\nnode_name = 'file'\nlisten = '127.0.0.1:1'\n",
    );
    let around = around(
        &[("PMCTL_NODE_NAME", "env"), ("PMCTL_DATABASE_URL", "sqlite:///C:/env.db")],
        folder.path(),
    );
    let given = flags(&[(Key::NodeName, "flag")]);
    let settings = Settings::resolve(&given, &around).unwrap();
    assert_eq!(settings.node_name.as_str(), "flag");
    assert_eq!(settings.database_url, "sqlite:///C:/env.db");
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
            "listen-without-tls",
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
    let url = settings.database_url.replace('\\', "/");
    assert!(url.ends_with("x/../a.db"), "{url}");
    assert!(settings.serve.log.file.unwrap().ends_with("x/../a.log"));
    let typed = flags(&[(Key::DatabaseUrl, "sqlite://b.db"), (Key::LogFile, "b.log")]);
    let settings = Settings::resolve(&typed, &around).unwrap();
    let expected = format!("sqlite://{}", elsewhere.path().join("b.db").display());
    assert_eq!(settings.database_url, expected);
    assert_eq!(settings.serve.log.file, Some(elsewhere.path().join("b.log")));
}

#[test]
fn a_typed_verbosity_beats_a_level_that_stands_in_the_file() {
    let folder = folder_with("[log]\nlevel = 'error'\n");
    let around = around(&[("HOME", "/h")], folder.path());
    let level =
        |given: &[(Key, &str)]| Settings::resolve(&flags(given), &around).unwrap().serve.log.level;
    assert_eq!(level(&[]), LogLevel::Error);
    assert_eq!(level(&[(Key::Verbose, "1")]), LogLevel::Debug);
    assert_eq!(level(&[(Key::Quiet, "true")]), LogLevel::Warn);
}

#[test]
fn a_server_is_a_plain_http_url_and_a_secret_in_it_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let around = around(&[("HOME", "/h")], folder.path());
    let server =
        |url: &str| Settings::resolve(&flags(&[(Key::Server, url)]), &around).map(|s| s.server_url);
    assert_eq!(server("http://Host:80/").unwrap().as_deref(), Some("http://host"));
    assert_eq!(server("http://[::1]:3000").unwrap().as_deref(), Some("http://[::1]:3000"));
    assert_eq!(server("https://a:3000").unwrap().as_deref(), Some("https://a:3000"));
    for bad in ["127.0.0.1:3000", "ftp://a", "http://a/x", "http://a:0", "ann:s3cret@a"] {
        assert!(server(bad).is_err(), "{bad}");
    }
    let error = server("http://ann:s3cret@a").unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn off_loopback_the_control_plane_needs_tls_and_tls_needs_both_its_files() {
    let folder =
        folder_with("[server]\nopen_metrics = true\ncontrol_names = ['Host.example', 'b']\n");
    let around = around(&[("HOME", "/h")], folder.path());
    let resolve = |given: &[(Key, &str)]| Settings::resolve(&flags(given), &around);
    let open = (Key::Listen, "0.0.0.0:3000");
    let key_file = folder.path().join("k.pem");
    let (cert, key) = ((Key::TlsCert, "c.pem"), (Key::TlsKey, key_file.to_str().unwrap()));
    let settings = resolve(&[open, cert, key]).unwrap();
    let access = settings.serve.access;
    assert_eq!(access.tls, Some((folder.path().join("c.pem"), key_file.clone())));
    assert_eq!(access.control_names, ["host.example", "b"]);
    assert!(access.open_metrics);
    assert_eq!(codes(resolve(&[open]).unwrap_err()), ["listen-without-tls"]);
    assert_eq!(codes(resolve(&[open, cert]).unwrap_err()), ["tls-half"]);
    assert_eq!(codes(resolve(&[key]).unwrap_err()), ["tls-half"]);
    let mapped = resolve(&[(Key::Listen, "[::ffff:127.0.0.1]:1")]);
    assert!(mapped.is_ok(), "loopback in other words");
    let folder = folder_with("[server]\nopen_metrics = 'yes'\ncontrol_names = [1]\n");
    let error =
        Settings::resolve(&Flags::default(), &self::around(&[("HOME", "/h")], folder.path()));
    assert_eq!(codes(error.unwrap_err()), ["setting-type-wrong", "setting-type-wrong"]);
}

#[test]
#[cfg(windows)]
fn a_database_url_with_a_drive_is_absolute_and_one_without_is_not() {
    let here = Path::new(r"C:\work");
    for url in ["sqlite:///C:/a/b.db", "sqlite://C:/a/b.db", r"sqlite:C:\a\b.db"] {
        assert_eq!(rebased(url, &Origin::Flag("--database-url"), here), url);
    }
    assert_eq!(
        rebased("sqlite:a.db", &Origin::Flag("--database-url"), here),
        r"sqlite://C:\work\a.db"
    );
}
