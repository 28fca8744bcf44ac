//! The instances of the applications that targets name, as the registry lists them.
//!
//! One call an application and beat, whatever the number of services that use it. A registry that
//! does not answer changes nothing: requests go on to the instances that were listed last. So does one
//! that suddenly lists none that is UP, for a while: it may have been restarted, and hear of them again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;

use super::proxies::{Proxies, Running, is_at, is_own};
use crate::eureka::{CallError, Instance, InstanceStatus, NodeMark, RegistryCalls, app_name};
use crate::lifecycle::StopWatch;
use crate::model::{ServiceName, TargetUrl};
use crate::proxy::Balancer;
use crate::text::{self, Message};

/// How long a registry must list no instance that is UP before those that it no longer lists are given up:
/// a lease of Eureka's own clients, within which every instance that is alive tells a restarted registry
/// of itself.
const EMPTY: Duration = Duration::from_secs(90);

/// How long a list is kept that nobody uses: who is stopped and started finds it again.
const UNUSED: Duration = Duration::from_secs(600);

/// Calls at once.
const MOST_CALLS: usize = 8;

/// See the module's documentation.
pub(super) struct Directory {
    /// `None`: there is no registry.
    registry: Option<Arc<dyn RegistryCalls>>,
    /// What the last look at an application met.
    met: Mutex<BTreeMap<String, Message>>,
    /// The last list of each application that was ever asked about.
    lists: Mutex<BTreeMap<String, Listed>>,
    wake: Notify,
}

/// What a registry listed.
#[derive(Clone, Default)]
struct Listed {
    instances: Arc<Vec<Instance>>,
    /// When somebody used it last.
    used: Option<Instant>,
    /// Since when looks have found none that is UP.
    empty_since: Option<Instant>,
}

/// A proxy whose requests are spread.
struct Spread {
    running: Running,
    balancer: Balancer,
}

impl Directory {
    pub(super) fn new(registry: Option<Arc<dyn RegistryCalls>>) -> Self {
        Self { registry, met: Mutex::default(), lists: Mutex::default(), wake: Notify::new() }
    }

    fn met(&self) -> MutexGuard<'_, BTreeMap<String, Message>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists(&self) -> MutexGuard<'_, BTreeMap<String, Listed>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `running` the instances that are known; looks at once if there are none yet.
    pub(super) fn seek(&self, running: &Running, control: SocketAddr) {
        let Some(balancer) = running.handle.balancer().filter(|of| !of.was_asked()) else { return };
        let known = self.lists().get(balancer.application()).cloned();
        if let Some(list) = known {
            give(running, &balancer, control, &list.instances);
        }
        // It may be of a while ago, when it was used last.
        self.wake.notify_one();
    }

