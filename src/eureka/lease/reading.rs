//! The answer of a server, read within bounds, and what reading it met.

use std::error::Error;

use reqwest::Response;

use super::CallError;
use super::server::Server;

/// Most bytes of an answer.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Hands on the pieces of an answer as they come, until `take` has had enough.
pub(super) async fn pieces(
    server: &Server,
    mut response: Response,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), CallError> {
    let mut length = 0;
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(server, &e))? {
        length += chunk.len();
        if length > MOST_BYTES {
            let reason = format!("it is larger than {MOST_BYTES} bytes");
            return Err(CallError::Malformed { url: server.url.clone(), reason });
        }
        if !take(&chunk) {
            break;
        }
    }
    Ok(())
}

/// Whether an answer begins as the list of a registry does; no more of it is read than shows that.
pub(super) async fn begins_as_list(server: &Server, response: Response) -> Result<bool, CallError> {
    const BEGINNING: &[u8] = b"{\"applications\":";
    let mut met = Vec::new();
    pieces(server, response, |piece| {
        let text = piece.iter().filter(|byte| !byte.is_ascii_whitespace());
        met.extend(text.take(BEGINNING.len() - met.len()));
        met.len() < BEGINNING.len() && BEGINNING.starts_with(&met)
    })
    .await?;
    Ok(met == BEGINNING)
}

pub(super) async fn body(server: &Server, response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    pieces(server, response, |piece| {
        body.extend_from_slice(piece);
        true
    })
    .await?;
    Ok(body)
}

pub(super) fn unreachable(server: &Server, error: &reqwest::Error) -> CallError {
    let url = server.url.clone();
    if error.is_timeout() {
        return CallError::Silent { url };
    }
    // The deepest cause says what happened; those above it repeat the URL.
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let reason = cause.to_string();
    match error.is_connect() {
        true => CallError::Unreachable { url, reason },
        false => CallError::Lost { url, reason },
    }
}

pub(super) fn malformed(server: &Server, error: &dyn Error) -> CallError {
    let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    CallError::Malformed { url: server.url.clone(), reason }
}
