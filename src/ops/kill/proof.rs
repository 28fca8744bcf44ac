//! What is so after a port was to be freed: who listens now, whether it binds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::host::{BindFailure, Holding};
use crate::model::{Bindable, Fault, Port};
use crate::ops::holders;
use crate::ops::machine::Machine;
use crate::text;

/// How long the last sharers of a socket may take to go after the process they came from.
const SETTLING: Duration = Duration::from_secs(2);

/// How long a keeper may take to start again what was ended, to be caught at it. systemd waits a
/// tenth of a second unless told otherwise.
const RESTARTING: Duration = Duration::from_millis(600);

const PAUSE: Duration = Duration::from_millis(20);

/// Who has `port` once it has settled: free as soon as nobody listens, unless it `is_kept`, when it
/// is watched for a moment longer.
pub(super) async fn settled(
    machine: &Arc<dyn Machine>,
    port: Port,
    is_kept: bool,
) -> Result<Holding, Fault> {
    let begun = Instant::now();
    let mut free_since = None;
    loop {
        let looked = holders::look(machine, [port].into(), Vec::new()).await?;
        let holding = looked.into_values().next().unwrap_or(Holding::Free);
        let is_settled = match holding {
            Holding::Free => {
                let since = free_since.get_or_insert_with(Instant::now);
                !is_kept || since.elapsed() >= RESTARTING
            }
            Holding::Held(_) | Holding::HeldUnseen { .. } => {
                // Free before, held now: somebody came anew, and is there to stay.
                free_since.is_some() || begun.elapsed() >= SETTLING
            }
        };
        if is_settled {
            return Ok(holding);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a port that nobody listens on binds, on every address of either family. Blocks.
pub(super) fn bindable(machine: &dyn Machine, port: Port) -> Bindable {
    let addresses: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for address in addresses {
        match machine.try_bind(address, port) {
            Ok(()) => {}
            // A machine without that family cannot have the port on it either.
            Err(BindFailure::AddressNotHere) => {}
            Err(BindFailure::InUse) => return Bindable::No(text::kill::bind_in_use()),
            Err(BindFailure::Privileged) => {
                return Bindable::Unknown(text::kill::bind_privileged());
            }
            Err(BindFailure::Other(error)) => {
                return Bindable::Unknown(text::kill::bind_failed(error));
            }
        }
    }
    Bindable::Yes
}
