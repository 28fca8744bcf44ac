//! The append-only record of what happened.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::model::{Event, EventAction, Timestamp};

use super::{NewEvent, Store, StoreError, reason};

impl Store {
    /// Appends events, all or none, in this order.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn append_events(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        self.append(&mut tx, &events).await?;
        self.commit(tx).await
    }

    /// At most `limit` events, oldest first: those that follow the event `after`, or without it
    /// the newest ones.
    ///
    /// # Errors
    /// `Busy`, `Corrupt`, `Sql`.
    pub async fn events(&self, limit: u32, after: Option<i64>) -> Result<Vec<Event>, StoreError> {
        let failed = |error| self.failed("list the events", error);
        let query = match after {
            Some(id) => sqlx::query(
                "SELECT id, at, action, subject, actor, outcome, detail FROM events \
                 WHERE id > $1 ORDER BY id LIMIT $2",
            )
            .bind(id),
            None => sqlx::query(
                "SELECT id, at, action, subject, actor, outcome, detail FROM events \
                 WHERE id > $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(0_i64),
        };
        let mut tx = self.read().await?;
        let rows = query.bind(i64::from(limit)).fetch_all(&mut *tx).await.map_err(failed)?;
        let mut events = rows.iter().map(event).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        if after.is_none() {
            events.reverse();
        }
        Ok(events)
    }

    /// The id of the newest event, 0 if there is none: what a follower begins `after`.
    ///
    /// # Errors
    /// `Busy`, `Corrupt`, `Sql`.
    pub async fn last_event_id(&self) -> Result<i64, StoreError> {
        let mut tx = self.read().await?;
        sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events")
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.failed("find the newest event", e))
    }

    /// Removes all but the newest `keep` events, and all but those of [`EventAction::KILLS`]; says how
    /// many went.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn prune_events(&self, keep: u32) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "DELETE FROM events WHERE action NOT IN ($2, $3) AND id <= \
             (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET $1)",
        );
        let [one, other] = EventAction::KILLS.map(EventAction::as_str);
        let done = done.bind(i64::from(keep)).bind(one).bind(other).execute(&mut *tx).await;
        let removed = done.map_err(|e| self.failed("remove old events", e))?.rows_affected();
        self.commit(tx).await?;
        Ok(removed)
    }

    /// Appends events within the transaction of what they tell of.
    pub(super) async fn append(
        &self,
        tx: &mut SqliteConnection,
        events: &[NewEvent],
    ) -> Result<(), StoreError> {
        for event in events {
            sqlx::query(
                "INSERT INTO events (at, action, subject, actor, outcome, detail) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(event.at.as_millis())
            .bind(event.action.as_str())
            .bind(&event.subject)
            .bind(event.actor.to_string())
            .bind(event.outcome.as_str())
            .bind(event.detail.as_ref().map(reason::to_column))
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed("append an event", e))?;
        }
        Ok(())
    }
}

fn event(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    let detail: Option<&str> = row.try_get(6)?;
    Ok(Event {
        id: row.try_get(0)?,
        at: Timestamp::from_millis(row.try_get(1)?),
        action: row.try_get(2)?,
        subject: row.try_get(3)?,
        actor: row.try_get(4)?,
        outcome: row.try_get(5)?,
        detail: detail.map(reason::from_column),
    })
}
