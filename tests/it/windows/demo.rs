//! The demo answers by every face, and its database is kept as everywhere.

use crate::support::{Database, Grpc, Pmctl, Server, Upstream, Wire, free_port, wait_until};

#[test]
fn the_demo_answers_through_a_proxy_and_over_grpc_and_json() {
    let pmctl = Pmctl::new().without("PMCTL_DATABASE_URL");
    let mut server = Server::spawn(&pmctl, &[], &["--demo"]);
    server.wait_ready();
    let services = wait_until("the services of the demo", || {
        let document = server.json("/api/services");
        let all = document["services"].as_array().cloned().unwrap_or_default();
        match all.iter().filter(|service| service["actual"] == "running").count() {
            2 => Ok(all),
            _ => Err(format!("{document:#}\n{server}")),
        }
    });
    for service in &services {
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let answer = Wire::to(port.expect("a port")).get("/hello");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut grpc = Grpc::connect(server.control());
    let health = grpc.call("/grpc.health.v1.Health/Check", b"");
    assert_eq!(health.messages, [&[0x08, 0x01][..]], "{health:?}");
    let listed = grpc.call("/pmctl.v1.Control/ListServices", b"");
    assert_eq!(listed.status, 0, "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.messages[0]).contains("dspapi"), "{listed:?}");
    // A command that is pasted opens the server by its token.
    let printed = wait_until("the commands to try", || match server.stdout() {
        text if text.contains("service switch") => Ok(text),
        _ => Err(server.to_string()),
    });
    let pasted = printed.lines().find(|line| line.contains("service switch")).unwrap_or_default();
    let words: Vec<&str> = pasted.split_whitespace().skip(1).collect();
    pmctl.ok(&words);
    let opened = &words[words.len() - 4..];
    pmctl.ok(&[opened, &["shutdown", "--wait"]].concat());
    assert_eq!(server.wait_exit(), 0, "{server}");
    let left = std::fs::read_dir(pmctl.dir().join("tmp")).expect("a folder").flatten();
    assert_eq!(left.count(), 0, "the demo leaves its folder");
}

#[test]
fn the_database_is_in_wal_mode_and_lies_in_the_local_application_data() {
    let (pmctl, upstream) = (Pmctl::with_default_database(), Upstream::saying("hello"));
    pmctl.add("web", free_port(), &upstream.url());
    let file = pmctl.default_database();
    assert!(file.is_file(), "not below %LOCALAPPDATA%");
    let mut database = Database::at(&file);
    assert_eq!(database.text("PRAGMA journal_mode"), "wal");
    database.close();
}
