use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

const OWN: &str = "127.0.0.1:8761";
const START: i64 = 1_700_000_000_000;

struct Answer {
    status: StatusCode,
    kind: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

struct Caller(Router);

impl Caller {
    fn new() -> Self {
        Self::at(OWN, None)
    }

    fn at(address: &str, users: Option<Users>) -> Self {
        let clock = || Timestamp::from_millis(START);
        let node = Node::new(&RegistrySettings::default(), clock, Lang::En);
        Self(router(node, address.parse().unwrap(), users))
    }

    async fn ask(&self, line: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        if fields.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", OWN);
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status, kind: kind.unwrap_or_default(), text }
    }

    async fn status(&self, line: &str) -> u16 {
        self.ask(line, &[], "").await.status.as_u16()
    }

    async fn json(&self, line: &str) -> Value {
        let answer = self.ask(line, &[("accept", "application/json")], "").await;
        assert_eq!((answer.status.as_u16(), answer.kind.as_str()), (200, "application/json"));
        answer.json()
    }

    async fn register(&self, app: &str, id: &str) {
        let body = registration(app, id).to_string();
        let kind = [("content-type", "application/json")];
        let answer = self.ask(&format!("POST /eureka/apps/{app}"), &kind, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    }
}

fn registration(app: &str, id: &str) -> Value {
    json!({"instance": {
        "instanceId": id, "hostName": "h", "ipAddr": "10.0.0.1", "app": app,
        "vipAddress": app, "secureVipAddress": format!("{app}-tls"),
        "dataCenterInfo": {"name": "MyOwn"}, "lastDirtyTimestamp": START.to_string(),
    }})
}

#[tokio::test]
async fn an_instance_lives_its_life_over_http() {
    let caller = Caller::new();
    assert_eq!(caller.status("PUT /eureka/apps/SHOP/a").await, 404, "register first");
    caller.register("shop", "a").await;
    assert_eq!(caller.status("PUT /eureka/apps/shop/a?status=UP").await, 200);
    let dirty = START + 1;
    let renewal = format!("PUT /eureka/v2/apps/SHOP/a?status=UP&lastDirtyTimestamp={dirty}");
    assert_eq!(caller.status(&renewal).await, 404, "the instance has changed since");
    assert_eq!(caller.status("PUT /eureka/apps/SHOP/a/status?value=OUT_OF_SERVICE").await, 200);
    let one = caller.json("GET /eureka/apps/SHOP/a").await;
    assert_eq!(one["instance"]["status"], "OUT_OF_SERVICE");
    assert_eq!(one["instance"]["overriddenStatus"], "OUT_OF_SERVICE");
    assert_eq!(caller.status("DELETE /eureka/apps/SHOP/a/status?value=UP").await, 200);
    assert_eq!(caller.status("PUT /eureka/apps/SHOP/a/metadata?k=v&k=w&x=%20").await, 200);
    let one = caller.json("GET /eureka/instances/a").await;
    assert_eq!(one["instance"]["metadata"], json!({"k": "v", "x": " "}));
    assert_eq!(caller.status("DELETE /eureka/apps/SHOP/a").await, 200);
    for line in [
        "DELETE /eureka/apps/SHOP/a",
        "GET /eureka/apps/SHOP/a",
        "GET /eureka/apps/SHOP",
        "GET /eureka/instances/a",
        "PUT /eureka/apps/SHOP/a",
        "PUT /eureka/apps/SHOP/a/status?value=UP",
        "DELETE /eureka/apps/SHOP/a/status",
        "PUT /eureka/apps/SHOP/a/metadata?k=v",
    ] {
        assert_eq!(caller.status(line).await, 404, "{line}");
    }
}

#[tokio::test]
async fn lists_are_found_under_all_their_paths_and_agree_on_the_hash_code() {
    let caller = Caller::new();
    caller.register("B", "b").await;
    caller.register("A", "a").await;
    for path in ["/eureka/apps", "/eureka/apps/", "/eureka/v2/apps", "/eureka/apps/delta"] {
        let all = caller.json(&format!("GET {path}")).await;
        assert_eq!(all["applications"]["apps__hashcode"], "UP_2_", "{path}");
        let names: Vec<&Value> = all["applications"]["application"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| &a["name"])
            .collect();
        assert_eq!(names, ["A", "B"], "{path}");
    }
    for path in ["/eureka/vips/A", "/eureka/svips/A-tls", "/eureka/v2/vips/A"] {
        let found = caller.json(&format!("GET {path}")).await;
        assert_eq!(found["applications"]["apps__hashcode"], "UP_1_", "{path}");
    }
    let one = caller.json("GET /eureka/apps/a").await;
    assert_eq!(one["application"]["instance"][0]["instanceId"], "a");
}

#[tokio::test]
async fn the_caller_gets_json_when_it_says_so_and_xml_otherwise() {
    let caller = Caller::new();
    caller.register("A", "a").await;
    for (accept, kind) in [
        ("", "application/xml"),
        ("*/*", "application/xml"),
        ("application/xml", "application/xml"),
        ("application/json, application/*+json", "application/json"),
        ("application/vnd.x+json", "application/json"),
    ] {
        for path in ["/eureka/apps", "/eureka/apps/A", "/eureka/apps/A/a", "/eureka/instances/a"] {
            let answer = caller.ask(&format!("GET {path}"), &[("accept", accept)], "").await;
            assert_eq!(answer.kind, kind, "{accept} {path}");
            assert_eq!(answer.text.starts_with('<'), kind.ends_with("xml"), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_registration_in_xml_counts_as_one_in_json() {
    let caller = Caller::new();
    let body = "<instance><instanceId>x</instanceId><hostName>h</hostName><app>shop</app>\
        <ipAddr>10.0.0.1</ipAddr><dataCenterInfo class=\"c\"><name>MyOwn</name></dataCenterInfo>\
        <metadata><a__b>1</a__b></metadata></instance>";
    let kind = [("content-type", "Application/XML; charset=utf-8")];
    assert_eq!(caller.ask("POST /eureka/apps/SHOP", &kind, body).await.status.as_u16(), 204);
    let one = caller.json("GET /eureka/apps/SHOP/x").await;
    assert_eq!(one["instance"]["metadata"]["a_b"], "1");
    assert_eq!(one["instance"]["lastDirtyTimestamp"], START.to_string());
}

#[tokio::test]
async fn a_mistake_of_the_caller_is_answered_with_a_sentence() {
    let caller = Caller::new();
    let lacking = |field: &str| {
        let mut body = registration("A", "a");
        body["instance"].as_object_mut().unwrap().remove(field);
        body.to_string()
    };
    let good = registration("A", "a").to_string();
    let json = "application/json";
    for (kind, body, status, said) in [
        (json, lacking("hostName"), 400, "hostName"),
        (json, lacking("ipAddr"), 400, "ipAddr"),
        (json, lacking("app"), 400, "`app`"),
        (json, lacking("dataCenterInfo"), 400, "dataCenterInfo"),
        (json, registration("B", "b").to_string(), 400, "`B`"),
        (json, "{".to_owned(), 400, "JSON"),
        ("application/xml", "<a".to_owned(), 400, "XML"),
        ("text/plain", good.clone(), 415, "text/plain"),
        ("", good.clone(), 415, "application/json"),
        ("application/x-www-form-urlencoded", good, 415, "form"),
        (json, " ".repeat(MAX_BODY + 1), 413, ""),
    ] {
        let answer = caller.ask("POST /eureka/apps/A", &[("content-type", kind)], &body).await;
        assert_eq!(answer.status.as_u16(), status, "{kind}: {}", answer.text);
        assert!(answer.text.contains(said), "{said} in {}", answer.text);
    }
    let packed = [("content-type", json), ("content-encoding", "gzip")];
    assert_eq!(caller.ask("POST /eureka/apps/A", &packed, "x").await.status.as_u16(), 415);
    caller.register("A", "a").await;
    assert_eq!(caller.status("PUT /eureka/apps/A/a/status?value=BROKEN").await, 400);
    assert_eq!(caller.status("PUT /eureka/apps/A/a/status").await, 400);
    assert_eq!(caller.status("PUT /eureka/apps/A/a?lastDirtyTimestamp=soon").await, 400);
    assert_eq!(caller.status("GET /nothing").await, 404);
    assert_eq!(caller.status("PATCH /eureka/apps/A").await, 405);
}

#[tokio::test]
async fn a_page_of_somebody_else_and_another_name_are_refused_first() {
    let caller = Caller::new();
    for fields in [
        [("host", "evil.example"), ("accept", "x")],
        [("host", OWN), ("origin", "http://evil.example")],
        [("host", OWN), ("origin", "null")],
    ] {
        for line in ["GET /eureka/apps", "POST /eureka/apps/A", "GET /nothing", "GET /"] {
            let answer = caller.ask(line, &fields, "").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{line} {fields:?}");
        }
    }
}

#[tokio::test]
async fn with_users_nobody_else_may_call() {
    let users = Users::parse("ann:secret", "users").unwrap();
    let caller = Caller::at("0.0.0.0:8761", Some(users));
    let host = ("host", "registry.example:8761");
    for line in ["GET /eureka/apps", "DELETE /eureka/apps/A/a", "GET /", "GET /nothing"] {
        let answer = caller.ask(line, &[host], "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{line}");
    }
    let ann = ("authorization", "Basic YW5uOnNlY3JldA==");
    assert_eq!(caller.ask("GET /eureka/apps", &[host, ann], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_page_for_people_lets_nothing_an_instance_says_run() {
    let caller = Caller::new();
    let html = [("accept", "text/html,*/*")];
    let empty = caller.ask("GET /", &html, "").await;
    assert!(empty.kind.starts_with("text/html") && empty.text.contains("No instance"));
    caller.register("A", "<script>alert(1)</script>&\"'").await;
    let page = caller.ask("GET /", &html, "").await;
    assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"));
    assert!(!page.text.contains("<script"), "{}", page.text);
    let same = caller.json("GET /").await;
    assert_eq!(same["applications"][0]["name"], "A");
}

#[tokio::test]
async fn the_evictor_takes_away_what_does_not_renew() {
    use std::sync::atomic::{AtomicI64, Ordering};
    static NOW: AtomicI64 = AtomicI64::new(START);
    let clock = || Timestamp::from_millis(NOW.load(Ordering::SeqCst));
    let settings = RegistrySettings {
        self_preservation: false,
        eviction_interval: Duration::from_millis(1),
        ..RegistrySettings::default()
    };
    let node = Node::new(&settings, clock, Lang::En);
    let caller = Caller(router(node.clone(), OWN.parse().unwrap(), None));
    caller.register("A", "a").await;
    assert_eq!(caller.status("GET /eureka/apps/A").await, 200);
    // An hour: however late a pass is on a busy machine, it is not that late.
    NOW.fetch_add(3_600_000, Ordering::SeqCst);
    let gone = async {
        while caller.status("GET /eureka/apps/A").await != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = node.evict_on_time() => {}
        gone = tokio::time::timeout(Duration::from_secs(40), gone) => assert!(gone.is_ok()),
    }
}
