use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{ConfigError, Flags, Settings};

fn around(env: &[(&str, &str)], working_dir: &Path) -> Surroundings {
    let mut env: HashMap<String, OsString> =
        env.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
    env.insert("HOME".to_owned(), "/h".into());
    // Where Windows looks for it.
    env.entry("USERPROFILE".to_owned()).or_insert_with(|| r"C:\Users\ann".into());
    Surroundings {
        env: Box::new(move |name| env.get(name).cloned()),
        working_dir: working_dir.to_owned(),
        user: crate::config::dirs::effective_user(),
        home_of: |_| None,
        cpus: 3,
    }
}

fn resolved(
    file: &str,
    env: &[(&str, &str)],
    urls: &[&str],
) -> Result<(EurekaSettings, PathBuf), ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pmctl.toml"), file).unwrap();
    let mut flags = Flags::default();
    for url in urls {
        flags.add(Key::EurekaUrls, url);
    }
    let settings = Settings::resolve(&flags, &around(env, folder.path()))?;
    Ok((settings.eureka, folder.path().to_owned()))
}

fn codes(file: &str, env: &[(&str, &str)]) -> Vec<&'static str> {
    let Err(error) = resolved(file, env, &[]) else { panic!("{file} {env:?}") };
    let mut codes: Vec<_> = error.mistakes.iter().map(Message::code).collect();
    codes.sort_unstable();
    codes
}

fn shown(settings: &EurekaSettings) -> Vec<&str> {
    settings.urls.iter().map(RegistryUrl::as_str).collect()
}

#[test]
fn without_a_word_about_it_there_is_no_registry() {
    let (eureka, _) = resolved("", &[], &[]).unwrap();
    assert!(!eureka.is_configured());
    assert_eq!((eureka.interval, eureka.lease_duration), (secs(30), secs(90)));
    assert_eq!(eureka.instance_id.as_str(), "{host}:{service}:{port}");
    assert_eq!((eureka.advertise, eureka.secure_port, eureka.ca_file), (None, None, None));
    assert!(eureka.metadata.is_empty());
}

#[test]
fn lists_come_from_the_flag_else_the_environment_else_the_file_and_are_not_joined() {
    let file = "[eureka]\nurls = ['http://file:1', 'http://file:2/x', 'http://FILE:1/eureka/']\n";
    let (eureka, _) = resolved(file, &[], &[]).unwrap();
    assert_eq!(shown(&eureka), ["http://file:1/eureka", "http://file:2/x"]);
    let env = [("PMCTL_EUREKA_URL", "http://ann:s3cret@env:1, https://env:2,")];
    let (eureka, _) = resolved(file, &env, &[]).unwrap();
    assert_eq!(shown(&eureka), ["http://env:1/eureka", "https://env:2/eureka"]);
    assert_eq!(eureka.urls[0].credentials().map(|c| c.password.as_str()), Some("s3cret"));
    assert!(!format!("{eureka:?}").contains("s3cret"));
    let (eureka, _) = resolved(file, &env, &["http://flag:1", "http://flag:2"]).unwrap();
    assert_eq!(shown(&eureka), ["http://flag:1/eureka", "http://flag:2/eureka"]);
}

#[test]
fn everything_about_the_registry_can_stand_in_the_file() {
    let file = "[eureka]\nurls = ['https://a']\ninterval = '5s'\nlease_duration = '15s'\n\
                advertise = '[fe80::1]'\ninstance_id = 'x-{service}-{port}'\n\
                secure_port = 8443\nca = 'own.pem'\n\
                [eureka.metadata]\nzone = 'a,b=c'\n'management.port' = '81'\n";
    let (eureka, folder) = resolved(file, &[], &[]).unwrap();
    assert_eq!((eureka.interval, eureka.lease_duration), (secs(5), secs(15)));
    assert_eq!(eureka.advertise.as_deref(), Some("fe80::1"));
    assert_eq!(eureka.instance_id.as_str(), "x-{service}-{port}");
    assert_eq!(eureka.secure_port, Port::new(8443));
    assert_eq!(eureka.ca_file, Some(folder.join("own.pem")));
    assert_eq!(eureka.metadata["zone"], "a,b=c");
    assert_eq!(eureka.metadata["management.port"], "81");
    let env = [("PMCTL_EUREKA_METADATA", "zone=b, team = web=1")];
    let (eureka, _) = resolved(file, &env, &[]).unwrap();
    assert_eq!(eureka.metadata.len(), 2);
    assert_eq!(eureka.metadata["team"], "web=1");
}

#[test]
fn a_lease_outlasts_three_renewals_unless_told_otherwise() {
    let lease = |file: &str| resolved(file, &[], &[]).unwrap().0.lease_duration;
    assert_eq!(lease("[eureka]\ninterval = '1m'\n"), secs(180));
    assert_eq!(lease("[eureka]\ninterval = '1s'\n"), secs(90));
    assert_eq!(lease("[eureka]\ninterval = '1m'\nlease_duration = '1m'\n"), secs(60));
}

#[test]
fn every_mistake_about_the_registry_is_reported_at_once_with_its_place() {
    let file = "[eureka]\nurls = ['http://a', 'ftp://ann:s3cret@b', 3]\ninterval = '500ms'\n\
                lease_duration = '20s'\nadvertise = '0.0.0.0'\ninstance_id = '{ip}'\n\
                secure_port = 70000\nintervall = '3s'\n\
                [eureka.metadata]\nzone = 3\n'pmctl.node' = 'x'\n";
    let error = resolved(file, &[], &[]).unwrap_err();
    let text = error.to_string();
    // A list or table with something in it that is no string is left out as a whole.
    for part in [
        "pmctl.toml:2:43: eureka.urls[2] takes a TOML string, not integer",
        "pmctl.toml:3:1: eureka.interval",
        "pmctl.toml:4:1: eureka.lease_duration: 20s is out of bounds",
        "pmctl.toml:5:1: eureka.advertise",
        "`{ip}` is no placeholder",
        "pmctl.toml:7:1: eureka.secure_port",
        "did you mean `eureka.interval`?",
        "pmctl.toml:10:1: eureka.metadata.zone takes a TOML string",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert_eq!(error.mistakes.len(), 8, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn values_that_no_registry_could_use_are_refused_by_name() {
    let one = |line: &str| codes(&format!("[eureka]\n{line}\n"), &[]);
    assert_eq!(one("urls = 'http://a'"), ["setting-type-wrong"]);
    assert_eq!(one("urls = ['http://ann:s3cret@a/?x']"), ["eureka-url-invalid"]);
    assert_eq!(one("metadata = 'a'"), ["setting-type-wrong"]);
    assert_eq!(one("interval = '1500ms'"), ["duration-not-whole-seconds"]);
    for host in ["", "a b", "10.0.0", "::", "a/b", "http://a", "224.0.0.1", "a..b"] {
        assert_eq!(one(&format!("advertise = '{host}'")), ["advertise-invalid"], "{host}");
    }
    for name in ["", "a b", "@class", "pmctl.epoch", "1a", "ü"] {
        let line = format!("metadata = {{ '{name}' = 'x' }}");
        assert_eq!(one(&line), ["metadata-invalid"], "{name}");
    }
    assert_eq!(codes("", &[("PMCTL_EUREKA_METADATA", "zone")]), ["metadata-invalid"]);
    assert_eq!(codes("", &[("PMCTL_EUREKA_URL", "a:1,b:2")]), ["eureka-url-invalid"; 2]);
}
