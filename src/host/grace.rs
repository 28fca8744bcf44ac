//! How long whoever runs this process lets it stop, as far as that can be known from inside.

use std::time::Duration;

/// Who ends this process when its stop takes too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopper {
    /// systemd, for the unit of that name.
    Unit(String),
    /// The container runtime of that name.
    Container(&'static str),
}

/// How long a stop may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopGrace {
    /// Who waits so long.
    pub by: Stopper,
    /// Then it is killed. For a container what its runtime grants where nobody asked for another
    /// time: what was asked for cannot be seen from inside.
    pub grace: Duration,
}

/// What the surroundings grant. `None` where nobody ends this process, the time can be extended
/// (a manager that is told, see [`super::ServiceManager`]), or nothing is known.
pub fn stop_grace() -> Option<StopGrace> {
    #[cfg(target_os = "linux")]
    return super::platform::stop_grace();
    #[cfg(not(target_os = "linux"))]
    None
}
