//! `pmctl heartbeat …`, `pmctl service drain`.

use std::time::Duration;

use super::args::HeartbeatCommand;
use super::backend::{Need, Reach, drain_there};
use super::context::Context;
use super::exit::ExitCode;
use crate::model::{Fault, FaultKind, Selection, ServiceName};
use crate::text;

/// Between two screens of `heartbeat status --watch`.
const SCREEN: Duration = Duration::from_secs(1);

pub(super) async fn run(
    context: &Context<'_>,
    command: HeartbeatCommand,
) -> Result<ExitCode, Fault> {
    match command {
        HeartbeatCommand::Status { which, watch: false } => {
            let report = context.reach(Need::Read).await?.heartbeats(&which).await?;
            context.output.heartbeats(&report);
            Ok(ExitCode::Success)
        }
        HeartbeatCommand::Status { which, watch: true } => watch(context, &which).await,
        HeartbeatCommand::History { name, limit } => {
            let backend = context.reach(Need::Read).await?;
            let history = backend.heartbeat_history(&name, limit).await?;
            context.output.heartbeat_history(&history);
            Ok(ExitCode::Success)
        }
    }
}

/// Until the reader goes away. Each screen finds its source anew: the server may come and go.
async fn watch(context: &Context<'_>, which: &Selection) -> Result<ExitCode, Fault> {
    context.output.begin_stream();
    while context.output.is_open() {
        let report = context.reach_quietly(Need::Read).await?.heartbeats(which).await?;
        context.output.begin_screen();
        context.output.heartbeats(&report);
        tokio::time::sleep(SCREEN).await;
    }
    Ok(ExitCode::Success)
}

/// `service drain`: only a live server has traffic to watch.
pub(super) async fn drain(
    context: &Context<'_>,
    name: &ServiceName,
    max: Duration,
) -> Result<ExitCode, Fault> {
    let needed = text::heartbeat::drain_needs_a_server(name);
    if context.settings.direct {
        return Err(Fault::new(FaultKind::Unavailable, needed));
    }
    let client = Reach::new(context.settings)?.server(needed).await?;
    let view = context.output.progress_view();
    let report = drain_there(&client, name, max, &|progress| view.drain(&progress)).await;
    view.finish();
    Ok(context.output.action(&report?))
}
