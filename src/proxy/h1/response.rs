//! A target's head, rewritten for the client (RFC 9110 section 7.6).

use std::io::Write as _;
use std::mem::MaybeUninit;

use http::{StatusCode, Version};
use httparse::{Header, ParserConfig, Status};

use super::framing::Rest;
use super::request::{Named, write_field, write_joined};
use super::shape::Shape;
use crate::proxy::headers::{has_member, is_common_option, is_hop_by_hop, members};
use crate::proxy::location::{self, ClientView};
use crate::proxy::upstream::Upstream;

/// Fields of an answer; one with more is no answer.
const MAX_FIELDS: usize = 128;

/// The head is no HTTP, or says what nobody asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

/// What the client gets the answer's end from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// What the target said; the body passes as it is.
    AsItIs,
    /// Chunks made here.
    Chunks,
    /// The end of the connection; chunks of the target are undone.
    End,
}

/// A whole head.
#[derive(Debug)]
pub(super) struct Answer {
    /// Bytes of the head as it came.
    pub(super) len: usize,
    pub(super) status: StatusCode,
    pub(super) rest: Rest,
    pub(super) form: Form,
    /// The target goes on with its connection.
    pub(super) keeps_alive: bool,
    /// Whether the client was told that its connection goes on.
    pub(super) client_goes_on: bool,
}

/// What the answer is written for.
pub(super) struct To<'a> {
    /// The request's head, which `shape` is of.
    pub(super) head: &'a [u8],
    pub(super) shape: &'a Shape,
    pub(super) upstream: &'a Upstream,
    /// How the client speaks to pmctl.
    pub(super) scheme: &'a str,
    /// The client's connection is to end with this answer.
    pub(super) close: bool,
    /// The request's body is not sent whole: it may be worthless by now.
    pub(super) is_half_sent: bool,
}

/// What the fields of the head say about the message itself.
#[derive(Default)]
struct Said<'a> {
    close: bool,
    keep_alive: bool,
    /// `Connection` names fields that are not known to be of one hop.
    names_fields: bool,
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
    upgrade: Option<&'a [u8]>,
}

