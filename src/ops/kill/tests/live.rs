//! Inside a live server.

use std::time::Duration;

use super::kit::*;
use crate::model::{Desired, FaultKind, NodeName, PortAction};
use crate::ops::made_up::{MadeUp, OWN_PID, process};

use PortAction::{Left, Stopped, Terminated};

#[tokio::test]
async fn a_served_port_is_freed_by_stopping_its_service_which_can_be_undone() {
    let machine = MadeUp::with([]);
    let database = Database::new().await;
    let service = database.register("orders", 8080).await;
    let (ops, live) = in_server(&machine, &database, &[&service]).await;
    let report = kill(&ops, &request(&[8080])).await.unwrap();
    assert_eq!(report.ports[0].action, Stopped, "{report:?}");
    let note = report.ports[0].notes[0].to_string();
    assert!(note.contains("`pmctl service start orders`"), "{note}");
    let rows = database.store.services(&NodeName::default()).await.unwrap();
    assert_eq!(rows[0].desired, Desired::Stopped);
    assert_eq!(*live.bounds.lock().unwrap(), [Some(Duration::from_millis(10))]);
    assert!(machine.lives(OWN_PID));
    assert_eq!(machine.signals(), []);
}

#[tokio::test]
async fn an_unregistered_port_is_denied_unless_forced() {
    let machine = MadeUp::with([process(10, &[8080])]);
    let database = Database::new().await;
    let (ops, _) = in_server(&machine, &database, &[]).await;
    let report = kill(&ops, &request(&[8080])).await.unwrap();
    let fault = report.ports[0].fault.clone().unwrap();
    assert_eq!((fault.kind, fault.message.code()), (FaultKind::Denied, "port-unregistered"));
    assert_eq!(machine.signals(), []);
    assert_eq!(done_for(&ops, &forced(&[8080])).await, [(Terminated, None)]);
}

#[tokio::test]
async fn a_stranger_on_a_registered_port_is_ended_if_it_is_of_the_servers_user() {
    let machine = MadeUp::with([process(10, &[8080]), process(11, &[9090]).of_user(0)]);
    machine.world().may_end_any = true;
    let database = Database::new().await;
    database.register("mine", 8080).await;
    database.register("theirs", 9090).await;
    let (ops, _) = in_server(&machine, &database, &[]).await;
    let report = kill(&ops, &forced(&[8080, 9090])).await.unwrap();
    assert_eq!(report.ports[0].action, Terminated);
    let notes: Vec<_> = report.ports[0].notes.iter().map(|note| note.code()).collect();
    assert_eq!(notes, ["note-server-takes-it"]);
    let fault = report.ports[1].fault.clone().unwrap();
    assert_eq!((fault.kind, fault.message.code()), (FaultKind::Denied, "port-holder-not-ours"));
    assert!(machine.lives(11));
}

#[tokio::test]
async fn the_control_port_and_what_the_server_just_opens_are_left() {
    let machine = MadeUp::with([]);
    let database = Database::new().await;
    let service = database.register("orders", 8080).await;
    let (ops, live) = in_server(&machine, &database, &[&service]).await;
    live.serving.lock().unwrap().clear();
    let done = done_for(&ops, &forced(&[3000, 8080])).await;
    let codes = [(Left, Some("port-control")), (Left, Some("port-in-transition"))];
    assert_eq!(done, codes);
    assert!(machine.lives(OWN_PID));
}

#[tokio::test]
async fn what_has_begun_goes_on_when_the_caller_hangs_up() {
    let machine = MadeUp::with([process(10, &[8080])]);
    let database = Database::new().await;
    database.register("mine", 8080).await;
    let (ops, _) = in_server(&machine, &database, &[]).await;
    let asked = request(&[8080]);
    let begun = tokio::sync::Notify::new();
    let by = crate::model::Actor::Direct(BY.into());
    let hear = |_| begun.notify_one();
    tokio::select! {
        biased;
        () = begun.notified() => {}
        _ = ops.kill_ports(&asked, &by, &hear) => {}
    }
    let patience = std::time::Instant::now();
    while database.events().await.is_empty() {
        assert!(patience.elapsed().as_secs() < 10, "nothing was recorded");
        tokio::task::yield_now().await;
    }
    assert!(!machine.lives(10));
}
