//! The registry itself: what each operation of the contract does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::RegistrySettings;
use super::expiry::{self, Expiry, RegistryCounts};
use super::lease::Lease;
use super::overrides::Overrides;
use super::recent::{Key, Recent};
use crate::eureka::wire::{Action, Application, Applications, Instance, InstanceStatus, LeaseInfo};
use crate::model::Timestamp;

/// A registry in memory. Names of applications are given in capitals, as an [`Instance`] has them.
#[derive(Debug)]
pub struct Registry {
    apps: BTreeMap<String, BTreeMap<String, Lease>>,
    overrides: Overrides,
    recent: Recent,
    expiry: Expiry,
}

impl Registry {
    /// An empty one that begins at `now`.
    pub fn new(settings: &RegistrySettings, now: Timestamp) -> Self {
        Self {
            apps: BTreeMap::new(),
            overrides: Overrides::default(),
            recent: Recent::new(settings.delta_retention),
            expiry: Expiry::new(settings, now),
        }
    }

    /// Lists `instance`, or lists it anew. Of two registrations the one with the newer
    /// `lastDirtyTimestamp` is kept, of equals the later; the lease is renewed either way, and the
    /// caller is not told (`AbstractInstanceRegistry.register`).
    pub fn register(&mut self, mut instance: Instance, now: Timestamp) {
        instance.last_dirty = Some(instance.last_dirty_or(now));
        let duration = instance.lease.unwrap_or_default().duration_secs;
        let key = (instance.app.clone(), instance.id().to_owned());
        let existing = self.apps.get(&key.0).and_then(|leases| leases.get(&key.1)).cloned();
        match &existing {
            Some(lease) if lease.instance.last_dirty > instance.last_dirty => {
                instance = lease.instance.clone();
            }
            Some(_) => {}
            None => self.expiry.expect_more(),
        }
        let id = &key.1;
        // An instance that knows its override brings it along to a registry that does not.
        let brought = instance.overridden_status;
        if brought != InstanceStatus::Unknown && self.overrides.get(id, now).is_none() {
            self.overrides.put(id, brought, now);
        }
        if let Some(status) = self.overrides.get(id, now) {
            instance.overridden_status = status;
        }
        let before = existing.as_ref().map(|lease| lease.instance.status);
        instance.status = self.overrides.status_of(&instance, before, now);
        instance.action = Some(Action::Added);
        instance.last_updated = Some(now.as_millis());
        let mut lease = Lease::new(instance, duration, now);
        if let Some(existing) = &existing {
            lease = lease.succeeding(existing);
        }
        if lease.instance.status == InstanceStatus::Up {
            lease.service_up(now);
        }
        self.apps.entry(key.0.clone()).or_default().insert(key.1.clone(), lease);
        self.recent.changed(key, now);
    }

    /// Renews a lease. False asks the instance to register again: it is not listed, or its override
    /// was deleted and nobody knows its status, or `last_dirty` is newer than what is listed
    /// (`AbstractInstanceRegistry.renew`, `InstanceResource.validateDirtyTimestamp`).
    pub fn renew(&mut self, app: &str, id: &str, last_dirty: Option<i64>, now: Timestamp) -> bool {
        let Some(lease) = lease_mut(&mut self.apps, app, id) else { return false };
        let status = self.overrides.status_of(&lease.instance, Some(lease.instance.status), now);
        if status == InstanceStatus::Unknown {
            return false;
        }
        lease.instance.status = status;
        lease.renew(now);
        let is_stale = last_dirty > lease.instance.last_dirty;
        self.expiry.renewed(now);
        !is_stale
    }

    /// Takes an instance off the list; false if it was not on it.
    pub fn cancel(&mut self, app: &str, id: &str, now: Timestamp) -> bool {
        self.overrides.remove(id);
        let Some(leases) = self.apps.get_mut(app) else { return false };
        let Some(lease) = leases.remove(id) else { return false };
        if leases.is_empty() {
            self.apps.remove(app);
        }
        let mut instance = lease.listed();
        instance.action = Some(Action::Deleted);
        instance.last_updated = Some(now.as_millis());
        let info = instance.lease.get_or_insert_with(LeaseInfo::default);
        info.eviction_timestamp = now.as_millis();
        self.recent.gone((app.to_owned(), id.to_owned()), instance, now);
        self.expiry.expect_fewer();
        true
    }

    /// Gives an instance a status from outside, which holds against what it says of itself while
    /// that is UP or OUT_OF_SERVICE. False if it is not listed (`statusUpdate`).
    pub fn set_status(
        &mut self,
        app: &str,
        id: &str,
        status: InstanceStatus,
        last_dirty: Option<i64>,
        now: Timestamp,
    ) -> bool {
        let Some(lease) = lease_mut(&mut self.apps, app, id) else { return false };
        lease.renew(now);
        if lease.instance.status != status {
            if status == InstanceStatus::Up {
                lease.service_up(now);
            }
            self.overrides.put(id, status, now);
            lease.instance.overridden_status = status;
            lease.instance.status = status;
            self.modified(app, id, last_dirty, now);
        }
        true
    }

    /// Takes such a status back; until the instance registers again it has `status`. False if it is
    /// not listed (`deleteStatusOverride`).
    pub fn delete_status(
        &mut self,
        app: &str,
        id: &str,
        status: InstanceStatus,
        last_dirty: Option<i64>,
        now: Timestamp,
    ) -> bool {
        let Some(lease) = lease_mut(&mut self.apps, app, id) else { return false };
        lease.renew(now);
        if self.overrides.remove(id).is_some() {
            lease.instance.overridden_status = InstanceStatus::Unknown;
            lease.instance.status = status;
            self.modified(app, id, last_dirty, now);
        }
        true
    }

