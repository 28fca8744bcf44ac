//! A client's head, rewritten for its target (RFC 9110 section 7.6).

use std::io::Write as _;

use http::{Method, Version};

use super::shape::Shape;
use crate::proxy::answer::Refusal;
use crate::proxy::headers::{ClientFacts, is_common_option, is_hop_by_hop, is_kept, members};
use crate::proxy::upstream::Upstream;
use crate::proxy::wire::Body;

/// Bytes of a target with its base path; hyper takes no more, and both engines refuse the same.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// Writes the head that `upstream` is sent into `out`.
///
/// # Errors
/// [`Refusal::Method`] for `CONNECT`, [`Refusal::Loop`] for a request that was here before,
/// [`Refusal::TargetTooLong`] where the base path makes the target too long.
pub(super) fn write(
    head: &[u8],
    shape: &Shape,
    upstream: &Upstream,
    client: &ClientFacts,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    check(head, shape, upstream)?;
    out.clear();
    out.extend_from_slice(shape.method(head));
    out.push(b' ');
    write_target(shape.path_and_query(head), upstream.url().base_path(), out)?;
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(upstream.host_field().as_bytes());
    out.extend_from_slice(b"\r\n");
    let named = Named::of(shape.names_fields, shape.fields(head));
    for (name, value) in shape.fields(head) {
        if !(is_rewritten(name, shape) || named.has(name)) {
            write_field(name, value, out);
        }
    }
    write_added(head, shape, upstream, client, out);
    write_hop(head, shape, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Refuses what is not forwarded anywhere.
fn check(head: &[u8], shape: &Shape, upstream: &Upstream) -> Result<(), Refusal> {
    if shape.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let vias = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"via");
    if shape.has_via
        && shape.fields(head).filter(vias).any(|(_, value)| upstream.via().is_named_in(value))
    {
        return Err(Refusal::Loop);
    }
    Ok(())
}

/// The path and query behind `base`, byte for byte; `*` stays what it is.
fn write_target(path: &[u8], base: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let before = out.len();
    if path != b"*" {
        out.extend_from_slice(base.as_bytes());
    }
    if !matches!(path.first(), Some(b'/' | b'*')) {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    match out.len() - before > MAX_TARGET {
        true => Err(Refusal::TargetTooLong),
        false => Ok(()),
    }
}

/// Whether the field is left out here, because it concerns one hop or is written anew.
fn is_rewritten(name: &[u8], shape: &Shape) -> bool {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        3 => is(b"via"),
        4 => is(b"host"),
        6 => shape.is_http10 && is(b"expect"),
        14 => is(b"content-length") || is(b"http2-settings"),
        15 => is(b"x-forwarded-for"),
        _ => is_forwarded(name) || is_hop_by_hop(name),
    }
}

fn is_forwarded(name: &[u8]) -> bool {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    is(b"x-forwarded-for") || is(b"x-forwarded-host") || is(b"x-forwarded-proto")
}

/// The fields that `Connection` names as those of one hop, in small letters and sorted: a head may name
/// tens of thousands, and none of its fields is to be compared with each.
pub(super) struct Named(Vec<Vec<u8>>);

impl Named {
    /// Of a head with `fields`; `has_any`: some are named.
    pub(super) fn of<'a>(
        has_any: bool,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut named = Vec::new();
        if has_any {
            let connections = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
            let options = connections.flat_map(|(_, value)| members(value));
            named.extend(options.filter(|o| !is_common_option(o)).map(<[u8]>::to_ascii_lowercase));
            named.sort_unstable();
        }
        Self(named)
    }

    /// Whether the field `name` is one of them, and may be.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let name = name.to_ascii_lowercase();
        self.0.binary_search(&name).is_ok() && !is_kept(&String::from_utf8_lossy(&name))
    }
}

pub(super) fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `member` behind all members that `fields` of this name have, in one field: some targets
/// read the first alone.
pub(super) fn write_joined<'a>(
    name: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    member: &[u8],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    for (field, value) in fields {
        if field.eq_ignore_ascii_case(name) && !value.is_empty() {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(member);
    out.extend_from_slice(b"\r\n");
}

/// Who asked for what, and by which way.
fn write_added(
    head: &[u8],
    shape: &Shape,
    upstream: &Upstream,
    client: &ClientFacts,
    out: &mut Vec<u8>,
) {
    // Most requests come from no proxy: their fields are not gone through again.
    let fields = |are_there: bool| shape.fields(head).take_while(move |_| are_there);
    let forwarded = || fields(shape.has_forwarded);
    if let Some(host) = shape.host(head) {
        write_joined(b"x-forwarded-host", forwarded(), host, out);
    } else if shape.has_forwarded {
        for (name, value) in shape.fields(head) {
            if name.eq_ignore_ascii_case(b"x-forwarded-host") {
                write_field(name, value, out);
            }
        }
    }
    write_joined(b"x-forwarded-for", forwarded(), client.peer(), out);
    write_joined(b"x-forwarded-proto", forwarded(), client.scheme().as_bytes(), out);
    let version = if shape.is_http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    write_joined(b"via", fields(shape.has_via), upstream.via().value(version).as_bytes(), out);
    if let Some(authorization) = upstream.authorization()
        && !shape.has_authorization
    {
        write_field(b"authorization", authorization.as_bytes(), out);
    }
}

/// What concerns the connection to the target.
fn write_hop(head: &[u8], shape: &Shape, out: &mut Vec<u8>) {
    match shape.body {
        Body::Length(length) if shape.has_length => {
            // Writing to a vector does not fail.
            let _ = write!(out, "content-length: {length}\r\n");
        }
        Body::Length(_) => {}
        Body::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if shape.takes_trailers {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    match (shape.upgrades, shape.takes_trailers) {
        (true, true) => out.extend_from_slice(b"connection: upgrade, te\r\n"),
        (true, false) => out.extend_from_slice(b"connection: upgrade\r\n"),
        (false, true) => out.extend_from_slice(b"connection: te\r\n"),
        (false, false) => {}
    }
    if shape.upgrades {
        out.extend_from_slice(b"upgrade: ");
        shape.write_protocols(head, out);
        out.extend_from_slice(b"\r\n");
    }
}
