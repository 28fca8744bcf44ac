//! Where the requests of a proxy go: one place, or the instances of an application.

use std::sync::Arc;
use std::time::Duration;

use super::balance::{Balancer, Seat};
use super::upstream::{Upstream, UpstreamError};
use super::via::ViaId;
use crate::model::{Target, TargetName};

/// A target made ready to be forwarded to. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Route {
    /// One place.
    One(Arc<Upstream>),
    /// The instances that a registry lists.
    Spread(Balancer),
}

impl From<Upstream> for Route {
    fn from(upstream: Upstream) -> Self {
        Self::One(Arc::new(upstream))
    }
}

/// Where one request goes.
pub(super) struct Turn {
    pub(super) upstream: Arc<Upstream>,
    /// Held for as long as the request is under way, where there is more than one place.
    pub(super) seat: Option<Seat>,
}

impl Route {
    /// Prepares `target`. Blocks: it reads the CA file, and once a process the system's trusted
    /// certificates.
    ///
    /// # Errors
    /// See [`UpstreamError`]; nothing is connected to here.
    pub fn new(name: &TargetName, target: &Target, via: &ViaId) -> Result<Self, UpstreamError> {
        Ok(match target.url.application() {
            Some(_) => Self::Spread(Balancer::new(name, target, via)?),
            None => Upstream::new(name, target, via)?.into(),
        })
    }

    /// The target's name.
    pub fn name(&self) -> &TargetName {
        match self {
            Self::One(upstream) => upstream.name(),
            Self::Spread(balancer) => balancer.name(),
        }
    }

    /// Whether it is known where it leads: the first list of instances may be still to come.
    pub fn is_known(&self) -> bool {
        self.balancer().is_none_or(Balancer::was_asked)
    }

    /// The instances it is spread over, where it is.
    pub fn balancer(&self) -> Option<&Balancer> {
        match self {
            Self::One(_) => None,
            Self::Spread(balancer) => Some(balancer),
        }
    }

    /// Every place there is, those first that would be asked first.
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        match self {
            Self::One(upstream) => vec![Arc::clone(upstream)],
            Self::Spread(balancer) => balancer.upstreams(),
        }
    }

    /// Where the next request goes, none of the places at `tried`; `None` where there is no other.
    /// The first list of instances is waited for, at most for `bound`.
    pub(super) async fn turn(&self, tried: &[u64], bound: Duration) -> Option<Turn> {
        match self {
            Self::One(upstream) => {
                let is_tried = tried.contains(&upstream.generation());
                (!is_tried).then(|| Turn { upstream: Arc::clone(upstream), seat: None })
            }
            Self::Spread(balancer) => {
                if !balancer.was_asked() {
                    Box::pin(balancer.asked(bound)).await;
                }
                let seat = balancer.seat(tried)?;
                Some(Turn { upstream: Arc::clone(seat.upstream()), seat: Some(seat) })
            }
        }
    }

    /// Whether connections of this generation are of use still.
    pub(super) fn has(&self, generation: u64) -> bool {
        match self {
            Self::One(upstream) => upstream.generation() == generation,
            Self::Spread(balancer) => balancer.has(generation),
        }
    }

    /// The generations of its places.
    pub(super) fn generations(&self) -> Vec<u64> {
        match self {
            Self::One(upstream) => vec![upstream.generation()],
            Self::Spread(balancer) => balancer.generations(),
        }
    }
}
