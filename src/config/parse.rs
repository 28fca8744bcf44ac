//! How single values are written: durations, numbers, addresses, choices.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::layers::Written;
use crate::text::{self, Message};

/// The value as text, which all settings but paths are.
pub(super) fn utf8(written: &Written) -> Result<&str, Message> {
    written.value.to_str().ok_or_else(|| text::config::setting_not_utf8(&written.origin))
}

/// `500ms`, `5s`, `2m`, `1m 30s`; from `least` to `most`.
pub(super) fn duration(
    written: &Written,
    least: Duration,
    most: Duration,
) -> Result<Duration, Message> {
    let (value, origin) = (utf8(written)?.trim(), &written.origin);
    duration_within(value, origin, least, most)
}

/// The same for a value that is no setting; `origin` is what it was written as.
pub(crate) fn duration_within(
    value: &str,
    origin: impl std::fmt::Display,
    least: Duration,
    most: Duration,
) -> Result<Duration, Message> {
    // `humantime` takes `0` and nothing else without a unit.
    let parsed = humantime::parse_duration(value)
        .map_err(|_| text::config::duration_invalid(&origin, value))?;
    if parsed < least || parsed > most {
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        return Err(text::config::duration_out_of_bounds(origin, value, least, most));
    }
    Ok(parsed)
}

/// A whole number from `least` to `most`. TOML allows `10_000`.
pub(super) fn number(written: &Written, least: usize, most: usize) -> Result<usize, Message> {
    let value = utf8(written)?.trim();
    let digits = value.replace('_', "");
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|number| plain && (least..=most).contains(number))
        .ok_or_else(|| text::config::number_invalid(&written.origin, value, least, most))
}

/// Yes or no.
pub(super) fn switch(written: &Written) -> Result<bool, Message> {
    let value = utf8(written)?.trim();
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(text::config::choice_invalid(&written.origin, value, "true, false")),
    }
}

/// One of `choices`, by its word.
pub(super) fn choice<T: Copy>(written: &Written, choices: &[(&str, T)]) -> Result<T, Message> {
    let value = utf8(written)?.trim();
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        text::config::choice_invalid(&written.origin, value, words.join(", "))
    })
}

/// The address of the control plane. Port 0 is any free port, which the database tells the clients.
pub(super) fn listen(written: &Written) -> Result<SocketAddr, Message> {
    let value = utf8(written)?.trim();
    let named = value.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    named
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or_else(|| value.parse().ok())
        .ok_or_else(|| text::config::listen_invalid(&written.origin, value))
}

/// A host name.
pub(super) fn host_name(written: &Written) -> Result<String, Message> {
    let name = utf8(written)?.trim();
    let is_plain =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    match is_plain && !name.is_empty() {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(text::access::control_name_invalid(&written.origin, name)),
    }
}

/// The URL of a server: `http://host:port` or `https://host:port`, nothing more.
pub(super) fn server_url(written: &Written) -> Result<String, Message> {
    let value = utf8(written)?.trim();
    let refuse = |reason: &str| {
        // A password that was typed by mistake is not repeated.
        let shown = value.rsplit_once('@').map_or(value, |(_, host)| host);
        Err(text::config::server_url_invalid(&written.origin, shown, reason))
    };
    if !value.contains("://") {
        return refuse("it has no scheme");
    }
    let url = match url::Url::parse(value) {
        Ok(url) => url,
        Err(error) => return refuse(&error.to_string()),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("the scheme is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it has credentials in it");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return refuse("something stands behind the host and port");
    }
    if url.port() == Some(0) {
        return refuse("port 0 names no server");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
