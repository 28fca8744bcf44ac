//! Real clients of other languages against `pmctl eureka serve`.
//!
//! They are not part of a plain run, because they need what the package registries have:
//!
//! ```sh
//! python3 -m venv venv && venv/bin/pip install py-eureka-client==0.13.3
//! (mkdir js && cd js && npm install eureka-js-client@4.5.0)
//! PMCTL_TEST_PYTHON=$PWD/venv/bin/python PMCTL_TEST_NODE_PATH=$PWD/js/node_modules \
//!     cargo test --test it eureka_clients -- --ignored
//! ```
//!
//! Each client registers, prints `fetched` once it found itself in what it fetched, renews every
//! second, and cancels when its standard input ends.

use std::process::Command;

use serde_json::Value;

use crate::support::{Guest, Pmctl, Registry, of_the_recipe, wait_until};

const PYTHON: &str = r#"
import asyncio, sys, time
import py_eureka_client.eureka_client as eureka
url = sys.argv[1]
client = eureka.init(eureka_server=url, app_name="guest", instance_id="guest-1",
    instance_host="127.0.0.1", instance_ip="127.0.0.1", instance_port=9, metadata={"colour": "red"},
    renewal_interval_in_secs=1, duration_in_secs=30)
while True:
    application = asyncio.run(eureka.get_application(url, "GUEST"))
    found = application.get_instance("guest-1")
    if found is not None and found.metadata["colour"] == "red":
        break
    time.sleep(0.1)
print("fetched", flush=True)
sys.stdin.read()
eureka.stop()
"#;

const NODE: &str = r#"
const { Eureka } = require('eureka-js-client');
const url = new URL(process.argv[2]);
const client = new Eureka({
  instance: { app: 'GUEST', instanceId: 'guest-1', hostName: '127.0.0.1', ipAddr: '127.0.0.1',
    port: { '$': 9, '@enabled': true }, vipAddress: 'guest', metadata: { colour: 'red' },
    dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' } },
  eureka: { host: url.hostname, port: Number(url.port), servicePath: '/eureka/apps/',
    heartbeatInterval: 1000, registryFetchInterval: 500, shouldUseDelta: true },
});
client.logger.level('warn');
client.start((error) => { if (error) { console.error(error); process.exit(1); } });
const looking = setInterval(() => {
  const found = client.getInstancesByVipAddress('guest');
  if (found.length === 1 && found[0].metadata.colour === 'red') {
    clearInterval(looking);
    console.log('fetched');
  }
}, 100);
process.stdin.resume();
process.stdin.on('end', () => client.stop((error) => process.exit(error ? 1 : 0)));
"#;

fn lives_its_life(command: impl FnOnce(&Registry) -> Command) {
    let pmctl = Pmctl::new();
    let registry = Registry::start(&pmctl, &[]);
    let mut guest = Guest::start(command(&registry), pmctl.dir().join("guest.log"));
    guest.wait_line("itself in what it fetched", |line| line == "fetched");
    let instance = || -> Result<Value, String> {
        let answer = registry.ask("GET", "/apps/GUEST/guest-1", "");
        match answer.status {
            200 => Ok(answer.json()["instance"].clone()),
            status => Err(format!("{status}")),
        }
    };
    wait_until("a renewal", || {
        let lease = instance()?["leaseInfo"].clone();
        let moment = |name: &str| lease[name].as_i64().unwrap_or_default();
        match moment("lastRenewalTimestamp") > moment("registrationTimestamp") {
            true => Ok(()),
            false => Err(lease.to_string()),
        }
    });
    assert_eq!(instance().expect("listed")["status"], "UP");
    let (status, log) = guest.end();
    assert!(status.success(), "{status}\n{log}");
    assert_eq!(instance(), Err("404".to_owned()), "cancelled\n{}", registry.log());
}

#[test]
#[ignore = "needs Python with py-eureka-client; the recipe stands in the module's doc"]
fn the_client_for_python_registers_fetches_renews_and_cancels() {
    lives_its_life(|registry| {
        let mut command = Command::new(of_the_recipe("PMCTL_TEST_PYTHON"));
        command.args(["-c", PYTHON, &registry.url()]);
        command
    });
}

#[test]
#[ignore = "needs Node with eureka-js-client; the recipe stands in the module's doc"]
fn the_client_for_node_registers_fetches_renews_and_cancels() {
    lives_its_life(|registry| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", of_the_recipe("PMCTL_TEST_NODE_PATH"));
        command.args(["-e", NODE, "x", &registry.url()]);
        command
    });
}
