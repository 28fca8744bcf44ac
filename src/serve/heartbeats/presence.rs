//! What the registry lists, followed by its deltas, against what it was told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Heartbeats;
use super::driver::event;
use super::entry::Stage;
use crate::eureka::{Action, CallError, Extent, InstanceStatus, Listed, Roll};
use crate::model::{EventAction, Outcome};
use crate::text;

/// A registry answers lists from a cache that is up to 30 s old (`eureka-core`,
/// `ResponseCacheImpl.java`): what it was told less long ago is not held against it.
const CACHE: Duration = Duration::from_secs(35);

/// What the registry listed last: each instance's status, and what was set over it.
#[derive(Debug, Default)]
pub(super) struct Presence {
    listed: HashMap<(String, String), (InstanceStatus, InstanceStatus)>,
    is_whole: bool,
}

impl Presence {
    fn replace(&mut self, all: Roll) {
        self.listed = all.listed.into_iter().map(entry).collect();
        self.is_whole = true;
    }

    /// Applies what changed; whether the outcome is what the registry says it has.
    fn apply(&mut self, delta: Roll) -> bool {
        for one in delta.listed {
            match one.action {
                Some(Action::Deleted) => drop(self.listed.remove(&(one.app, one.id))),
                Some(Action::Added | Action::Modified) | None => {
                    self.listed.extend([entry(one)]);
                }
            }
        }
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for (status, _) in self.listed.values() {
            *counts.entry(status.as_str()).or_default() += 1;
        }
        let hash: String = counts.iter().map(|(word, count)| format!("{word}_{count}_")).collect();
        self.is_whole = hash == delta.hash_code;
        self.is_whole
    }
}

fn entry(one: Listed) -> ((String, String), (InstanceStatus, InstanceStatus)) {
    ((one.app, one.id), (one.status, one.overridden_status))
}

impl Heartbeats {
    /// One look at what the registry lists: one call, two where its delta is no help. What is missing
    /// or shown otherwise than told is put right; what an operator set is left alone.
    pub(in crate::serve) async fn synchronise(&self) {
        let Some(plan) = &self.plan else { return };
        if self.book().entries().next().is_none() {
            return;
        }
        let mut presence = self.presence.lock().await;
        let fetched: Result<(), CallError> = async {
            if presence.is_whole {
                match plan.registry.roll(Extent::Changes).await {
                    Ok(delta) => {
                        if presence.apply(delta) {
                            return Ok(());
                        }
                    }
                    Err(error @ (CallError::Unreachable { .. } | CallError::Silent { .. })) => {
                        return Err(error);
                    }
                    // A registry may have none (`disableDelta`).
                    Err(error) => tracing::debug!(%error, "no delta"),
                }
            }
            presence.replace(plan.registry.roll(Extent::Whole).await?);
            Ok(())
        }
        .await;
        match fetched {
            Ok(()) => self.compare(&presence),
            // Renewals say what is wrong with the registry.
            Err(error) => {
                presence.is_whole = false;
                tracing::debug!(%error, "the registry was not listed");
            }
        }
    }

    fn compare(&self, presence: &Presence) {
        let now = Instant::now();
        let mut wakes = false;
        let mut book = self.book();
        for id in book.ids() {
            book.change(id, |entry| {
                let Stage::Leased { written, lease, .. } = &mut entry.stage else { return };
                let Some(told) = lease.told() else { return };
                let of = &written.registration;
                let key = (of.app.clone(), of.instance_id.clone());
                let Some((status, set_over)) = presence.listed.get(&key).copied() else {
                    entry.shown = None;
                    // Its answer is the truth: 404 makes it announced again.
                    let is_settled = entry.told_at.is_none_or(|at| now - at >= CACHE);
                    if is_settled && !lease.is_busy() {
                        lease.check(now);
                        wakes = true;
                    }
                    return;
                };
                let before = std::mem::replace(&mut entry.set_over, set_over);
                entry.shown = Some(status);
                let is_set = set_over != InstanceStatus::Unknown;
                if before != set_over {
                    let detail = match is_set {
                        true => {
                            text::lease::event_lease_override(set_over.as_str(), &of.instance_id)
                        }
                        false => text::lease::event_lease_override_gone(&of.instance_id),
                    };
                    tracing::info!(service = %of.service, "{detail}");
                    self.say(event(EventAction::LeaseOverride, &of.service, Outcome::Ok, detail));
                }
                let is_settled = entry.told_at.is_some_and(|at| now - at >= CACHE);
                if !is_set && status != told && is_settled && !lease.is_busy() {
                    let (shown, told) = (status.as_str(), told.as_str());
                    let detail = text::lease::event_lease_corrected(shown, told);
                    tracing::info!(service = %of.service, shown, told, "announced again");
                    self.say(event(EventAction::LeaseHealed, &of.service, Outcome::Ok, detail));
                    lease.tell_again(now);
                    wakes = true;
                }
            });
        }
        drop(book);
        if wakes {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hash: &str, instances: &[(&str, InstanceStatus, Option<Action>)]) -> Roll {
        let listed = |(id, status, action): &(&str, InstanceStatus, Option<Action>)| Listed {
            app: "A".into(),
            id: (*id).to_owned(),
            status: *status,
            overridden_status: InstanceStatus::Unknown,
            action: *action,
        };
        Roll { hash_code: hash.to_owned(), listed: instances.iter().map(listed).collect() }
    }

    #[test]
    fn a_delta_whose_hash_does_not_come_out_asks_for_everything() {
        let (up, down) = (InstanceStatus::Up, InstanceStatus::Down);
        let mut presence = Presence::default();
        presence.replace(list("UP_2_", &[("1", up, None), ("2", up, None)]));
        let changes = [("2", down, Some(Action::Modified)), ("3", up, Some(Action::Added))];
        assert!(presence.apply(list("DOWN_1_UP_2_", &changes)));
        assert!(presence.apply(list("UP_2_", &[("2", down, Some(Action::Deleted))])));
        assert!(!presence.apply(list("UP_5_", &[])));
        assert!(!presence.is_whole);
    }
}
