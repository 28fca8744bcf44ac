//! Changing what is wanted and what is. However many services: one transaction.

use crate::model::{Actual, Desired, NodeName, ServiceId, Timestamp};
use crate::text::Message;

use super::{NewEvent, NodeId, Store, StoreError, reason};

impl Store {
    /// Sets what is wanted of each service; says how many there still were. A wish is no change of
    /// the registration: its revision stays.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`; nothing is changed then.
    pub async fn set_desired(
        &self,
        ids: &[ServiceId],
        desired: Desired,
        events: Vec<NewEvent>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let mut found = 0;
        for id in ids {
            let done = sqlx::query("UPDATE services SET desired = $2 WHERE id = $1");
            let done = done.bind(id.0).bind(desired.as_str()).execute(&mut *tx).await;
            found += done.map_err(|e| self.failed("set a desired state", e))?.rows_affected();
        }
        self.append(&mut tx, &events).await?;
        self.commit(tx).await?;
        Ok(found)
    }

    /// Notes what each service's proxy does, and for which node. Services removed meanwhile are
    /// left out.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`; nothing is changed then.
    pub async fn set_actual(
        &self,
        node: Option<NodeId>,
        states: &[(ServiceId, Actual, Option<Message>)],
        now: Timestamp,
        events: Vec<NewEvent>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (id, actual, reason) in states {
            sqlx::query(
                "UPDATE runtime SET since = CASE WHEN actual = $2 THEN since ELSE $5 END, \
                 actual = $2, reason = $3, node_id = $4 WHERE service_id = $1",
            )
            .bind(id.0)
            .bind(actual.as_str())
            .bind(reason.as_ref().map(reason::to_column))
            .bind(node.map(|node| node.0))
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed("note an actual state", e))?;
        }
        self.append(&mut tx, &events).await?;
        self.commit(tx).await
    }

    /// Notes that no proxy of `node` runs any more; says how many were not stopped. What is wanted
    /// stays.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`; nothing is changed then.
    pub async fn stop_all(
        &self,
        node: &NodeName,
        now: Timestamp,
        events: Vec<NewEvent>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let stopped = sqlx::query(
            "UPDATE runtime SET actual = 'stopped', reason = NULL, node_id = NULL, since = $2 \
             WHERE actual <> 'stopped' \
             AND service_id IN (SELECT id FROM services WHERE node_name = $1)",
        )
        .bind(node.as_str())
        .bind(now.as_millis())
        .execute(&mut *tx)
        .await
        .map_err(|e| self.failed("note that all is stopped", e))?
        .rows_affected();
        self.append(&mut tx, &events).await?;
        self.commit(tx).await?;
        Ok(stopped)
    }
}
