//! `pmctl eureka`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::args::RegistryServe;
use super::context::Context;
use super::exit::ExitCode;
use super::logging;
use super::render::Output;
use crate::config::Settings;
use crate::eureka::{CallError, HttpRegistries, Registries, Users};
use crate::lifecycle::{Stop, StopCause, Tasks, Verdict, Watch, Watchdog, listen_for_stop_signals};
use crate::model::{Fault, FaultKind, RegistryUrl};
use crate::serve::RegistryServer;
use crate::text;

/// Bound of a stop, whatever the runtime does: calls are short and nothing has to be saved.
const LONGEST_STOP: Duration = Duration::from_secs(10);
/// The registry that is asked when nobody names one.
const DEFAULT_URL: &str = "http://127.0.0.1:8761/eureka";
/// Most bytes of a file of users.
const MAX_USER_FILE: u64 = 1024 * 1024;

/// Serves a registry until a stop signal.
pub(super) fn serve(
    settings: &Settings,
    options: &RegistryServe,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let users = options.user_file.as_deref().map(read_users).transpose()?;
    let _log = logging::start(&settings.serve.log, output)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let message = text::eureka::registry_runtime_failed();
        Fault::caused(FaultKind::Internal, message, error)
    };
    let stop = Stop::new();
    let heard = stop.clone();
    let hear = move |signal| heard.request(StopCause::Signal(signal), Instant::now());
    listen_for_stop_signals(hear).map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::signals_failed(), &error)
    })?;
    let watchdog = Watchdog::start(Watch {
        stop: stop.watch(),
        total: LONGEST_STOP,
        pulses: Vec::new(),
        hang: |_: &str, _| Verdict::GoOn,
        last_resort: || {},
    });
    let watchdog = watchdog.map_err(|e| failed(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let is_forced = runtime.block_on(run(settings, options, users, output, stop));
    runtime.shutdown_background();
    watchdog.goodbye();
    match is_forced? {
        true => Ok(ExitCode::Failed),
        false => Ok(ExitCode::Success),
    }
}

async fn run(
    settings: &Settings,
    options: &RegistryServe,
    users: Option<Users>,
    output: &Output,
    stop: Stop,
) -> Result<bool, Fault> {
    let lang = settings.lang;
    let server = RegistryServer::bind(options.listen, &options.settings, users, lang).await?;
    let (url, pid) = (server.url(), std::process::id());
    if !options.listen.ip().to_canonical().is_loopback() {
        tracing::warn!("{}", text::eureka::registry_not_encrypted().render(lang));
    }
    tracing::info!("{}", text::eureka::registry_ready(&url, pid).render(lang));
    // A log in a file leaves the person at the terminal without a word.
    output.registry_ready(&url, pid, settings.serve.log.file.is_some());
    let mut stopping = stop.watch();
    let tell = async move {
        stopping.stopping().await;
        if let Some((StopCause::Signal(signal), _)) = stopping.state().cause() {
            tracing::info!("{}", text::eureka::registry_stopping(signal).render(lang));
        }
    };
    let tasks = Tasks::new(stop.clone());
    tasks.spawn_until_end("registry-stop-sign", tell);
    let is_forced = server.run(&tasks, stop.watch()).await;
    tasks.ended(Instant::now() + Duration::from_secs(1)).await;
    tracing::info!("{}", text::eureka::registry_stopped().render(lang));
    Ok(is_forced)
}

fn read_users(path: &Path) -> Result<Users, Fault> {
    let shown = path.display().to_string();
    let unreadable = |error: &(dyn std::error::Error + 'static)| {
        let message = text::eureka::registry_users_unreadable(&shown);
        Fault::caused(FaultKind::Usage, message, error)
    };
    let size = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !size.is_file() || size.len() > MAX_USER_FILE {
        let error = std::io::Error::other("it is no regular file of at most 1 MiB");
        return Err(unreadable(&error));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    Users::parse(&text, &shown).map_err(Fault::usage)
}

/// Shows what a registry lists.
pub(super) async fn apps(context: &Context<'_>, names: &[String]) -> Result<ExitCode, Fault> {
    let default = RegistryUrl::parse(DEFAULT_URL).ok();
    let urls = match &context.settings.eureka.urls {
        none if none.is_empty() => default.as_slice(),
        named => named,
    };
    let (settings, ca_file) = (context.settings, context.settings.eureka.ca_file.as_deref());
    let registries = HttpRegistries::new(urls, ca_file, settings.timeout).map_err(|error| {
        let message = text::eureka::listing_trust_failed();
        Fault::caused(FaultKind::Internal, message, &error)
    })?;
    let Some(registry) = registries.configured() else { unreachable!("one is always named") };
    let (all, answered) = registry.applications().await.map_err(fault)?;
    let mut report = all.report(answered.registry);
    if !names.is_empty() {
        report.applications.retain(|application| names.contains(&application.name));
    }
    context.output.registry(&report);
    Ok(ExitCode::Success)
}

/// What it means for whoever asked for the list, with the cause below.
fn fault(error: CallError) -> Fault {
    let (kind, message, cause) = match error {
        CallError::Unreachable { url, reason } | CallError::Lost { url, reason } => {
            (FaultKind::Unavailable, text::eureka::listing_unreachable(url), Some(reason))
        }
        CallError::Silent { url } => {
            let cause = "no answer in time".to_owned();
            (FaultKind::Unavailable, text::eureka::listing_unreachable(url), Some(cause))
        }
        CallError::Refused { url, status } => {
            (FaultKind::Denied, text::eureka::listing_refused(url, status), None)
        }
        CallError::NotFound { url } => {
            (FaultKind::NotFound, text::eureka::listing_not_found(url), None)
        }
        CallError::Status { url, status } => {
            (FaultKind::Internal, text::eureka::listing_failed(url, status), None)
        }
        CallError::Malformed { url, reason } => {
            (FaultKind::Internal, text::eureka::listing_malformed(url), Some(reason))
        }
    };
    Fault { causes: cause.into_iter().collect(), ..Fault::new(kind, message) }
}
