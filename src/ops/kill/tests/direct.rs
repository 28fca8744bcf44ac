//! In the process of a command line.

use super::kit::*;
use crate::model::{Keeper, KillRequest, PortAction, ServerState};
use crate::ops::made_up::{MadeUp, Nature, identity, port, process};

use PortAction::{AlreadyFree, Killed, Left, Terminated};

#[tokio::test]
#[cfg_attr(windows, ignore = "there is one way to end a process, and nobody is asked first")]
async fn a_process_of_ones_own_ends_on_term_and_a_stubborn_one_is_killed() {
    let machine = MadeUp::with([
        process(10, &[8080]),
        process(11, &[9090]).that(Nature::Stubborn),
        process(12, &[18080]),
    ]);
    let ops = alone(&machine, None);
    let report = kill(&ops, &request(&[8080, 9090, 7000])).await.unwrap();
    let actions: Vec<_> = report.ports.iter().map(|item| (item.port.get(), item.action)).collect();
    assert_eq!(actions, [(7000, AlreadyFree), (8080, Terminated), (9090, Killed)]);
    let signals: Vec<_> =
        report.ports.iter().map(|item| item.signal.map(|s| s.to_string())).collect();
    assert_eq!(signals, [None, Some("TERM".into()), Some("KILL".into())]);
    assert!(report.ports.iter().all(|item| item.bindable.as_str() == "yes"));
    assert!(machine.lives(12), "another port");
    assert_eq!(machine.signals().len(), 3);
    let command = report.ports[1].holders[0].command.as_deref();
    assert_eq!(command, Some("app10 --token ***"));
}

#[tokio::test]
async fn nobody_is_ended_by_force_who_never_may_be() {
    let machine = MadeUp::with([
        process(1, &[81]),
        process(20, &[82]),
        process(30, &[83]),
        process(40, &[84]),
        process(50, &[3000]),
        process(60, &[85]),
    ]);
    {
        let mut world = machine.world();
        world.ancestors = [20].into();
        world.may_end_any = true;
        let forwarder = world.processes.get_mut(&60).unwrap();
        forwarder.details.keeper = Some(Keeper::Forwarder { runtime: "docker".into() });
        world.processes.get_mut(&crate::ops::made_up::OWN_PID).unwrap().ports = [port(86)].into();
    }
    let database = Database::new().await;
    database.other_server(identity(40, 1)).await;
    let owner = Some(identity(30, 1));
    let asked = forced(&[81, 82, 83, 84, 85, 86, 3000]);
    let codes = |done: Vec<(PortAction, Option<&'static str>)>| {
        assert!(done.iter().all(|(action, _)| *action == Left), "{done:?}");
        done.into_iter().filter_map(|(_, code)| code).collect::<Vec<_>>()
    };
    let mut expected = [
        "port-held-by-system",
        "port-held-by-caller",
        "port-served",
        "port-held-by-server",
        "port-forwarded",
        "port-held-by-caller",
        "port-control",
    ];
    let ops = direct(&machine, Some(&database), ServerState::Ready, owner.clone());
    assert_eq!(codes(done_for(&ops, &asked).await), expected);
    expected[2] = "port-held-by-hung";
    let ops = direct(&machine, Some(&database), ServerState::Unresponsive, owner);
    assert_eq!(codes(done_for(&ops, &asked).await), expected);
    assert_eq!(machine.signals(), []);
}

#[tokio::test]
async fn another_users_process_needs_rights_and_force() {
    let machine = MadeUp::with([process(10, &[8080]).of_user(0)]);
    let ops = alone(&machine, None);
    for asked in [request(&[8080]), forced(&[8080])] {
        assert_eq!(done_for(&ops, &asked).await, [(Left, Some("port-holder-denied"))]);
    }
    machine.world().may_end_any = true;
    let left = done_for(&ops, &request(&[8080])).await;
    assert_eq!(left, [(Left, Some("port-holder-other-user"))]);
    assert_eq!(machine.signals(), []);
    assert_eq!(done_for(&ops, &forced(&[8080])).await, [(Terminated, None)]);
}

#[tokio::test]
async fn a_holder_that_is_not_visible_is_never_called_free() {
    let machine = MadeUp::with([]);
    machine.world().unseen.insert(port(8080), 77);
    let report = kill(&alone(&machine, None), &forced(&[8080])).await.unwrap();
    let item = &report.ports[0];
    assert_eq!(item.action, Left);
    let fault = item.fault.clone().unwrap();
    assert_eq!(fault.kind, crate::model::FaultKind::Denied);
    assert!(fault.to_string().contains("uid 77"), "{fault}");
    assert_eq!(item.bindable.as_str(), "no");
}

#[tokio::test]
async fn the_holders_of_a_port_are_ended_all_or_none() {
    let machine = MadeUp::with([process(10, &[8080]), process(11, &[8080]).of_user(0)]);
    let ops = alone(&machine, None);
    assert_eq!(done_for(&ops, &forced(&[8080])).await, [(Left, Some("port-holder-denied"))]);
    assert_eq!(machine.signals(), []);
    let machine = MadeUp::with([process(10, &[8080, 9090]), process(11, &[8080])]);
    let done = done_for(&alone(&machine, None), &request(&[8080, 9090])).await;
    assert_eq!(done, [(Terminated, None); 2]);
    assert_eq!(machine.signals().len(), 2, "each process once: {:?}", machine.signals());
}

