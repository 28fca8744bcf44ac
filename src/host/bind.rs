//! Whether an address can be bound.

use std::io;
use std::net::IpAddr;

use crate::model::Port;

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindFailure {
    /// Somebody listens there.
    #[error("address in use")]
    InUse,
    /// The port needs rights this process lacks.
    #[error("port needs more rights")]
    Privileged,
    /// The address is none of this machine's.
    #[error("address is not one of this machine")]
    AddressNotHere,
    /// Anything else.
    #[error("cannot bind")]
    Other(#[source] io::Error),
}

/// Binds and lets go at once.
pub fn try_bind(address: IpAddr, port: Port) -> Result<(), BindFailure> {
    let _ = (address, port);
    todo!()
}
