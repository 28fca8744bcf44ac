//! Changing what is registered. Each function is one transaction with the events that tell of it.

use sqlx::SqliteConnection;

use crate::model::{
    HealthCheck, NewTarget, NodeName, Port, Service, ServiceId, ServiceName, TargetName, Timestamp,
};

use super::{NewEvent, ServiceChange, ServiceRow, Store, StoreError};

impl Store {
    /// Adds a service, actually stopped.
    ///
    /// # Errors
    /// `NameTaken`; `PortTaken`; `TargetMissing` if the active target is none of its targets;
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`. Nothing is changed then.
    pub async fn insert_service(
        &self,
        node: &NodeName,
        row: ServiceRow,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<Service, StoreError> {
        let failed = |error| self.failed("add a service", error);
        if !row.targets.contains_key(&row.active) {
            return Err(StoreError::TargetMissing { target: row.active });
        }
        let mut tx = self.begin().await?;
        self.check_free(&mut tx, node.as_str(), ServiceId(0), Some(&row.name), Some(row.port))
            .await?;
        let id = sqlx::query(
            "INSERT INTO services (node_name, name, port, bind, desired, active_target, register, \
             tags, created_at, updated_at, revision, health) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 1, $10)",
        )
        .bind(node.as_str())
        .bind(row.name.as_str())
        .bind(i64::from(row.port.get()))
        .bind(row.bind.map(|address| address.to_string()))
        .bind(row.desired.as_str())
        .bind(row.active.as_str())
        .bind(row.register)
        .bind(tags_column(&row.tags))
        .bind(now.as_millis())
        .bind(row.health.as_ref().and_then(health_column))
        .execute(&mut *tx)
        .await
        .map_err(failed)?
        .last_insert_rowid();
        let id = ServiceId(id);
        for (name, target) in &row.targets {
            self.insert_target(&mut tx, id, name, target).await?;
        }
        sqlx::query("INSERT INTO runtime (service_id, actual, since) VALUES ($1, 'stopped', $2)")
            .bind(id.0)
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.append(&mut tx, &[event]).await?;
        let service = self.service_in(&mut tx, id).await?;
        self.commit(tx).await?;
        Ok(service)
    }

    /// Changes a registration and counts its revision up.
    ///
    /// # Errors
    /// `ServiceGone`; else as [`Store::insert_service`].
    pub async fn update_service(
        &self,
        id: ServiceId,
        change: ServiceChange,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<Service, StoreError> {
        let failed = |error| self.failed("change a service", error);
        let mut tx = self.begin().await?;
        let node: Option<String> =
            sqlx::query_scalar("SELECT node_name FROM services WHERE id = $1")
                .bind(id.0)
                .fetch_optional(&mut *tx)
                .await
                .map_err(failed)?;
        let node = node.ok_or(StoreError::ServiceGone { id })?;
        self.check_free(&mut tx, &node, id, change.name.as_ref(), change.port).await?;
        sqlx::query(
            "UPDATE services SET name = coalesce($2, name), port = coalesce($3, port), \
             bind = CASE WHEN $4 THEN $5 ELSE bind END, tags = coalesce($6, tags), \
             register = coalesce($7, register), updated_at = $8, revision = revision + 1, \
             health = CASE WHEN $9 THEN $10 ELSE health END \
             WHERE id = $1",
        )
        .bind(id.0)
        .bind(change.name.as_ref().map(ServiceName::as_str))
        .bind(change.port.map(|port| i64::from(port.get())))
        .bind(change.bind.is_some())
        .bind(change.bind.flatten().map(|address| address.to_string()))
        .bind(change.tags.as_deref().map(tags_column))
        .bind(change.register)
        .bind(now.as_millis())
        .bind(change.health.is_some())
        .bind(change.health.flatten().as_ref().and_then(health_column))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        self.append(&mut tx, &[event]).await?;
        let service = self.service_in(&mut tx, id).await?;
        self.commit(tx).await?;
        Ok(service)
    }

    /// Removes services with everything that belongs to them; says how many there still were.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`; nothing is changed then.
    pub async fn remove_services(
        &self,
        ids: &[ServiceId],
        events: Vec<NewEvent>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let mut removed = 0;
        for id in ids {
            let done = sqlx::query("DELETE FROM services WHERE id = $1").bind(id.0);
            let done = done.execute(&mut *tx).await;
            removed += done.map_err(|e| self.failed("remove a service", e))?.rows_affected();
            sqlx::query("DELETE FROM heartbeats WHERE service_id = $1")
                .bind(id.0)
                .execute(&mut *tx)
                .await
                .map_err(|e| self.failed("remove the heartbeats of a service", e))?;
        }
        self.append(&mut tx, &events).await?;
        self.commit(tx).await?;
        Ok(removed)
    }

    /// Adds a target, or puts another in the place of the one of that name (credentials and trust
    /// included: what the new one lacks is gone).
    ///
    /// # Errors
    /// `ServiceGone`, `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn put_target(
        &self,
        id: ServiceId,
        name: &TargetName,
        target: NewTarget,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<Service, StoreError> {
        let mut tx = self.begin().await?;
        // Before the insert, whose foreign key would say the same in SQLite's words.
        self.touch(&mut tx, id, now).await?;
        self.delete_target(&mut tx, id, name).await?;
        self.insert_target(&mut tx, id, name, &target).await?;
        self.append(&mut tx, &[event]).await?;
        let service = self.service_in(&mut tx, id).await?;
        self.commit(tx).await?;
        Ok(service)
    }

