//! `pmctl service …`.

use super::args::ServiceCommand;
use super::backend::Need;
use super::context::Context;
use super::exit::Exit;
use crate::model::{Fault, Selection};

pub(super) async fn run(
    context: &mut Context<'_>,
    command: ServiceCommand,
) -> Result<Exit, Fault> {
    match command {
        ServiceCommand::List(which) => {
            let report = context.reach(Need::Read).await?.services(&which).await?;
            context.output.services(&report);
            Ok(Exit::Success)
        }
        ServiceCommand::Show(names) => {
            let which = Selection::Named(names);
            let report = context.reach(Need::Read).await?.services(&which).await?;
            context.output.service_details(&report);
            Ok(Exit::Success)
        }
        command => {
            let backend = context.reach(Need::Write).await?;
            let mut view = context.output.action_view();
            let report = backend.change(command, &mut |progress| view.show(progress)).await;
            view.finish();
            let report = report?;
            context.output.action(&report);
            let faults = report.services.iter().filter_map(|item| item.fault.as_ref());
            Ok(faults.map(|fault| Exit::from(fault.kind)).fold(Exit::Success, Exit::worst))
        }
    }
}
