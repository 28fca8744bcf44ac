//! What a killed server left in a registry, taken out by `cleanup`: exactly that, and nothing else.

use serde_json::Value;

use crate::support::{Pmctl, Registry, Upstream, free_port, wait_until};

/// `cleanup` with `-o json`; it must exit `code`. The instances it dealt with.
#[track_caller]
fn cleaned(pmctl: &Pmctl, code: i32, args: &[&str]) -> Vec<Value> {
    let document = pmctl.run(&[&["-o", "json", "cleanup"], args].concat()).expect(code).json();
    document["instances"].as_array().unwrap_or_else(|| panic!("{document:#}")).clone()
}

fn status(registry: &Registry, path: &str) -> u16 {
    registry.ask("GET", path, "").status
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
    wait_until("the instance", || match status(&registry, &own) {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
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
    wait_until("the instance", || match status(&registry, &own) {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
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
