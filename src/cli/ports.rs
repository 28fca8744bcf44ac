//! `pmctl ports …`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::args::{PortsCommand, Wait, WaitForPorts};
use super::backend::Need;
use super::context::Context;
use super::exit::ExitCode;
use super::kill;
use crate::model::{Fault, FaultKind, Port, PortsReport};
use crate::text;

/// Between two looks of `ports wait`.
const LOOK: Duration = Duration::from_millis(100);

/// Between two screens of `ports status --watch`.
const SCREEN: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &Context<'_>, command: PortsCommand) -> Result<ExitCode, Fault> {
    match command {
        PortsCommand::Status { ports, watch: false } => {
            let ports = ports.unwrap_or_default();
            let report = context.reach(Need::Read).await?.ports(&ports).await?;
            context.output.ports(&report);
            Ok(ExitCode::Success)
        }
        PortsCommand::Status { ports, watch: true } => {
            watch(context, ports.unwrap_or_default()).await
        }
        PortsCommand::Kill(request) => kill::run(context, &request).await,
        PortsCommand::Wait { ports, wait } => wait_for(context, ports, wait).await,
    }
}

/// Until the reader goes away. Each screen finds its source anew: the server may come and go.
async fn watch(context: &Context<'_>, ports: BTreeSet<Port>) -> Result<ExitCode, Fault> {
    context.output.begin_stream();
    while context.output.is_open() {
        let report = context.reach_quietly(Need::Read).await?.ports(&ports).await?;
        context.output.begin_screen();
        context.output.ports(&report);
        tokio::time::sleep(SCREEN).await;
    }
    Ok(ExitCode::Success)
}

async fn wait_for(
    context: &Context<'_>,
    ports: BTreeSet<Port>,
    wait: Wait<WaitForPorts>,
) -> Result<ExitCode, Fault> {
    let settings = wait.settings(context.settings);
    let context = Context { settings: &settings, output: context.output };
    let deadline = Instant::now() + wait.timeout;
    let (wants_use, word) = match wait.until {
        WaitForPorts::Free => (false, "free"),
        WaitForPorts::Listening => (true, "listening"),
    };
    loop {
        let report = context.reach_quietly(Need::Read).await?.ports(&ports).await?;
        let missing = missing(&report, wants_use);
        if missing.is_empty() {
            context.output.ports(&report);
            return Ok(ExitCode::Success);
        }
        if Instant::now() >= deadline {
            let timeout = humantime::format_duration(wait.timeout);
            let message =
                text::backend::wait_for_ports_timed_out(word, timeout, missing.join(", "));
            return Err(Fault::new(FaultKind::Timeout, message));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn missing(report: &PortsReport, wants_use: bool) -> Vec<String> {
    let not_so = report.ports.iter().filter(|(_, view)| view.in_use != wants_use);
    not_so.map(|(port, _)| port.to_string()).collect()
}
