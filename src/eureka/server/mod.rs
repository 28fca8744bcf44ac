//! The HTTP face of the embedded registry, as `eureka-core` has it (`resources/*.java`).
//!
//! Belongs here: paths, bodies, statuses, who may call, the page for people. Does not belong here: what
//! an operation does (`registry`), listening and stopping (`serve`).
//!
//! Ground rules: a handler converts, asks the registry, converts. Where Netflix answers a mistake of the
//! caller with 500, this answers 400 with a sentence. Answers are never cached, so what was
//! registered is listed at once (Netflix: after up to 30 s). What comes from outside is bounded and
//! never trusted to be short, plain or kind.

mod answer;
mod apps;
mod guard;
mod page;
mod users;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post, put};

use super::registry::{Registry, RegistrySettings};
use crate::model::Timestamp;
use crate::text::{self, Lang};

pub use users::Users;

/// Bytes of a body. A registration has one or two thousand.
const MAX_BODY: usize = 256 * 1024;

/// A registry that requests and the evictor share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    registry: Arc<Mutex<Registry>>,
    clock: fn() -> Timestamp,
    eviction_interval: Duration,
    lang: Lang,
}

impl Node {
    /// An empty one. `clock` tells the time of every call, `lang` is that of its page and log.
    pub fn new(settings: &RegistrySettings, clock: fn() -> Timestamp, lang: Lang) -> Self {
        let registry = Arc::new(Mutex::new(Registry::new(settings, clock())));
        Self { registry, clock, eviction_interval: settings.eviction_interval, lang }
    }

    /// Takes expired leases away, again and again for ever.
    pub async fn evict_on_time(self) {
        let mut began = Instant::now();
        loop {
            tokio::time::sleep(self.eviction_interval).await;
            let late = began.elapsed().saturating_sub(self.eviction_interval);
            began = Instant::now();
            let gone = self.lock().evict(self.now(), late);
            for (app, id) in gone {
                let line = text::eureka::registry_instance_expired(app, id);
                tracing::warn!("{}", line.render(self.lang));
            }
        }
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // An operation that panicked half way leaves at worst one instance half changed, which its
        // next registration puts right.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The registry at `address`: `/eureka` and `/eureka/v2`, and a page at `/`. With `users`, only they
/// may call.
///
/// Requests must be addressed to a loopback listener by its own address or as localhost. A listener
/// beyond this machine has names that it cannot know, so there everybody must log in, and a page may
/// only be one of its own.
pub fn router(node: Node, address: SocketAddr, users: Option<Users>) -> Router {
    let api = Router::new()
        .route("/apps", get(apps::all))
        .route("/apps/", get(apps::all))
        .route("/apps/delta", get(apps::delta))
        .route("/apps/{app}", get(apps::one).post(apps::register))
        .route("/apps/{app}/{id}", get(apps::instance).put(apps::renew).delete(apps::cancel))
        .route("/apps/{app}/{id}/status", put(apps::set_status).delete(apps::delete_status))
        .route("/apps/{app}/{id}/metadata", put(apps::put_metadata))
        .route("/instances/{id}", get(apps::instance_by_id))
        .route("/vips/{address}", get(apps::vip))
        .route("/svips/{address}", get(apps::secure_vip))
        // Clients of other languages have been seen to send a slash at the end.
        .route("/apps/{app}/", post(apps::register).get(apps::one));
    let mut router = Router::new()
        .route("/", get(page::index))
        .nest("/eureka/v2", api.clone())
        .nest("/eureka", api)
        .fallback(answer::no_such_path)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(node);
    if let Some(users) = users {
        router = router.layer(middleware::from_fn_with_state(Arc::new(users), users::check));
    }
    router.layer(middleware::from_fn_with_state(address, guard::check))
}
