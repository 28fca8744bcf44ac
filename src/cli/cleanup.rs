//! `pmctl cleanup`: inside the live server, else here while nobody owns the database; a hung server
//! is explained, and ended only with `--force`.

use std::time::{Duration, Instant};

use super::backend::{Examined, Found, Nobody, PATIENCE, Reach, Repair, VERDICT, cleanup_there};
use super::context::Context;
use super::exit::ExitCode;
use super::render::ProgressView;
use crate::config::Settings;
use crate::host;
use crate::model::{
    Actor, CleanupNode, CleanupReport, CleanupRequest, Fault, FaultKind, Phase, ServerState,
};
use crate::ops::HungServer;
use crate::rpc::Client;
use crate::store::{HolderKind, LockHolder, Owner};
use crate::text::{self, Message};

/// Between two looks at a server that comes or goes, or a lock that somebody has for a moment.
const LOOK: Duration = Duration::from_millis(100);

/// How long the lock of a server that has ended may take to be free.
const LAST_BREATH: Duration = Duration::from_secs(5);

pub(super) async fn run(
    context: &Context<'_>,
    request: &CleanupRequest,
) -> Result<ExitCode, Fault> {
    // A short `--timeout` is a short wait for others; it must not make a healthy server a silent one.
    let calls = Settings { timeout: PATIENCE, ..context.settings.clone() };
    let view = context.output.progress_view();
    let cleanup = Cleanup {
        context,
        request,
        reach: Reach::new(&calls)?,
        by: Actor::Direct(host::current_user_name()),
        view: &view,
    };
    let report = cleanup.carry_out().await;
    view.finish();
    Ok(context.output.cleanup_report(&report?))
}

struct Cleanup<'a> {
    context: &'a Context<'a>,
    request: &'a CleanupRequest,
    reach: Reach<'a>,
    by: Actor,
    view: &'a ProgressView,
}

