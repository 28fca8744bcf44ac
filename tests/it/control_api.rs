//! The control port: its JSON documents, its metrics, gRPC beside them, and whom it turns away.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};

use crate::support::{Grpc, Pmctl, Server, Upstream, Wire, free_port, is_listening};

fn with_a_service() -> (Pmctl, Server, Upstream, u16) {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("dspapi", port, &upstream.url());
    let server = pmctl.serve();
    (pmctl, server, upstream, port)
}

/// `method path` with a JSON body on the control port.
fn call(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut wire = server.connect();
    let (host, length) = (server.control(), body.len());
    let content = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    wire.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{content}Content-Length: {length}\r\n\r\n{body}"
    ));
    let response = wire.response();
    (response.status, response.json())
}

#[test]
fn ports_status_answers_as_the_contract_shows() {
    let (pmctl, server, _upstream, port) = with_a_service();
    let mut client = Wire::to(port);
    client.get("/");
    let document = server.json("/api/ports/status");
    assert_eq!((&document["success"], &document["source"]), (&true.into(), &"server".into()));
    let view = &document["ports"][port.to_string()];
    let keys: Vec<_> = view.as_object().expect("a port").keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 6, "{document:#}");
    assert_eq!(view["inUse"], true);
    assert_eq!(view["pid"], server.pid());
    assert_eq!(view["service"], "dspapi");
    assert_eq!(view["state"], "serving");
    assert_eq!(view["connections"], 1);
    let holder = view["holders"][0].as_object().expect("a holder");
    let keys: Vec<_> = holder.keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(holder["startTime"].as_str().is_some_and(|t| t.ends_with('Z')), "{holder:?}");
    assert_eq!(document, pmctl.json(&["ports", "status"]), "the command prints another document");
    server.stop();
}

