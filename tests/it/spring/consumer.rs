//! A client of Spring Cloud against `pmctl eureka serve`.

use crate::support::{Guest, Pmctl, Registry, Upstream, free_port, wait_until};

/// What the client logs when it asks for everything.
const WHOLE: &str = "Getting all instance registry info from the eureka server";

/// What it logs once a delta is applied: the hash code of what it has now, by its own count.
fn has(hash_code: &str) -> impl Fn(&str) -> bool {
    let part = format!("Local region apps hashcode: {hash_code}, ");
    move |line| line.contains(&part)
}

/// Calls by name; the one line of the answer.
#[track_caller]
fn assert_reaches(consumer: &mut Guest, url: &str, answer: &str) {
    consumer.say(url);
    consumer.wait_line(&format!("the answer {answer:?}"), |line| line == answer);
}

#[test]
#[ignore = "needs Java with Maven; the recipe stands in the module's doc"]
fn a_client_follows_the_registry_by_deltas_and_calls_a_proxy_by_its_name() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello from dspapi"));
    let late = Upstream::saying("hello from later");
    let registry = Registry::start(&pmctl, &[]);
    pmctl.announce_in(&registry.url());
    // One that says as little of itself as is allowed.
    registry.register("PLAIN", "plain");
    pmctl.add("dspapi", free_port(), &upstream.url());
    let server = pmctl.serve();
    wait_until("the announced proxy", || match registry.ask("GET", "/apps/DSPAPI", "").status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });

    let properties = [
        "spring.application.name=consumer",
        "eureka.instance.instance-id=consumer-1",
        "eureka.instance.hostname=127.0.0.1",
        "eureka.instance.ip-address=127.0.0.1",
        "eureka.instance.lease-renewal-interval-in-seconds=1",
        "eureka.client.registry-fetch-interval-seconds=1",
        "logging.level.com.netflix.discovery.DiscoveryClient=debug",
        &format!("eureka.client.service-url.defaultZone={}/", registry.url()),
    ];
    let mut consumer = super::start(&pmctl, "consumer", &properties.map(str::to_owned));
    consumer.wait_line("everything fetched", |line| {
        line.ends_with("Got full registry with apps hashcode UP_2_")
    });
    consumer.wait_line("itself in a delta", has("UP_3_"));
    let own = || registry.ask("GET", "/apps/CONSUMER/consumer-1", "");
    assert_eq!(own().json()["instance"]["status"], "UP");
    consumer.wait("a renewal", || {
        let lease = own().json()["instance"]["leaseInfo"].clone();
        let moment = |name: &str| lease[name].as_i64().unwrap_or_default();
        match moment("lastRenewalTimestamp") > moment("registrationTimestamp") {
            true => Ok(()),
            false => Err(lease.to_string()),
        }
    });
    assert_reaches(&mut consumer, "http://dspapi/hello", "hello from dspapi");

    // Added, changed and gone, each by a delta.
    pmctl.add("later", free_port(), &late.url());
    consumer.wait_line("an instance that was added", has("UP_4_"));
    assert_reaches(&mut consumer, "http://later/hello", "hello from later");
    let draining = super::drain(&pmctl, "later");
    consumer.wait_line("an instance that was changed", has("DOWN_1_UP_3_"));
    pmctl.ok(&["service", "remove", "later"]);
    consumer.wait_line("an instance that has gone", |line| {
        line.contains("Deleted instance 127.0.0.1:later:")
    });
    draining.end();

    let (status, log) = consumer.end();
    assert!(status.success(), "{status}\n{log}");
    assert_eq!(own().status, 404, "cancelled\n{}", registry.log());
    // Where a delta does not come out at the registry's hash code it says so and asks for everything.
    assert!(log.contains("Got delta update with apps hashcode UP_4_"), "{log}");
    assert!(!log.contains("The Reconcile hashcodes do not match"), "{log}");
    assert_eq!(log.matches(WHOLE).count(), 1, "{log}");
    server.stop();
}