impl Cleanup<'_> {
    async fn carry_out(&self) -> Result<CleanupReport, Fault> {
        let mut deadline = Instant::now() + self.context.settings.timeout;
        let mut ended: Option<CleanupNode> = None;
        let mut was_examined = false;
        loop {
            let begun = Instant::now();
            let wait_because = match self.reach.find().await? {
                Found::Server(client) => match client.phase() {
                    Phase::Ready => return self.inside(client, ended).await,
                    phase => self.comes_or_goes(client.server().pid, phase.into()),
                },
                Found::Nobody(why) => match self.alone(why, &mut ended).await? {
                    Some(report) => return Ok(report),
                    None => text::backend::under_repair("?"),
                },
                Found::Silent(why) => why,
                Found::Busy(_, why) if self.context.settings.direct => self.direct_busy(why)?,
                Found::Busy(state, why) => match self.suspect(state)? {
                    None => why,
                    Some(holder) => {
                        let span = humantime::format_duration(VERDICT);
                        self.view.say(&text::cleanup::probing_server(holder.identity.pid, span));
                        match self.reach.examine(&holder, begun).await? {
                            Examined::Answers(client) if client.phase() == Phase::Ready => {
                                return self.inside(client, ended).await;
                            }
                            Examined::Answers(_) | Examined::Changed => {
                                // The examination was not a wait for it to come or go.
                                if !was_examined {
                                    // If it died, its guardian has the lock for its work.
                                    let patience = self.context.settings.timeout.max(LAST_BREATH);
                                    deadline = deadline.max(Instant::now() + patience);
                                    was_examined = true;
                                }
                                self.comes_or_goes(Some(holder.identity.pid), state)
                            }
                            Examined::Hung(hung) => {
                                if !self.request.force || self.request.dry_run {
                                    return self.explain(&hung).await;
                                }
                                ended = Some(self.end(&hung).await?);
                                // What follows may wait for the lock that is about to be free.
                                deadline = deadline.max(Instant::now() + LAST_BREATH);
                                continue;
                            }
                        }
                    }
                },
            };
            if Instant::now() >= deadline {
                return Err(Fault::new(FaultKind::Unavailable, wait_because));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The live server does it.
    async fn inside(
        &self,
        client: Box<Client>,
        ended: Option<CleanupNode>,
    ) -> Result<CleanupReport, Fault> {
        let hear = |progress| self.view.cleanup(&progress);
        let report = cleanup_there(&client, self.request, &hear).await?;
        Ok(with(report, ended))
    }

    /// Nobody owns the database: this process does it as its owner. `None` if somebody else became
    /// that first.
    async fn alone(
        &self,
        why: Nobody,
        ended: &mut Option<CleanupNode>,
    ) -> Result<Option<CleanupReport>, Fault> {
        if self.context.settings.no_fallback {
            return Err(Fault::new(FaultKind::Unavailable, why.refusal(self.reach.location())));
        }
        let hear = |progress| self.view.cleanup(&progress);
        let changes = !self.request.dry_run && self.reach.has_database().await?;
        if !changes {
            let direct = self.reach.reader(ServerState::Down).await?;
            let report = direct.ops.cleanup(self.request, &self.by, &hear).await?;
            self.context.output.note(&why.falling_back());
            return Ok(Some(with(report, ended.take())));
        }
        let Some(repair) = Repair::begin(self.context.settings, self.reach.location()).await?
        else {
            return Ok(None);
        };
        self.context.output.note(&why.falling_back());
        let ops = &repair.direct.ops;
        if let Some(ended) = ended.as_ref() {
            ops.record_hung(ended, &self.by).await?;
        }
        let report = ops.cleanup(self.request, &self.by, &hear).await;
        repair.end().await?;
        report.map(|report| Some(with(report, ended.take())))
    }

    /// With `--direct` no server is asked, so whoever serves is left; a repair is waited for.
    fn direct_busy(&self, why: Message) -> Result<Message, Fault> {
        match self.reach.owner()? {
            Owner::Held(Some(holder)) if holder.kind == HolderKind::Serve => {
                Err(Fault::new(FaultKind::Unavailable, why))
            }
            _ => Ok(why),
        }
    }

    /// The owner of the lock, if it is one that may be hung: a server that says it is ready and that
    /// left a question without an answer. One that starts or leaves has good reasons to be silent.
    fn suspect(&self, state: ServerState) -> Result<Option<LockHolder>, Fault> {
        if state != ServerState::Unresponsive {
            return Ok(None);
        }
        let Owner::Held(Some(holder)) = self.reach.owner()? else { return Ok(None) };
        let is_ready = holder.kind == HolderKind::Serve && holder.phase == Some(Phase::Ready);
        if is_ready && !host::is_alive(&holder.identity) {
            let message = text::cleanup::server_unseen();
            return Err(Fault::new(FaultKind::Unavailable, message));
        }
        Ok(is_ready.then_some(holder))
    }

    async fn explain(&self, hung: &HungServer) -> Result<CleanupReport, Fault> {
        let direct = self.reach.reader(ServerState::Unresponsive).await?;
        direct.ops.explain_hung(hung, self.request).await
    }

    async fn end(&self, hung: &HungServer) -> Result<CleanupNode, Fault> {
        let direct = self.reach.reader(ServerState::Unresponsive).await?;
        self.view.say(&text::cleanup::ending_server(hung.identity.pid));
        direct.ops.end_hung(hung).await
    }

    fn comes_or_goes(&self, pid: Option<u32>, state: ServerState) -> Message {
        let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        text::cleanup::server_comes_or_goes(pid, state)
    }
}

/// The report with the server that was ended before it, which the rows may call dead as well.
fn with(mut report: CleanupReport, ended: Option<CleanupNode>) -> CleanupReport {
    let Some(ended) = ended else { return report };
    report.nodes.retain(|node| node.pid != ended.pid);
    if report.nodes.is_empty() && report.message.code() == "cleanup-nothing" {
        // It put its rows right by itself before it ended.
        report.message = ended.message.clone();
    }
    report.nodes.insert(0, ended);
    report
}