#[test]
fn services_are_driven_by_json_as_by_the_command_line() {
    let (pmctl, server, upstream, _) = with_a_service();
    let listed = server.json("/api/services");
    assert_eq!(without_counters(listed), without_counters(pmctl.json(&["service", "list"])));
    let port = free_port();
    let new = json!({
        "name": "by json/中", "port": port,
        "targets": {"main": upstream.url(), "spare": "http://127.0.0.1:9"}, "active": "main",
    });
    let (status, added) = call(&server, "POST", "/api/services", &new.to_string());
    assert!(matches!(status, 200 | 201), "{status} {added:#}");
    assert_eq!((&added["success"], &added["applied"]), (&true.into(), &"live".into()), "{added:#}");
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    let (status, again) = call(&server, "POST", "/api/services", &new.to_string());
    assert_eq!((status, &again["success"]), (409, &false.into()), "{again:#}");

    let path = "/api/services/by%20json%2F%E4%B8%AD";
    let (status, _) = call(&server, "POST", &format!("{path}/stop"), "");
    assert_eq!((status, is_listening(port)), (200, false));
    let (status, _) = call(&server, "POST", &format!("{path}/start"), "");
    assert_eq!((status, is_listening(port)), (200, true));
    let (status, switched) =
        call(&server, "POST", &format!("{path}/switch"), r#"{"target":"spare"}"#);
    assert_eq!(status, 200, "{switched:#}");
    assert_eq!(switched["services"][0]["service"]["activeTarget"], "spare", "{switched:#}");
    let (status, _) = call(&server, "DELETE", path, "");
    assert_eq!((status, is_listening(port)), (200, false));
    assert_eq!(pmctl.rows().len(), 1);
    server.stop();
}

fn without_counters(mut document: Value) -> Value {
    for service in document["services"].as_array_mut().expect("services") {
        service["counters"] = Value::Null;
    }
    document
}

const TAGGED: &str = r#"{"name":"a","port":9,"targets":{"a":"http://a"},"tags":["x\ny"]}"#;

#[test]
fn every_failure_is_a_document_with_a_stable_code_and_the_fitting_status() {
    let (_pmctl, server, _upstream, port) = with_a_service();
    let taken = json!({"name": "dspapi", "port": port, "targets": {"a": "http://a"}}).to_string();
    for (method, path, body, expected) in [
        ("GET", "/api/nothing", "", 404),
        ("POST", "/api/services/ghost/start", "", 404),
        ("DELETE", "/api/services/ghost", "", 404),
        ("POST", "/api/services", "{", 400),
        ("POST", "/api/services", "{}", 400),
        ("POST", "/api/services", r#"{"name":"a","port":0,"targets":{"a":"http://a"}}"#, 400),
        ("POST", "/api/services", r#"{"name":"a","port":70000,"targets":{"a":"http://a"}}"#, 400),
        ("POST", "/api/services", r#"{"name":"a","port":9,"targets":{"a":"host:1"}}"#, 400),
        ("POST", "/api/services", r#"{"name":"a","port":9,"targets":{}}"#, 400),
        ("POST", "/api/services", TAGGED, 400),
        ("POST", "/api/services", &taken, 409),
        ("POST", "/api/services/dspapi/switch", r#"{"target":"ghost"}"#, 404),
        ("PUT", "/api/services", "{}", 405),
        ("DELETE", "/api/ports/status", "", 405),
    ] {
        let (status, document) = call(&server, method, path, body);
        assert_eq!(status, expected, "{method} {path} {body}: {document:#}");
        assert_eq!(document["success"], false, "{document:#}");
        let code = document["code"].as_str().unwrap_or_default();
        assert!(!code.is_empty() && !code.contains([' ', '_']), "{document:#}");
        assert!(document["error"].as_str().is_some_and(|e| e.len() > 10), "{document:#}");
    }
    assert_eq!(server.json("/api/services")["services"].as_array().map(Vec::len), Some(1));
    server.stop();
}

#[test]
fn a_service_that_is_added_and_removed_at_once_leaves_no_listener_without_a_row() {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let server = pmctl.serve();
    let body = json!({"name": "web", "port": port, "targets": {"a": "http://127.0.0.1:9"}});
    let body = body.to_string();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..40 {
                    call(&server, "POST", "/api/services", &body);
                }
            });
            scope.spawn(|| {
                for _ in 0..120 {
                    call(&server, "DELETE", "/api/services/web", "");
                }
            });
        }
    });
    call(&server, "DELETE", "/api/services/web", "");
    assert!(!is_listening(port), "a proxy runs that no row stands for\n{server}");
    server.stop();
}

#[test]
fn health_and_readiness_are_answered() {
    let (_pmctl, server, _upstream, _) = with_a_service();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    server.stop();
}

/// A sample of a Prometheus text document: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the text format of Prometheus strictly: comments, or `name{label="value",…} number`.
fn parse_metrics(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    assert!(text.ends_with('\n'), "the last line is not ended");
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("HELP"), Some(_), Some(_)) => {}
                (Some("TYPE"), Some(name), Some(kind)) => {
                    let known = ["counter", "gauge", "histogram", "summary", "untyped"];
                    assert!(known.contains(&kind), "{line}");
                    let again = types.insert(name.to_owned(), kind.to_owned());
                    assert!(again.is_none(), "two types: {line}");
                }
                _ => panic!("not a comment of the format: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value = match value {
            "+Inf" => f64::INFINITY,
            number => number.parse().unwrap_or_else(|e| panic!("{e}: {line}")),
        };
        let (name, labels) = match series.split_once('{') {
            None => (series, BTreeMap::new()),
            Some((name, rest)) => {
                let inner = rest.strip_suffix('}').unwrap_or_else(|| panic!("no brace: {line}"));
                (name, labels(inner, line))
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        assert!(!name.is_empty() && name.chars().all(plain), "{line}");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| types.contains_key(*family))
            .unwrap_or(name);
        assert!(types.contains_key(family), "a sample without a type: {line}");
        samples.push((name.to_owned(), labels, value));
    }
    samples
}

fn labels(mut text: &str, line: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    other => panic!("no escape: {other:?} in {line}"),
                },
                Some((_, c)) => value.push(c),
                None => panic!("an open quote: {line}"),
            }
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        text = &rest[end + 1..];
    }
    labels
}

