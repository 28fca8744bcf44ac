//! `pmctl status`, `pmctl verify`, `pmctl shutdown`: the server as a whole.

use std::time::{Duration, Instant};

use super::args::{Wait, WaitForServer};
use super::backend::{Found, Need, Reach, client_fault};
use super::context::Context;
use super::exit::ExitCode;
use super::render::ShutdownLines;
use crate::config::Settings;
use crate::host;
use crate::model::{
    EventAction, Fault, FaultKind, ServerState, ShutdownProgress, ShutdownStep, StepState,
};
use crate::ops::store_fault;
use crate::rpc::{Client, ClientError};
use crate::store::{HolderKind, Location, Owner, Store, owner};
use crate::text;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Events among which the end of the last server is looked for.
const LAST_EVENTS: u32 = 100;

/// How long the repair of a guardian takes at most: so long a verification waits for its end.
const LONGEST_REPAIR: Duration = Duration::from_secs(15);

/// How long a server may still hold its lock after it said its last word.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// `status`.
pub(super) async fn status(
    context: &Context<'_>,
    wait: Option<Wait<WaitForServer>>,
) -> Result<ExitCode, Fault> {
    if let Some(wait) = wait {
        wait_for(context.settings, wait).await?;
    }
    let report = context.reach(Need::Read).await?.status().await?;
    context.output.status(&report);
    Ok(ExitCode::Success)
}