    /// Removes a target that is not the active one.
    ///
    /// # Errors
    /// `ServiceGone`, `TargetMissing`, `TargetActive`, `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn remove_target(
        &self,
        id: ServiceId,
        name: &TargetName,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<Service, StoreError> {
        let mut tx = self.begin().await?;
        let service = self.service_in(&mut tx, id).await?;
        let target = name.clone();
        if !service.targets.contains_key(name) {
            return Err(StoreError::TargetMissing { target });
        }
        if service.active_target == *name {
            return Err(StoreError::TargetActive { target });
        }
        self.touch(&mut tx, id, now).await?;
        self.delete_target(&mut tx, id, name).await?;
        self.append(&mut tx, &[event]).await?;
        let service = self.service_in(&mut tx, id).await?;
        self.commit(tx).await?;
        Ok(service)
    }

    /// Makes another target the active one.
    ///
    /// # Errors
    /// `ServiceGone`, `TargetMissing`, `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn set_active(
        &self,
        id: ServiceId,
        name: &TargetName,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<Service, StoreError> {
        let mut tx = self.begin().await?;
        let service = self.service_in(&mut tx, id).await?;
        if !service.targets.contains_key(name) {
            return Err(StoreError::TargetMissing { target: name.clone() });
        }
        self.touch(&mut tx, id, now).await?;
        sqlx::query("UPDATE services SET active_target = $2 WHERE id = $1")
            .bind(id.0)
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed("switch the active target", e))?;
        self.append(&mut tx, &[event]).await?;
        let service = self.service_in(&mut tx, id).await?;
        self.commit(tx).await?;
        Ok(service)
    }

    /// Refuses a name or port that another service than `id` has. Nobody can take them before the
    /// transaction ends: it is the only writing one.
    async fn check_free(
        &self,
        tx: &mut SqliteConnection,
        node: &str,
        id: ServiceId,
        name: Option<&ServiceName>,
        port: Option<Port>,
    ) -> Result<(), StoreError> {
        let failed = |error| self.failed("look for services of that name or port", error);
        if let Some(name) = name {
            let taken = sqlx::query(
                "SELECT 1 FROM services WHERE node_name = $1 AND name = $2 AND id <> $3",
            );
            let taken = taken.bind(node).bind(name.as_str()).bind(id.0);
            if taken.fetch_optional(&mut *tx).await.map_err(failed)?.is_some() {
                return Err(StoreError::NameTaken { name: name.clone() });
            }
        }
        let Some(port) = port else { return Ok(()) };
        let taken: Option<(i64, String)> = sqlx::query_as(
            "SELECT id, name FROM services WHERE node_name = $1 AND port = $2 AND id <> $3",
        )
        .bind(node)
        .bind(i64::from(port.get()))
        .bind(id.0)
        .fetch_optional(tx)
        .await
        .map_err(failed)?;
        let Some((id, value)) = taken else { return Ok(()) };
        match value.parse() {
            Ok(by) => Err(StoreError::PortTaken { port, by }),
            Err(_) => Err(StoreError::BadValue { table: "services", id, column: "name", value }),
        }
    }

    async fn touch(
        &self,
        tx: &mut SqliteConnection,
        id: ServiceId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE services SET updated_at = $2, revision = revision + 1 WHERE id = $1",
        );
        let done = done.bind(id.0).bind(now.as_millis()).execute(tx).await;
        match done.map_err(|e| self.failed("change a service", e))?.rows_affected() {
            0 => Err(StoreError::ServiceGone { id }),
            _ => Ok(()),
        }
    }

    async fn insert_target(
        &self,
        tx: &mut SqliteConnection,
        id: ServiceId,
        name: &TargetName,
        target: &NewTarget,
    ) -> Result<(), StoreError> {
        let failed = |error| self.failed("add a target", error);
        let ca_file = target.tls.ca_file.as_deref().map(|path| path.to_string_lossy());
        sqlx::query(
            "INSERT INTO targets (service_id, name, url, ca_file, insecure) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id.0)
        .bind(name.as_str())
        .bind(target.url.to_string())
        .bind(ca_file)
        .bind(target.tls.insecure)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(credentials) = &target.credentials else { return Ok(()) };
        sqlx::query(
            "INSERT INTO credentials (service_id, target, username, password) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(id.0)
        .bind(name.as_str())
        .bind(&credentials.username)
        .bind(&credentials.password)
        .execute(tx)
        .await
        .map_err(failed)?;
        Ok(())
    }

    /// The reference from the service to its active target is checked at the commit.
    async fn delete_target(
        &self,
        tx: &mut SqliteConnection,
        id: ServiceId,
        name: &TargetName,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM targets WHERE service_id = $1 AND name = $2");
        let done = done.bind(id.0).bind(name.as_str()).execute(tx).await;
        done.map(|_| ()).map_err(|e| self.failed("remove a target", e))
    }
}

/// Numbers and a path always have a JSON form.
fn health_column(check: &HealthCheck) -> Option<String> {
    serde_json::to_string(check).ok()
}

fn tags_column(tags: &[String]) -> String {
    serde_json::Value::from(tags).to_string()
}
