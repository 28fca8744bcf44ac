//! Heads of requests and responses on their way through (RFC 9110 section 7.6).

use std::io::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION, COOKIE, EXPECT, Entry, HOST,
    HeaderName, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Parts as UriParts, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, request, response, uri};

use super::answer::{Failure, Refusal};
use super::connect::Protocol;
use super::location::{self, ClientView};
use super::upstream::Upstream;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What is known of a client's connection; made once for it, and held by every idle one: nothing of
/// it lies elsewhere.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// `X-Forwarded-For` member: the first so many bytes.
    peer: [u8; LONGEST_ADDRESS],
    peer_len: u8,
    is_tls: bool,
}

/// Bytes of an address as text, at most; its zone is none of it.
const LONGEST_ADDRESS: usize = 39;

impl ClientFacts {
    /// A client at `peer` that speaks `http`, or `https` if `tls`.
    pub fn new(peer: IpAddr, tls: bool) -> Self {
        let mut text = [0; LONGEST_ADDRESS];
        let mut rest = &mut text[..];
        // There is room for every address.
        let _ = write!(rest, "{}", peer.to_canonical());
        let left = rest.len();
        // At most 39.
        let peer_len = u8::try_from(LONGEST_ADDRESS - left).unwrap_or_default();
        Self { peer: text, peer_len, is_tls: tls }
    }

    /// `X-Forwarded-For` member.
    pub(super) fn peer(&self) -> &[u8] {
        &self.peer[..usize::from(self.peer_len)]
    }

    /// How the client speaks to pmctl; the `X-Forwarded-Proto` member.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// What of a request is kept aside while its head is rewritten.
#[derive(Clone, Debug)]
pub struct RequestShape {
    /// The authority the client asked for. `None`: HTTP/1.0 without `Host`.
    pub original_host: Option<HeaderValue>,
    /// The scheme the client used.
    pub original_scheme: uri::Scheme,
    /// What the client asks to upgrade to, by HTTP/1.1 and `Connection: upgrade`. Never h2c, which
    /// would carry requests past every check.
    pub upgrade: Option<HeaderValue>,
    /// The client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// The client takes trailers.
    pub te_trailers: bool,
    /// The body came chunked. Set it also where a body of unknown length came by HTTP/2: hyper
    /// sends a `GET` without its body otherwise.
    pub chunked: bool,
}

/// Rewrites a client's request head for `upstream`, all but what depends on the protocol: call
/// [`set_protocol`] once a connection is there.
///
/// # Errors
/// [`Refusal::Method`] for `CONNECT`, [`Refusal::Loop`] for a request that was here before,
/// [`Refusal::Host`] for several `Host` fields (possible by HTTP/2 only),
/// [`Refusal::TargetTooLong`] where the base path makes the target too long. `parts` is not
/// usable then, but for its method and `Accept`.
pub fn to_upstream(
    parts: &mut request::Parts,
    upstream: &Upstream,
    client: &ClientFacts,
) -> Result<RequestShape, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let headers = &mut parts.headers;
    if upstream.via().is_in(headers) {
        return Err(Refusal::Loop);
    }
    let shape = RequestShape {
        original_host: original_host(&parts.uri, headers)?,
        original_scheme: if client.is_tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP },
        upgrade: upgrade(parts.version, headers),
        expect_continue: expects_continue(parts.version, headers),
        te_trailers: is_member(headers, &TE, b"trailers"),
        chunked: headers.contains_key(TRANSFER_ENCODING),
    };
    parts.uri = joined(&parts.uri, upstream.url().base_path())?;
    remove_hop_by_hop(headers);
    headers.remove(HTTP2_SETTINGS);
    if parts.version == Version::HTTP_10 {
        headers.remove(EXPECT);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    headers.insert(HOST, upstream.host_field().clone());
    if let Some(host) = &shape.original_host {
        append_member(headers, &X_FORWARDED_HOST, host);
    }
    // Digits, dots and colons: always a valid value.
    if let Ok(peer) = HeaderValue::from_bytes(client.peer()) {
        append_member(headers, &X_FORWARDED_FOR, &peer);
    }
    append_member(headers, &X_FORWARDED_PROTO, &HeaderValue::from_static(client.scheme()));
    append_member(headers, &VIA, upstream.via().value(parts.version));
    if let Some(authorization) = upstream.authorization()
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    Ok(shape)
}

