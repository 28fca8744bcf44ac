//! What a killed server left in a registry, taken out by `cleanup`: exactly that, and nothing else.

use serde_json::Value;

use crate::support::{FakeEureka, Fault, Pmctl, Registry, Upstream, free_port, wait_until};

/// `cleanup` with `-o json`; it must exit `code`. The instances it dealt with.
#[track_caller]
fn cleaned(pmctl: &Pmctl, code: i32, args: &[&str]) -> Vec<Value> {
    let document = pmctl.run(&[&["-o", "json", "cleanup"], args].concat()).expect(code).json();
    document["instances"].as_array().unwrap_or_else(|| panic!("{document:#}")).clone()
}

fn status(registry: &Registry, path: &str) -> u16 {
    registry.ask("GET", path, "").status
}

#[track_caller]
fn wait_status(registry: &Registry, path: &str, expected: u16) {
    wait_until(&format!("{expected} for {path}"), || match status(registry, path) {
        met if met == expected => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn an_instance_of_a_killed_server_is_taken_out_by_cleanup_and_no_other() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let registry = Registry::start(&pmctl, &["--no-self-preservation"]);
    let pmctl =
        pmctl.with("PMCTL_EUREKA_URL", &registry.url()).with("PMCTL_ADVERTISE", "127.0.0.1");
    pmctl.add("shop", port, &upstream.url());
    registry.register("SHOP", "stranger:shop:1");
    let own = format!("/apps/SHOP/127.0.0.1:shop:{port}");
    let server = pmctl.serve_alone();
    wait_status(&registry, &own, 200);
    server.kill_hard();
    let planned = cleaned(&pmctl, 0, &["--dry-run"]);
    assert_eq!((planned.len(), &planned[0]["action"]), (1, &"cancelled".into()), "{planned:?}");
    assert_eq!(status(&registry, &own), 200, "a dry run takes nothing out");
    let done = cleaned(&pmctl, 0, &[]);
    assert_eq!((done.len(), &done[0]["action"]), (1, &"cancelled".into()), "{done:?}");
    assert_eq!(done[0]["instanceId"], format!("127.0.0.1:shop:{port}"));
    assert_eq!(status(&registry, &own), 404);
    assert_eq!(status(&registry, "/apps/SHOP/stranger:shop:1"), 200);
    assert_eq!(cleaned(&pmctl, 0, &[]), Vec::<Value>::new(), "a second run finds nothing");
}

#[test]
fn an_instance_in_a_registry_that_does_not_answer_stays_written_down_and_is_said() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let mut registry = Registry::start(&pmctl, &[]);
    let pmctl =
        pmctl.with("PMCTL_EUREKA_URL", &registry.url()).with("PMCTL_ADVERTISE", "127.0.0.1");
    pmctl.add("shop", port, &upstream.url());
    let own = format!("/apps/SHOP/127.0.0.1:shop:{port}");
    let server = pmctl.serve_alone();
    wait_status(&registry, &own, 200);
    server.kill_hard();
    let address = registry.address().to_string();
    registry.signal(rustix::process::Signal::TERM);
    assert_eq!(registry.wait_exit(), 0);
    let left = cleaned(&pmctl, 4, &[]);
    assert_eq!((left.len(), &left[0]["action"]), (1, &"unreachable".into()), "{left:?}");
    let _back = Registry::start_on(&pmctl, &address, &[]);
    let gone = cleaned(&pmctl, 0, &[]);
    assert_eq!((gone.len(), &gone[0]["action"]), (1, &"gone".into()), "{gone:?}");
}

/// A service `shop` and the registries it is announced in, of which the first takes it.
struct Kit {
    pmctl: Pmctl,
    registries: Vec<FakeEureka>,
    key: String,
    _upstream: Upstream,
}

impl Kit {
    fn new(servers: usize) -> Self {
        let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
        let registries: Vec<_> = (0..servers).map(|_| FakeEureka::start()).collect();
        let urls: Vec<_> = registries.iter().map(FakeEureka::url).collect();
        pmctl.announce_in_all(&urls.iter().map(String::as_str).collect::<Vec<_>>());
        pmctl.add("shop", port, &upstream.url());
        let key = format!("SHOP/127.0.0.1:shop:{port}");
        Self { pmctl, registries, key, _upstream: upstream }
    }

    #[track_caller]
    fn wait_listed(&self, at: &FakeEureka, is_listed: bool) {
        wait_until(&format!("listed: {is_listed}"), || {
            match at.statuses().contains_key(&self.key) == is_listed {
                true => Ok(()),
                false => Err(format!("{:?}", at.statuses())),
            }
        });
    }

    /// A server announces the service and is killed.
    #[track_caller]
    fn announce_and_die(&self) {
        let server = self.pmctl.serve_alone();
        self.wait_listed(&self.registries[0], true);
        server.kill_hard();
    }

    /// `cleanup` leaves the one instance, and says why.
    #[track_caller]
    fn assert_left(&self, args: &[&str], why: &str) {
        let left = cleaned(&self.pmctl, 4, args);
        assert_eq!((left.len(), &left[0]["action"]), (1, &"unreachable".into()), "{left:?}");
        let message = left[0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(why) && message.contains("cleanup"), "{left:?}");
    }

    #[track_caller]
    fn assert_cleaned(&self, action: &str) {
        let done = cleaned(&self.pmctl, 0, &[]);
        assert_eq!((done.len(), &done[0]["action"]), (1, &action.into()), "{done:?}");
        assert_eq!(cleaned(&self.pmctl, 0, &[]), Vec::<Value>::new(), "nothing is left");
    }
}

#[test]
fn an_instance_is_gone_only_if_every_server_of_the_registry_says_so() {
    let kit = Kit::new(2);
    kit.announce_and_die();
    let (empty, other) = (&kit.registries[0], &kit.registries[1]);
    // The one that was told was restarted; the other has heard of the instance, and is cut off.
    let (id, instance) = (kit.key.replace("SHOP/", ""), empty.instance("SHOP").expect("it"));
    empty.forget();
    other.put("SHOP", &id, instance);
    other.set(Fault::Status(500));
    kit.assert_left(&[], "status 500");
    kit.assert_left(&["--dry-run"], "status 500");
    other.set(Fault::None);
    kit.assert_cleaned("cancelled");
    kit.wait_listed(other, false);
}

#[test]
fn one_server_that_took_an_instance_out_is_enough() {
    let kit = Kit::new(2);
    kit.announce_and_die();
    kit.registries[1].set(Fault::Status(500));
    kit.assert_cleaned("cancelled");
    kit.wait_listed(&kit.registries[0], false);
}

#[test]
fn not_found_is_believed_of_a_registry_alone() {
    let kit = Kit::new(1);
    kit.announce_and_die();
    // A gateway without anything behind it, and one that shows a page for it.
    kit.registries[0].set(Fault::Status(404));
    kit.assert_left(&[], "status 404");
    kit.registries[0].set(Fault::StartPage);
    kit.assert_left(&[], "status 404");
    kit.registries[0].set(Fault::None);
    kit.assert_cleaned("cancelled");
}

#[test]
fn what_was_announced_in_another_registry_is_taken_out_of_it_while_the_service_runs() {
    let kit = Kit::new(1);
    kit.announce_and_die();
    let now = FakeEureka::start();
    kit.pmctl.announce_in(&now.url());
    kit.registries[0].set(Fault::Status(500));
    let server = kit.pmctl.serve();
    kit.wait_listed(&now, true);
    kit.registries[0].set(Fault::None);
    kit.wait_listed(&kit.registries[0], false);
    kit.wait_listed(&now, true);
    server.stop();
    kit.wait_listed(&now, false);
}

#[test]
fn what_a_dead_server_left_is_not_forgotten_with_an_announcement_that_never_came_through() {
    let kit = Kit::new(1);
    kit.announce_and_die();
    let registry = &kit.registries[0];
    registry.set(Fault::Status(500));
    let server = kit.pmctl.serve();
    wait_until("a failing announcement", || {
        let status = kit.pmctl.json(&["status"])["attention"].to_string();
        if status.contains("status 500") { Ok(()) } else { Err(status) }
    });
    server.stop();
    registry.set(Fault::None);
    kit.assert_cleaned("cancelled");
    kit.wait_listed(registry, false);
}

#[test]
fn a_cleanup_that_can_ask_no_registry_says_what_may_be_left_in_one() {
    let kit = Kit::new(1);
    kit.announce_and_die();
    let pmctl = kit.pmctl.with("PMCTL_EUREKA_CA", "/nowhere/ca.pem");
    for args in [&["--dry-run"][..], &[]] {
        let left = cleaned(&pmctl, 4, args);
        assert_eq!((left.len(), &left[0]["action"]), (1, &"unreachable".into()), "{left:?}");
        let message = left[0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&kit.registries[0].url()), "{message}");
    }
}

