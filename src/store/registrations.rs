//! What may stand in a registry, and the calls made about it.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use crate::model::{Heartbeat, HeartbeatCall, NodeName, Port, Registration, ServiceId, Timestamp};

use super::{NodeId, Store, StoreError, reason};

/// Most calls of one statement; a call has five parameters, of which SQLite takes 32,766 in all.
const MOST_ROWS: usize = 500;

/// A registration as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRow {
    /// Key in the database.
    pub id: i64,
    /// The run of the server that announced it.
    pub node: NodeId,
    /// What it announced.
    pub registration: Registration,
}

/// A registration as it was written down at one time: written down anew, it has the same key and is
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrationVersion {
    /// Key in the database.
    pub id: i64,
    /// [`Registration::since`].
    pub since: Timestamp,
}

impl RegistrationRow {
    /// Which it is.
    pub fn version(&self) -> RegistrationVersion {
        RegistrationVersion { id: self.id, since: self.registration.since }
    }
}

impl Store {
    /// Writes down what is about to be announced, in the place of what the same node had announced
    /// under the same id; the keys of the rows, in the order given.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn put_registrations(
        &self,
        node: NodeId,
        registrations: &[Registration],
    ) -> Result<Vec<i64>, StoreError> {
        let mut tx = self.begin().await?;
        let mut ids = Vec::with_capacity(registrations.len());
        for r in registrations {
            let registries = serde_json::Value::from(r.registries.clone()).to_string();
            let id: i64 = sqlx::query_scalar(
                "INSERT INTO registrations (node_id, service_id, service, port, registries, app, \
                 instance_id, host, address, interval_s, duration_s, since) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                 ON CONFLICT (node_id, app, instance_id) DO UPDATE SET service_id = $2, \
                 service = $3, port = $4, registries = $5, host = $8, address = $9, \
                 interval_s = $10, duration_s = $11, since = $12 RETURNING id",
            )
            .bind(node.0)
            .bind(r.service_id.0)
            .bind(r.service.as_str())
            .bind(i64::from(r.port.get()))
            .bind(registries)
            .bind(&r.app)
            .bind(&r.instance_id)
            .bind(&r.host)
            .bind(&r.address)
            .bind(whole_seconds(r.interval))
            .bind(whole_seconds(r.duration))
            .bind(r.since.as_millis())
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.failed("write down a registration", e))?;
            ids.push(id);
        }
        self.commit(tx).await?;
        Ok(ids)
    }

    /// Forgets registrations that are known to be gone from the registry, but for those that were
    /// written down anew meanwhile.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn forget_registrations(
        &self,
        gone: &[RegistrationVersion],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for version in gone {
            sqlx::query("DELETE FROM registrations WHERE id = $1 AND since = $2")
                .bind(version.id)
                .bind(version.since.as_millis())
                .execute(&mut *tx)
                .await
                .map_err(|e| self.failed("forget a registration", e))?;
        }
        self.commit(tx).await
    }

    /// What servers of that node name announced and is not known to be gone, oldest first.
    ///
    /// # Errors
    /// `BadValue`, `Busy`, `Corrupt`, `Sql`.
    pub async fn registrations(&self, name: &NodeName) -> Result<Vec<RegistrationRow>, StoreError> {
        self.registrations_of(Some(name)).await
    }

    /// Likewise of every node name.
    ///
    /// # Errors
    /// As [`Store::registrations`].
    pub async fn all_registrations(&self) -> Result<Vec<RegistrationRow>, StoreError> {
        self.registrations_of(None).await
    }

    async fn registrations_of(
        &self,
        name: Option<&NodeName>,
    ) -> Result<Vec<RegistrationRow>, StoreError> {
        let failed = |error| self.failed("list the registrations", error);
        let mut tx = self.read().await?;
        let rows = sqlx::query(
            "SELECT r.id, r.node_id, r.service_id, r.service, r.port, r.registries, r.app, \
             r.instance_id, r.host, r.address, r.interval_s, r.duration_s, r.since \
             FROM registrations r JOIN nodes n ON n.id = r.node_id \
             WHERE n.name = $1 OR $1 IS NULL ORDER BY r.id",
        );
        let rows = rows.bind(name.map(NodeName::as_str)).fetch_all(&mut *tx).await;
        rows.map_err(failed)?.iter().map(|row| registration(row).map_err(failed)?).collect()
    }

    /// Appends calls in one transaction, and drops all but the newest `keep` of each service
    /// concerned. Calls about services that are no more registered are left out.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn append_heartbeats(
        &self,
        calls: &[(ServiceId, Heartbeat)],
        keep: u32,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // Few statements for many calls: a live server writes every second for as long as it runs.
        for calls in calls.chunks(MOST_ROWS) {
            // A set of values names its columns so in every database.
            let mut insert = QueryBuilder::new(
                "INSERT INTO heartbeats (service_id, at, call, failure, latency_ms) \
                 SELECT column1, column2, column3, column4, column5 FROM (",
            );
            insert.push_values(calls, |mut row, (service, call)| {
                row.push_bind(service.0)
                    .push_bind(call.at.as_millis())
                    .push_bind(call.call.as_str())
                    .push_bind(call.failure.as_ref().map(reason::to_column))
                    .push_bind(i64::try_from(call.latency_ms).unwrap_or(i64::MAX));
            });
            insert.push(") AS calls WHERE column1 IN (SELECT id FROM services)");
            let insert = insert.build().persistent(false);
            insert.execute(&mut *tx).await.map_err(|e| self.failed("note heartbeats", e))?;
            let services: BTreeSet<i64> = calls.iter().map(|(service, _)| service.0).collect();
            let mut old =
                QueryBuilder::new("DELETE FROM heartbeats WHERE id IN (SELECT h.id FROM (");
            old.push_values(&services, |mut row, service| {
                row.push_bind(*service);
            });
            old.push(
                ") AS concerned JOIN heartbeats h ON h.service_id = column1 WHERE h.id <= \
                 (SELECT id FROM heartbeats WHERE service_id = column1 ORDER BY id DESC \
                 LIMIT 1 OFFSET ",
            );
            old.push_bind(i64::from(keep)).push("))");
            let old = old.build().persistent(false);
            old.execute(&mut *tx).await.map_err(|e| self.failed("drop old heartbeats", e))?;
        }
        self.commit(tx).await
    }

    /// The newest `limit` calls of a service, oldest first. A call of an unknown kind, which a newer
    /// version may have noted, is left out.
    ///
    /// # Errors
    /// `Busy`, `Corrupt`, `Sql`.
    pub async fn heartbeats(
        &self,
        service: ServiceId,
        limit: u32,
    ) -> Result<Vec<Heartbeat>, StoreError> {
        let failed = |error| self.failed("list the heartbeats", error);
        let mut tx = self.read().await?;
        let rows = sqlx::query(
            "SELECT at, call, failure, latency_ms FROM heartbeats WHERE service_id = $1 \
             ORDER BY id DESC LIMIT $2",
        );
        let rows = rows.bind(service.0).bind(i64::from(limit));
        let rows = rows.fetch_all(&mut *tx).await.map_err(failed)?;
        let calls = rows.iter().rev().map(heartbeat).collect::<Result<Vec<_>, _>>();
        Ok(calls.map_err(failed)?.into_iter().flatten().collect())
    }
}

