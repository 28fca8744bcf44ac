//! One question to a target, apart from all traffic: is it well?
//!
//! It connects as a request would, with the same trust and credentials, and shares neither the pool
//! nor the workers with them: a target whose connections are all busy is asked all the same, and
//! whoever drops the future drops the connection.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, Either};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::sync::mpsc;

use super::connect::{self, ConnectError, Connected, Protocol, Want};
use super::pool::leads_to;
use super::upstream::Upstream;

/// As much of a body as is read, so that a target that is well sees its answer taken.
const MAX_BODY: usize = 64 * 1_024;

/// Why a target did not answer. Reads after "failed to".
#[derive(Debug, Error)]
pub enum ProbeError {
    /// There is no connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// It leads to the control address, which pmctl does not ask itself.
    #[error("ask the control address")]
    Control,
    /// The connection was of no use.
    #[error("get an answer")]
    Broken(#[source] hyper::Error),
    /// The path and the target make no URL.
    #[error("make a request of it")]
    NotSendable(#[source] http::Error),
    /// The time was over.
    #[error("get an answer within {0:?}")]
    Silent(Duration),
}

/// `GET`s `path` below the base URL of `upstream`: connection, head and body within `timeout`. No
/// redirection is followed. `control` is where this server takes orders.
///
/// # Errors
/// See [`ProbeError`]. A body that breaks off is none: the status was said.
pub async fn probe(
    upstream: &Upstream,
    path: &str,
    timeout: Duration,
    control: Option<SocketAddr>,
) -> Result<StatusCode, ProbeError> {
    let asked = ask(upstream, path, timeout, control);
    tokio::time::timeout(timeout, asked).await.unwrap_or(Err(ProbeError::Silent(timeout)))
}

async fn ask(
    upstream: &Upstream,
    path: &str,
    timeout: Duration,
    control: Option<SocketAddr>,
) -> Result<StatusCode, ProbeError> {
    let connected = connect::connect(upstream, timeout, Want::Any).await;
    let Connected { io, protocol, .. } = connected.map_err(ProbeError::Connect)?;
    if control.is_some_and(|control| leads_to(io.get_ref(), control)) {
        return Err(ProbeError::Control);
    }
    let io = TokioIo::new(io);
    match protocol {
        Protocol::H1 => {
            let request = request(upstream, path, protocol)?;
            let shaken = hyper::client::conn::http1::handshake(io).await;
            let (mut sender, connection) = shaken.map_err(ProbeError::Broken)?;
            beside(connection, async { finish(sender.send_request(request).await).await }).await
        }
        Protocol::H2 => {
            let request = request(upstream, path, protocol)?;
            let (tasks, spawned) = mpsc::unbounded_channel();
            let here = Here(tasks);
            let talk = async {
                let shaken = hyper::client::conn::http2::handshake(here, io).await;
                let (mut sender, connection) = shaken.map_err(ProbeError::Broken)?;
                beside(connection, async { finish(sender.send_request(request).await).await }).await
            };
            beside(run(spawned), talk).await
        }
    }
}

fn request(
    upstream: &Upstream,
    path: &str,
    protocol: Protocol,
) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let target = format!("{}{path}", upstream.url().base_path());
    let builder = Request::get("/").header(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("pmctl/", env!("CARGO_PKG_VERSION"), " (health)")),
    );
    let builder = match protocol {
        Protocol::H1 => builder.uri(target).header(header::HOST, upstream.host_field()),
        Protocol::H2 => builder.uri(
            http::Uri::builder()
                .scheme(upstream.scheme().clone())
                .authority(upstream.authority().clone())
                .path_and_query(target)
                .build()
                .map_err(ProbeError::NotSendable)?,
        ),
    };
    let builder = match upstream.authorization() {
        Some(login) => builder.header(header::AUTHORIZATION, login),
        None => builder,
    };
    builder.body(Empty::new()).map_err(ProbeError::NotSendable)
}

/// The status, once the body was taken as far as it is.
async fn finish(answer: hyper::Result<Response<Incoming>>) -> Result<StatusCode, ProbeError> {
    let answer = answer.map_err(ProbeError::Broken)?;
    let (status, mut body, mut taken) = (answer.status(), answer.into_body(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > MAX_BODY {
            break;
        }
    }
    Ok(status)
}

/// What `work` gives; `driver` is polled meanwhile, and its end is no end of the work.
async fn beside<T>(driver: impl Future, work: impl Future<Output = T>) -> T {
    let (driver, work) = (pin!(driver), pin!(work));
    match future::select(work, driver).await {
        Either::Left((done, _)) => done,
        Either::Right((_, work)) => work.await,
    }
}

/// Hands hyper's tasks to the future that asked, so that they end with it.
#[derive(Clone)]
struct Here(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

impl<F: Future + Send + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        // Nobody runs it any more once the question is dropped.
        let _ = self.0.send(future.map(drop).boxed());
    }
}

async fn run(mut spawned: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(task) = spawned.recv() => running.push(task),
            Some(()) = running.next() => {}
            else => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Target, TargetUrl, UpstreamTls};
    use crate::proxy::via::ViaId;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const BOUND: Duration = Duration::from_secs(20);

    fn upstream(url: &str) -> Upstream {
        let (url, credentials) = TargetUrl::parse_with_credentials(url).unwrap();
        let target = Target { url, credentials, tls: UpstreamTls::default() };
        Upstream::new(&"blue".parse().unwrap(), &target, &ViaId::random()).unwrap()
    }

    /// Answers one connection with `answer` and gives back what it was asked.
    async fn answering(listener: &TcpListener, answer: &[u8]) -> String {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(tcp.read_u8().await.unwrap());
        }
        tcp.write_all(answer).await.unwrap();
        String::from_utf8(asked).unwrap().to_ascii_lowercase()
    }

    #[tokio::test]
    async fn the_path_is_asked_for_below_the_base_url_and_with_its_credentials() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = upstream(&format!("http://ann:s3cret@127.0.0.1:{port}/base"));
        // The body breaks off: what counts was said.
        let answer = b"HTTP/1.1 503 Down\r\nContent-Length: 9\r\n\r\nab";
        let (status, asked) =
            tokio::join!(probe(&upstream, "/up?x=1", BOUND, None), answering(&listener, answer));
        assert_eq!(status.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(asked.starts_with("get /base/up?x=1 http/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{asked}");
        assert!(asked.contains("\r\nauthorization: basic "), "{asked}");
    }

    #[tokio::test]
    async fn a_target_of_http_2_is_asked_in_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = upstream(&format!("h2c://{}", listener.local_addr().unwrap()));
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(tcp).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri().path(), "/up");
            respond.send_response(Response::builder().status(204).body(()).unwrap(), true).unwrap();
            std::future::poll_fn(|cx| connection.poll_closed(cx)).await.ok();
        };
        let asked = probe(&upstream, "/up", BOUND, None);
        let (status, ()) = tokio::join!(asked, serve);
        assert_eq!(status.unwrap(), StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn silence_a_closed_port_and_our_own_control_address_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = upstream(&format!("http://{address}"));
        let short = Duration::from_millis(50);
        let silent = probe(&upstream, "/", short, None).await;
        assert!(matches!(silent, Err(ProbeError::Silent(_))), "{silent:?}");
        let control = probe(&upstream, "/", BOUND, Some(address)).await;
        assert!(matches!(control, Err(ProbeError::Control)), "{control:?}");
        drop(listener);
        let closed = probe(&upstream, "/", BOUND, None).await;
        assert!(matches!(closed, Err(ProbeError::Connect(_))), "{closed:?}");
    }
}
