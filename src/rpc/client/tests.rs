use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use futures_util::stream;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as ProstMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::Service;

use super::*;
use crate::model::{FaultKind, ShutdownStep};
use crate::rpc::status;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the tests of silence wait for, and longer than a greeting takes.
const SHORT: Duration = Duration::from_secs(2);

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|e| panic!("{e}"));
    let address: SocketAddr = listener.local_addr().unwrap_or_else(|e| panic!("{e}"));
    (listener, format!("http://{address}"))
}

/// A server of `router` until the set is dropped.
async fn served(router: Router) -> (JoinSet<()>, String) {
    let (listener, url) = listener().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let router = router.clone();
            let service = service_fn(move |request| router.clone().call(request));
            connections.spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (tasks, url)
}

/// A listener that answers each connection by `answer`.
async fn raw<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> (JoinSet<()>, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, url) = listener().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer(stream).await;
        }
    });
    (tasks, url)
}

fn unary<Q, A>(
    router: Router,
    method: &str,
    answer: impl Fn(Q) -> Result<A, Status> + Clone + Send + Sync + 'static,
) -> Router
where
    Q: ProstMessage + Default + 'static,
    A: ProstMessage + Default + 'static,
{
    let handler = move |request: Request| {
        let answer = answer.clone();
        async move {
            let service = tower::service_fn(move |request: tonic::Request<Q>| {
                let answer = answer(request.into_inner()).map(Response::new);
                async move { answer }
            });
            tonic::server::Grpc::new(tonic_prost::ProstCodec::<A, Q>::default())
                .unary(service, request)
                .await
        }
    };
    router.route(&format!("/pmctl.v1.Control/{method}"), any(handler))
}

type Sent<A> = std::pin::Pin<Box<dyn stream::Stream<Item = Result<A, Status>> + Send>>;

fn streaming<Q, A>(
    router: Router,
    method: &str,
    answer: impl Fn(Q) -> Sent<A> + Clone + Send + Sync + 'static,
) -> Router
where
    Q: ProstMessage + Default + 'static,
    A: ProstMessage + Default + 'static,
{
    let handler = move |request: Request| {
        let answer = answer.clone();
        async move {
            let service = tower::service_fn(move |request: tonic::Request<Q>| {
                let answer = Ok::<_, Status>(Response::new(answer(request.into_inner())));
                async move { answer }
            });
            tonic::server::Grpc::new(tonic_prost::ProstCodec::<A, Q>::default())
                .server_streaming(service, request)
                .await
        }
    };
    router.route(&format!("/pmctl.v1.Control/{method}"), any(handler))
}

/// A server that says who it is and knows nothing else.
fn greeting() -> Router {
    let router = Router::new()
        .fallback(|| async { Status::unimplemented("").into_http::<axum::body::Body>() });
    unary(router, "GetServer", |_: pb::GetServerRequest| {
        let server = pb::Server {
            state: pb::ServerState::Ready.into(),
            pid: Some(4242),
            url: Some("http://127.0.0.1:1".to_owned()),
            node: "default".to_owned(),
            version: Some("9.9.9".to_owned()),
            started_at_ms: Some(1),
            database: "sqlite:///x".to_owned(),
            database_uuid: Some("u-u-i-d".to_owned()),
        };
        let phase = pb::Phase::Ready.into();
        Ok(pb::GetServerResponse { api_version: 1, server: Some(server), phase, limited: false })
    })
}

async fn connected(url: &str) -> Client {
    Client::connect(url, PATIENCE).await.unwrap_or_else(|e| panic!("{e}"))
}

/// Why no connection to `url` came about.
async fn failed(url: &str, timeout: Duration) -> ClientError {
    match Client::connect(url, timeout).await {
        Ok(client) => panic!("connected to {:?}", client.server()),
        Err(error) => error,
    }
}

fn not_pmctl(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::NotPmctl { what } => Some(what.code()),
        _ => None,
    }
}

fn fault_code(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Fault(fault) => Some(fault.message.code()),
        _ => None,
    }
}

#[tokio::test]
async fn a_server_says_who_it_is_before_anything_else() {
    let (_server, url) = served(greeting()).await;
    let client = connected(&url).await;
    assert_eq!(client.server().database_uuid.as_deref(), Some("u-u-i-d"));
    assert_eq!((client.server().pid, client.phase()), (Some(4242), Phase::Ready));
}

#[tokio::test]
async fn nobody_there_is_absence() {
    let (listener, url) = listener().await;
    drop(listener);
    assert_eq!(failed(&url, PATIENCE).await, ClientError::Absent);
}

