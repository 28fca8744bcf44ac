use axum::body::{Body as HttpBody, to_bytes};
use http::HeaderMap;
use http::header::{ALLOW, CONTENT_TYPE};
use tower::ServiceExt;

use super::*;

/// Routes of the same shape without a server behind them.
fn routes() -> Router {
    let echo = |path: Name, _: NoBody| async move {
        name(path).map(|n| n.to_string()).map_err(Failure::from)
    };
    let page = |asked: Result<Query<EventsQuery>, QueryRejection>| async move {
        let asked = query(asked)?;
        Ok::<_, Failure>(format!("{} {:?}", asked.limit()?, asked.after))
    };
    let switch = |Body(body): Body<SwitchBody>| async move {
        body.target().map(|target| target.to_string()).map_err(Failure::from)
    };
    let kill = |path: Name, asked: Result<Query<freeing::FreeingQuery>, QueryRejection>| async {
        freeing::kill_request(path, asked).map(|r| format!("{r:?}")).map_err(Failure::from)
    };
    let routes = Router::new()
        .route("/api/ports/{port}/kill", post(kill))
        .route("/api/services/{name}/start", post(echo))
        .route("/api/services/{name}/switch", post(switch))
        .route("/api/events", get(page));
    with_fallbacks(routes)
}

async fn call(
    method: &str,
    path: &str,
    kind: Option<&str>,
    body: impl Into<HttpBody>,
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(kind) = kind {
        request = request.header(CONTENT_TYPE, kind);
    }
    let request = request.body(body.into()).unwrap_or_else(|e| panic!("{path}: {e}"));
    let Ok(response) = routes().oneshot(request).await;
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap_or_default();
    (head.status, head.headers, String::from_utf8_lossy(&bytes).into_owned())
}

fn code(document: &str) -> String {
    let document: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
    assert_eq!(document["success"], false, "{document}");
    assert!(document["error"].as_str().is_some_and(|error| !error.is_empty()), "{document}");
    document["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_name_in_a_path_is_percent_decoded_unicode() {
    let (status, _, body) =
        call("POST", "/api/services/%E8%AE%A2%E5%8D%95%2F1/start", None, "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "订单/1"));
    let (status, _, body) = call("POST", "/api/services/%FF/start", None, "").await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_REQUEST, "path-not-readable"));
    let (status, _, body) = call("POST", "/api/services/%20a/start", None, "").await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_REQUEST, "name-has-outer-space"));
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_answered_in_json() {
    let (status, _, body) = call("GET", "/nowhere", None, "").await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::NOT_FOUND, "no-such-path"));
    let (status, headers, body) = call("PUT", "/api/services/a/start", None, "").await;
    let expected = (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed");
    assert_eq!((status, code(&body).as_str()), expected);
    assert_eq!(headers.get(ALLOW).and_then(|allow| allow.to_str().ok()), Some("POST"));
}

#[tokio::test]
async fn a_grpc_caller_of_an_unknown_method_gets_a_grpc_status() {
    let (status, headers, _) =
        call("POST", "/other.v1.Thing/Do", Some("application/grpc"), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers.get("grpc-status").map(|s| s.as_bytes()), Some(&b"12"[..]));
}

#[tokio::test]
async fn a_body_must_be_json_of_the_known_fields_and_of_modest_size() {
    let json = Some("application/json");
    let switch = "/api/services/a/switch";
    let (status, _, body) = call("POST", switch, json, r#"{"target":"green"}"#).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "green"));
    let (status, _, body) = call("POST", switch, None, r#"{"target":"green"}"#).await;
    assert_eq!(
        (status, code(&body).as_str()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "body-not-json")
    );
    let (status, _, body) = call("POST", switch, json, r#"{"target":"a","force":true}"#).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_REQUEST, "body-not-readable"));
    assert!(body.contains("`force`"), "{body}");
    let (status, _, body) = call("POST", switch, json, vec![b' '; MAX_BODY + 1]).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
}

#[tokio::test]
async fn a_call_without_arguments_takes_no_body_or_an_empty_object() {
    let start = "/api/services/a/start";
    assert_eq!(call("POST", start, None, "").await.0, StatusCode::OK);
    assert_eq!(call("POST", start, Some("application/json"), "{}").await.0, StatusCode::OK);
    assert_eq!(
        call("POST", start, Some("text/plain"), "{}").await.0,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        call("POST", start, Some("application/json"), r#"{"a":1}"#).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_query_is_read_whole_or_refused() {
    let (_, _, body) = call("GET", "/api/events", None, "").await;
    assert_eq!(body, "100 None");
    let (_, _, body) = call("GET", "/api/events?limit=7&after=42", None, "").await;
    assert_eq!(body, "7 Some(42)");
    for bad in ["limit=0", "limit=10001"] {
        let (status, _, body) = call("GET", &format!("/api/events?{bad}"), None, "").await;
        assert_eq!(
            (status, code(&body).as_str()),
            (StatusCode::BAD_REQUEST, "event-limit-out-of-range")
        );
    }
    for bad in ["limit=x", "limit=-1", "since=3"] {
        let (status, _, body) = call("GET", &format!("/api/events?{bad}"), None, "").await;
        assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_REQUEST, "query-not-readable"));
    }
}

#[tokio::test]
async fn a_port_to_be_freed_is_one_port_and_a_query_of_known_words() {
    let (status, _, body) = call("POST", "/api/ports/8080/kill", None, "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains("grace: 5s, dry_run: false, force: false"), "{body}");
    let all = "/api/ports/8080/kill?force=true&dryRun=true&grace=250ms";
    let (_, _, body) = call("POST", all, None, "").await;
    assert!(body.contains("grace: 250ms, dry_run: true, force: true"), "{body}");
    for (bad, expected) in [
        ("0/kill", "port-out-of-range"),
        ("70000/kill", "port-out-of-range"),
        ("80,81/kill", "port-out-of-range"),
        ("80/kill?grace=never", "grace-invalid"),
        ("80/kill?grace=2h", "grace-invalid"),
        ("80/kill?force=perhaps", "query-not-readable"),
        ("80/kill?signal=9", "query-not-readable"),
    ] {
        let (status, _, body) = call("POST", &format!("/api/ports/{bad}"), None, "").await;
        assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_REQUEST, expected), "{bad}");
    }
}
