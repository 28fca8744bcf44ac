//! All rounds: chosen by the seed, counted by their way.

use std::sync::atomic::{AtomicBool, Ordering};

use super::churn::Ledger;
use super::round::{self, Round};
use super::sandbox::{Sandbox, broken};
use crate::model::{Fault, SelftestCount, SelftestReport, SelftestRequest, SelftestViolation, Way};
use crate::text::{self, Lang};

/// How often each way is seen where nobody says how many rounds there are. One takes 12 s.
const USUAL: u32 = 3;

/// Who hears how it goes, and may end it.
pub struct Heard<'a> {
    /// A round begins: its number and way, and how many there are.
    pub round: &'a (dyn Fn(u32, u32, Way) + Sync),
    /// True once no further round is to begin.
    pub end: &'a AtomicBool,
    /// The language of what the sandbox logs.
    pub lang: Lang,
}

/// Ends servers of a sandbox as asked. Blocks, about a second a round, 13 s for one that is frozen.
///
/// # Errors
/// Those of the sandbox: no room, no ports, a program that cannot be started.
pub fn run(request: &SelftestRequest, heard: &Heard<'_>) -> Result<SelftestReport, Fault> {
    let seed = request.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut chance = fastrand::Rng::with_seed(seed);
    let plan = plan(request, &mut chance);
    let sandbox = Sandbox::new(heard.lang)?;
    let (mut ledger, mut rounds) = (Ledger::default(), Vec::new());
    let total = u32::try_from(plan.len()).unwrap_or(u32::MAX);
    for (number, way) in (1..).zip(plan) {
        if heard.end.load(Ordering::Relaxed) {
            break;
        }
        (heard.round)(number, total, way);
        // Each round has a chance of its own: what happens in one does not move the next.
        let mut own = chance.fork();
        let round = round::run(&sandbox, way, &mut ledger, &mut own);
        rounds.push((number, way, round.map_err(|error| broken(&error))?));
    }
    Ok(report(request, seed, total, &rounds))
}

/// The way of each round: every one in turn where nobody chose, mixed by chance.
fn plan(request: &SelftestRequest, chance: &mut fastrand::Rng) -> Vec<Way> {
    let ways = match request.ways.is_empty() {
        true => Way::here(),
        false => request.ways.clone(),
    };
    let usual = |way: &Way| if *way == Way::Freeze { 1 } else { USUAL };
    let mut plan: Vec<Way> = match request.rounds {
        None => ways.iter().flat_map(|way| vec![*way; usual(way) as usize]).collect(),
        Some(rounds) => ways.iter().copied().cycle().take(rounds as usize).collect(),
    };
    chance.shuffle(&mut plan);
    plan
}

fn report(
    request: &SelftestRequest,
    seed: u64,
    total: u32,
    rounds: &[(u32, Way, Round)],
) -> SelftestReport {
    let interrupted = rounds.len() < total as usize;
    let mut counts: Vec<SelftestCount> = Vec::new();
    let mut violations = Vec::new();
    for way in Way::ALL {
        let of: Vec<_> = rounds.iter().filter(|(_, other, _)| other == way).collect();
        if of.is_empty() {
            continue;
        }
        let slowest = of.iter().map(|(_, _, round)| round.took).max().unwrap_or_default();
        counts.push(SelftestCount {
            way: *way,
            rounds: u32::try_from(of.len()).unwrap_or(u32::MAX),
            requests: of.iter().map(|(_, _, round)| round.requests).sum(),
            writes: of.iter().map(|(_, _, round)| round.writes).sum(),
            slowest_ms: u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX),
            violations: of
                .iter()
                .map(|(_, _, round)| u32::try_from(round.violations.len()).unwrap_or(u32::MAX))
                .sum(),
        });
    }
    for (number, way, round) in rounds {
        violations.extend(round.violations.iter().map(|message| SelftestViolation {
            round: *number,
            way: *way,
            message: message.clone(),
        }));
    }
    let message = match violations.len() {
        0 if interrupted => text::selftest::selftest_interrupted(rounds.len(), total),
        0 => text::selftest::promises_kept(rounds.len()),
        broken => text::selftest::promises_broken(broken, rounds.len(), request.command(seed)),
    };
    SelftestReport { seed, message, counts, violations, interrupted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(seed: u64, rounds: Option<u32>, ways: &[Way]) -> Vec<Way> {
        let request = SelftestRequest { seed: Some(seed), rounds, ways: ways.to_vec() };
        plan(&request, &mut fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn a_seed_chooses_the_same_rounds_again() {
        assert_eq!(plan_of(7, Some(40), &[]), plan_of(7, Some(40), &[]));
        assert_ne!(plan_of(7, Some(40), &[]), plan_of(8, Some(40), &[]));
    }

    #[test]
    fn the_command_for_the_same_rounds_is_complete_and_rounds_that_were_left_out_are_no_success() {
        let ways = vec![Way::KillServer, Way::Stop];
        let request = SelftestRequest { seed: None, rounds: Some(9), ways };
        let command = "pmctl selftest --seed 7 --rounds 9 --way kill-server --way stop";
        assert_eq!(request.command(7), command);
        let cut = report(&request, 7, 9, &[]);
        assert_eq!((cut.is_kept(), cut.message.code()), (false, "selftest-interrupted"));
        assert!(report(&request, 7, 0, &[]).is_kept());
    }

    #[test]
    fn every_way_has_its_turn_unless_some_were_chosen() {
        let usual = plan_of(1, None, &[]);
        let count = |way| usual.iter().filter(|other| **other == way).count();
        assert!(Way::here().iter().all(|way| (1..=USUAL as usize).contains(&count(*way))));
        let chosen = plan_of(1, Some(5), &[Way::KillServer, Way::KillBoth]);
        let kills = chosen.iter().filter(|way| **way == Way::KillServer).count();
        assert_eq!((chosen.len(), kills), (5, 3));
    }
}