#[test]
fn what_a_dead_server_left_is_taken_out_though_no_registry_is_configured_any_more() {
    let kit = Kit::new(1);
    kit.announce_and_die();
    kit.pmctl.write_config("");
    let server = kit.pmctl.serve();
    kit.wait_listed(&kit.registries[0], false);
    // Its row goes before that is written down.
    wait_until("the event of it", || {
        let events = kit.pmctl.json(&["events", "-n", "50"]).to_string();
        if events.contains("lease-removed") { Ok(()) } else { Err(events) }
    });
    server.stop();
    assert_eq!(cleaned(&kit.pmctl, 0, &[]), Vec::<Value>::new(), "nothing is left");
}

#[test]
fn an_instance_whose_lease_expired_is_taken_out_of_the_list_that_it_still_stands_in() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let seldom = ["--no-self-preservation", "--eviction-interval", "10m"];
    let registry = Registry::start(&pmctl, &seldom);
    pmctl.announce_in(&registry.url());
    pmctl.add("shop", port, &upstream.url());
    let own = format!("/apps/SHOP/127.0.0.1:shop:{port}");
    let server = pmctl.serve_alone();
    wait_status(&registry, &own, 200);
    server.kill_hard();
    wait_status(&registry, &own, 404);
    assert_eq!(status(&registry, "/apps/SHOP"), 200, "it is listed still");
    let done = cleaned(&pmctl, 0, &[]);
    assert_eq!((done.len(), &done[0]["action"]), (1, &"cancelled".into()), "{done:?}");
    assert_eq!(status(&registry, "/apps/SHOP"), 404);
}
