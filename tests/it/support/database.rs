//! The database from outside, as another program has it open.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::runtime::Runtime;

use super::{Pmctl, runtime};

/// A connection to the database of a sandbox.
pub struct Database {
    runtime: Runtime,
    connection: SqliteConnection,
}

impl Database {
    #[track_caller]
    pub fn open(pmctl: &Pmctl) -> Self {
        Self::at(&pmctl.database())
    }

    /// The one of that file, which is made if it is missing.
    #[track_caller]
    pub fn at(file: &Path) -> Self {
        let runtime = runtime();
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let connection = runtime.block_on(options.connect()).expect("the database");
        Self { runtime, connection }
    }

    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        self.runtime.block_on(done).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The one value that a question has, as text.
    #[track_caller]
    pub fn text(&mut self, sql: &'static str) -> String {
        let asked = sqlx::query_scalar(sql).fetch_one(&mut self.connection);
        self.runtime.block_on(asked).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    #[track_caller]
    pub fn close(self) {
        self.runtime.block_on(self.connection.close()).expect("a close");
    }
}
