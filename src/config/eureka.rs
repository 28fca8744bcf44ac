//! The registry among the settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::layers::Written;
use super::resolve::{DAY, HOUR, Resolver, secs};
use super::settings::EurekaSettings;
use super::{Key, Surroundings, parse};
use crate::model::{InstanceIdPattern, Port, RegistryUrl};
use crate::text::{self, Message};

/// Renewals that a lease outlasts where only their interval is configured.
const RENEWALS: u32 = 3;

/// Most bytes of a host name (RFC 1035 section 2.3.4).
const MAX_HOST_BYTES: usize = 253;

impl Resolver {
    pub(super) fn eureka(&mut self, around: &Surroundings) -> EurekaSettings {
        let interval = self
            .get(Key::EurekaInterval, secs(30), |written| whole_seconds(written, secs(1), HOUR));
        let fetch_interval = self.get(Key::EurekaFetchInterval, secs(10), |written| {
            parse::duration(written, secs(1), HOUR)
        });
        let usual = secs(90).max(interval * RENEWALS);
        let lease_duration = self
            .get(Key::EurekaLeaseDuration, usual, |written| whole_seconds(written, interval, DAY));
        let secure_port = self.get(Key::EurekaSecurePort, None, |written| {
            let number = parse::number(written, 1, usize::from(u16::MAX))?;
            Ok(u16::try_from(number).ok().and_then(Port::new))
        });
        let ca_file = self.layers.get(Key::EurekaCa).map(|written| {
            written.origin.base(&around.working_dir).join(PathBuf::from(&written.value))
        });
        EurekaSettings {
            urls: self.urls(),
            interval,
            fetch_interval,
            lease_duration,
            advertise: self.get(Key::Advertise, None, |written| advertise(written).map(Some)),
            instance_id: self.get(Key::EurekaInstanceId, InstanceIdPattern::default(), pattern),
            metadata: self.metadata(),
            secure_port,
            ca_file,
        }
    }

    fn urls(&mut self) -> Vec<RegistryUrl> {
        let mut urls: Vec<RegistryUrl> = Vec::new();
        let mut mistakes = Vec::new();
        for written in self.layers.each(Key::EurekaUrls) {
            match registry_url(written) {
                Ok(url) if urls.iter().any(|known| known.as_str() == url.as_str()) => {}
                Ok(url) => urls.push(url),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        self.mistakes.append(&mut mistakes);
        urls
    }

    fn metadata(&mut self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::new();
        let mut mistakes = Vec::new();
        for written in self.layers.each(Key::EurekaMetadata) {
            match entry(written) {
                Ok((name, value)) => drop(metadata.insert(name, value)),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        self.mistakes.append(&mut mistakes);
        metadata
    }
}

fn registry_url(written: &Written) -> Result<RegistryUrl, Message> {
    let text = parse::utf8(written)?.trim();
    RegistryUrl::parse(text).map_err(|error| {
        text::heartbeat::eureka_url_invalid(&written.origin, error.shown, error.reason)
    })
}

fn whole_seconds(written: &Written, least: Duration, most: Duration) -> Result<Duration, Message> {
    let duration = parse::duration(written, least, most)?;
    match duration.subsec_nanos() {
        0 => Ok(duration),
        _ => {
            let value = written.value.to_string_lossy();
            Err(text::heartbeat::duration_not_whole_seconds(&written.origin, value))
        }
    }
}

/// A host as consumers can connect to it: a name, or an address that is not every address.
fn advertise(written: &Written) -> Result<String, Message> {
    let text = parse::utf8(written)?.trim();
    let refuse = || Err(text::heartbeat::advertise_invalid(&written.origin, text.escape_debug()));
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<std::net::IpAddr>() {
        return match ip.is_unspecified() || ip.is_multicast() {
            true => refuse(),
            false => Ok(ip.to_string()),
        };
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // Digits and dots alone are a mistaken address, not a name.
    let is_name = text.len() <= MAX_HOST_BYTES
        && text.trim_end_matches('.').split('.').all(is_label)
        && text.bytes().any(|b| b.is_ascii_alphabetic());
    if is_name { Ok(text.to_owned()) } else { refuse() }
}

fn pattern(written: &Written) -> Result<InstanceIdPattern, Message> {
    let text = parse::utf8(written)?.trim();
    InstanceIdPattern::parse(text).map_err(|reason| {
        let known = InstanceIdPattern::PLACEHOLDERS.join(", ");
        text::heartbeat::instance_id_invalid(&written.origin, text.escape_debug(), reason, known)
    })
}

/// An entry of the metadata. What begins with `pmctl.` is how a survivor knows our instances, and
/// `@` begins the attributes of the XML form.
fn entry(written: &Written) -> Result<(String, String), Message> {
    let value = parse::utf8(written)?;
    let refuse =
        |shown: &str| Err(text::heartbeat::metadata_invalid(&written.origin, shown.escape_debug()));
    let Some(name) = written.name.as_deref() else { return refuse(value) };
    // It is the name of an element in the XML form of an instance.
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well =
        name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !begins_well || !goes_on_well || name.starts_with("pmctl.") {
        return refuse(name);
    }
    match value.chars().any(char::is_control) {
        true => refuse(name),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests;
