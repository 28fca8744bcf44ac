//! The published ways to make two parties read one stream of requests differently: none of them gets
//! past the own engine.

mod corpora;

use self::corpora::{Attack, Verdict};
use super::kit::Bench;
use super::record::{Message, Recorder, answers, converse};

/// What must not be taken for a request of its own where the one before it is refused.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Why `attack` is not met as it should be.
fn wrong(attack: &Attack, bench: &Bench, recorder: &Recorder) -> Option<String> {
    let bytes = [&attack.bytes[..], SMUGGLED].concat();
    // All at once, and cut in the middle of the head.
    for cut in [0, 17] {
        let pieces = [&bytes[..cut], &bytes[cut..]];
        let said = converse(bench.addr, pieces.into_iter().filter(|piece| !piece.is_empty()));
        let seen = recorder.take();
        let (told, rest) = answers(&said, &[]);
        let statuses: Vec<u16> = told.iter().map(Message::status).collect();
        let asked: Vec<&str> = seen.iter().map(|request| request.start.as_str()).collect();
        let closes =
            |answer: &Message| answer.fields.get("connection").is_some_and(|c| c == "close");
        let is_met = match attack.verdict {
            Verdict::Refused(status) => {
                statuses == [status] && told.iter().all(closes) && asked.is_empty()
            }
            Verdict::ByLength(body) => {
                let starts = ["POST /attack HTTP/1.1", "GET /smuggled HTTP/1.1"];
                statuses == [200, 200] && asked == starts && seen[0].body == body
            }
        };
        if !is_met || rest.is_some() {
            let bytes = bytes.escape_ascii();
            return Some(format!(
                "{}: {}: {statuses:?}, at the target {asked:?}\n  {bytes}",
                attack.source, attack.name
            ));
        }
    }
    None
}

#[test]
fn every_published_attack_is_refused_and_closed_or_read_in_the_only_way() {
    let recorder = Recorder::new();
    let bench = Bench::new(&recorder.origin.url());
    let attacks = corpora::all();
    assert!(attacks.len() > 200, "{} attacks", attacks.len());
    let wrong: Vec<String> =
        attacks.iter().filter_map(|attack| wrong(attack, &bench, &recorder)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), attacks.len(), wrong.join("\n"));
}
