//! `pmctl service …`.

use super::args::ServiceCommand;
use super::backend::Need;
use super::context::Context;
use super::exit::ExitCode;
use super::heartbeat;
use crate::model::{Fault, Selection};

pub(super) async fn run(context: &Context<'_>, command: ServiceCommand) -> Result<ExitCode, Fault> {
    match command {
        ServiceCommand::List(which) => {
            let report = context.reach(Need::Read).await?.services(&which).await?;
            context.output.services(&report);
            Ok(ExitCode::Success)
        }
        ServiceCommand::Show(names) => {
            let which = Selection::Named(names);
            let report = context.reach(Need::Read).await?.services(&which).await?;
            context.output.service_details(&report);
            Ok(ExitCode::Success)
        }
        ServiceCommand::Drain { name, max } => heartbeat::drain(context, &name, max).await,
        command => {
            let backend = context.reach(Need::Write).await?;
            let mut view = context.output.action_view();
            let report = backend.change(command, &mut |progress| view.show(progress)).await;
            view.finish();
            Ok(context.output.action(&report?))
        }
    }
}
