//! `pmctl eureka`: a registry of our own, and what any registry lists.

use std::fs;

use rustix::process::Signal;

use crate::support::{Pmctl, Registry, Wire, wait_until};

#[test]
fn an_instance_is_registered_listed_renewed_and_cancelled() {
    let pmctl = Pmctl::new();
    let registry = Registry::start(&pmctl, &[]);
    let apps = ["eureka", "apps", "--eureka-url", &registry.url()];
    assert!(pmctl.ok(&apps).stdout.contains("lists no application"));
    registry.register("ORDERS", "one");
    registry.register("BILLS", "two");
    let list = pmctl.json(&apps);
    assert_eq!(list["registry"], registry.url());
    assert_eq!(list["applications"][0]["name"], "BILLS");
    let one = &list["applications"][1]["instances"][0];
    assert_eq!((&one["instanceId"], &one["status"]), (&"one".into(), &"UP".into()));
    let named = pmctl.ok(&[&apps[..], &["orders"]].concat()).stdout;
    assert!(named.contains("one:8080") && !named.contains("BILLS"), "{named}");
    assert_eq!(registry.ask("PUT", "/apps/ORDERS/one", "").status, 200);
    assert_eq!(registry.ask("DELETE", "/apps/ORDERS/one", "").status, 200);
    assert_eq!(registry.ask("GET", "/apps/ORDERS/one", "").status, 404);
    assert_eq!(registry.ask("PUT", "/apps/ORDERS/one", "").status, 404);
}

#[test]
fn what_does_not_renew_is_taken_away_when_nothing_preserves_it() {
    let pmctl = Pmctl::new();
    let args = ["--no-self-preservation", "--eviction-interval", "100ms"];
    let registry = Registry::start(&pmctl, &args);
    let body = r#"{"instance":{"instanceId":"a","hostName":"h","ipAddr":"127.0.0.1","app":"A",
        "dataCenterInfo":{"name":"MyOwn"},"leaseInfo":{"durationInSecs":1}}}"#;
    assert_eq!(registry.ask("POST", "/apps/A", body).status, 204);
    wait_until("the end of the lease", || match registry.ask("GET", "/apps/A", "").status {
        404 => Ok(()),
        status => Err(format!("{status}\n{}", registry.log())),
    });
    assert!(registry.log().contains("expired: A a"), "{}", registry.log());
}

#[test]
fn a_stop_signal_ends_the_registry_at_once_and_frees_its_port() {
    let pmctl = Pmctl::new();
    for signal in [Signal::INT, Signal::TERM] {
        let mut registry = Registry::start(&pmctl, &[]);
        // A connection that stays open must not hold it.
        let mut wire = Wire::connect(registry.address());
        wire.send(format!("GET /eureka/apps HTTP/1.1\r\nHost: {}\r\n\r\n", registry.address()));
        assert_eq!(wire.response().status, 200);
        registry.signal(signal);
        assert_eq!(registry.wait_exit(), 0, "{}", registry.log());
        assert!(registry.log().contains("the registry has stopped"), "{}", registry.log());
        let again = registry.address().to_string();
        drop(Registry::start_on(&pmctl, &again, &[]));
    }
}

#[test]
fn a_registry_beyond_this_machine_asks_for_a_password() {
    let pmctl = Pmctl::new();
    let refused = pmctl.fails_json(2, &["eureka", "serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused["code"], "registry-users-required");
    let users = pmctl.work().join("users");
    fs::write(&users, "# nobody\n").expect("a user file");
    let listen = ["eureka", "serve", "--listen", "0.0.0.0:0", "--user-file", "users"];
    assert_eq!(pmctl.fails_json(2, &listen)["code"], "registry-users-empty");
    fs::write(&users, "ann:s3cret\n").expect("a user file");
    let registry = Registry::start_on(&pmctl, "127.0.0.1:0", &["--user-file", "users"]);
    let url = registry.url();
    let apps = |url: &str| pmctl.run(&["-o", "json", "eureka", "apps", "--eureka-url", url]);
    let refused = apps(&url).expect(5);
    assert_eq!(refused.json()["code"], "listing-refused");
    let right = url.replace("://", "://ann:s3cret@");
    let listed = apps(&right).expect(0);
    assert!(!listed.all().contains("s3cret"), "{listed}");
    let wrong = apps(&url.replace("://", "://ann:s3cre@")).expect(5);
    assert!(!wrong.all().contains("s3cre"), "{wrong}");
}

#[test]
fn a_registry_that_is_none_is_said_to_be_so() {
    let pmctl = Pmctl::new();
    let nobody = format!("http://127.0.0.1:{}", crate::support::free_port());
    let apps = |url: &str| pmctl.run(&["-o", "json", "eureka", "apps", "--eureka-url", url]);
    assert_eq!(apps(&nobody).expect(4).json()["code"], "listing-unreachable");
    let server = pmctl.serve();
    assert_eq!(apps(&server.url()).expect(1).json()["code"], "listing-not-found");
    // The second one named answers.
    let registry = Registry::start(&pmctl, &[]);
    let both = format!("{nobody},{}", registry.url());
    assert_eq!(apps(&both).expect(0).json()["registry"], registry.url());
}

#[test]
fn a_registry_whose_address_is_taken_names_the_command_that_tells_by_whom() {
    let pmctl = Pmctl::new();
    let registry = Registry::start(&pmctl, &[]);
    let address = registry.address().to_string();
    let refused = pmctl.fails(1, &["eureka", "serve", "--listen", &address]);
    let command = format!("pmctl ports status {}", registry.address().port());
    assert!(refused.stderr.contains(&command), "{refused}");
}

#[test]
fn a_list_is_asked_with_the_configured_authorities() {
    let pmctl = Pmctl::new().with("PMCTL_EUREKA_CA", "/nowhere/authority.pem");
    let ran = pmctl.run(&["eureka", "apps"]).expect(1);
    assert!(ran.stderr.contains("/nowhere/authority.pem"), "{ran}");
}
