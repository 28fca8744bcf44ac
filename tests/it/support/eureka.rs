//! A registry of a test: it keeps what it is told, and fails as the test wants.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::upstream::Exchange;
use super::{DEADLINE, Upstream};

/// How the registry answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// As it should.
    #[default]
    None,
    /// With this status, whatever is asked.
    Status(u16),
    /// With a redirection.
    Redirect,
    /// Not at all, though it accepts.
    Silence,
    /// With 200 and no JSON.
    Garbage,
    /// With a head, and a body that never ends.
    SlowBody,
    /// As it should, but no delta to anybody.
    NoDelta,
    /// As it should, but no list of any kind.
    NoLists,
    /// As a gateway that has a page of its own where a registry has its list.
    StartPage,
}

/// A Eureka registry as far as a lease needs one. It starts without a fault.
pub struct FakeEureka {
    upstream: Upstream,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// `APP/ID` → the instance as it was told.
    instances: BTreeMap<String, Value>,
    fault: Fault,
    /// Calls of this method are taken and answered only after this was given back.
    hold: Option<&'static str>,
    held: usize,
    /// `METHOD APP/ID`, in the order of arrival.
    calls: Vec<String>,
    /// The status of each announcement, in the order of arrival.
    announced: Vec<String>,
}

impl FakeEureka {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let upstream = Upstream::start(move |exchange| theirs.answer(exchange));
        Self { upstream, shared }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().expect("the registry")
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}/eureka", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// How it answers from now on.
    pub fn set(&self, fault: Fault) {
        self.inner().fault = fault;
        self.shared.changed.notify_all();
    }

    /// Loses everything, as one that was restarted.
    pub fn forget(&self) {
        self.inner().instances.clear();
    }

    /// Puts an instance there, or lets `change` change it.
    pub fn put(&self, app: &str, id: &str, instance: Value) {
        self.inner().instances.insert(format!("{app}/{id}"), instance);
    }

    /// Keeps calls of a method unanswered until it is told otherwise.
    pub fn hold(&self, method: &'static str, hold: bool) {
        self.inner().hold = hold.then_some(method);
        self.shared.changed.notify_all();
    }

    /// Calls that are kept unanswered.
    pub fn held(&self) -> usize {
        self.inner().held
    }

    /// `APP/ID` → status.
    pub fn statuses(&self) -> BTreeMap<String, String> {
        let inner = self.inner();
        let status = |(key, instance): (&String, &Value)| {
            (key.clone(), instance["status"].as_str().unwrap_or("?").to_owned())
        };
        inner.instances.iter().map(status).collect()
    }

    /// The one instance of an application.
    pub fn instance(&self, app: &str) -> Option<Value> {
        let inner = self.inner();
        let mut of = inner.instances.iter().filter(|(key, _)| key.starts_with(&format!("{app}/")));
        let (_, instance) = of.next()?;
        Some(instance.clone())
    }

    /// The status of each announcement so far, in order.
    pub fn announced(&self) -> Vec<String> {
        self.inner().announced.clone()
    }

    /// What was asked, in order: `METHOD APP/ID`, lists left out.
    pub fn calls(&self) -> Vec<String> {
        self.inner().calls.clone()
    }
}

impl Drop for FakeEureka {
    fn drop(&mut self) {
        // Whoever is kept waiting lets go of its thread.
        self.hold("", false);
        self.set(Fault::None);
    }
}