/// Reads a head at the start of `bytes` and writes the one for the client into `out`. `None`: it is
/// not complete.
///
/// # Errors
/// See [`NoAnswer`].
pub(super) fn rewrite(
    bytes: &[u8],
    to: &To<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Answer>, NoAnswer> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    let len = match parsed {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(NoAnswer),
    };
    let code = response.code.ok_or(NoAnswer)?;
    let status = StatusCode::from_u16(code).map_err(|_| NoAnswer)?;
    let is_http10 = response.version == Some(0);
    let said = said(response.headers, is_http10)?;
    if status == StatusCode::SWITCHING_PROTOCOLS
        && !(to.shape.upgrades && said.upgrade.is_none_or(|value| to.shape.offers(to.head, value)))
    {
        return Err(NoAnswer);
    }
    let (rest, form) = framing(status, &said, to.shape);
    let target_keeps = match is_http10 {
        true => said.keep_alive && !said.close,
        false => !said.close,
    };
    // An answer that is through before the request is ends the connection, and the client has to know
    // before it sends the next one (RFC 9112 section 9.6).
    let is_early = to.is_half_sent && (said.close || rest.is_within(bytes.len() - len));
    let ends = form == Form::End || is_early;
    let client_goes_on = to.shape.keeps_alive && !to.close && !ends;
    let mut answer = Answer {
        len,
        status,
        keeps_alive: target_keeps && !matches!(rest, Rest::UntilEnd) && !is_doubtful(status, &said),
        rest,
        form,
        client_goes_on,
    };
    if status.is_informational() {
        answer.rest = Rest::Done;
    }
    let version: &[u8] = if to.shape.is_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    out.clear();
    out.extend_from_slice(version);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(response.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(response.headers, &said, status, to, is_http10, out);
    write_hop(&answer, &said, to, out);
    out.extend_from_slice(b"\r\n");
    Ok(Some(answer))
}

/// Reads the fields that say how the message is framed (RFC 9112 section 6.3) and what becomes of
/// the connection. A transfer coding other than `chunked` was not asked for, and nobody here undoes
/// it.
fn said<'a>(fields: &[Header<'a>], is_http10: bool) -> Result<Said<'a>, NoAnswer> {
    let mut said = Said::default();
    for field in fields {
        let is = |known: &str| field.name.eq_ignore_ascii_case(known);
        match field.name.len() {
            7 if is("upgrade") => said.upgrade = Some(field.value),
            10 if is("connection") => {
                said.close |= has_member(field.value, b"close");
                said.keep_alive |= has_member(field.value, b"keep-alive");
                said.names_fields |= members(field.value).any(|o| !is_common_option(o));
            }
            14 if is("content-length") => {
                for member in members(field.value) {
                    let length = length(member).ok_or(NoAnswer)?;
                    if said.length.is_some_and(|other| other != length) {
                        return Err(NoAnswer);
                    }
                    said.length = Some(length);
                }
            }
            17 if is("transfer-encoding") => {
                said.codings += 1;
                said.is_chunked = field.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
    }
    let is_odd = said.codings > 1 || (said.codings == 1 && (is_http10 || !said.is_chunked));
    if is_odd { Err(NoAnswer) } else { Ok(said) }
}

/// A plain decimal number.
fn length(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

/// Whether target and proxy may be of two minds about where the message ends, so that what follows it
/// on the connection may be anything (RFC 9112 section 6.3).
fn is_doubtful(status: StatusCode, said: &Said<'_>) -> bool {
    let has_length = said.length.is_some_and(|length| length > 0);
    match status {
        StatusCode::NO_CONTENT => has_length || said.is_chunked,
        _ => said.is_chunked && said.length.is_some(),
    }
}

fn framing(status: StatusCode, said: &Said<'_>, shape: &Shape) -> (Rest, Form) {
    let has_none = shape.is_head()
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match said.length {
        _ if has_none => (Rest::Done, Form::AsItIs),
        _ if said.is_chunked && shape.is_http10 => (Rest::chunked(), Form::End),
        _ if said.is_chunked => (Rest::chunked(), Form::AsItIs),
        Some(0) => (Rest::Done, Form::AsItIs),
        Some(length) => (Rest::Length(length), Form::AsItIs),
        None if shape.is_http10 => (Rest::UntilEnd, Form::End),
        None => (Rest::UntilEnd, Form::Chunks),
    }
}

fn write_fields(
    fields: &[Header<'_>],
    said: &Said<'_>,
    status: StatusCode,
    to: &To<'_>,
    is_http10: bool,
    out: &mut Vec<u8>,
) {
    let pairs = || fields.iter().map(|field| (field.name.as_bytes(), field.value));
    let view = ClientView { scheme: to.scheme, host: to.shape.host(to.head) };
    let target = to.upstream.url();
    let named = Named::of(said.names_fields, pairs());
    let mut has_via = false;
    for (name, value) in pairs() {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let mapped = match name.len() {
            3 if is(b"via") => {
                has_via = true;
                continue;
            }
            14 if is(b"content-length") => continue,
            8 if is(b"location") => location::location(value, target, &view),
            16 if is(b"content-location") => location::location(value, target, &view),
            10 if is(b"set-cookie") => location::cookie(value, target),
            _ if is_hop_by_hop(name) => continue,
            _ => None,
        };
        if !named.has(name) {
            write_field(name, mapped.as_deref().unwrap_or(value), out);
        }
    }
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        let version = if is_http10 { Version::HTTP_10 } else { Version::HTTP_11 };
        let own = to.upstream.via().value(version).as_bytes();
        write_joined(b"via", pairs().take_while(|_| has_via), own, out);
    } else {
        pairs().filter(|_| has_via).for_each(|(name, value)| {
            if name.eq_ignore_ascii_case(b"via") {
                write_field(name, value, out);
            }
        });
    }
}

/// What concerns the connection to the client.
fn write_hop(answer: &Answer, said: &Said<'_>, to: &To<'_>, out: &mut Vec<u8>) {
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
        match said.upgrade {
            Some(protocol) => out.extend_from_slice(protocol.trim_ascii()),
            None => to.shape.write_protocols(to.head, out),
        }
        out.extend_from_slice(b"\r\n");
        return;
    }
    if answer.status.is_informational() {
        return;
    }
    let has_body = !answer.rest.is_done();
    // Of an answer to HEAD, and of a 304, it is that of the body which is not sent.
    if answer.form == Form::AsItIs
        && !said.is_chunked
        && answer.status != StatusCode::NO_CONTENT
        && let Some(length) = said.length
    {
        // Writing to a vector does not fail.
        let _ = write!(out, "content-length: {length}\r\n");
    }
    if has_body && (answer.form == Form::Chunks || (said.is_chunked && answer.form == Form::AsItIs))
    {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    write_connection(to.shape, answer.client_goes_on, out);
}

/// Says what becomes of the client's connection, where it would think otherwise.
pub(super) fn write_connection(shape: &Shape, goes_on: bool, out: &mut Vec<u8>) {
    match (goes_on, shape.is_http10) {
        (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, false) => {}
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
    }
}