/// At least one: a registry counts whole seconds.
fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs().max(1)).unwrap_or(i64::MAX)
}

fn heartbeat(row: &SqliteRow) -> Result<Option<Heartbeat>, sqlx::Error> {
    let (call, failure): (&str, Option<&str>) = (row.try_get(1)?, row.try_get(2)?);
    let Some(call) = HeartbeatCall::from_word(call) else { return Ok(None) };
    Ok(Some(Heartbeat {
        at: Timestamp::from_millis(row.try_get(0)?),
        call,
        failure: failure.map(reason::from_column),
        latency_ms: u64::try_from(row.try_get::<i64, _>(3)?).unwrap_or(0),
    }))
}

fn registration(row: &SqliteRow) -> Result<Result<RegistrationRow, StoreError>, sqlx::Error> {
    let id: i64 = row.try_get(0)?;
    let bad = |column, value: String| {
        Ok(Err(StoreError::BadValue { table: "registrations", id, column, value }))
    };
    let (service, port): (String, i64) = (row.try_get(3)?, row.try_get(4)?);
    let Ok(name) = service.parse() else { return bad("service", service) };
    let Ok(port) = Port::try_from(port) else { return bad("port", port.to_string()) };
    let urls: String = row.try_get(5)?;
    let Ok(registries) = serde_json::from_str(&urls) else { return bad("registries", urls) };
    let seconds = |column| {
        let seconds: i64 = row.try_get(column)?;
        Ok::<_, sqlx::Error>(Duration::from_secs(u64::try_from(seconds).unwrap_or(1)))
    };
    Ok(Ok(RegistrationRow {
        id,
        node: NodeId(row.try_get(1)?),
        registration: Registration {
            service_id: ServiceId(row.try_get(2)?),
            service: name,
            port,
            registries,
            app: row.try_get(6)?,
            instance_id: row.try_get(7)?,
            host: row.try_get(8)?,
            address: row.try_get(9)?,
            interval: seconds(10)?,
            duration: seconds(11)?,
            since: Timestamp::from_millis(row.try_get(12)?),
        },
    }))
}