    /// Follows the registry, a look every `beat`, until a stop was asked for.
    pub(super) async fn follow(&self, proxies: &Proxies, beat: Duration, mut stop: StopWatch) {
        loop {
            self.look(proxies).await;
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(beat) => {}
            }
        }
    }

    async fn look(&self, proxies: &Proxies) {
        let mut wanted: BTreeMap<String, Vec<Spread>> = BTreeMap::new();
        for spread in spread(proxies) {
            let application = spread.balancer.application().to_owned();
            wanted.entry(application).or_default().push(spread);
        }
        self.met().retain(|application, _| wanted.contains_key(application));
        let now = Instant::now();
        self.lists().retain(|application, list| {
            if wanted.contains_key(application) {
                list.used = Some(now);
            }
            list.used.is_some_and(|at| now.duration_since(at) < UNUSED)
        });
        let Some(registry) = &self.registry else {
            wanted.values().flatten().for_each(|spread| spread.balancer.give_up());
            return;
        };
        let asked = wanted.into_iter().map(|(application, users)| async move {
            let listed = registry.application(&application).await;
            (application, users, listed)
        });
        let mut answers = stream::iter(asked).buffer_unordered(MOST_CALLS);
        while let Some((application, users, listed)) = answers.next().await {
            self.take(application, &users, listed, proxies.control());
        }
    }

    fn take(
        &self,
        application: String,
        users: &[Spread],
        listed: Result<Vec<Instance>, CallError>,
        control: SocketAddr,
    ) {
        match listed {
            Ok(instances) => {
                let is_own = |user: &Spread| app_name(&user.running.name) == application;
                let is_own = users.iter().any(is_own);
                let instances = self.note(&application, instances, is_own, Instant::now());
                for Spread { running, balancer } in users {
                    give(running, balancer, control, &instances);
                }
                if self.met().remove(&application).is_some() {
                    tracing::info!(application, "its instances are known again");
                }
            }
            Err(error) => {
                users.iter().for_each(|spread| spread.balancer.give_up());
                if self.met().insert(application.clone(), error.message()).is_none() {
                    tracing::warn!(application, %error, "its instances are not known anew");
                }
            }
        }
    }

    /// Remembers what was listed; what is to be used. What a pmctl announced is nothing to go by where
    /// the application is that of a user (`is_own`): it is the first that a restarted registry hears of.
    fn note(
        &self,
        application: &str,
        mut instances: Vec<Instance>,
        is_own: bool,
        now: Instant,
    ) -> Arc<Vec<Instance>> {
        let mut lists = self.lists();
        let list = lists.entry(application.to_owned()).or_default();
        list.used = Some(now);
        let is_usable = |instance: &Instance| {
            instance.status == InstanceStatus::Up && !(is_own && NodeMark::is_any(instance))
        };
        let is_empty = !instances.iter().any(is_usable);
        list.empty_since = is_empty.then(|| list.empty_since.unwrap_or(now));
        let is_given_up = list.empty_since.is_some_and(|since| now - since >= EMPTY);
        if is_empty && !is_given_up {
            // One that is listed as DOWN is known to be: that is the registry's word, and believed.
            let is_unheard = |old: &&Instance| instances.iter().all(|new| new.id() != old.id());
            let unheard: Vec<Instance> =
                list.instances.iter().filter(is_unheard).cloned().collect();
            instances.extend(unheard);
        }
        list.instances = Arc::new(instances);
        Arc::clone(&list.instances)
    }

    /// What a person should know: whose requests have nowhere to go, or go by an old list.
    pub(super) fn attention(&self, proxies: &Proxies) -> Vec<Message> {
        let met = self.met();
        let mut needs: Vec<(ServiceName, Message)> = Vec::new();
        for Spread { running, balancer } in spread(proxies) {
            let (service, target) = (&running.name, balancer.name());
            let application = balancer.application();
            let need = match (&self.registry, met.get(application)) {
                (None, _) => Some(text::balance::attention_no_registry(service, target)),
                (Some(_), Some(reason)) if balancer.views().is_empty() => {
                    Some(text::balance::attention_never_listed(application, service, reason))
                }
                (Some(_), Some(reason)) => {
                    Some(text::balance::attention_old_list(application, service, reason))
                }
                (Some(_), None) if balancer.was_asked() && balancer.views().is_empty() => {
                    Some(text::balance::attention_no_instance(application, service, target))
                }
                (Some(_), None) => None,
            };
            needs.extend(need.map(|need| (service.clone(), need)));
        }
        needs.sort_by(|(a, _), (b, _)| a.cmp(b));
        needs.into_iter().map(|(_, need)| need).collect()
    }
}

fn spread(proxies: &Proxies) -> impl Iterator<Item = Spread> {
    proxies.all().into_iter().filter_map(|(_, running)| {
        let balancer = running.handle.balancer()?;
        Some(Spread { running, balancer })
    })
}

/// Spreads the requests of `running` over `instances`.
fn give(running: &Running, balancer: &Balancer, control: SocketAddr, instances: &[Instance]) {
    let mut urls = usable(balancer, &running.name, instances);
    // Whoever registered them: one leads back here, the other to where orders are taken.
    urls.retain(|url| !is_own(url, running.bind, running.port) && !is_at(url, control));
    running.handle.spread_over(balancer, &urls);
}

/// Where the instances are that a service may forward to, sorted: those that are UP. What a pmctl
/// announced under the service's own name is that service again, here or on another node, and never
/// one of them.
fn usable(balancer: &Balancer, service: &ServiceName, instances: &[Instance]) -> Vec<TargetUrl> {
    let is_own_application = app_name(service) == balancer.application();
    let mut urls: Vec<TargetUrl> = instances
        .iter()
        .filter(|instance| instance.status == InstanceStatus::Up)
        .filter(|instance| !(is_own_application && NodeMark::is_any(instance)))
        .filter_map(|instance| url_of(balancer, instance))
        .collect();
    urls.sort_by_key(ToString::to_string);
    urls.dedup();
    urls
}

