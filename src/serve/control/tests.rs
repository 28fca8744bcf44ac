use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// Longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(40);

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<RemainingCalls>,
}

async fn bound() -> ControlListener {
    let any = "127.0.0.1:0".parse().unwrap_or_else(|e| panic!("{e}"));
    ControlListener::bind(any).await.unwrap_or_else(|e| panic!("{e}"))
}

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
fn running(listener: ControlListener, router: Router) -> Running {
    let address = listener.address();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(listener.run(router, async {
        let _ = stopped.await;
    }));
    Running { address, stop: Some(stop), server }
}

impl Running {
    async fn stop(mut self) -> RemainingCalls {
        drop(self.stop.take());
        within(self.server).await.unwrap_or_else(|e| panic!("{e}"))
    }
}

async fn within<F: Future>(work: F) -> F::Output {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("not done within {PATIENCE:?}"))
}

async fn connect(address: SocketAddr) -> TcpStream {
    within(TcpStream::connect(address)).await.unwrap_or_else(|e| panic!("{e}"))
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    within(stream.write_all(request.as_bytes())).await.unwrap_or_else(|e| panic!("{e}"));
}

/// Reads until `end` has arrived.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let read = within(stream.read_buf(&mut text)).await;
        let so_far = String::from_utf8_lossy(&text);
        assert!(read.is_ok_and(|n| n > 0), "closed before {end:?}: {so_far}");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A route that sends what it is told, until its teller is dropped.
fn told() -> (Router, mpsc::UnboundedSender<&'static str>) {
    let (tell, hear) = mpsc::unbounded_channel::<&'static str>();
    let hear = Arc::new(Mutex::new(Some(hear)));
    let route = get(move || async move {
        let hear = hear.lock().ok().and_then(|mut hear| hear.take());
        Body::from_stream(stream::unfold(hear, |hear| async {
            let mut hear = hear?;
            let word = hear.recv().await?;
            Some((Ok::<_, Infallible>(Bytes::from_static(word.as_bytes())), Some(hear)))
        }))
    });
    (Router::new().route("/told", route), tell)
}

#[tokio::test]
async fn a_stop_refuses_new_connections_while_a_stream_under_way_is_delivered_whole() {
    let (router, tell) = told();
    let server = running(bound().await, router);
    let address = server.address;
    let mut stream = connect(address).await;
    ask(&mut stream, "/told").await;
    let _ = tell.send("first;");
    read_to(&mut stream, "first;").await;

    let remaining = server.stop().await;
    let refused = within(TcpStream::connect(address)).await.map_err(|e| e.kind());
    assert_eq!(refused.map(drop), Err(io::ErrorKind::ConnectionRefused));
    let _ = tell.send("second;");
    read_to(&mut stream, "second;").await;
    let _ = tell.send("last;");
    drop(tell);
    let rest = read_to(&mut stream, "\r\n0\r\n\r\n").await;
    assert!(rest.contains("last;"), "{rest}");
    within(remaining.finished()).await;
    within(remaining.end()).await;
}

#[tokio::test]
async fn the_end_cuts_a_stream_that_would_go_on() {
    let (router, tell) = told();
    let server = running(bound().await, router);
    let mut stream = connect(server.address).await;
    ask(&mut stream, "/told").await;
    let _ = tell.send("first;");
    read_to(&mut stream, "first;").await;
    let remaining = server.stop().await;
    within(remaining.end()).await;
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(!String::from_utf8_lossy(&rest).contains("\r\n0\r\n"), "cut, not finished");
    assert!(tell.is_closed(), "the handler is gone too");
}

#[tokio::test]
async fn a_request_that_waited_in_the_accept_queue_at_the_stop_is_answered() {
    let listener = bound().await;
    let mut waiting = connect(listener.address()).await;
    ask(&mut waiting, "/").await;
    // The stop comes before the first accept.
    let router = Router::new().route("/", get(|| async { "here" }));
    let remaining = within(listener.run(router, async {})).await;
    assert!(read_to(&mut waiting, "here").await.starts_with("HTTP/1.1 200"));
    within(remaining.finished()).await;
}

#[tokio::test]
async fn idle_and_half_spoken_connections_do_not_hold_a_stop() {
    let server = running(bound().await, Router::new().route("/", get(|| async { "here" })));
    let _silent = connect(server.address).await;
    let mut half = connect(server.address).await;
    within(half.write_all(b"GET / HTTP/1.1\r\nhos")).await.unwrap_or_else(|e| panic!("{e}"));
    let mut preface = connect(server.address).await;
    within(preface.write_all(b"PRI * HTTP/2")).await.unwrap_or_else(|e| panic!("{e}"));
    let mut idle = connect(server.address).await;
    ask(&mut idle, "/").await;
    read_to(&mut idle, "here").await;
    let remaining = server.stop().await;
    within(remaining.finished()).await;
}

#[tokio::test]
async fn a_handler_sees_who_calls() {
    let route =
        get(|Extension(caller): Extension<Caller>| async move { format!("<{}>", caller.peer) });
    let server = running(bound().await, Router::new().route("/", route));
    let mut stream = connect(server.address).await;
    ask(&mut stream, "/").await;
    let own = stream.local_addr().unwrap_or_else(|e| panic!("{e}"));
    read_to(&mut stream, &format!("<{own}>")).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_request_is_closed_in_time() {
    let mut listener = bound().await;
    listener.head_timeout = Duration::from_millis(50);
    let server = running(listener, Router::new());
    for said in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nho"] {
        let mut stream = connect(server.address).await;
        let written = within(stream.write_all(said.as_bytes())).await;
        assert!(written.is_ok(), "{said:?}: {written:?}");
        // Whether by a reset or in order: it ends.
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn strangers_leave_room_for_those_the_server_knows() {
    let knows = Arc::new(AtomicBool::new(false));
    let introduce: Introduce = {
        let knows = Arc::clone(&knows);
        Arc::new(move |_, _| match knows.load(Ordering::SeqCst) {
            true => Standing::Trusted { uid: 1 },
            false => Standing::Unknown { why: Unproven::OtherUser(2) },
        })
    };
    let mut listener = bound().await.with(introduce, None);
    listener.strangers = 2;
    let server = running(listener, Router::new().route("/", get(|| async { "here" })));
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(server.address).await;
        ask(&mut stream, "/").await;
        read_to(&mut stream, "here").await;
        strangers.push(stream);
    }
    let mut third = connect(server.address).await;
    // Whether by a reset or in order: it ends without an answer.
    let _ = third.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut said = Vec::new();
    let _ = within(third.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    knows.store(true, Ordering::SeqCst);
    let mut known = connect(server.address).await;
    ask(&mut known, "/").await;
    read_to(&mut known, "here").await;
    // Whoever leaves makes room again.
    knows.store(false, Ordering::SeqCst);
    strangers.pop();
    within(async {
        loop {
            let mut next = connect(server.address).await;
            let _ = next.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if matches!(next.read(&mut [0; 64]).await, Ok(1..)) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_taken_address_is_told_from_one_that_is_not_here() {
    let first = bound().await;
    let second = ControlListener::bind(first.address()).await;
    assert!(matches!(second, Err(ControlBindError::Taken { .. })), "{second:?}");
    let elsewhere = "192.0.2.1:0".parse().unwrap_or_else(|e| panic!("{e}"));
    let third = ControlListener::bind(elsewhere).await;
    assert!(matches!(third, Err(ControlBindError::NotHere { .. })), "{third:?}");
}
