//! Opening, reading and refusing databases.

use super::*;

#[tokio::test]
async fn an_owner_makes_a_private_database_that_stays_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    let uuid = store.uuid().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&uuid).unwrap().get_version_num(), 4, "{uuid}");
    #[cfg(unix)]
    for (path, mode) in [(at.path(), 0o600), (at.path().parent().unwrap(), 0o700)] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
    store.close().await.unwrap();
    drop(lock);
    assert_eq!(own(&at).await.0.uuid(), uuid);
}

#[cfg(unix)]
#[tokio::test]
async fn an_owner_whose_file_is_moved_away_reads_on_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, _lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    std::fs::rename(at.path(), dir.path().join("aside")).unwrap();
    // Each over a connection of its own: none is opened now, of a file that is not there.
    let _first = store.read().await.unwrap();
    let _second = store.read().await.unwrap();
    assert_eq!(store.services(&node()).await.unwrap().len(), 1);
    let error = add(&store, "b", 8081).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    std::fs::rename(dir.path().join("aside"), at.path()).unwrap();
    add(&store, "b", 8081).await.unwrap();
}

#[tokio::test]
async fn the_lock_of_one_database_opens_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, lock) = own(&location(&dir)).await;
    let other = Location::from_path(&dir.path().join("other.db")).unwrap();
    let error = Store::open_as_owner(&other, &lock).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongLock { .. }), "{error}");
    assert!(!other.exists());
}

#[tokio::test]
async fn reading_where_there_is_no_database_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    assert!(Store::open_for_reading(&at).await.unwrap().is_none());
    assert_eq!(Store::identify(&at).await.unwrap(), None);
    let error = Store::open_for_writing(&at).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert!(files(dir.path()).is_empty());
    std::fs::create_dir(at.path().parent().unwrap()).unwrap();
    std::fs::write(at.path(), "").unwrap();
    assert!(Store::open_for_reading(&at).await.unwrap().is_none());
    let error = Store::open_for_writing(&at).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert_eq!(files(at.path().parent().unwrap()).len(), 1);
}

#[tokio::test]
async fn reading_a_closed_database_leaves_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    store.close().await.unwrap();
    drop(lock);
    let before = files(at.path().parent().unwrap());
    let reader = Store::open_for_reading(&at).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 1);
    let error = add(&reader, "b", 8081).await.unwrap_err();
    assert!(matches!(error, StoreError::OpenedForReading { .. }), "{error}");
    reader.close().await.unwrap();
    Store::identify(&at).await.unwrap().unwrap();
    assert_eq!(files(at.path().parent().unwrap()), before);
}

#[tokio::test]
async fn a_reader_sees_what_a_live_owner_commits() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (owner, _lock) = own(&at).await;
    let reader = Store::open_for_reading(&at).await.unwrap().unwrap();
    assert_eq!(reader.uuid(), owner.uuid());
    assert_eq!(Store::identify(&at).await.unwrap().unwrap().uuid, owner.uuid());
    let added = add(&owner, "订单服务", 8080).await.unwrap();
    assert_eq!(reader.services(&node()).await.unwrap(), std::slice::from_ref(&added));
    assert_eq!(reader.service(&node(), &added.name).await.unwrap(), Some(added));
    assert_eq!(reader.service(&node(), &"other".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_by_both_numbers_but_identified() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    let known = Store::identify(&at).await.unwrap().unwrap().schema;
    let mut tx = store.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    store.close().await.unwrap();
    let is_newer = |error: &StoreError| matches!(error, StoreError::SchemaNewer { found: 9999, known: k } if *k == known);
    for error in [
        Store::open_as_owner(&at, &lock).await.unwrap_err(),
        Store::open_for_writing(&at).await.unwrap_err(),
        Store::open_for_reading(&at).await.unwrap_err(),
    ] {
        assert!(is_newer(&error), "{error}");
    }
    assert_eq!(Store::identify(&at).await.unwrap().unwrap().schema, 9999);
    assert!(matches!(schema::check(known - 1), Err(StoreError::SchemaOld { .. })));
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let at = Location::from_path(&path).unwrap();
    let Acquired::Lock(lock) = OwnerLock::try_acquire(&at, holder("default"), |_| false).unwrap()
    else {
        panic!("held")
    };
    std::fs::write(
        &path,
        "not a database at all, but long enough to have a header of one\n".repeat(20),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    for error in [
        Store::open_for_reading(&at).await.unwrap_err(),
        Store::open_for_writing(&at).await.unwrap_err(),
        Store::open_as_owner(&at, &lock).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);

    // Windows removes no file that a refused connection is still closing.
    let begun = std::time::Instant::now();
    while let Err(error) = std::fs::remove_file(&path) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(40), "{error}");
        tokio::task::yield_now().await;
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut theirs = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE songs (id INTEGER)").execute(&mut theirs).await.unwrap();
    theirs.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    for error in [
        Store::open_for_reading(&at).await.unwrap_err(),
        Store::open_as_owner(&at, &lock).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotOurs { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// So nobody has to look there whether the file still lies where it was opened.
#[cfg(windows)]
#[tokio::test]
async fn the_system_neither_removes_nor_replaces_an_open_database() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, _lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    let other = dir.path().join("other.db");
    std::fs::write(&other, "").unwrap();
    std::fs::remove_file(at.path()).unwrap_err();
    std::fs::rename(at.path(), dir.path().join("aside.db")).unwrap_err();
    std::fs::rename(&other, at.path()).unwrap_err();
    add(&store, "b", 8081).await.unwrap();
}

#[tokio::test]
async fn a_database_that_became_a_directory_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    std::fs::create_dir_all(at.path()).unwrap();
    let error = Store::open_for_reading(&at).await.unwrap_err();
    assert!(matches!(error, StoreError::IsDirectory { .. }), "{error}");
}

#[tokio::test]
async fn what_a_killed_owner_committed_is_read_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (owner, _lock) = own(&at).await;
    add(&owner, "a", 8080).await.unwrap();
    // What a kill leaves: the database with its log, without the index that the log is read by.
    let copy = Location::from_path(&dir.path().join("copy.db")).unwrap();
    std::fs::copy(at.path(), copy.path()).unwrap();
    std::fs::copy(at.beside("-wal"), copy.beside("-wal")).unwrap();
    let reader = Store::open_for_reading(&copy).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 1);
    assert_eq!(reader.uuid(), owner.uuid());
}

