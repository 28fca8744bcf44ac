//! hyper as the engine for clients of HTTP/1: what the own engine is compared with. It forwards by the
//! very code that serves clients of HTTP/2, so heads are rewritten in another place by other rules.

use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::model::ServiceName;
use crate::proxy::client_socket::ClientSocket;
use crate::proxy::exchange::Client;
use crate::proxy::forward;

/// The service whose clients it serves.
pub(super) const SERVICE: &str = "oracle";

/// Whether it serves the clients of `service`.
pub(in crate::proxy) fn is_asked(service: &ServiceName) -> bool {
    service.as_str() == SERVICE
}

/// Serves one connection until it ends.
pub(in crate::proxy) async fn serve(client: Rc<Client>, stream: ClientSocket) {
    let service = service_fn(|request: Request<Incoming>| forward::http2(&client, request));
    let http = http1::Builder::new()
        .auto_date_header(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // What it met is seen by its client and its target.
    let _ = http.await;
}
