//! Heads of requests and responses on their way through.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, request, response, uri};

use super::answer::{Failure, Refusal};
use super::connect::Protocol;
use super::upstream::Upstream;

/// What is known of a client's connection; made once for it.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// `X-Forwarded-For` member.
    peer: HeaderValue,
    /// `http` or `https`: how the client speaks to pmctl.
    scheme: uri::Scheme,
}

impl ClientFacts {
    /// A client at `peer` that speaks `http`, or `https` if `tls`.
    pub fn new(peer: IpAddr, tls: bool) -> Self {
        let _ = (peer, tls);
        todo!()
    }
}

/// What of a request is kept aside while its head is rewritten.
#[derive(Clone, Debug, Default)]
pub struct RequestShape {
    /// The authority the client asked for. `None`: HTTP/1.0 without `Host`.
    pub original_host: Option<HeaderValue>,
    /// The client's scheme, `None` as `http`.
    pub original_scheme: Option<uri::Scheme>,
    /// What the client asks to upgrade to (HTTP/1.1 with `Connection: upgrade`).
    pub upgrade: Option<HeaderValue>,
    /// The client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// The client takes trailers.
    pub te_trailers: bool,
    /// The body came chunked. Set it also where a body of unknown length came by HTTP/2: hyper
    /// would send no body with a `GET` otherwise.
    pub chunked: bool,
}

/// Rewrites a client's request head for `upstream`, all but what depends on the protocol: call
/// [`set_protocol`] once a connection is there.
pub fn to_upstream(
    parts: &mut request::Parts,
    upstream: &Upstream,
    client: &ClientFacts,
) -> Result<RequestShape, Refusal> {
    let _ = (parts, upstream, client);
    todo!()
}

/// Gives a head made by [`to_upstream`] the form `protocol` needs. Idempotent: a retry over the
/// other protocol calls it again.
pub fn set_protocol(
    parts: &mut request::Parts,
    upstream: &Upstream,
    shape: &RequestShape,
    protocol: Protocol,
) {
    let _ = (parts, upstream, shape, protocol);
    todo!()
}

/// Rewrites an upstream's response head for the client.
///
/// # Errors
/// [`Failure::Broken`] for a 101 that nobody asked for.
pub fn to_client(
    parts: &mut response::Parts,
    upstream: &Upstream,
    shape: &RequestShape,
) -> Result<(), Failure> {
    let _ = (parts, upstream, shape);
    todo!()
}

/// Removes from trailers what may not stand there (RFC 9110 section 6.5.1): framing, routing,
/// authentication, hop-by-hop fields.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let _ = trailers;
    todo!()
}
