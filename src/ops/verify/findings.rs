//! What was found, as it is collected.

use std::collections::BTreeMap;

use crate::model::{Finding, HolderView, VerifyCount, VerifyItem, VerifySubject};
use crate::text::{self, Message};

/// Collects what is found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    checked: BTreeMap<VerifySubject, u64>,
    items: Vec<VerifyItem>,
}

impl Findings {
    /// `count` of a kind were looked at, and nothing is to be said of them.
    pub(super) fn checked(&mut self, subject: VerifySubject, count: usize) {
        *self.checked.entry(subject).or_default() += count as u64;
    }

    /// What was found about one of those that count as looked at already.
    pub(super) fn noted(
        &mut self,
        subject: VerifySubject,
        name: impl ToString,
        finding: Finding,
        message: Message,
    ) {
        let (name, holders) = (name.to_string(), Vec::new());
        self.items.push(VerifyItem { subject, name, finding, message, holders });
    }

    /// Something that was looked at, and what was found.
    pub(super) fn add(
        &mut self,
        subject: VerifySubject,
        name: impl ToString,
        finding: Finding,
        message: Message,
    ) {
        self.add_held(subject, name, finding, message, Vec::new());
    }

    /// The same with whoever listens there.
    pub(super) fn add_held(
        &mut self,
        subject: VerifySubject,
        name: impl ToString,
        finding: Finding,
        message: Message,
        holders: Vec<HolderView>,
    ) {
        self.checked(subject, 1);
        self.items.push(VerifyItem { subject, name: name.to_string(), finding, message, holders });
    }

    /// How many of each kind, the sentence about all of it, and every item.
    pub(super) fn into_parts(self) -> (Message, Vec<VerifyCount>, Vec<VerifyItem>) {
        let of = |subject: Option<VerifySubject>, finding| {
            let is_one = |item: &&VerifyItem| {
                subject.is_none_or(|subject| item.subject == subject) && item.finding == finding
            };
            self.items.iter().filter(is_one).count() as u64
        };
        let count = |subject: &VerifySubject| VerifyCount {
            subject: *subject,
            checked: self.checked.get(subject).copied().unwrap_or_default(),
            elsewhere: of(Some(*subject), Finding::Elsewhere),
            live: of(Some(*subject), Finding::Live),
            unproved: of(Some(*subject), Finding::Unproved),
            left: of(Some(*subject), Finding::Left),
        };
        let counts: Vec<_> = VerifySubject::ALL.iter().map(count).collect();
        let all = |finding| of(None, finding);
        let (live, unproved, left) =
            (all(Finding::Live), all(Finding::Unproved), all(Finding::Left));
        let message = match (left, live, unproved) {
            (0, 0, 0) => text::verify::verify_clean(),
            (0, 0, unproved) => text::verify::verify_unproved(unproved),
            (0, _, 0) => text::verify::verify_live(),
            (0, _, unproved) => text::verify::verify_live_unproved(unproved),
            (left, 0, 0) => text::verify::verify_left(left),
            (left, 0, unproved) => text::verify::verify_left_unproved(left, unproved),
            (left, _, unproved) => text::verify::verify_left_beside_live(left, unproved),
        };
        (message, counts, self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_the_worst_first_and_the_counts_are_complete() {
        let code = |found: &[Finding]| {
            let mut findings = Findings::default();
            findings.checked(VerifySubject::Node, 3);
            for finding in found {
                let message = text::verify::port_free(8080);
                findings.add(VerifySubject::Port, 8080, *finding, message);
            }
            let (message, counts, items) = findings.into_parts();
            assert_eq!((counts.len(), items.len()), (VerifySubject::ALL.len(), found.len()));
            assert_eq!(counts.iter().map(|of| of.checked).sum::<u64>(), 3 + found.len() as u64);
            message.code()
        };
        use Finding::{Clean, Elsewhere, Left, Live, Unproved};
        assert_eq!(code(&[Clean, Elsewhere]), "verify-clean");
        assert_eq!(code(&[Clean, Unproved]), "verify-unproved");
        assert_eq!(code(&[Live, Elsewhere]), "verify-live");
        assert_eq!(code(&[Live, Unproved]), "verify-live-unproved");
        assert_eq!(code(&[Left, Elsewhere]), "verify-left");
        assert_eq!(code(&[Left, Unproved]), "verify-left-unproved");
        assert_eq!(code(&[Left, Live]), "verify-left-beside-live");
    }
}
