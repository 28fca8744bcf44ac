//! hyper's own server, HTTP/1.1 and HTTP/2, and nothing else: what a proxy built on it is compared
//! with where a protocol's test suite finds something.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pmctl_bench_tools::Arguments;
use tokio::net::TcpListener;

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that does not arrive whole is the client's affair.
    request.into_body().collect().await.ok();
    Ok(Response::new(Full::new(Bytes::from_static(&[b'x'; 1_024]))))
}

async fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            builder.serve_connection(TokioIo::new(socket), service_fn(answer)).await.ok();
        });
    }
}

fn main() -> io::Result<()> {
    let port = Arguments::new("barehyper PORT").take();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port))
}