/// Gives a head made by [`to_upstream`] the form `protocol` needs. Idempotent: a retry over the
/// other protocol calls it again.
pub fn set_protocol(
    parts: &mut request::Parts,
    upstream: &Upstream,
    shape: &RequestShape,
    protocol: Protocol,
) {
    let headers = &mut parts.headers;
    for name in [CONNECTION, UPGRADE, TE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if shape.te_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut target = UriParts::default();
    target.path_and_query = parts.uri.path_and_query().cloned();
    match protocol {
        Protocol::H1 => {
            parts.version = Version::HTTP_11;
            headers.insert(HOST, upstream.host_field().clone());
            let connection = match (&shape.upgrade, shape.te_trailers) {
                (Some(_), true) => Some("upgrade, te"),
                (Some(_), false) => Some("upgrade"),
                (None, true) => Some("te"),
                (None, false) => None,
            };
            if let Some(options) = connection {
                headers.insert(CONNECTION, HeaderValue::from_static(options));
            }
            if let Some(upgrade) = &shape.upgrade {
                headers.insert(UPGRADE, upgrade.clone());
            }
            if shape.chunked && !headers.contains_key(CONTENT_LENGTH) {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        Protocol::H2 => {
            parts.version = Version::HTTP_2;
            headers.remove(HOST);
            target.scheme = Some(upstream.scheme().clone());
            target.authority = Some(upstream.authority().clone());
        }
    }
    // Either a path alone, or all three parts: both are valid, and failing would change nothing.
    if let Ok(uri) = Uri::from_parts(target) {
        parts.uri = uri;
    }
}

/// Rewrites an upstream's response head for the client. Its version becomes HTTP/1.1, which hyper's
/// HTTP/2 server ignores.
///
/// # Errors
/// [`Failure::Broken`] for a 101 that the client did not ask for, and for a transfer coding other
/// than `chunked`, which nobody asked for either and nobody here undoes.
pub fn to_client(
    parts: &mut response::Parts,
    upstream: &Upstream,
    shape: &RequestShape,
) -> Result<(), Failure> {
    let headers = &mut parts.headers;
    let upgrade = match (parts.status, &shape.upgrade) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(asked)) => {
            Some(headers.get(UPGRADE).unwrap_or(asked).clone())
        }
        (StatusCode::SWITCHING_PROTOCOLS, None) => {
            return Err(Failure::Broken(upstream.name().clone()));
        }
        _ => None,
    };
    one_framing(headers).ok_or_else(|| Failure::Broken(upstream.name().clone()))?;
    remove_hop_by_hop(headers);
    if parts.status == StatusCode::NO_CONTENT {
        // It has none (RFC 9110 section 8.6), and who believes it waits for a body.
        headers.remove(CONTENT_LENGTH);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    append_member(headers, &VIA, upstream.via().value(parts.version));
    parts.version = Version::HTTP_11;
    let view = ClientView {
        scheme: shape.original_scheme.as_str(),
        host: shape.original_host.as_ref().map(HeaderValue::as_bytes),
    };
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Entry::Occupied(mut places) = headers.entry(name) {
            for value in places.iter_mut() {
                if let Some(mapped) = location::location(value.as_bytes(), upstream.url(), &view)
                    && let Ok(mapped) = HeaderValue::try_from(mapped)
                {
                    *value = mapped;
                }
            }
        }
    }
    if let Entry::Occupied(mut cookies) = headers.entry(SET_COOKIE) {
        for value in cookies.iter_mut() {
            if let Some(mapped) = location::cookie(value.as_bytes(), upstream.url())
                && let Ok(mapped) = HeaderValue::try_from(mapped)
            {
                *value = mapped;
            }
        }
    }
    Ok(())
}

/// Leaves a response with one length at most. What its body was read by is the transfer coding
/// where there is one (RFC 9112 section 6.3): a `Content-Length` beside it would cut the body off
/// at the client. A length said several times is said once. `None`: an unknown coding.
fn one_framing(headers: &mut HeaderMap) -> Option<()> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {
            let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
            let first = lengths.next().map(HeaderValue::as_bytes).unwrap_or_default();
            if lengths.next().is_some() || first.contains(&b',') {
                let one = first.split(|b| *b == b',').next().unwrap_or_default().trim_ascii();
                let one = HeaderValue::from_bytes(one).ok()?;
                headers.insert(CONTENT_LENGTH, one);
            }
        }
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            headers.remove(CONTENT_LENGTH);
        }
        _ => return None,
    }
    Some(())
}

/// Removes from trailers what may not stand there (RFC 9110 section 6.5.1): framing, routing,
/// authentication, hop-by-hop fields. Digests of the content stay: trailers are made for them.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    let forbidden: Vec<HeaderName> =
        trailers.keys().filter(|name| !may_trail(name.as_str())).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

/// Whether the field `name`, in small letters, may stand in trailers.
pub(super) fn may_trail(name: &str) -> bool {
    !is_hop_by_hop(name.as_bytes())
        && (!is_kept(name) || matches!(name, "content-digest" | "content-md5"))
}

/// Whether the field `name` concerns one connection only.
pub(super) fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 => is(b"te"),
        7 => is(b"upgrade"),
        10 => is(b"connection") || is(b"keep-alive"),
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        18 => is(b"proxy-authenticate"),
        19 => is(b"proxy-authorization"),
        _ => false,
    }
}

