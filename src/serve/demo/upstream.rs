//! An upstream to try the demo with: says who answered, echoes what it was sent, and has one slow
//! answer to watch a drain with.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::lifecycle::Tasks;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Lines of the slow answer, one a second.
const SLOW_LINES: u32 = 10;

/// An upstream called `name` on a free port of loopback, until the shutdown waits for its tasks.
///
/// # Errors
/// Those of the system.
pub async fn spawn(name: &'static str, tasks: &Tasks) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let serving = tasks.clone();
    // The proxies drain after the stop was asked for and need their upstream meanwhile.
    tasks.spawn_until_end("demo-upstream", async move {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => serve(name, socket, &serving),
                Err(error) => {
                    tracing::debug!(%error, "demo upstream: accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    Ok(address)
}

fn serve(name: &'static str, socket: tokio::net::TcpStream, tasks: &Tasks) {
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request)) });
    tasks.spawn_until_end("demo-upstream-connection", async move {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service);
        if let Err(error) = connection.await {
            tracing::trace!(%error, "demo upstream: connection ended");
        }
    });
}

fn answer(name: &'static str, request: Request<Incoming>) -> Response<Body> {
    let body = match (request.method(), request.uri().path()) {
        (&Method::POST | &Method::PUT, _) => request.into_body().boxed_unsync(),
        (_, "/slow") => slow(name),
        (method, path) => {
            let text = format!("{name} answers {method} {path}\n");
            Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert("x-upstream", HeaderValue::from_static(name));
    response
}

fn slow(name: &'static str) -> Body {
    let lines = stream::unfold(1, move |line| async move {
        if line > SLOW_LINES {
            return None;
        }
        if line > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let text = format!("{name}: line {line} of {SLOW_LINES}\n");
        Some((Ok(Frame::data(Bytes::from(text))), line + 1))
    });
    BodyExt::boxed_unsync(StreamBody::new(lines))
}