#[tokio::test]
async fn too_much_at_a_time_is_refused_whole_unless_forced() {
    let many: Vec<u16> = (7000..7065).collect();
    let machine = MadeUp::with((0..6_u16).map(|n| process(100 + u32::from(n), &[7000 + n])));
    let database = Database::new().await;
    let ops = alone(&machine, Some(&database));
    let fault = kill(&ops, &request(&many)).await.unwrap_err();
    assert_eq!((fault.kind, fault.message.code()), (LEFT_ALONE, "too-many-ports"));
    let fault = kill(&ops, &request(&many[..6])).await.unwrap_err();
    assert_eq!((fault.kind, fault.message.code()), (LEFT_ALONE, "too-many-holders"));
    assert!(fault.to_string().starts_with('6'), "{fault}");
    assert_eq!(machine.signals(), []);
    assert_eq!(database.events().await.len(), 2);
    database.register("a", 7000).await;
    let done = done_for(&ops, &request(&many[..6])).await;
    assert_eq!(done, [(Terminated, None); 6], "five of unregistered ports are not too many");
}

const LEFT_ALONE: crate::model::FaultKind = crate::model::FaultKind::LeftAlone;

#[tokio::test]
async fn a_dry_run_says_all_and_changes_nothing() {
    let mut kept = process(10, &[8080, 8081]);
    let unit = Keeper::Unit { name: "web.service".into(), user: true, restarts: Some(true) };
    kept.details.keeper = Some(unit);
    let machine = MadeUp::with([kept, process(1, &[81])]);
    machine.world().clients.insert(port(8080), 3);
    let database = Database::new().await;
    let asked = KillRequest { dry_run: true, ..request(&[80, 81, 8080]) };
    let report = kill(&alone(&machine, Some(&database)), &asked).await.unwrap();
    assert!(report.dry_run);
    let actions: Vec<_> = report.ports.iter().map(|item| item.action).collect();
    assert_eq!(actions, [AlreadyFree, Left, Terminated]);
    let notes: Vec<_> = report.ports[2].notes.iter().map(|note| note.code()).collect();
    assert_eq!(notes, ["note-unit-restarts", "note-other-ports", "note-clients"]);
    let first = report.ports[2].notes[0].to_string();
    assert!(first.contains("`systemctl --user stop web.service`"), "{first}");
    assert_eq!(machine.signals(), []);
    assert_eq!(database.events().await, []);
}

#[tokio::test]
async fn every_kill_and_every_refusal_is_an_event() {
    let machine = MadeUp::with([process(10, &[8080]), process(11, &[9090]).of_user(0)]);
    let database = Database::new().await;
    let report =
        kill(&alone(&machine, Some(&database)), &request(&[7000, 8080, 9090])).await.unwrap();
    assert!(report.ports.iter().all(|item| item.notes.is_empty()), "{report:?}");
    let mut events = database.events().await;
    events.sort_by(|a, b| a.1.cmp(&b.1));
    let heads: Vec<_> =
        events.iter().map(|(a, s, o, _)| (a.as_str(), s.as_str(), o.as_str())).collect();
    assert_eq!(heads, [("port-killed", "8080", "ok"), ("port-left", "9090", "refused")]);
    let signal = if cfg!(windows) { "-" } else { "TERM" };
    let killed = format!("{signal} to app10 --token *** (pid 10 (started 1), user ann)");
    assert_eq!(events[0].3, killed);
    assert!(events[1].3.contains("app11 --token *** (pid 11 (started 1), user bob)"));
}

#[tokio::test]
async fn a_kill_that_cannot_be_recorded_is_done_and_says_so() {
    let machine = MadeUp::with([process(10, &[8080])]);
    let report = kill(&alone(&machine, None), &request(&[8080])).await.unwrap();
    assert_eq!(report.ports[0].action, Terminated);
    assert_eq!(report.ports[0].notes[0].code(), "note-unrecorded-nowhere");
}

#[tokio::test]
async fn the_ports_of_the_server_are_told_apart_for_whoever_divides_a_request() {
    let machine = MadeUp::with([process(30, &[81, 82, 3000]), process(31, &[83])]);
    let ops = direct(&machine, None, ServerState::Ready, Some(identity(30, 1)));
    let served = ops.served_ports(&request(&[81, 82, 83, 84, 3000]).ports).await.unwrap();
    assert_eq!(served, [port(81), port(82)].into());
    let none = alone(&machine, None).served_ports(&request(&[81]).ports).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_server_that_counts_in_another_pid_namespace_is_recognised() {
    let machine = MadeUp::with([process(10, &[8080]), process(11, &[8081])]);
    let inside = |pid| crate::model::ProcessIdentity { pid_namespace: 2, ..identity(pid, 1) };
    machine.world().elsewhere = [(inside(1), identity(10, 1)), (inside(2), identity(11, 1))].into();
    let database = Database::new().await;
    database.other_server(inside(2)).await;
    let ops = direct(&machine, Some(&database), ServerState::Ready, Some(inside(1)));
    assert_eq!(
        ops.served_ports(&[port(8080), port(8081)].into()).await.unwrap(),
        [port(8080)].into()
    );
    let done = done_for(&ops, &forced(&[8080, 8081])).await;
    assert_eq!(done, [(Left, Some("port-served")), (Left, Some("port-held-by-server"))]);
    assert_eq!(machine.signals(), []);
}
