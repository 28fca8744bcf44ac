//! Reading services.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::model::{
    Actual, Credentials, Desired, NodeName, Service, ServiceId, ServiceName, Target, TargetName,
    Timestamp, UpstreamTls,
};

use super::{Store, StoreError, reason};

/// Two statements for any number of services: the services with their runtime row, and the targets
/// of the same services.
macro_rules! statements {
    ($name:ident, $filter:literal) => {
        const $name: (&str, &str) = (
            concat!(
                "SELECT s.id, s.name, s.port, s.bind, s.desired, s.active_target, s.register, ",
                "s.tags, s.created_at, s.updated_at, s.revision, r.actual, r.reason, r.since, ",
                "s.health ",
                "FROM services s LEFT JOIN runtime r ON r.service_id = s.id WHERE ",
                $filter,
                " ORDER BY s.name"
            ),
            concat!(
                "SELECT t.service_id, t.name, t.url, t.ca_file, t.insecure, c.username, c.password ",
                "FROM services s JOIN targets t ON t.service_id = s.id LEFT JOIN credentials c ",
                "ON c.service_id = t.service_id AND c.target = t.name WHERE ",
                $filter
            ),
        );
    };
}
statements!(OF_NODE, "s.node_name = $1");
statements!(BY_NAME, "s.node_name = $1 AND s.name = $2");
statements!(BY_ID, "s.id = $1");

impl Store {
    /// Every service of `node`, ordered by name (by the bytes of its UTF-8).
    ///
    /// # Errors
    /// `BadValue` for a row this build cannot read, `Busy`, `Corrupt`, `Sql`.
    pub async fn services(&self, node: &NodeName) -> Result<Vec<Service>, StoreError> {
        let failed = |error| self.failed("list the services", error);
        let mut tx = self.read().await?;
        let services = sqlx::query(OF_NODE.0).bind(node.as_str());
        let services = services.fetch_all(&mut *tx).await.map_err(failed)?;
        let targets = sqlx::query(OF_NODE.1).bind(node.as_str());
        let targets = targets.fetch_all(&mut *tx).await.map_err(failed)?;
        self.compose(&services, &targets)
    }

    /// The service of that name.
    ///
    /// # Errors
    /// As [`Store::services`].
    pub async fn service(
        &self,
        node: &NodeName,
        name: &ServiceName,
    ) -> Result<Option<Service>, StoreError> {
        let failed = |error| self.failed("read a service", error);
        let mut tx = self.read().await?;
        let services = sqlx::query(BY_NAME.0).bind(node.as_str()).bind(name.as_str());
        let services = services.fetch_all(&mut *tx).await.map_err(failed)?;
        let targets = sqlx::query(BY_NAME.1).bind(node.as_str()).bind(name.as_str());
        let targets = targets.fetch_all(&mut *tx).await.map_err(failed)?;
        Ok(self.compose(&services, &targets)?.pop())
    }

    /// The service of that id as it is within a transaction.
    pub(super) async fn service_in(
        &self,
        connection: &mut SqliteConnection,
        id: ServiceId,
    ) -> Result<Service, StoreError> {
        let failed = |error| self.failed("read a service", error);
        let services = sqlx::query(BY_ID.0).bind(id.0);
        let services = services.fetch_all(&mut *connection).await.map_err(failed)?;
        let targets = sqlx::query(BY_ID.1).bind(id.0);
        let targets = targets.fetch_all(&mut *connection).await.map_err(failed)?;
        self.compose(&services, &targets)?.pop().ok_or(StoreError::ServiceGone { id })
    }

    fn compose(
        &self,
        services: &[SqliteRow],
        targets: &[SqliteRow],
    ) -> Result<Vec<Service>, StoreError> {
        let mut of: BTreeMap<i64, BTreeMap<TargetName, Target>> = BTreeMap::new();
        for row in targets {
            let row = Fields { store: self, table: "targets", id: self.get(row, 0)?, row };
            let (name, target) = row.target()?;
            of.entry(row.id).or_default().insert(name, target);
        }
        let whole = services.iter().map(|row| {
            let row = Fields { store: self, table: "services", id: self.get(row, 0)?, row };
            row.service(of.remove(&row.id).unwrap_or_default())
        });
        whole.collect()
    }

    fn get<'r, T>(&self, row: &'r SqliteRow, column: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        row.try_get(column).map_err(|e| self.failed("read a column", e))
    }
}

/// A row whose columns are read as what they stand for.
struct Fields<'a> {
    store: &'a Store,
    table: &'static str,
    id: i64,
    row: &'a SqliteRow,
}

impl<'a> Fields<'a> {
    fn get<T>(&self, column: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'a, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.store.get(self.row, column)
    }

    fn bad(&self, column: &'static str, value: impl ToString) -> StoreError {
        StoreError::BadValue { table: self.table, id: self.id, column, value: value.to_string() }
    }

    /// A text column through its parser.
    fn parse<T: std::str::FromStr>(
        &self,
        column: &'static str,
        text: &str,
    ) -> Result<T, StoreError> {
        text.parse().map_err(|_| self.bad(column, text))
    }

    fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }

    fn service(&self, targets: BTreeMap<TargetName, Target>) -> Result<Service, StoreError> {
        let port: i64 = self.get(2)?;
        let bind: Option<&str> = self.get(3)?;
        let desired: &str = self.get(4)?;
        let tags: &str = self.get(7)?;
        // A service without a runtime row was never started: there is nothing to know.
        let actual: Option<&str> = self.get(11)?;
        let reason: Option<&str> = self.get(12)?;
        let since: Option<i64> = self.get(13)?;
        let health: Option<&str> = self.get(14)?;
        let created_at = self.time(8)?;
        Ok(Service {
            id: ServiceId(self.id),
            name: self.parse("name", self.get(1)?)?,
            port: port.try_into().map_err(|_| self.bad("port", port))?,
            bind: bind.map(|text| self.parse("bind", text)).transpose()?,
            desired: Desired::from_word(desired).ok_or_else(|| self.bad("desired", desired))?,
            actual: match actual {
                Some(word) => Actual::from_word(word).ok_or_else(|| self.bad("actual", word))?,
                None => Actual::Stopped,
            },
            reason: reason.map(reason::from_column),
            since: since.map_or(created_at, Timestamp::from_millis),
            active_target: self.parse("active_target", self.get(5)?)?,
            targets,
            tags: serde_json::from_str(tags).map_err(|_| self.bad("tags", tags))?,
            register: self.get(6)?,
            health: health
                .map(|text| serde_json::from_str(text).map_err(|_| self.bad("health", text)))
                .transpose()?,
            created_at,
            updated_at: self.time(9)?,
            revision: self.get(10)?,
        })
    }

    fn target(&self) -> Result<(TargetName, Target), StoreError> {
        let name = self.parse("name", self.get(1)?)?;
        let ca_file: Option<String> = self.get(3)?;
        let username: Option<String> = self.get(5)?;
        let password: Option<String> = self.get(6)?;
        let target = Target {
            // Not the URL: written by hand it might hold a password.
            url: self.get::<&str>(2)?.parse().map_err(|_| self.bad("url", "(not shown)"))?,
            credentials: username
                .map(|username| Credentials { username, password: password.unwrap_or_default() }),
            tls: UpstreamTls { ca_file: ca_file.map(PathBuf::from), insecure: self.get(4)? },
        };
        Ok((name, target))
    }
}
