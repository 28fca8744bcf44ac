//! `pmctl events`.

use std::time::Duration;

use super::backend::{Backend, Need, client_fault};
use super::context::Context;
use super::exit::ExitCode;
use crate::model::Fault;
use crate::rpc::ClientError;

/// Between two looks at the database.
const LOOK: Duration = Duration::from_millis(500);

/// Events of one look.
const PAGE: u32 = 1_000;

pub(super) async fn run(
    context: &Context<'_>,
    limit: u32,
    follow: bool,
) -> Result<ExitCode, Fault> {
    let backend = context.reach(Need::Read).await?;
    if !follow {
        let report = backend.events(limit, None).await?;
        context.output.events(&report);
        return Ok(ExitCode::Success);
    }
    context.output.begin_stream();
    let mut seen = match backend {
        Backend::Server(client) => {
            let url = client.server().url.clone().unwrap_or_default();
            let mut stream = client
                .watch_events(limit, None)
                .await
                .map_err(|error| client_fault(&url, error))?;
            loop {
                match stream.next().await {
                    Ok(Some(event)) => context.output.event(&event),
                    // The server's end is the end of what it can tell.
                    Ok(None) | Err(ClientError::GoingAway) => return Ok(ExitCode::Success),
                    Err(error) => return Err(client_fault(&url, error)),
                }
                if !context.output.is_open() {
                    return Ok(ExitCode::Success);
                }
            }
        }
        Backend::Direct(direct) => {
            let report = direct.ops.events(limit, None).await?;
            for event in &report.events {
                context.output.event(event);
            }
            report.events.last().map_or(0, |event| event.id)
        }
    };
    while context.output.is_open() {
        tokio::time::sleep(LOOK).await;
        let backend = context.reach_quietly(Need::Read).await?;
        for event in backend.events(PAGE, Some(seen)).await?.events {
            seen = event.id;
            context.output.event(&event);
        }
    }
    Ok(ExitCode::Success)
}