/// The authority the client asked for: that of the target where it has one (RFC 9112 section
/// 3.2.2), else `Host`.
fn original_host(uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    if let Some(authority) = uri.authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        return HeaderValue::try_from(host).map(Some).map_err(|_| Refusal::Host);
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(Refusal::Host),
        (host, None) => Ok(host.cloned()),
    }
}

fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !is_member(headers, &CONNECTION, b"upgrade") {
        return None;
    }
    let mut protocols = Vec::new();
    for value in headers.get_all(UPGRADE) {
        for protocol in members(value.as_bytes()) {
            if !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c") {
                if !protocols.is_empty() {
                    protocols.extend_from_slice(b", ");
                }
                protocols.extend_from_slice(protocol);
            }
        }
    }
    if protocols.is_empty() { None } else { HeaderValue::from_bytes(&protocols).ok() }
}

/// An HTTP/1.0 client waits for nothing (RFC 9110 section 10.1.1).
fn expects_continue(version: Version, headers: &HeaderMap) -> bool {
    version != Version::HTTP_10 && is_member(headers, &EXPECT, b"100-continue")
}

/// The path and query of `uri` behind `base`, byte for byte; `*` stays what it is.
fn joined(uri: &Uri, base: &str) -> Result<Uri, Refusal> {
    let path = uri.path_and_query();
    let is_whole = path.is_some_and(|path| matches!(path.as_str().as_bytes(), [b'/', ..] | b"*"));
    let is_star = path.is_some_and(|path| path == "*");
    let path = match path {
        Some(path) if is_whole && (base.is_empty() || is_star) => path.clone(),
        // `Display` gives the slash that a query alone lacks.
        Some(path) => whole_path(format!("{base}{path}"))?,
        None => whole_path(format!("{base}/"))?,
    };
    let mut parts = UriParts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Refusal::RequestLine)
}

fn whole_path(path: String) -> Result<PathAndQuery, Refusal> {
    PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| Refusal::TargetTooLong)
}

/// Removes what concerns one connection only, and what `Connection` names as such.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let mut named: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in members(value.as_bytes()) {
            if is_common_option(option) {
                continue;
            }
            if let Ok(name) = HeaderName::from_bytes(option)
                && !is_kept(name.as_str())
            {
                named.push(name);
            }
        }
    }
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
}

/// Options that name no field, or one that is removed anyway.
pub(super) fn is_common_option(option: &[u8]) -> bool {
    let is = |known: &[u8]| option.eq_ignore_ascii_case(known);
    match option.len() {
        0 => true,
        2 => is(b"te"),
        5 => is(b"close"),
        7 => is(b"upgrade"),
        10 => is(b"keep-alive"),
        _ => false,
    }
}

/// Fields that `Connection` must not name and trailers must not have (RFC 9110 sections 7.6.1 and
/// 6.5.1): a client could take from a request what its target relies on.
pub(super) fn is_kept(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name.starts_with("content-")
        || name.starts_with("access-control-")
        || name.starts_with("if-")
        || matches!(
            name,
            "host"
                | "authorization"
                | "cookie"
                | "set-cookie"
                | "via"
                | "forwarded"
                | "x-real-ip"
                | "origin"
                | "referer"
                | "expect"
                | "max-forwards"
                | "range"
                | "accept"
                | "cache-control"
                | "pragma"
                | "vary"
                | "age"
                | "date"
                | "location"
                | "retry-after"
                | "www-authenticate"
                | "strict-transport-security"
                | "x-frame-options"
                | "x-content-type-options"
                | "trailer"
        )
}

/// The members of a comma-separated value.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// Whether one of them is `member`, in letters of whatever size.
pub(super) fn has_member(value: &[u8], member: &[u8]) -> bool {
    members(value).any(|found| found.eq_ignore_ascii_case(member))
}

fn is_member(headers: &HeaderMap, name: &HeaderName, member: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| has_member(value.as_bytes(), member))
}

/// Adds `member` behind all members of `name`, in one field: some targets read the first alone.
fn append_member(headers: &mut HeaderMap, name: &HeaderName, member: &HeaderValue) {
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        if !value.is_empty() {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
    }
    if list.is_empty() {
        headers.insert(name, member.clone());
        return;
    }
    list.extend_from_slice(member.as_bytes());
    // Made of valid values and a comma: never invalid.
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// HTTP/2 may split cookies into fields that HTTP/1.1 targets would read one of (RFC 9113 section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (fields.next(), fields.next()) else {
        return;
    };
    let mut cookies = first.as_bytes().to_vec();
    for field in headers.get_all(COOKIE).iter().skip(1) {
        cookies.extend_from_slice(b"; ");
        cookies.extend_from_slice(field.as_bytes());
    }
    if let Ok(cookies) = HeaderValue::from_bytes(&cookies) {
        headers.insert(COOKIE, cookies);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
