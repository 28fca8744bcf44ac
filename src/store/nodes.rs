//! Runs of a server.

use std::path::PathBuf;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::model::{NodeName, ProcessIdentity, Timestamp};

use super::{Node, NodeId, NodeRow, Store, StoreError};

impl Store {
    /// Notes that a server begins.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn start_node(&self, node: NodeRow) -> Result<NodeId, StoreError> {
        let mut tx = self.begin().await?;
        let id = sqlx::query(
            "INSERT INTO nodes (name, host, boot_id, pid_namespace, pid, start_time, exe, version, \
             started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(node.name.as_str())
        .bind(&node.host)
        .bind(&node.identity.boot_id)
        // SQLite has no unsigned numbers: the bits are kept.
        .bind(node.identity.pid_namespace.cast_signed())
        .bind(i64::from(node.identity.pid))
        .bind(node.identity.start_time.cast_signed())
        .bind(node.exe.to_string_lossy())
        .bind(&node.version)
        .bind(node.started_at.as_millis())
        .execute(&mut *tx)
        .await
        .map_err(|e| self.failed("note a server", e))?
        .last_insert_rowid();
        self.commit(tx).await?;
        Ok(NodeId(id))
    }

    /// Notes where its control plane listens.
    ///
    /// # Errors
    /// As [`Store::start_node`].
    pub async fn set_control_url(&self, id: NodeId, url: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE nodes SET control_url = $2 WHERE id = $1")
            .bind(id.0)
            .bind(url)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed("note a control URL", e))?;
        self.commit(tx).await
    }

    /// Notes that it ended, once: a later end of the same run changes nothing.
    ///
    /// # Errors
    /// As [`Store::start_node`].
    pub async fn finish_node(
        &self,
        id: NodeId,
        at: Timestamp,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE nodes SET stopped_at = $2, stop_reason = $3 \
             WHERE id = $1 AND stopped_at IS NULL",
        )
        .bind(id.0)
        .bind(at.as_millis())
        .bind(reason)
        .execute(&mut *tx)
        .await
        .map_err(|e| self.failed("note a server's end", e))?;
        self.commit(tx).await
    }

    /// The runs of that node name that never ended in order, newest first: the living one and
    /// those that died.
    ///
    /// # Errors
    /// `BadValue`, `Busy`, `Corrupt`, `Sql`.
    pub async fn unfinished_nodes(&self, name: &NodeName) -> Result<Vec<Node>, StoreError> {
        self.unfinished(Some(name)).await
    }

    /// Likewise of every node name.
    ///
    /// # Errors
    /// As [`Store::unfinished_nodes`].
    pub async fn all_unfinished_nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.unfinished(None).await
    }

    /// Every run that ever was, newest first.
    ///
    /// # Errors
    /// As [`Store::unfinished_nodes`].
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.list_nodes("TRUE OR name = $1", None).await
    }

    async fn unfinished(&self, name: Option<&NodeName>) -> Result<Vec<Node>, StoreError> {
        self.list_nodes("(name = $1 OR $1 IS NULL) AND stopped_at IS NULL", name).await
    }

    /// Those that `condition` allows, whose `$1` is `name`.
    async fn list_nodes(
        &self,
        condition: &'static str,
        name: Option<&NodeName>,
    ) -> Result<Vec<Node>, StoreError> {
        let failed = |error| self.failed("list the servers", error);
        let mut tx = self.read().await?;
        let sql = format!(
            "SELECT id, name, host, boot_id, pid_namespace, pid, start_time, exe, version, \
             started_at, control_url, stopped_at, stop_reason FROM nodes \
             WHERE {condition} ORDER BY id DESC"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql));
        let rows = rows.bind(name.map(NodeName::as_str)).fetch_all(&mut *tx).await;
        rows.map_err(failed)?.iter().map(|row| node(row).map_err(failed)?).collect()
    }
}

fn node(row: &SqliteRow) -> Result<Result<Node, StoreError>, sqlx::Error> {
    let (id, pid): (i64, i64) = (row.try_get(0)?, row.try_get(5)?);
    let Ok(number) = u32::try_from(pid) else {
        let value = pid.to_string();
        return Ok(Err(StoreError::BadValue { table: "nodes", id, column: "pid", value }));
    };
    let name: String = row.try_get(1)?;
    let Ok(name) = name.parse() else {
        return Ok(Err(StoreError::BadValue { table: "nodes", id, column: "name", value: name }));
    };
    let stopped_at: Option<i64> = row.try_get(11)?;
    Ok(Ok(Node {
        id: NodeId(id),
        row: NodeRow {
            name,
            host: row.try_get(2)?,
            identity: ProcessIdentity {
                boot_id: row.try_get(3)?,
                pid_namespace: row.try_get::<i64, _>(4)?.cast_unsigned(),
                pid: number,
                start_time: row.try_get::<i64, _>(6)?.cast_unsigned(),
            },
            exe: PathBuf::from(row.try_get::<String, _>(7)?),
            version: row.try_get(8)?,
            started_at: Timestamp::from_millis(row.try_get(9)?),
        },
        control_url: row.try_get(10)?,
        stopped_at: stopped_at.map(Timestamp::from_millis),
        stop_reason: row.try_get(12)?,
    }))
}