#[tokio::test]
async fn a_listener_that_never_answers_is_unresponsive() {
    // Connections wait in the accept queue, as before a stopped process.
    let (_listener, url) = listener().await;
    assert_eq!(failed(&url, SHORT).await, ClientError::Unresponsive { after: SHORT });
}

#[tokio::test]
async fn a_listener_that_hangs_up_without_a_word_is_going_away() {
    let (_server, url) = raw(|stream| async { drop(stream) }).await;
    assert_eq!(failed(&url, PATIENCE).await, ClientError::GoingAway);
}

#[tokio::test]
async fn other_programs_are_told_from_pmctl_by_their_first_words() {
    let answers = [
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "listener-http1"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "listener-other"),
        ("-ERR unknown command\r\n", "listener-other"),
    ];
    for (answer, code) in answers {
        let (_server, url) = raw(move |mut stream| async move {
            let mut heard = [0; 24];
            let _ = stream.read_exact(&mut heard).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            // Closed with something unread, Windows takes back what was sent.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let error = failed(&url, PATIENCE).await;
        assert_eq!(not_pmctl(&error), Some(code), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_http_2_server_that_is_not_pmctl_is_told_too() {
    let (_server, url) = served(Router::new()).await;
    assert_eq!(not_pmctl(&failed(&url, PATIENCE).await), Some("listener-http2"));
    let other = Router::new()
        .fallback(|| async { Status::unimplemented("").into_http::<axum::body::Body>() });
    let (_server, url) = served(other).await;
    assert_eq!(not_pmctl(&failed(&url, PATIENCE).await), Some("listener-grpc"));
}

#[tokio::test]
async fn a_method_the_server_lacks_is_a_matter_of_versions() {
    let (_server, url) = served(greeting()).await;
    let error = connected(&url).await.status().await.map(|_| ());
    let error = error.expect_err("the server has no such method");
    assert_eq!(fault_code(&error), Some("versions-differ"));
    let words = error.to_string();
    assert!(words.contains("9.9.9") && words.contains(env!("CARGO_PKG_VERSION")), "{words}");
}

#[tokio::test]
async fn a_fault_of_the_server_arrives_as_it_was() {
    let message = text::model::service_not_found("订单");
    let fault = Fault { kind: FaultKind::NotFound, message, causes: vec!["因".to_owned()] };
    let sent = fault.clone();
    let router = unary(greeting(), "StartServices", move |_: pb::StartServicesRequest| {
        Err::<pb::ActionReport, _>(status::status(&sent))
    });
    let (_server, url) = served(router).await;
    let which = Selection::All;
    let error = connected(&url).await.start_services(&which).await.map(|_| ());
    assert_eq!(error, Err(ClientError::Fault(fault)));
}

#[tokio::test]
async fn status_details_that_are_no_base64_break_nothing() {
    let bad = || async {
        let headers = [
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "gone"),
            ("grpc-status-details-bin", "*** not base64 ***"),
        ];
        (headers, ())
    };
    let router = greeting().route("/pmctl.v1.Control/GetStatus", any(bad));
    let (_server, url) = served(router).await;
    let error = connected(&url).await.status().await.map(|_| ());
    let error = error.expect_err("status 5 is an error");
    assert_eq!(fault_code(&error), Some("said-by-server"));
    assert!(error.to_string().contains("gone"));
}

#[tokio::test]
async fn a_value_this_build_does_not_know_is_said_by_its_field() {
    let router = unary(greeting(), "ListServices", |_: pb::ListServicesRequest| {
        Ok(pb::ServicesReport { source: 77, services: Vec::new() })
    });
    let (_server, url) = served(router).await;
    let error = connected(&url).await.list_services(&Selection::All).await.map(|_| ());
    let error = error.expect_err("there is no source 77");
    assert_eq!(fault_code(&error), Some("answer-not-understood"));
    assert!(error.to_string().contains("source"));
}

fn progress(step: pb::ShutdownStep) -> pb::ShutdownProgress {
    pb::ShutdownProgress {
        step: step.into(),
        state: pb::StepState::Done.into(),
        message: Some(pb::Text { english: "done".to_owned(), ..pb::Text::default() }),
        duration_ms: Some(3),
        proxies: Some(pb::ProxyCount { stopped: 2, total: 5 }),
        cut: Vec::new(),
        forced: false,
    }
}

#[tokio::test]
async fn a_stream_is_read_past_its_signs_of_life_to_its_end() {
    let router = streaming(greeting(), "Shutdown", |_: pb::ShutdownRequest| {
        let updates = [None, Some(progress(pb::ShutdownStep::SaveState)), None];
        Box::pin(stream::iter(updates.map(|progress| Ok(pb::ShutdownUpdate { progress }))))
    });
    let (_server, url) = served(router).await;
    let mut steps = connected(&url).await.shutdown().await.unwrap_or_else(|e| panic!("{e}"));
    let step = steps.next().await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(step.map(|s| (s.step, s.proxies)), Some((ShutdownStep::SaveState, Some((2, 5)))));
    assert_eq!(steps.next().await, Ok(None));
}

#[tokio::test]
async fn an_action_reports_progress_and_then_its_report() {
    let router = streaming(greeting(), "StopServices", |sent: pb::StopServicesRequest| {
        assert!(sent.which.is_some_and(|which| which.all));
        let service = pb::ServiceProgress {
            name: "a".to_owned(),
            actual: pb::Actual::Draining.into(),
            counters: None,
        };
        let progress = pb::ActionProgress { services: vec![service] };
        let report = pb::ActionReport {
            source: pb::Source::Server.into(),
            applied: pb::Applied::Live.into(),
            services: Vec::new(),
        };
        let updates = [
            None,
            Some(pb::action_update::Update::Progress(progress)),
            Some(pb::action_update::Update::Report(report)),
        ];
        Box::pin(stream::iter(updates.map(|update| Ok(pb::ActionUpdate { update }))))
    });
    let (_server, url) = served(router).await;
    let mut seen = Vec::new();
    let client = connected(&url).await;
    let report = client.stop_services(&Selection::All, |now| seen.push(now.clone())).await;
    assert!(report.is_ok_and(|report| report.services.is_empty()));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].services[0].name.as_str(), "a");
}

#[tokio::test]
async fn a_silent_stream_is_unresponsive_and_a_broken_one_is_going_away() {
    let silent =
        |_: pb::WatchEventsRequest| -> Sent<pb::EventUpdate> { Box::pin(stream::pending()) };
    let (server, url) = served(streaming(greeting(), "WatchEvents", silent)).await;
    let client = Client::connect(&url, SHORT).await.unwrap_or_else(|e| panic!("{e}"));
    let mut events = client.watch_events(0, None).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(events.next().await, Err(ClientError::Unresponsive { after: SHORT }));

    let client = connected(&url).await;
    let mut events = client.watch_events(0, None).await.unwrap_or_else(|e| panic!("{e}"));
    drop(server);
    assert_eq!(events.next().await, Err(ClientError::GoingAway));
}

#[tokio::test]
async fn a_stream_cut_by_a_status_of_the_transport_is_going_away() {
    for status in [Status::cancelled("x"), Status::unavailable("x"), Status::unknown("x")] {
        let cut = move |_: pb::WatchEventsRequest| -> Sent<pb::EventUpdate> {
            Box::pin(stream::iter([Err(status.clone())]))
        };
        let (_server, url) = served(streaming(greeting(), "WatchEvents", cut)).await;
        let client = connected(&url).await;
        let mut events = client.watch_events(0, None).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(events.next().await, Err(ClientError::GoingAway));
    }
}

#[tokio::test]
async fn what_is_no_control_url_is_refused_before_any_connection() {
    for url in [
        "",
        "127.0.0.1:3000",
        "ftp://127.0.0.1:3000",
        "http://127.0.0.1:3000/x",
        "http://127.0.0.1:3000?x",
        "http://127.0.0.1:0",
        "http://user:s3cret@127.0.0.1:1",
        "http://",
    ] {
        let error = failed(url, PATIENCE).await;
        assert_eq!(fault_code(&error), Some("control-url-invalid"), "{url}: {error}");
        assert!(!error.to_string().contains("s3cret"));
    }
    for (url, uri) in [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/"),
        ("http://[::1]:3000/", "http://[::1]:3000/"),
        ("http://localhost", "http://localhost:80/"),
        ("https://localhost", "https://localhost:443/"),
    ] {
        let made = origin(url).map(|origin| origin.uri().map(|uri| uri.to_string()));
        assert!(matches!(&made, Ok(Ok(made)) if made == uri), "{url}: {uri}");
    }
}

#[tokio::test]
async fn no_credential_is_sent_before_it_is_known_to_whom() {
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hear = std::sync::Arc::clone(&heard);
    let router = greeting().layer(axum::middleware::map_request(move |request: Request| {
        let sent = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        hear.lock().unwrap_or_else(|e| e.into_inner()).push(sent);
        async move { request }
    }));
    let (_tasks, url) = served(router).await;
    let mut client = connected(&url).await;
    client.authorize("s3cret").await.unwrap_or_else(|e| panic!("{e}"));
    let heard = heard.lock().unwrap_or_else(|e| e.into_inner());
    assert_eq!(*heard, [None, Some(b"Bearer s3cret".to_vec())]);
}