impl Shared {
    fn answer(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
        let body = exchange.body()?;
        let (method, target) = exchange.head.method_and_target();
        let (method, target) = (method.to_owned(), target.to_owned());
        let path = target.split('?').next().unwrap_or_default().replace("%3A", ":");
        let key = path.trim_start_matches("/eureka/apps").trim_matches('/').to_owned();
        let fault = {
            let mut inner = self.inner.lock().expect("the registry");
            if !key.is_empty() && key != "delta" {
                let of = match method.as_str() {
                    "POST" => id_of(&key, &body),
                    _ => key.clone(),
                };
                inner.calls.push(format!("{method} {of}"));
            }
            if inner.hold == Some(method.as_str()) {
                inner.held += 1;
                while inner.hold == Some(method.as_str()) {
                    inner = self.changed.wait_timeout(inner, DEADLINE).expect("the registry").0;
                }
                inner.held -= 1;
            }
            while inner.fault == Fault::Silence {
                inner = self.changed.wait_timeout(inner, DEADLINE).expect("the registry").0;
            }
            inner.fault
        };
        match fault {
            Fault::Status(status) => return say(exchange, status, "", b""),
            Fault::Redirect => return say(exchange, 307, "Location: http://0.0.0.0:1/\r\n", b""),
            Fault::Garbage => return say(exchange, 200, JSON, b"{\"instance\": <html>"),
            Fault::SlowBody => {
                let head = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 1000000\r\n\r\n{{");
                exchange.wire.try_send(head.into_bytes())?;
                let mut inner = self.inner.lock().expect("the registry");
                while inner.fault == Fault::SlowBody {
                    inner = self.changed.wait_timeout(inner, DEADLINE).expect("the registry").0;
                }
                return Err(io::Error::other("the answer stays unfinished"));
            }
            Fault::NoDelta if key == "delta" => return say(exchange, 403, "", b""),
            Fault::NoLists if method == "GET" && !key.contains('/') => {
                return say(exchange, 403, "", b"");
            }
            Fault::StartPage if matches!(key.as_str(), "" | "delta") => {
                return say(exchange, 200, "Content-Type: text/html\r\n", b"<html>Welcome</html>");
            }
            Fault::StartPage => return say(exchange, 404, "", b""),
            Fault::None | Fault::NoDelta | Fault::NoLists | Fault::Silence => {}
        }
        let (status, document) = self.carry_out(&method, &key, &body);
        match document {
            Some(document) => say(exchange, status, JSON, document.to_string().as_bytes()),
            None => say(exchange, status, "", b""),
        }
    }

    fn carry_out(&self, method: &str, key: &str, body: &[u8]) -> (u16, Option<Value>) {
        let mut inner = self.inner.lock().expect("the registry");
        match (method, key) {
            ("GET", "" | "delta") => (200, Some(list(&inner.instances))),
            ("POST", _) => {
                let id = id_of(key, body);
                let document: Value = serde_json::from_slice(body).expect("an instance");
                let status = document["instance"]["status"].as_str().unwrap_or("?").to_owned();
                inner.announced.push(status);
                inner.instances.insert(id, document["instance"].clone());
                (204, None)
            }
            ("GET", app) if !app.contains('/') => {
                match list(&inner.instances)["applications"]["application"]
                    .as_array()
                    .and_then(|all| all.iter().find(|of| of["name"] == app))
                {
                    Some(application) => (200, Some(json!({ "application": application }))),
                    None => (404, None),
                }
            }
            ("GET", _) => match inner.instances.get(key) {
                Some(instance) => (200, Some(json!({ "instance": instance }))),
                None => (404, None),
            },
            ("PUT", _) => (if inner.instances.contains_key(key) { 200 } else { 404 }, None),
            ("DELETE", _) => (if inner.instances.remove(key).is_some() { 200 } else { 404 }, None),
            _ => (405, None),
        }
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn id_of(app: &str, body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    format!("{app}/{}", document["instance"]["instanceId"].as_str().unwrap_or("?"))
}

/// Everything, with the hash code a delta has to come out at.
fn list(instances: &BTreeMap<String, Value>) -> Value {
    let mut apps: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, instance) in instances {
        let app = key.split('/').next().unwrap_or_default();
        let mut instance = instance.clone();
        instance["actionType"] = json!("ADDED");
        apps.entry(app).or_default().push(instance);
    }
    for instance in instances.values() {
        *counts.entry(instance["status"].as_str().unwrap_or("?")).or_default() += 1;
    }
    let hash: String = counts.iter().map(|(status, count)| format!("{status}_{count}_")).collect();
    let apps: Vec<Value> = apps
        .into_iter()
        .map(|(name, instances)| json!({ "name": name, "instance": instances }))
        .collect();
    json!({"applications": {"versions__delta": "1", "apps__hashcode": hash, "application": apps}})
}

fn say(exchange: &mut Exchange<'_>, status: u16, fields: &str, body: &[u8]) -> io::Result<()> {
    let mut message =
        format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    message.extend_from_slice(body);
    exchange.wire.try_send(message)
}
