//! Durations, ages, byte counts and words as a person reads them.

use std::time::Duration;

use crate::model::Timestamp;
use crate::text::{self, Lang, Message};

/// How long something took: `<1ms`, `12ms`, `1.2s`, `2m 5s`.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "<1ms".to_owned(),
        millis @ 1..1_000 => format!("{millis}ms"),
        millis @ 1_000..60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => span(duration),
    }
}

/// How long something has lasted, in its two largest units: `0s`, `59s`, `2m 5s`, `3h`, `4d 1h`.
pub(super) fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (large, unit, small, small_unit) = match secs {
        0..60 => return format!("{secs}s"),
        60..3_600 => (secs / 60, "m", secs % 60, "s"),
        3_600..86_400 => (secs / 3_600, "h", secs % 3_600 / 60, "m"),
        _ => (secs / 86_400, "d", secs % 86_400 / 3_600, "h"),
    };
    match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{small_unit}"),
    }
}

/// How long ago `then` was.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    span(then.age(now))
}

/// The moment in UTC to the second: `2026-07-02 14:03:05Z`.
pub(super) fn moment(then: Timestamp) -> String {
    let full = then.to_string();
    match full.get(..19) {
        Some(seconds) => format!("{}Z", seconds.replacen('T', " ", 1)),
        None => full,
    }
}

/// `812 B`, `1.2 KiB`, `34 MiB`: one decimal below ten.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    // Tenths of the unit, in integers; exact at every boundary.
    let (mut tenths, mut unit) = (u128::from(count) * 10 / 1_024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    match tenths {
        ..100 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

/// A number with its thousands set apart: `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A word of the model (`running`, `service-added`) in `lang`; as it is where the catalogue has no
/// other, as for one that a newer pmctl stored.
pub(super) fn word(word: &str, lang: Lang) -> String {
    let message = Message::plain(&format!("word-{word}"));
    message.map_or_else(|| word.to_owned(), |message| message.render(lang))
}

/// `yes` or `no`.
pub(super) fn yes_or_no(yes: bool, lang: Lang) -> String {
    let message = if yes { text::cli::word_yes() } else { text::cli::word_no() };
    message.render(lang)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Actual, CleanupAction, EventAction, GuardianState, Outcome, PortAction, PortState,
        ServerState, ShutdownStep,
    };

    #[test]
    fn quantities_are_short_and_right_at_their_boundaries() {
        let took = |millis| took(Duration::from_millis(millis));
        assert_eq!(
            [0, 1, 999, 1_000, 59_999, 60_000].map(took),
            ["<1ms", "1ms", "999ms", "1.0s", "59.9s", "1m"]
        );
        let span = |secs| span(Duration::from_secs(secs));
        assert_eq!([0, 59, 125, 3_600, 90_000].map(span), ["0s", "59s", "2m 5s", "1h", "1d 1h"]);
        assert_eq!(
            [0, 1_023, 1_024, 10 * 1_024, (1 << 20) - 1, 1 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "10 KiB", "1023 KiB", "1.0 MiB", "15 EiB"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(moment(Timestamp::from_millis(1_234)), "1970-01-01 00:00:01Z");
    }

    #[test]
    fn every_word_of_the_model_is_in_the_catalogue_and_others_pass_as_they_are() {
        let mut words: Vec<&str> = Actual::ALL.iter().map(|w| w.as_str()).collect();
        words.extend(PortState::ALL.iter().map(|w| w.as_str()));
        words.extend(ServerState::ALL.iter().map(|w| w.as_str()));
        words.extend(EventAction::ALL.iter().map(|w| w.as_str()));
        words.extend(Outcome::ALL.iter().map(|w| w.as_str()));
        words.extend(ShutdownStep::ALL.iter().map(|w| w.as_str()));
        words.extend(PortAction::ALL.iter().map(|w| w.as_str()));
        words.extend(GuardianState::ALL.iter().map(|w| w.as_str()));
        words.extend(CleanupAction::ALL.iter().map(|w| w.as_str()));
        for known in words {
            assert_ne!(word(known, Lang::ZhCn), known);
        }
        assert_eq!(word("service-cloned", Lang::ZhCn), "service-cloned");
    }
}
