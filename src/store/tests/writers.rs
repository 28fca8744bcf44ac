//! Many writers, many rows, no room.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_direct_writers_and_twenty_through_the_owner_all_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (owner, _lock) = own(&at).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20_u16 {
        let at = at.clone();
        tasks.spawn(async move {
            let lock = WriterLock::acquire(&at, at_most(Duration::from_secs(30))).await.unwrap();
            let store = Store::open_for_writing(&at).await.unwrap();
            add(&store, &format!("direct {n}"), 2000 + n).await.unwrap();
            store.close().await.unwrap();
            drop(lock);
        });
        let owner = owner.clone();
        tasks.spawn(async move {
            add(&owner, &format!("owner {n}"), 3000 + n).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(owner.services(&node()).await.unwrap().len(), 40);
    assert_eq!(owner.events(100, None).await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_thousand_services_are_listed_and_set_in_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let mut tx = store.begin().await.unwrap();
    for n in 1..=1000_i64 {
        let insert = "INSERT INTO services (id, node_name, name, port, desired, active_target, \
             register, tags, created_at, updated_at, revision) \
             VALUES ($1, 'default', 's' || $1, $1, 'running', 'a', 1, '[]', 0, 0, 1)";
        sqlx::query(insert).bind(n).execute(&mut *tx).await.unwrap();
        for target in ["a", "b"] {
            let insert = "INSERT INTO targets VALUES ($1, $2, 'http://localhost:9001', NULL, 0)";
            sqlx::query(insert).bind(n).bind(target).execute(&mut *tx).await.unwrap();
        }
        let insert = "INSERT INTO runtime VALUES ($1, NULL, 'stopped', NULL, 0)";
        sqlx::query(insert).bind(n).execute(&mut *tx).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    let begun = Instant::now();
    let services = store.services(&node()).await.unwrap();
    let listed = begun.elapsed();
    assert_eq!((services.len(), services[0].targets.len()), (1000, 2));
    let states: Vec<_> = services.iter().map(|s| (s.id, Actual::Running, None)).collect();
    let begun = Instant::now();
    store.set_actual(None, &states, at(1), vec![]).await.unwrap();
    let set = begun.elapsed();
    // Far above what an unoptimised build takes, far below what a statement a service would.
    assert!(listed < at_most(Duration::from_millis(500)), "listed in {listed:?}, set in {set:?}");
    assert!(set < at_most(Duration::from_secs(2)), "listed in {listed:?}, set in {set:?}");
}

#[tokio::test]
async fn a_full_disk_and_a_busy_database_are_said_to_be_so_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, _lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    // The limit that a full disk would be: no page more than there are.
    sqlx::query("PRAGMA max_page_count = 1").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let many = (0..5000).map(|n| event(&format!("{n:0100}"))).collect();
    let error = store.append_events(many).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert_eq!(store.last_event_id().await.unwrap(), 1);
    // SQLite has ended that transaction by itself; the next one is none the worse for it.
    store.append_events(vec![event("b")]).await.unwrap();
    assert_eq!(store.last_event_id().await.unwrap(), 2);

    let _writing = store.begin().await.unwrap();
    let hasty = sqlx::sqlite::SqliteConnectOptions::new().filename(at.path());
    let mut hasty = hasty.busy_timeout(Duration::ZERO).connect().await.unwrap();
    let error = hasty.begin_with("BEGIN IMMEDIATE").await.unwrap_err();
    let error = StoreError::sql("write", at.path(), error);
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_first_writers_make_one_database() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..10_u16 {
        let at = at.clone();
        tasks.spawn(async move {
            let _turn = WriterLock::acquire(&at, at_most(Duration::from_secs(30))).await.unwrap();
            let store = match Store::open_for_writing(&at).await {
                Err(StoreError::NoDatabase { .. }) => {
                    let (made, lock) = own(&at).await;
                    made.close().await.unwrap();
                    drop(lock);
                    Store::open_for_writing(&at).await.unwrap()
                }
                other => other.unwrap(),
            };
            add(&store, &format!("s{n}"), 2000 + n).await.unwrap();
            store.close().await.unwrap();
        });
    }
    tasks.join_all().await;
    let reader = Store::open_for_reading(&at).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 10);
}
