//! Servers that end in every way, at moments that chance chooses: nothing is left, nothing that was
//! acknowledged is lost. What is run is `pmctl selftest`, the same for whoever doubts the promise.

use serde_json::Value;

use crate::support::Pmctl;

/// Runs a selftest, which must find every promise kept; its report.
#[track_caller]
fn selftest(args: &[&str]) -> Value {
    let all = [&["selftest"], args].concat();
    let ran = Pmctl::new().run(&[&["-o", "json"], &all[..]].concat());
    let report = ran.json();
    assert_eq!(report["violations"], serde_json::json!([]), "{ran}");
    ran.expect(0);
    report
}

fn rounds(report: &Value) -> u64 {
    let counts = report["counts"].as_array().expect("counts").iter();
    counts.map(|count| count["rounds"].as_u64().expect("a number")).sum()
}

#[test]
fn whatever_way_a_server_ends_nothing_is_left_and_nothing_acknowledged_is_lost() {
    let ways = ["stop", "shutdown", "second-signal", "kill-server", "kill-guardian", "kill-both"];
    let mut args = vec!["--rounds", "7"];
    for way in ways.iter().chain(&["kill-starting"]) {
        args.extend(["--way", way]);
    }
    let report = selftest(&args);
    assert_eq!(rounds(&report), 7, "{report:#}");
    let counts = report["counts"].as_array().expect("counts").iter();
    for count in counts.filter(|count| count["way"] != "kill-starting") {
        assert!(count["requests"].as_u64() > Some(0), "no load: {report:#}");
    }
}

#[test]
#[ignore = "takes a minute; .ci/run runs it"]
fn after_forty_kills_of_server_guardian_or_both_nothing_is_left() {
    let ways = ["--way", "kill-server", "--way", "kill-guardian", "--way", "kill-both"];
    for _ in 0..2 {
        let report = selftest(&[&["--rounds", "20"], &ways[..]].concat());
        assert_eq!(rounds(&report), 20, "{report:#}");
    }
}

#[test]
#[ignore = "a server counts as hung after 12 s at the earliest; .ci/run runs it"]
fn a_server_that_stands_still_is_called_unresponsive_and_ended_by_force() {
    let report = selftest(&["--rounds", "1", "--way", "freeze"]);
    assert_eq!(rounds(&report), 1, "{report:#}");
}

#[test]
#[cfg(unix)]
fn one_that_is_interrupted_says_so_and_leaves_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead, BufReader};

    let pmctl = Pmctl::new();
    let mut command = pmctl.command(&["selftest", "--rounds", "500", "--way", "kill-server"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("a selftest");
    let pid = Pid::from_child(&child);
    let mut said = BufReader::new(child.stderr.take().expect("its errors")).lines();
    said.next().expect("a round").expect("a line");
    kill_process(pid, Signal::INT).expect("a signal");
    // Nobody reads further: it goes on without.
    let drain = std::thread::spawn(move || said.for_each(drop));
    let output = child.wait_with_output().expect("its end");
    drain.join().expect("the end of its errors");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("interrupted after 1 of 500 rounds"), "{out}");
    let left = std::fs::read_dir(pmctl.dir().join("tmp")).expect("its tmp").count();
    assert_eq!(left, 0, "a selftest leaves no directory");
}

#[test]
fn a_seed_is_said_and_what_makes_no_selftest_is_refused() {
    let pmctl = Pmctl::new();
    let ran = pmctl.ok(&["selftest", "--seed", "7", "--rounds", "1", "--way", "kill-starting"]);
    assert!(ran.stdout.contains("seed 7"), "{ran}");
    for (args, code) in [
        (["--rounds", "0"], "rounds-invalid"),
        (["--seed", "-1"], "seed-invalid"),
        (["--way", "fire"], "way-unknown-here"),
    ] {
        let pair = format!("{}={}", args[0], args[1]);
        assert_eq!(pmctl.fails_json(2, &["selftest", &pair])["code"], code);
    }
    let left = std::fs::read_dir(pmctl.dir().join("tmp")).expect("its tmp").count();
    assert_eq!(left, 0, "a selftest leaves no directory");
}
