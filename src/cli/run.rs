//! From the words of the command line to the exit code.

use std::ffi::OsString;

use super::args::{self, Command, Early, EurekaCommand};
use super::context::Context;
use super::exit::ExitCode;
#[cfg(unix)]
use super::init;
use super::render::{Output, Style};
use super::{
    cleanup, eureka, events, guardian, heartbeat, help, ports, selftest, serve, service, status,
};
use crate::config::{Settings, Surroundings};
use crate::host::clock;
use crate::model::{Fault, FaultKind};
use crate::serve::GUARDIAN;
use crate::text;

/// Does what `argv` asks for, whose first word is the program's name.
pub fn run(argv: &[OsString]) -> ExitCode {
    // Before anything is set up: a guardian stays as small as it begins.
    if is_first(argv, GUARDIAN) {
        return guardian::run();
    }
    #[cfg(unix)]
    if is_first(argv, init::GUARDED) {
        let mut typed = argv.to_vec();
        typed.remove(1);
        return carry_out_words(&typed, Some(std::os::unix::process::parent_id()));
    }
    carry_out_words(argv, None)
}

/// Does what a person typed; `guarded_by` is the process that watches over this one, if one does.
fn carry_out_words(argv: &[OsString], guarded_by: Option<u32>) -> ExitCode {
    let around = Surroundings::of_this_process();
    let early = Early::scan(argv, &around);
    let output = Output::to_process(Style::early(early, &around), clock::now);
    let invocation = match args::parse(argv, early, &around) {
        Ok(invocation) => invocation,
        Err(stop) => return output.finish(output.stop(&stop)),
    };
    // These need no settings, and a mistake in a file must not keep anyone from the manual.
    let result = match &invocation.command {
        Command::Completions(shell) => {
            output.raw(&help::completions(*shell, early.lang));
            return output.finish(ExitCode::Success);
        }
        Command::Man { dir: None } => help::manual(early.lang).map(|page| output.raw(&page)),
        Command::Man { dir: Some(dir) } => help::manuals(dir, early.lang),
        _ => Ok(()),
    };
    if let Err(error) = result {
        let fault = Fault::caused(FaultKind::Internal, text::backend::manual_failed(), &error);
        return output.finish(output.fault(&fault));
    }
    if matches!(invocation.command, Command::Man { .. }) {
        return output.finish(ExitCode::Success);
    }
    let settings = match Settings::resolve(&invocation.flags, &around) {
        Ok(settings) => settings,
        Err(error) => return output.finish(output.mistakes(&error.mistakes)),
    };
    let output = Output::to_process(Style::new(&settings, &around), clock::now);
    #[cfg(unix)]
    if let Command::Serve { demo } = &invocation.command
        && guarded_by.is_none()
        && settings.serve.guardian
        && init::is_first_process()
    {
        let done = init::run(&settings, *demo, argv, &output);
        return output.finish(done.unwrap_or_else(|fault| output.fault(&fault)));
    }
    for note in &settings.notes {
        output.note(note);
    }
    let done = match invocation.command {
        Command::Serve { demo } => serve::run(settings, demo, guarded_by, &output),
        Command::Eureka(EurekaCommand::Serve(options)) => {
            eureka::serve(&settings, &options, &output)
        }
        Command::Selftest(request) => selftest::run(&settings, &request, &output),
        command => on_a_thread(|| carry_out(&settings, &output, command)),
    };
    let code = done.unwrap_or_else(|fault| output.fault(&fault));
    output.finish(code)
}

fn is_first(argv: &[OsString], word: &str) -> bool {
    argv.get(1).is_some_and(|first| first == word)
}

/// A client waits for one thing at a time: one thread is enough, and starts fastest.
fn on_a_thread<F: Future<Output = Result<ExitCode, Fault>>>(
    work: impl FnOnce() -> F,
) -> Result<ExitCode, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Fault::caused(FaultKind::Internal, text::backend::runtime_failed(), &error)
    })?;
    let done = runtime.block_on(work());
    runtime.shutdown_background();
    done
}

async fn carry_out(
    settings: &Settings,
    output: &Output,
    command: Command,
) -> Result<ExitCode, Fault> {
    let context = Context { settings, output };
    match command {
        Command::Service(command) => service::run(&context, command).await,
        Command::Ports(command) => ports::run(&context, command).await,
        Command::Heartbeat(command) => heartbeat::run(&context, command).await,
        Command::Cleanup(request) => cleanup::run(&context, &request).await,
        Command::Verify => status::verify(&context).await,
        Command::Eureka(EurekaCommand::Apps { names }) => eureka::apps(&context, &names).await,
        Command::Events { limit, follow } => events::run(&context, limit, follow).await,
        Command::Status { wait } => status::status(&context, wait).await,
        Command::Shutdown { wait } => status::shutdown(&context, wait).await,
        Command::Serve { .. }
        | Command::Selftest(_)
        | Command::Eureka(EurekaCommand::Serve(_))
        | Command::Completions(_)
        | Command::Man { .. } => {
            unreachable!("these were carried out without a client's runtime")
        }
    }
}
