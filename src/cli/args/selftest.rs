//! `selftest`: typed, and what it asks for.

use super::convert::Convert;
use crate::model::{SelftestRequest, Way};
use crate::text;

/// Most rounds of one selftest.
const MOST_ROUNDS: u32 = 100_000;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct SelftestArgs {
    #[arg(long, value_name = "NUMBER")]
    seed: Option<String>,
    #[arg(long, value_name = "N")]
    rounds: Option<String>,
    #[arg(long, value_name = "WAY")]
    way: Vec<String>,
}

impl Convert<'_> {
    pub(super) fn selftest(&mut self, args: &SelftestArgs) -> Option<SelftestRequest> {
        let seed = args.seed.as_deref().map(|written| {
            let invalid = |_| text::selftest::seed_invalid(written.escape_debug());
            self.ok(written.parse().map_err(invalid))
        });
        let rounds = args.rounds.as_deref().map(|written| {
            let rounds = written.parse().ok().filter(|rounds| (1..=MOST_ROUNDS).contains(rounds));
            let invalid = || text::selftest::rounds_invalid(written.escape_debug(), MOST_ROUNDS);
            self.ok(rounds.ok_or_else(invalid))
        });
        let here = Way::here();
        let mut ways = Vec::new();
        for written in &args.way {
            let known = Way::from_word(written).filter(|way| here.contains(way));
            let way = self.ok(known.ok_or_else(|| {
                let words: Vec<&str> = here.iter().map(|way| way.as_str()).collect();
                text::selftest::way_unknown_here(written.escape_debug(), words.join(", "))
            }))?;
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        Some(SelftestRequest {
            seed: seed.map_or(Some(None), |s| s.map(Some))?,
            rounds: rounds.map_or(Some(None), |r| r.map(Some))?,
            ways,
        })
    }
}