/// Runs this very test again as a user who may write nothing here: `nobody` where we are root, else
/// ourselves with the rights taken away.
#[cfg(unix)]
#[tokio::test]
async fn a_reader_without_any_right_to_write_reads_what_was_closed_in_order() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const PATH: &str = "PMCTL_TEST_UNWRITABLE";
    if let Some(path) = std::env::var_os(PATH) {
        read_unwritable(&Location::from_path(Path::new(&path)).unwrap()).await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    store.close().await.unwrap();
    drop(lock);
    let unclosed = at.path().with_file_name("unclosed.db");
    std::fs::copy(at.path(), &unclosed).unwrap();
    std::fs::write(at.path().with_file_name("unclosed.db-wal"), "not empty").unwrap();
    // The program itself may lie where `nobody` cannot go.
    let program = dir.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, mode) in [(dir.path(), 0o755), (&program, 0o755), (at.path(), 0o444)] {
        chmod(path, mode);
    }
    chmod(&unclosed, 0o444);
    chmod(at.path().parent().unwrap(), 0o555);
    let mut again = std::process::Command::new(&program);
    again.env(PATH, at.path()).current_dir("/").args(["--exact", "--nocapture"]);
    again.arg(
        "store::tests::opening::a_reader_without_any_right_to_write_reads_what_was_closed_in_order",
    );
    if rustix::process::geteuid().is_root() {
        again.uid(65534).gid(65534);
    }
    let output = again.output().unwrap();
    chmod(at.path().parent().unwrap(), 0o755);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(unix)]
async fn read_unwritable(at: &Location) {
    let directory = at.path().parent().unwrap();
    let before = files(directory);
    let reader = Store::open_for_reading(at).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 1);
    reader.close().await.unwrap();
    assert_eq!(files(directory), before);
    let error = Store::open_for_writing(at).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    let error = OwnerLock::try_acquire(at, holder("default"), |_| false).unwrap_err();
    assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");
    let unclosed = Location::from_path(&directory.join("unclosed.db")).unwrap();
    let error = Store::open_for_reading(&unclosed).await.unwrap_err();
    assert!(matches!(error, StoreError::Unclosed { .. }), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_root_makes_in_the_directory_of_a_user_is_the_users() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    }
    let user = dir.path().metadata().unwrap();
    let at = location(&dir);
    let (store, _lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    let _writer = WriterLock::acquire(&at, Duration::ZERO).await.unwrap();
    let state = at.path().parent().unwrap();
    let made = files(state);
    assert!(made.len() >= 5, "{made:?}");
    for path in made.iter().map(|name| state.join(name)).chain([state.to_owned()]) {
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (user.uid(), user.gid()), "{path:?}");
    }
}
