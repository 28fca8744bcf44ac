//! Changes that are asked of the server all the time, and what must be there after each that was
//! acknowledged.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::sandbox::{Ran, SERVICES, Sandbox, TARGETS};

/// Services that come and go, at most at once.
const GUESTS: usize = 5;

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// It is registered.
    There,
    /// It is not.
    Gone,
    /// Nobody acknowledged the last change.
    Unknown,
}

/// What was acknowledged so far, over all rounds.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    guests: BTreeMap<String, Expected>,
    /// The active target of each service under load, where the last switch was acknowledged.
    active: BTreeMap<&'static str, Option<&'static str>>,
    count: u64,
}

/// A change that was refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) seen: Instant,
    pub(super) what: String,
}

/// What one round of changes came to.
#[derive(Debug, Default)]
pub(super) struct Churned {
    pub(super) acknowledged: u64,
    pub(super) refused: Vec<Refused>,
}

/// Asks for one change after the other until `end`.
pub(super) fn churn(
    sandbox: &Sandbox,
    ledger: &mut Ledger,
    chance: &mut fastrand::Rng,
    end: &AtomicBool,
) -> io::Result<Churned> {
    let mut churned = Churned::default();
    while !end.load(Ordering::Relaxed) {
        let ran = ledger.change(sandbox, chance)?;
        match ran.code {
            0 => churned.acknowledged += 1,
            code => churned.refused.push(Refused {
                seen: Instant::now(),
                what: format!("exit {code}: {}", ran.document["error"].as_str().unwrap_or("?")),
            }),
        }
    }
    Ok(churned)
}

impl Ledger {
    fn change(&mut self, sandbox: &Sandbox, chance: &mut fastrand::Rng) -> io::Result<Ran> {
        let there = self.guests.iter().filter(|(_, expected)| **expected != Expected::Gone);
        let there: Vec<String> = there.map(|(name, _)| name.clone()).collect();
        match chance.u8(0..3) {
            0 => self.switch(sandbox, chance),
            1 if there.len() < GUESTS => {
                self.count += 1;
                let name = format!("guest-{}", self.count);
                let target = "main=http://127.0.0.1:9";
                let words = ["service", "add", &name, "--port", "auto", "--bind", "127.0.0.1"];
                let more = ["--target", target, "--no-register", "--no-fallback"];
                self.guests.insert(name.clone(), Expected::Unknown);
                let ran = sandbox.run(&[&words[..], &more[..]].concat())?;
                self.set(name, Expected::There, &ran);
                Ok(ran)
            }
            _ => match chance.choice(there) {
                None => self.switch(sandbox, chance),
                Some(name) => {
                    let was_known = self.guests.insert(name.clone(), Expected::Unknown);
                    let ran = sandbox.run(&["service", "remove", &name, "--no-fallback"])?;
                    // One that may never have been there is gone either way.
                    let is_absent = was_known == Some(Expected::Unknown)
                        && ran.document["code"] == "service-not-found";
                    if is_absent {
                        self.guests.insert(name, Expected::Gone);
                        return Ok(Ran { code: 0, ..ran });
                    }
                    self.set(name, Expected::Gone, &ran);
                    Ok(ran)
                }
            },
        }
    }

    fn switch(&mut self, sandbox: &Sandbox, chance: &mut fastrand::Rng) -> io::Result<Ran> {
        let service = SERVICES[chance.usize(0..SERVICES.len())];
        let target = TARGETS[chance.usize(0..TARGETS.len())];
        self.active.insert(service, None);
        let ran = sandbox.run(&["service", "switch", service, target, "--no-fallback"])?;
        if ran.code == 0 {
            self.active.insert(service, Some(target));
        }
        Ok(ran)
    }

    fn set(&mut self, name: String, expected: Expected, ran: &Ran) {
        if ran.code == 0 {
            self.guests.insert(name, expected);
        }
    }

    /// What was acknowledged and does not stand in `services`, the rows as listed.
    pub(super) fn missing(&mut self, services: &[Value]) -> Vec<String> {
        let row = |name: &str| services.iter().find(|service| service["name"] == name);
        let mut missing = Vec::new();
        for (name, expected) in &mut self.guests {
            match (&*expected, row(name).is_some()) {
                (Expected::There, false) => missing.push(format!("{name} was added and is gone")),
                (Expected::Gone, true) => missing.push(format!("{name} was removed and is there")),
                _ => {}
            }
            // From here on it is known.
            let is_there = row(name).is_some();
            *expected = if is_there { Expected::There } else { Expected::Gone };
        }
        self.guests.retain(|_, expected| *expected == Expected::There);
        for (service, active) in &mut self.active {
            let found = row(service).and_then(|row| row["activeTarget"].as_str());
            if let Some(wanted) = active.take()
                && found != Some(wanted)
            {
                let found = found.unwrap_or("nothing");
                missing.push(format!("{service} was switched to {wanted} and is at {found}"));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_can_be_missing() {
        let rows = [
            serde_json::json!({"name": "b", "activeTarget": "x"}),
            serde_json::json!({"name": "c", "activeTarget": "x"}),
            serde_json::json!({"name": "alpha", "activeTarget": "green"}),
        ];
        let mut ledger = Ledger::default();
        for (name, expected) in [
            ("a", Expected::There),
            ("b", Expected::Gone),
            ("c", Expected::There),
            ("d", Expected::Gone),
            ("e", Expected::Unknown),
        ] {
            ledger.guests.insert(name.to_owned(), expected);
        }
        ledger.active.insert("alpha", Some("blue"));
        ledger.active.insert("beta", None);
        let missing = ledger.missing(&rows);
        assert_eq!(
            missing,
            [
                "a was added and is gone",
                "b was removed and is there",
                "alpha was switched to blue and is at green"
            ]
        );
        // What is found counts from then on.
        assert!(ledger.missing(&rows).is_empty());
        assert!(ledger.missing(&rows[2..]).iter().all(|line| line.contains("is gone")));
    }
}