/// By TLS where the instance offers it (as `EurekaServiceInstance.isSecure` of Spring Cloud), at its
/// host name, which is what its certificate is for.
fn url_of(balancer: &Balancer, instance: &Instance) -> Option<TargetUrl> {
    let host = match instance.host_name.as_str() {
        "" => &instance.ip_addr,
        host => host,
    };
    let (secure, plain) = (&instance.secure_port, &instance.port);
    match (secure.enabled && secure.number > 0, plain.enabled) {
        (true, _) => balancer.url_of(true, host, secure.number),
        (false, true) => balancer.url_of(false, host, plain.number),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eureka::PortEntry;
    use crate::model::{Target, UpstreamTls};
    use crate::proxy::{Route, ViaId};

    fn balancer() -> Balancer {
        let url = "lb://orders/v1".parse().unwrap_or_else(|e| panic!("{e}"));
        let target = Target { url, credentials: None, tls: UpstreamTls::default() };
        let name = "all".parse().unwrap_or_else(|e| panic!("{e}"));
        let route = Route::new(&name, &target, &ViaId::random()).unwrap();
        route.balancer().cloned().unwrap()
    }

    fn instance(host: &str, port: u16) -> Instance {
        Instance {
            app: "ORDERS".into(),
            host_name: host.into(),
            status: InstanceStatus::Up,
            port: PortEntry { number: port, enabled: true },
            secure_port: PortEntry { number: 8443, enabled: false },
            ..Instance::default()
        }
    }

    fn urls(service: &str, instances: &[Instance]) -> Vec<String> {
        let service = service.parse().unwrap_or_else(|e| panic!("{e}"));
        usable(&balancer(), &service, instances).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_up_and_has_a_place_is_forwarded_to() {
        let down = Instance { status: InstanceStatus::Down, ..instance("d", 1) };
        let secure =
            Instance { secure_port: PortEntry { number: 8443, enabled: true }, ..instance("s", 2) };
        let closed = Instance { port: PortEntry { number: 3, enabled: false }, ..instance("c", 3) };
        let unnamed = Instance { ip_addr: "fd00::1".into(), ..instance("", 4) };
        let broken = instance("a b/c", 5);
        let all = [instance("h", 9), down, secure, closed, unnamed, broken, instance("h", 9)];
        let expected = ["http://[fd00::1]:4/v1", "http://h:9/v1", "https://s:8443/v1"];
        assert_eq!(urls("edge", &all), expected);
    }

    #[test]
    fn a_registry_that_lists_none_any_more_is_believed_after_a_while_only() {
        let directory = Directory::new(None);
        let start = Instant::now();
        let note = |after: u64, instances| {
            directory.note("ORDERS", instances, false, start + Duration::from_secs(after)).len()
        };
        assert_eq!(note(0, vec![]), 0, "there never were any");
        assert_eq!(note(100, vec![instance("h", 9)]), 1);
        assert_eq!([110, 140, 199].map(|after| note(after, vec![])), [1, 1, 1]);
        assert_eq!(note(199, vec![instance("h", 9)]), 1);
        assert_eq!([210, 299, 300].map(|after| note(after, vec![])), [1, 1, 0]);
        assert_eq!(note(301, vec![instance("h", 9), instance("i", 9)]), 2);
        assert_eq!(note(302, vec![instance("h", 9)]), 1, "one that left is gone at once");
    }

    #[test]
    fn one_that_is_listed_as_down_is_believed_at_once_and_says_nothing_of_the_others() {
        let directory = Directory::new(None);
        let start = Instant::now();
        let usable = |after: u64, listed: &[(&str, InstanceStatus)]| {
            let of = |(host, status): &(&str, _)| Instance { status: *status, ..instance(host, 9) };
            let listed = listed.iter().map(of).collect();
            let list = directory.note("ORDERS", listed, false, start + Duration::from_secs(after));
            urls("edge", &list).len()
        };
        let (up, down) = (InstanceStatus::Up, InstanceStatus::Down);
        assert_eq!(usable(0, &[("h", up), ("i", up)]), 2);
        // The registry was restarted; the first that tells it of itself is just starting.
        assert_eq!(usable(1, &[("j", InstanceStatus::Starting)]), 2);
        assert_eq!(usable(2, &[("h", down)]), 1);
        assert_eq!(usable(3, &[]), 1, "what is held on to is what it was last");
        assert_eq!(usable(90, &[("h", down)]), 1);
        assert_eq!(usable(91, &[("h", down)]), 0);
        assert_eq!(usable(92, &[("h", up)]), 1);
        assert_eq!(usable(93, &[("h", down)]), 0);
    }

    #[test]
    fn a_services_own_instance_does_not_speak_for_a_registry_that_was_restarted() {
        let directory = Directory::new(None);
        let start = Instant::now();
        let mut own = instance("p", 1);
        own.metadata.insert("pmctl.node".into(), "uuid/default".into());
        let usable = |after: u64, listed: &[Instance]| {
            let at = start + Duration::from_secs(after);
            urls("orders", &directory.note("ORDERS", listed.to_vec(), true, at))
        };
        let here = ["http://h:9/v1"];
        assert_eq!(usable(0, &[own.clone(), instance("h", 9)]), here);
        assert_eq!(usable(1, std::slice::from_ref(&own)), here);
        assert_eq!(usable(91, &[own]), [""; 0]);
    }

    #[test]
    fn a_service_never_forwards_to_itself_but_to_the_services_of_other_names() {
        let mut of_pmctl = instance("p", 1);
        of_pmctl.metadata.insert("pmctl.node".into(), "uuid/default".into());
        let all = [of_pmctl, instance("h", 9)];
        assert_eq!(urls("Orders", &all), ["http://h:9/v1"]);
        assert_eq!(urls("edge", &all).len(), 2);
    }
}
