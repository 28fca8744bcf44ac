//! What must hold after a server has ended, however it did.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use serde_json::Value;

use super::churn::{Churned, Ledger};
use super::load::Lost;
use super::sandbox::{Sandbox, is_gone};
use crate::host::{self, Holding};
use crate::model::{Port, ProcessIdentity};
use crate::text::{self, Message};

/// The most of one kind that are named.
const MOST_NAMED: usize = 5;

/// Every promise about what is left, looked at from outside and by `pmctl verify`.
pub(super) fn leftovers(
    sandbox: &Sandbox,
    processes: &[ProcessIdentity],
) -> io::Result<Vec<Message>> {
    let mut found = Vec::new();
    for process in processes.iter().filter(|process| !is_gone(process)) {
        found.push(text::selftest::violation_process(process));
    }
    let ports: BTreeSet<Port> =
        sandbox.proxies.iter().filter_map(|address| Port::new(address.port())).collect();
    let held = host::holders(&ports, &[]).map_err(io::Error::other)?;
    for (port, holding) in held {
        if !matches!(holding, Holding::Free) {
            found.push(text::selftest::violation_port(port));
        }
    }
    for instance in sandbox.announced()? {
        found.push(text::selftest::violation_instance(instance));
    }
    let receipt = sandbox.run(&["verify"])?;
    if receipt.code != 0 {
        let items = receipt.document["items"].as_array().into_iter().flatten();
        let is_against =
            |item: &&Value| !matches!(item["finding"].as_str(), Some("clean" | "elsewhere"));
        let said: Vec<&str> =
            items.filter(is_against).filter_map(|item| item["message"].as_str()).collect();
        found.push(text::selftest::violation_verify(receipt.code, said.join("; ")));
    }
    Ok(found)
}

/// Rows that are not stopped, or were lost.
pub(super) fn rows(sandbox: &Sandbox, ledger: &mut Ledger) -> io::Result<Vec<Message>> {
    let list = sandbox.run(&["service", "list", "--direct"])?;
    let Some(services) = list.document["services"].as_array() else {
        return Ok(vec![text::selftest::violation_database(list.code, list.stderr.trim())]);
    };
    let mut found = Vec::new();
    for service in services.iter().filter(|service| service["actual"] != "stopped") {
        let word = |key: &str| service[key].as_str().unwrap_or("?").to_owned();
        found.push(text::selftest::violation_row(word("name"), word("actual")));
    }
    found.extend(ledger.missing(services).into_iter().map(text::selftest::violation_write));
    Ok(found)
}

/// Requests that were lost and should not have been: those that failed before `began`, when the end
/// began, and with `are_promised` those that were sent before it.
pub(super) fn requests(lost: &[Lost], began: Instant, are_promised: bool) -> Vec<Message> {
    let is_owed = |lost: &&Lost| lost.seen < began || (are_promised && lost.sent < began);
    let owed: Vec<&Lost> = lost.iter().filter(is_owed).collect();
    let more = owed.len().saturating_sub(MOST_NAMED);
    let mut found: Vec<Message> = owed
        .iter()
        .take(MOST_NAMED)
        .map(|lost| text::selftest::violation_request(&lost.what))
        .collect();
    if more > 0 {
        found.push(text::selftest::violation_more(more));
    }
    found
}

/// Changes that were refused although nothing had happened yet.
pub(super) fn changes(churned: &Churned, began: Instant) -> Vec<Message> {
    let early = churned.refused.iter().filter(|refused| refused.seen < began);
    early.take(MOST_NAMED).map(|refused| text::selftest::violation_refused(&refused.what)).collect()
}
