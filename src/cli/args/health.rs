//! How the health of a target is watched, and heartbeats: words into values.

use std::time::Duration;

use super::command::HeartbeatCommand;
use super::convert::Convert;
use super::typed::{DrainArgs, HealthArgs, HeartbeatArgs, SetArgs};
use crate::cli::args::ServiceCommand;
use crate::config::duration_within;
use crate::model::{
    DrainProgress, HealthChange, HealthCheck, HealthPatch, HeartbeatHistory, Selection,
};
use crate::text;

impl Convert<'_> {
    /// The check of a new service.
    pub(super) fn new_health(&mut self, args: &HealthArgs) -> Option<Option<HealthCheck>> {
        let patch = self.health(args)?;
        match patch.is_empty() {
            true => Some(None),
            false => self.ok(patch.over(None)).map(Some),
        }
    }

    /// What changes of the check of a service.
    pub(super) fn health_change(&mut self, args: &SetArgs) -> Option<Option<HealthChange>> {
        if args.no_health {
            return Some(Some(HealthChange::Off));
        }
        let patch = self.health(&args.health)?;
        if patch.is_empty() {
            return Some(None);
        }
        if patch.path.is_some() {
            // Whatever was watched before, this must be fine by itself; else only the server knows.
            self.ok(patch.over(None))?;
        }
        Some(Some(HealthChange::Set(patch)))
    }

    fn health(&mut self, args: &HealthArgs) -> Option<HealthPatch> {
        let (least, most) = HealthCheck::INTERVALS_MS;
        let mut span = |written: &Option<String>, option: &str, least| match written {
            None => Some(None),
            Some(written) => {
                let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
                let span = self.ok(duration_within(written, option, least, most))?;
                Some(u64::try_from(span.as_millis()).ok())
            }
        };
        let interval_ms = span(&args.health_interval, "--health-interval", least);
        let timeout_ms =
            span(&args.health_timeout, "--health-timeout", HealthCheck::LEAST_TIMEOUT_MS);
        let healthy_after = self.in_a_row(&args.healthy_after, "--healthy-after");
        let unhealthy_after = self.in_a_row(&args.unhealthy_after, "--unhealthy-after");
        Some(HealthPatch {
            path: args.health_path.clone(),
            interval_ms: interval_ms?,
            timeout_ms: timeout_ms?,
            unhealthy_after: unhealthy_after?,
            healthy_after: healthy_after?,
        })
    }

    fn in_a_row(&mut self, written: &Option<String>, option: &str) -> Option<Option<u32>> {
        let Some(written) = written else { return Some(None) };
        let most = HealthCheck::MOST_IN_A_ROW;
        let number = written.parse().ok().filter(|number| (1..=most).contains(number));
        let number = number.ok_or_else(|| text::config::number_invalid(option, written, 1, most));
        self.ok(number).map(Some)
    }

    pub(super) fn drain(&mut self, args: &DrainArgs) -> Option<ServiceCommand> {
        let name = self.parse(&args.service);
        let max = match &args.max {
            None => Some(DrainProgress::DEFAULT_MAX),
            Some(written) => {
                let most = DrainProgress::MAX_MAX;
                self.ok(duration_within(written, "--max", Duration::ZERO, most))
            }
        };
        Some(ServiceCommand::Drain { name: name?, max: max? })
    }

    pub(super) fn heartbeat(&mut self, args: &HeartbeatArgs) -> Option<HeartbeatCommand> {
        Some(match args {
            HeartbeatArgs::Status(args) => HeartbeatCommand::Status {
                which: match args.names.is_empty() {
                    true => Selection::All,
                    false => Selection::Named(self.names(&args.names)?),
                },
                watch: args.watch,
            },
            HeartbeatArgs::History(args) => {
                let name = self.parse(&args.service);
                let limit = match args.lines.as_deref() {
                    None => Some(HeartbeatHistory::DEFAULT_CALLS),
                    Some(written) => {
                        let most = HeartbeatHistory::MAX_CALLS;
                        let number = written.parse().ok().filter(|n| (1..=most).contains(n));
                        let wrong = || text::config::number_invalid("-n", written, 1, most);
                        self.ok(number.ok_or_else(wrong))
                    }
                };
                HeartbeatCommand::History { name: name?, limit: limit? }
            }
        })
    }
}
