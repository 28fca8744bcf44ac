//! What is known of a holder beyond who it is, in lines below its row.

use super::{Style, escape};
use crate::model::{HolderDetails, HolderView, Keeper, ParentView};
use crate::text::{self, Message};

/// What stands before each line below a row.
pub(super) const INDENT: &str = "       ";

/// One line for each thing that is known; what could not be seen is left out.
pub(super) fn lines(details: &HolderDetails, style: Style) -> Vec<String> {
    let mut said: Vec<Message> = Vec::new();
    if let Some(file) = &details.executable {
        said.push(text::cli::holder_program(file.display()));
    }
    if let Some(directory) = &details.directory {
        said.push(text::cli::holder_directory(directory.display()));
    }
    if !details.parents.is_empty() {
        let parents: Vec<String> = details.parents.iter().map(parent).collect();
        said.push(text::cli::holder_parents(parents.join(" < ")));
    }
    if !details.other_ports.is_empty() {
        let ports: Vec<String> = details.other_ports.iter().map(ToString::to_string).collect();
        said.push(text::cli::holder_other_ports(ports.join(", ")));
    }
    said.extend(details.keeper.iter().flat_map(keeper));
    said.iter().map(|message| line(message, style)).collect()
}

/// Who a holder is, on a line below a row.
pub(super) fn named(holder: &HolderView, style: Style) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let (user, command) = (or_unknown(&holder.user), or_unknown(&holder.command));
    line(&text::cli::holder_named(holder.pid, user, command), style)
}

/// A sentence below a row.
pub(super) fn line(message: &Message, style: Style) -> String {
    format!("{INDENT}{}", escape::line(&message.render(style.lang)))
}

fn parent(parent: &ParentView) -> String {
    format!("{} ({})", parent.name.as_deref().unwrap_or("?"), parent.pid)
}

fn keeper(keeper: &Keeper) -> Vec<Message> {
    match keeper {
        Keeper::Unit { name, user, restarts } => {
            let unit = match user {
                true => text::cli::holder_user_unit(name),
                false => text::cli::holder_unit(name),
            };
            let restarts = restarts.and_then(|yes| yes.then(text::cli::holder_restarts));
            std::iter::once(unit).chain(restarts).collect()
        }
        Keeper::Container { runtime, id } => vec![text::cli::holder_container(runtime, id)],
        Keeper::Forwarder { runtime } => vec![text::cli::holder_forwarder(runtime)],
    }
}