    fn modified(&mut self, app: &str, id: &str, last_dirty: Option<i64>, now: Timestamp) {
        if let Some(Lease { instance, .. }) = lease_mut(&mut self.apps, app, id) {
            instance.last_dirty = instance.last_dirty.max(last_dirty);
            instance.action = Some(Action::Modified);
            instance.last_updated = Some(now.as_millis());
            self.recent.changed((app.to_owned(), id.to_owned()), now);
        }
    }

    /// Adds to an instance's metadata, which counts as a registration. False if it is not listed
    /// (`InstanceResource.updateMetadata`).
    pub fn put_metadata(
        &mut self,
        app: &str,
        id: &str,
        entries: impl IntoIterator<Item = (String, String)>,
        now: Timestamp,
    ) -> bool {
        let Some(mut instance) = self.instance(app, id, now) else { return false };
        instance.metadata.extend(entries);
        self.register(instance, now);
        true
    }

    /// Every application, with its hash code.
    pub fn applications(&self) -> Applications {
        self.listed(1, |_| true)
    }

    /// One application; `None` if it has no instance.
    pub fn application(&self, app: &str) -> Option<Application> {
        let leases = self.apps.get(app)?;
        let instances = leases.values().map(Lease::listed).collect();
        Some(Application { name: app.to_owned(), instances })
    }

    /// One instance; `None` too for an expired one that nothing preserves.
    pub fn instance(&self, app: &str, id: &str, now: Timestamp) -> Option<Instance> {
        let lease = self.apps.get(app)?.get(id)?;
        self.is_seen(lease, now).then(|| lease.listed())
    }

    /// The instance of that id in the first application that has one.
    pub fn instance_by_id(&self, id: &str, now: Timestamp) -> Option<Instance> {
        let mut leases = self.apps.values().filter_map(|leases| leases.get(id));
        leases.find(|lease| self.is_seen(lease, now)).map(Lease::listed)
    }

    /// What instances are found under a virtual address, of the TLS port if `is_secure`. The hash
    /// code is that of the answer (`ResponseCacheImpl.getApplicationsForVip`).
    pub fn at_address(&self, address: &str, is_secure: bool) -> Applications {
        let mut found = self.listed(-1, |instance| {
            let addresses = match is_secure {
                true => &instance.secure_vip_address,
                false => &instance.vip_address,
            };
            addresses.as_deref().is_some_and(|all| all.split(',').any(|one| one == address))
        });
        found.hash_code = Applications::hash_code(found.instances());
        found
    }

    /// What changed of late, each instance once as it is now; the hash code is that of everything
    /// (`getApplicationDeltas`).
    pub fn delta(&self, now: Timestamp) -> Applications {
        let mut apps: BTreeMap<&str, Vec<Instance>> = BTreeMap::new();
        for (key, gone) in self.recent.latest(now) {
            let (app, id) = key;
            let listed = self.apps.get(app).and_then(|leases| leases.get(id)).map(Lease::listed);
            apps.entry(app).or_default().extend(listed.or_else(|| gone.cloned()));
        }
        let applications = apps
            .into_iter()
            .map(|(name, instances)| Application { name: name.to_owned(), instances })
            .collect();
        let hash_code = self.hash_code();
        Applications { version: self.recent.version(), hash_code, applications }
    }

    /// Takes expired leases away, unless too few renewals arrive, and never more at once than
    /// [`RegistrySettings::renewal_percent`] leaves; who went. `late` is how much later than planned
    /// this pass began, which no instance is blamed for (`evict`).
    pub fn evict(&mut self, now: Timestamp, late: Duration) -> Vec<(String, String)> {
        self.overrides.forget_old(now);
        if !self.expiry.is_enabled(now) {
            return Vec::new();
        }
        let late = i64::try_from(late.as_millis()).unwrap_or(i64::MAX);
        let expired: Vec<(Key, i64)> = self
            .apps
            .iter()
            .flat_map(|(app, leases)| leases.iter().map(move |(id, lease)| (app, id, lease)))
            .filter(|(_, _, lease)| lease.is_expired(now, late))
            .map(|(app, id, lease)| ((app.clone(), id.clone()), lease.overdue(now)))
            .collect();
        let mut going = expiry::in_order(expired);
        going.truncate(self.expiry.at_most(self.len()));
        for (app, id) in &going {
            self.cancel(app, id, now);
        }
        going
    }

    /// What it knows of itself.
    pub fn counts(&self, now: Timestamp) -> RegistryCounts {
        self.expiry.counts(self.len(), now)
    }

    fn len(&self) -> usize {
        self.apps.values().map(BTreeMap::len).sum()
    }

    fn is_seen(&self, lease: &Lease, now: Timestamp) -> bool {
        !self.expiry.is_enabled(now) || !lease.is_expired(now, 0)
    }

    fn hash_code(&self) -> String {
        let leases = self.apps.values().flat_map(BTreeMap::values);
        Applications::hash_code(leases.map(|lease| &lease.instance))
    }

    fn listed(&self, version: i64, wanted: impl Fn(&Instance) -> bool) -> Applications {
        let mut applications = Vec::new();
        for (name, leases) in &self.apps {
            let leases = leases.values().filter(|lease| wanted(&lease.instance));
            let instances: Vec<Instance> = leases.map(Lease::listed).collect();
            if !instances.is_empty() {
                applications.push(Application { name: name.clone(), instances });
            }
        }
        Applications { version, hash_code: self.hash_code(), applications }
    }
}

fn lease_mut<'a>(
    apps: &'a mut BTreeMap<String, BTreeMap<String, Lease>>,
    app: &str,
    id: &str,
) -> Option<&'a mut Lease> {
    apps.get_mut(app)?.get_mut(id)
}