/// `verify`: the server, or the database and this machine, are only looked at. A repair that is under way
/// (the guardian's after a kill, say) is waited for.
pub(super) async fn verify(context: &Context<'_>) -> Result<ExitCode, Fault> {
    let deadline = Instant::now() + LONGEST_REPAIR;
    loop {
        let is_late = Instant::now() >= deadline;
        if !is_late && is_under_repair(context.settings)? {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let settings = of_a_look(context.settings)?;
        let asking = Context { settings: &settings, output: context.output };
        let report = asking.reach(Need::Read).await?.verify().await?;
        // It may have begun after the look, or ended since.
        let was_owned = report.items.iter().any(|item| item.message.code() == "owner-live");
        if !is_late && was_owned && !is_served(context.settings)? {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        return Ok(context.output.verify_report(&report));
    }
}

/// A server whose database was removed cannot look at it any more; its lock and what else is there can be
/// looked at from here.
fn of_a_look(settings: &Settings) -> Result<Settings, Fault> {
    let location = location(settings)?;
    let is_gone = settings.server_url.is_none()
        && !location.exists()
        && !location.traces().map_err(store_fault)?.is_empty();
    Ok(Settings { direct: settings.direct || is_gone, ..settings.clone() })
}

/// Whether the database is just being put right, made or migrated: a look at it would soon be untrue.
fn is_under_repair(settings: &Settings) -> Result<bool, Fault> {
    let owner = Reach::new(settings)?.owner()?;
    Ok(matches!(&owner, Owner::Held(Some(holder)) if holder.kind != HolderKind::Serve))
}

/// Whether a server has the database.
fn is_served(settings: &Settings) -> Result<bool, Fault> {
    let owner = Reach::new(settings)?.owner()?;
    Ok(matches!(&owner, Owner::Held(Some(holder)) if holder.kind == HolderKind::Serve))
}

async fn wait_for(settings: &Settings, wait: Wait<WaitForServer>) -> Result<(), Fault> {
    let settings = wait.settings(settings);
    let reach = Reach::new(&settings)?;
    let deadline = Instant::now() + wait.timeout;
    loop {
        let now = match reach.find().await? {
            Found::Server(client) => client.phase().into(),
            Found::Nobody(_) => ServerState::Down,
            Found::Busy(state, _) => state,
            Found::Silent(_) => ServerState::Unresponsive,
        };
        let wanted = match wait.until {
            WaitForServer::Ready => ServerState::Ready,
            WaitForServer::Stopped => ServerState::Down,
        };
        if now == wanted {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let timeout = humantime::format_duration(wait.timeout);
            let message = text::backend::wait_for_server_timed_out(wanted, timeout, now);
            return Err(Fault::new(FaultKind::Timeout, message));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `shutdown`: none running is what was asked for.
pub(super) async fn shutdown(context: &Context<'_>, wait: bool) -> Result<ExitCode, Fault> {
    let settings = context.settings;
    let reach = Reach::new(settings)?;
    let client = match reach.find().await? {
        Found::Server(client) => client,
        Found::Nobody(_) => {
            context.output.done(&text::backend::server_was_not_running());
            return Ok(ExitCode::Success);
        }
        Found::Busy(ServerState::Draining, note) if wait => {
            context.output.note(&note);
            lock_is_free(settings, settings.serve.shutdown_timeout + LAST_BREATH).await?;
            let code = how_it_ended(settings).await?;
            context.output.done(&text::backend::server_stopped());
            return Ok(code);
        }
        Found::Busy(ServerState::Draining, note) => {
            context.output.done(&note);
            return Ok(ExitCode::Success);
        }
        Found::Busy(_, why) | Found::Silent(why) => {
            return Err(Fault::new(FaultKind::Unavailable, why));
        }
    };
    let pid = client.server().pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let url = client.server().url.clone().unwrap_or_default();
    let asked = |error: ClientError| client_fault(&url, error);
    let mut stream = client.shutdown().await.map_err(asked)?;
    if !wait {
        // The first sign says that the request has arrived.
        stream.next().await.map_err(asked)?;
        context.output.done(&text::backend::stop_was_asked(pid));
        return Ok(ExitCode::Success);
    }
    let mut view = context.output.shutdown(ShutdownLines::Shown);
    let (mut forced, mut all_was_said) = (false, false);
    loop {
        match stream.next().await {
            Ok(Some(sign)) => {
                forced |= sign.forced;
                // The last thing that is said to anybody: the streams are closed in this step.
                all_was_said |= sign.step == ShutdownStep::CloseDatabase;
                view.show(&sign);
            }
            Ok(None) | Err(ClientError::GoingAway) => break,
            Err(error) => return Err(asked(error)),
        }
    }
    if is_ours(settings, &client)? {
        lock_is_free(settings, LAST_BREATH).await?;
    }
    // A server that broke off before that was ended by its watchdog, or killed.
    let code = if forced || !all_was_said { ExitCode::Failed } else { ExitCode::Success };
    if code == ExitCode::Success {
        // Behind the streams nobody hears the server any more; its free lock says the rest.
        for (step, message) in [
            (ShutdownStep::CloseDatabase, text::serve::step_database_closed()),
            (ShutdownStep::Exit, text::serve::step_all_safe()),
        ] {
            view.show(&ShutdownProgress {
                step,
                state: StepState::Done,
                message,
                duration_ms: None,
                proxies: None,
                cut: Vec::new(),
                forced: false,
            });
        }
    }
    view.finish(code);
    Ok(code)
}

/// Whether the server that was asked is the one whose lock stands beside our database.
fn is_ours(settings: &Settings, client: &Client) -> Result<bool, Fault> {
    let location = location(settings)?;
    Ok(location.url() == client.server().database)
}

/// What the last server of the database recorded of its end: forced or in order. One that recorded
/// nothing was killed.
async fn how_it_ended(settings: &Settings) -> Result<ExitCode, Fault> {
    let store = Store::open_for_reading(&location(settings)?).await.map_err(store_fault)?;
    let Some(store) = store else { return Ok(ExitCode::Success) };
    let events = store.events(LAST_EVENTS, None).await.map_err(store_fault)?;
    let lives = [EventAction::ServerStarted, EventAction::ServerStopped, EventAction::ServerForced];
    let last = events.iter().rev().find_map(|event| {
        let action = EventAction::from_word(&event.action)?;
        lives.contains(&action).then_some(action)
    });
    Ok(match last {
        Some(EventAction::ServerStopped) => ExitCode::Success,
        _ => ExitCode::Failed,
    })
}

fn location(settings: &Settings) -> Result<Location, Fault> {
    Location::from_url(&settings.database_url).map_err(store_fault)
}

async fn lock_is_free(settings: &Settings, wait: Duration) -> Result<(), Fault> {
    let location = location(settings)?;
    let deadline = Instant::now() + wait;
    loop {
        let held = owner(&location, &settings.node_name, host::is_alive).map_err(store_fault)?;
        let holder = match held {
            Owner::Free => return Ok(()),
            Owner::Held(holder) => holder,
        };
        if Instant::now() >= deadline {
            let pid = holder.map_or_else(|| "?".to_owned(), |h| h.identity.pid.to_string());
            let message = text::backend::server_still_there(pid);
            return Err(Fault::new(FaultKind::Timeout, message));
        }
        tokio::time::sleep(LOOK).await;
    }
}