#[test]
fn metrics_are_prometheus_text_and_count_what_happened() {
    let (pmctl, server, upstream, port) = with_a_service();
    let odd = "odd \"name\" \\ 中";
    pmctl.add(odd, free_port(), &upstream.url());
    let mut client = Wire::to(port);
    for _ in 0..3 {
        client.get("/");
    }
    let samples = crate::support::wait_until("three requests in the metrics", || {
        let response = server.get("/metrics");
        let kind = response.field("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "{kind}");
        let samples = parse_metrics(&response.text());
        let ours = |(_, labels, _): &&Sample| labels.values().any(|v| v == "dspapi");
        let counted = samples.iter().filter(ours).any(|(_, _, value)| *value == 3.0);
        if counted { Ok(samples) } else { Err(response.text()) }
    });
    let has = |part: &str| samples.iter().any(|(name, _, _)| name.contains(part));
    for part in ["request", "_bucket", "connections", "bytes", "resident"] {
        assert!(has(part), "no metric named like {part}: {samples:#?}");
    }
    assert!(samples.iter().any(|(_, labels, _)| labels.values().any(|v| v == odd)), "{samples:#?}");
    let buckets: Vec<&Sample> = samples
        .iter()
        .filter(|(name, labels, _)| {
            name.ends_with("_bucket") && labels.values().any(|v| v == "dspapi")
        })
        .collect();
    let infinite = buckets.iter().find(|(_, labels, _)| labels["le"] == "+Inf").expect("+Inf");
    assert_eq!(infinite.2, 3.0, "{buckets:#?}");
    assert!(buckets.is_sorted_by(|a, b| a.2 <= b.2), "not cumulative: {buckets:#?}");
    server.stop();
}

#[test]
fn a_foreign_host_or_origin_is_403_before_anything_else() {
    let (_pmctl, server, _upstream, _) = with_a_service();
    let port = server.control().port();
    let ask = |fields: &str| {
        let mut wire = server.connect();
        wire.send(format!("GET /api/services HTTP/1.1\r\n{fields}\r\n"));
        wire.response().status
    };
    for own in [
        format!("Host: 127.0.0.1:{port}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        format!("Host: LOCALHOST:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"),
    ] {
        assert_eq!(ask(&own), 200, "{own}");
    }
    for foreign in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1.evil.example:{port}\r\n"),
        "Host: 127.0.0.1:1\r\n".to_owned(),
        "Host: localhost\r\n".to_owned(),
        "Host:\r\n".to_owned(),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: null\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: https://evil.example\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://localhost:1\r\n"),
    ] {
        let status = ask(&foreign);
        // An empty Host may already be no HTTP.
        assert!(status == 403 || (status == 400 && foreign == "Host:\r\n"), "{status}: {foreign}");
    }
    // Readiness is no exception for a web page.
    let mut wire = server.connect();
    wire.send("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(wire.response().status, 403);
    server.stop();
}

#[test]
fn half_a_head_on_the_control_port_is_given_up_on_and_keeps_nobody_waiting() {
    let (_pmctl, server, _upstream, _) = with_a_service();
    let mut half = server.connect();
    half.send("GET /api/services HTTP/1.1\r\nHost: 127");
    let mut silent = server.connect();
    assert_eq!(server.get("/readyz").status, 200);
    let said = String::from_utf8_lossy(&half.until_closed()).into_owned();
    assert!(said.is_empty() || said.contains(" 408 "), "{said}");
    silent.until_closed();
    server.stop();
}

#[test]
fn grpc_health_and_reflection_stand_beside_the_json_on_the_same_port() {
    let (_pmctl, server, _upstream, _) = with_a_service();
    let mut grpc = Grpc::connect(server.control());
    let health = grpc.call("/grpc.health.v1.Health/Check", b"");
    assert_eq!(health.status, 0, "{health:?}");
    // HealthCheckResponse { status: SERVING }
    assert_eq!(health.messages, [&[0x08, 0x01][..]], "{health:?}");
    // ServerReflectionRequest { list_services: "" }
    let reflection =
        grpc.call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[0x3a, 0x00]);
    assert_eq!(reflection.status, 0, "{reflection:?}");
    let listed = String::from_utf8_lossy(&reflection.messages[0]).into_owned();
    assert!(listed.contains("pmctl.v1."), "{listed:?}");
    assert!(listed.contains("grpc.health.v1.Health"), "{listed:?}");
    assert_eq!(server.json("/api/services")["success"], true);
    server.stop();
}

#[test]
fn a_call_this_version_does_not_know_is_unimplemented_and_harms_nothing() {
    let (pmctl, server, _upstream, _) = with_a_service();
    let mut grpc = Grpc::connect(server.control());
    for path in ["/pmctl.v1.Control/FromTheFuture", "/pmctl.v9.Control/ListServices"] {
        let answer = grpc.call(path, b"");
        assert_eq!((answer.http_status, answer.status), (200, 12), "{path}: {answer:?}");
    }
    // Not a message of that call.
    let garbage = grpc.call("/pmctl.v1.Control/AddService", &[0xff; 64]);
    assert!(garbage.status > 0, "{garbage:?}");
    assert_eq!(pmctl.rows().len(), 1);
    server.stop();
}
