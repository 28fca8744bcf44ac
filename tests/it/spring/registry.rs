//! Leases in a Eureka server of Spring Cloud that asks for a password and answers lists from its cache.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{drain, start};
use crate::support::{Guest, Pmctl, Response, Server, Upstream, Wire, free_port, get, wait_until};

/// `ann:s3cret`, for `Authorization: Basic`.
const LOGIN: &str = "YW5uOnMzY3JldA==";

/// A server on a port of its own.
struct Registry {
    guest: Guest,
    port: u16,
}

impl Registry {
    /// Starts one that is empty and waits until it answers.
    #[track_caller]
    fn start(pmctl: &Pmctl, port: u16) -> Self {
        let properties = [
            "server.address=127.0.0.1".to_owned(),
            format!("server.port={port}"),
            "spring.security.user.name=ann".to_owned(),
            "spring.security.user.password=s3cret".to_owned(),
            // Alone: it neither registers with itself nor asks others.
            "eureka.client.register-with-eureka=false".to_owned(),
            "eureka.client.fetch-registry=false".to_owned(),
            format!("eureka.client.service-url.defaultZone=http://127.0.0.1:{port}/eureka/"),
            // Lists come from a cache that is renewed at this pace, 30 s by default.
            "eureka.server.response-cache-update-interval-ms=1000".to_owned(),
            // A list that is read while an instance is registered may stay as it was before, until
            // this bound, 180 s by default (`ResponseCacheImpl.java`).
            "eureka.server.response-cache-auto-expiration-in-seconds=1".to_owned(),
        ];
        let mut registry = Self { guest: start(pmctl, "registry", &properties), port };
        registry.guest.wait("a registry that answers", || match ask(port, "GET", "", b"") {
            Some(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        registry
    }

    fn url(&self) -> String {
        format!("http://ann:s3cret@127.0.0.1:{}/eureka", self.port)
    }

    /// The instance `APP/ID`, read from the registry itself, or the status of the refusal.
    #[track_caller]
    fn instance(&self, key: &str) -> Result<Value, u16> {
        let answer = ask(self.port, "GET", &format!("/{key}"), b"").expect("an answer");
        match answer.status {
            200 => Ok(answer.json()["instance"].clone()),
            status => Err(status),
        }
    }

    #[track_caller]
    fn wait_instance(&self, key: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, || match self.instance(key) {
            Ok(instance) if is_it(&instance) => Ok(instance),
            other => Err(format!("{key}: {other:?}\n{}", self.guest.log())),
        })
    }
}

/// A request below `apps`; `None` if nobody answers.
fn ask(port: u16, method: &str, path: &str, body: &[u8]) -> Option<Response> {
    let mut wire = Wire::try_connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    let (length, path) = (body.len(), format!("/eureka/apps{path}"));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Basic {LOGIN}\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    wire.try_send([head.as_bytes(), body].concat()).ok()?;
    wire.try_response().ok()
}

/// A registry, and one service that is to be announced in it.
struct Kit {
    pmctl: Pmctl,
    registry: Registry,
    _upstream: Upstream,
    port: u16,
    key: String,
}

impl Kit {
    #[track_caller]
    fn new() -> Self {
        let (pmctl, port, upstream) = (Pmctl::new(), free_port(), Upstream::saying("hello"));
        let registry = Registry::start(&pmctl, free_port());
        pmctl.announce_in(&registry.url());
        pmctl.add("shop", port, &upstream.url());
        let key = format!("SHOP/127.0.0.1:shop:{port}");
        Self { pmctl, registry, _upstream: upstream, port, key }
    }

    #[track_caller]
    fn serve_announced(&self) -> Server {
        self.announced(self.pmctl.serve())
    }

    #[track_caller]
    fn announced(&self, server: Server) -> Server {
        self.wait_status("UP");
        self.wait_lease("up");
        server
    }

    #[track_caller]
    fn wait_status(&self, status: &str) -> Value {
        let what = format!("the instance as {status}");
        self.registry.wait_instance(&self.key, &what, |instance| instance["status"] == status)
    }

    #[track_caller]
    fn wait_lease(&self, state: &str) {
        wait_until(&format!("a lease that is {state}"), || {
            let lease = &self.pmctl.json(&["heartbeat", "status", "shop"])["heartbeats"][0];
            match lease["state"] == state {
                true => Ok(()),
                false => Err(format!("{lease:#}")),
            }
        });
    }

    /// What `eureka apps` shows of the service, once the registry's cache has come so far.
    #[track_caller]
    fn wait_listed(&self, status: &str) -> Value {
        let url = self.registry.url();
        wait_until(&format!("a list that has it as {status}"), || {
            let list = self.pmctl.json(&["eureka", "apps", "shop", "--eureka-url", &url]);
            let instance = &list["applications"][0]["instances"][0];
            match instance["status"] == status {
                true => Ok(instance.clone()),
                false => Err(format!("{list:#}")),
            }
        })
    }

    #[track_caller]
    fn assert_gone(&self) {
        assert_eq!(self.registry.instance(&self.key), Err(404), "{}", self.registry.guest.log());
    }

    #[track_caller]
    fn assert_serves(&self) {
        let response = get(SocketAddr::from(([127, 0, 0, 1], self.port)), "/");
        assert_eq!(response.map(|r| r.status).ok(), Some(200));
    }
}

fn renewed(instance: &Value) -> i64 {
    instance["leaseInfo"]["lastRenewalTimestamp"].as_i64().expect("a moment")
}

#[test]
#[ignore = "needs Java with Maven; the recipe stands in the module's doc"]
fn a_service_is_listed_and_renewed_and_gone_at_once_after_a_stop_and_after_a_cleanup() {
    let kit = Kit::new();
    let stranger = json!({"instance": {"instanceId": "stranger:shop:1", "hostName": "stranger",
        "app": "SHOP", "ipAddr": "127.0.0.1", "vipAddress": "shop", "dataCenterInfo": {
        "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"}}});
    let told = ask(kit.registry.port, "POST", "/SHOP", stranger.to_string().as_bytes());
    assert_eq!(told.map(|answer| answer.status), Some(204));
    let server = kit.serve_announced();

    let mut last = kit.wait_status("UP");
    assert_eq!(last["vipAddress"], "shop");
    assert_eq!(last["port"], json!({"$": kit.port, "@enabled": "true"}));
    assert_eq!(last["homePageUrl"], format!("http://127.0.0.1:{}/", kit.port));
    assert_eq!(last["metadata"]["management.port"], kit.port.to_string());
    assert_eq!(last["leaseInfo"]["renewalIntervalInSecs"], 1);
    for _ in 0..3 {
        let before = renewed(&last);
        last = kit.registry.wait_instance(&kit.key, "a renewal", |it| renewed(it) > before);
    }
    let listed = wait_until("both in the list", || {
        let list = kit.pmctl.json(&["eureka", "apps", "--eureka-url", &kit.registry.url()]);
        let instances = list["applications"][0]["instances"].as_array().cloned();
        instances.filter(|all| all.len() == 2).ok_or_else(|| format!("{list:#}"))
    });
    let own = listed.iter().find(|it| it["instanceId"] == last["instanceId"]).expect("our own");
    assert_eq!(own["status"], "UP", "{own:#}");

    // Told DOWN while it serves on, and gone with the stop that ends the drain.
    let draining = drain(&kit.pmctl, "shop");
    kit.wait_status("DOWN");
    kit.assert_serves();
    kit.pmctl.ok(&["service", "stop", "shop"]);
    kit.assert_gone();
    draining.end();
    kit.pmctl.ok(&["service", "start", "shop"]);
    kit.wait_status("UP");

    server.stop();
    kit.assert_gone();

    kit.announced(kit.pmctl.serve_alone()).kill_hard();
    assert_eq!(kit.wait_status("UP")["status"], "UP", "nobody took it back");
    kit.pmctl.ok(&["cleanup"]);
    kit.assert_gone();
    assert!(kit.registry.instance("SHOP/stranger:shop:1").is_ok(), "it was another's");
}

#[test]
#[ignore = "needs Java with Maven; the recipe stands in the module's doc"]
fn a_service_is_listed_again_by_a_registry_that_comes_back_empty() {
    let mut kit = Kit::new();
    let url = kit.registry.url();
    let wrong = url.replace("s3cret", "s3cre");
    let refused = kit.pmctl.fails_json(5, &["eureka", "apps", "--eureka-url", &wrong]);
    assert_eq!(refused["code"], "listing-refused");
    let server = kit.serve_announced();
    kit.registry.guest.kill();
    kit.wait_lease("failing");
    kit.assert_serves();
    kit.registry = Registry::start(&kit.pmctl, kit.registry.port);
    kit.wait_status("UP");
    kit.wait_lease("up");
    kit.wait_listed("UP");
    kit.assert_serves();
    server.stop();
    kit.assert_gone();
}
