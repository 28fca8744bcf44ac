//! When the world changes between the plan and its end.

use std::io;

use tokio::sync::mpsc;

use super::kit::*;
use crate::host::{Holder, Holding};
use crate::model::{Actor, FaultKind, Keeper, KillItem, KillRequest, PortAction};
use crate::ops::ending::EndFailure;
use crate::ops::kill::apply::{self, Consent};
use crate::ops::kill::plan::Target;
use crate::ops::kill::verdict::{Found, Tried, Verdict};
use crate::ops::made_up::{MadeUp, Nature, World, port, process};

use PortAction::{AlreadyFree, Left, Terminated};

/// What becomes of the one port of `asked` if the world changes after it was planned.
async fn changed(
    machine: &MadeUp,
    asked: KillRequest,
    change: impl FnOnce(&mut World),
) -> KillItem {
    let ops = alone(machine, None);
    let plan = ops.plan_kill(&asked).await.unwrap();
    change(&mut machine.world());
    let (tell, _told) = mpsc::unbounded_channel();
    let consent = Consent::of(&asked).unwrap();
    let report = apply::apply(ops, plan, consent, Actor::Direct(BY.into()), tell).await;
    report.ports.into_iter().next().unwrap()
}

fn code(item: &KillItem) -> &'static str {
    item.fault.as_ref().map_or("", |fault| fault.message.code())
}

#[tokio::test]
async fn another_process_with_the_same_pid_is_never_signalled() {
    let machine = MadeUp::with([process(10, &[8080])]);
    let item = changed(&machine, forced(&[8080]), |world| {
        world.add(process(10, &[8080]).started_at(2));
    });
    let item = item.await;
    assert_eq!((item.action, code(&item)), (Left, "port-holder-changed"));
    assert_eq!(item.fault.unwrap().kind, FaultKind::LeftAlone);
    assert_eq!(machine.signals(), []);
    assert!(machine.lives(10));
}

#[tokio::test]
async fn a_holder_that_is_gone_by_then_leaves_a_free_port() {
    let machine = MadeUp::with([process(10, &[8080])]);
    let item = changed(&machine, request(&[8080]), |world| world.processes.clear()).await;
    assert_eq!((item.action, item.message.code()), (AlreadyFree, "kill-freed-itself"));
    let machine = MadeUp::with([process(10, &[8080])]);
    let item = changed(&machine, request(&[8080]), |world| {
        world.processes.get_mut(&10).unwrap().ports.clear();
    });
    assert_eq!(item.await.action, AlreadyFree);
    assert_eq!(machine.signals(), [], "it no longer listened");
    assert!(machine.lives(10));
}

#[tokio::test]
async fn a_port_that_another_process_took_over_is_left() {
    let machine = MadeUp::with([process(10, &[8080])]);
    let item = changed(&machine, request(&[8080]), |world| {
        world.processes.clear();
        world.add(process(11, &[8080]));
    });
    let item = item.await;
    assert_eq!((item.action, code(&item)), (Left, "port-holder-changed"));
    assert!(machine.lives(11));
}

#[tokio::test]
async fn what_its_keeper_starts_again_is_left_and_the_keeper_named() {
    let unit = Keeper::Unit { name: "web.service".into(), user: false, restarts: Some(true) };
    let kept = |pid| {
        let mut process = process(pid, &[8080]);
        process.details.keeper = Some(unit.clone());
        process
    };
    let mut first = kept(10);
    let again = kept(11);
    first.then = Some(Box::new(move |world| world.add(again)));
    let machine = MadeUp::with([first]);
    let database = Database::new().await;
    let report = kill(&alone(&machine, Some(&database)), &request(&[8080])).await.unwrap();
    let item = &report.ports[0];
    assert_eq!((item.action, code(item)), (Left, "port-held-again-kept"));
    let sentence = item.message.to_string();
    assert!(sentence.contains("`systemctl stop web.service`"), "{sentence}");
    assert!(machine.lives(11));
    let actions: Vec<_> = database.events().await.into_iter().map(|event| event.0).collect();
    assert_eq!(actions, ["port-killed", "port-left"]);
}

#[tokio::test]
#[cfg_attr(windows, ignore = "there is one way to end a process, and nobody is asked first")]
async fn a_process_that_gives_its_port_up_is_not_killed() {
    let machine = MadeUp::with([process(10, &[8080]).that(Nature::LetsGo)]);
    let report = kill(&alone(&machine, None), &request(&[8080])).await.unwrap();
    assert_eq!(report.ports[0].action, Terminated);
    assert!(report.ports[0].notes.iter().any(|note| note.code() == "note-still-runs"));
    assert!(machine.lives(10));
    assert_eq!(machine.signals().len(), 1);
}

#[tokio::test]
async fn a_port_that_is_free_but_does_not_bind_is_free() {
    let machine = MadeUp::with([process(10, &[8080])]);
    machine.world().unbindable.insert(port(8080));
    let report = kill(&alone(&machine, None), &request(&[8080])).await.unwrap();
    let item = &report.ports[0];
    assert_eq!((item.action, item.bindable.as_str()), (Terminated, "no"));
    assert_eq!(item.fault, None);
}

#[test]
fn a_process_that_stays_is_told_with_the_reason() {
    let holder: Holder = process(10, &[]).holder;
    let target = Target { holder: holder.clone(), keeper: None };
    let found = Holding::Held(vec![holder]);
    for (failure, kind, code) in [
        (EndFailure::Survived, FaultKind::Timeout, "port-holder-survived"),
        (EndFailure::Denied, FaultKind::Denied, "port-holder-denied"),
        (EndFailure::CutShort, FaultKind::Internal, "port-holder-not-ended"),
        (
            EndFailure::Unsupported(io::ErrorKind::Unsupported.into()),
            FaultKind::Internal,
            "port-holder-unpinnable",
        ),
        (EndFailure::LetGo { after: None }, FaultKind::LeftAlone, "port-held-again"),
    ] {
        let end = Err(failure);
        let tried = [Tried { target: &target, end: &end }];
        let verdict = Verdict::of(port(8080), &tried, &Found::of(port(8080), &found, None), &[]);
        let fault = verdict.fault.unwrap();
        assert_eq!((verdict.action, fault.kind, fault.message.code()), (Left, kind, code));
    }
}
