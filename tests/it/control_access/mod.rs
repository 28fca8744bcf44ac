//! Who may call the control plane: the server's own user by its socket, everybody with the token,
//! nobody else; each of the others is turned away and stands in the events.

mod tls;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use crate::support::{Grpc, Pmctl, Server, Upstream, Wire, free_port, wait_until};

/// A user without a name, and none that any machine has.
const STRANGER: u32 = 65_533;

/// The token file of the sandbox's named database.
fn token_path(pmctl: &Pmctl) -> PathBuf {
    pmctl.dir().join("state/pmctl.db.default.control.token")
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One request with these further header lines; status, `code`, the whole answer.
#[track_caller]
fn ask(server: &Server, method: &str, path: &str, fields: &str) -> (u16, String, String) {
    let answer = server.ask(method, path, fields);
    let code = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()["code"].clone();
    (answer.status, code.as_str().unwrap_or_default().to_owned(), format!("{answer:?}"))
}

/// Waits for an event of a refusal whose detail has all of these words; the event.
#[track_caller]
fn refusal(pmctl: &Pmctl, words: &[&str]) -> Value {
    wait_until(&format!("a refusal with {words:?}"), || {
        let events = pmctl.json(&["events", "-n", "1000"]);
        let all = events["events"].as_array().expect("events");
        all.iter()
            .filter(|event| event["action"] == "refused")
            .find(|event| words.iter().all(|word| event.to_string().contains(word)))
            .cloned()
            .ok_or_else(|| format!("{events:#}"))
    })
}

#[test]
fn a_foreign_page_and_a_foreign_host_are_refused_and_recorded() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let own = format!("Host: {}\r\n", server.control());
    for (fields, code, word) in [
        (format!("{own}Origin: https://evil.example\r\n"), "origin-not-allowed", "evil.example"),
        (format!("{own}Origin: null\r\n"), "origin-not-allowed", "`null`"),
        ("Host: rebound.example\r\n".to_owned(), "host-not-allowed", "rebound.example"),
    ] {
        let (status, said, answer) = ask(&server, "POST", "/api/services?token=s3cret", &fields);
        assert_eq!((status, said.as_str()), (403, code), "{fields}: {answer}");
        let event = refusal(&pmctl, &[word]);
        assert_eq!(event["outcome"], "refused", "{event:#}");
        assert_eq!(event["subject"], "POST /api/services", "{event:#}");
        let uid = rustix::process::geteuid().as_raw();
        let actor = event["actor"].as_str().expect("an actor");
        assert!(actor.ends_with(&format!(" uid {uid}")), "{event:#}");
    }
    // What was tried next is another thing that was tried.
    for (method, path) in [("POST", "/api/ports/8080/kill?force=true"), ("POST", "/api/cleanup")] {
        ask(&server, method, path, "Host: second.example\r\n");
        let subject = format!("{method} {}", path.split('?').next().unwrap_or_default());
        refusal(&pmctl, &["second.example", &subject]);
    }
    // Once more a hundred times is not a hundred events.
    for _ in 0..100 {
        ask(&server, "POST", "/api/services", "Host: rebound.example\r\n");
    }
    pmctl.add("marker", free_port(), "http://127.0.0.1:9");
    let events = pmctl.json(&["events", "-n", "1000"]).to_string();
    assert_eq!(events.matches("`rebound.example`").count(), 1, "{events}");
    server.stop();
}

#[test]
fn a_wrong_token_is_refused_even_from_the_servers_own_user() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let token = read(&token_path(&pmctl));
    let right = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&server, "GET", "/api/services", &right).0, 200);
    assert_eq!(ask(&server, "GET", "/api/services", "").0, 200);
    let near = format!("Authorization: Bearer {}x\r\n", &token[..token.len() - 1]);
    for wrong in [near.as_str(), "Authorization: Basic YTpi\r\n", "Authorization: Bearer\r\n"] {
        let (status, code, answer) = ask(&server, "GET", "/api/services", wrong);
        assert_eq!((status, code.as_str()), (401, "token-wrong"), "{wrong}: {answer}");
        assert!(answer.contains("Bearer") && !answer.contains(&token), "{answer}");
    }
    refusal(&pmctl, &["token"]);
    // What is for everybody is so with whatever credentials a monitor sends.
    assert_eq!(ask(&server, "GET", "/healthz", &near).0, 200);
    // The command line with another server's token.
    let other = pmctl.dir().join("other.token");
    fs::write(&other, "x".repeat(64)).expect("a token file");
    let other = other.to_string_lossy().into_owned();
    let failed = pmctl.fails_json(5, &["--token-file", &other, "status"]);
    assert_eq!(failed["code"], "token-wrong", "{failed:#}");
    let failed = pmctl.fails(5, &["--token-file", &other, "service", "list"]);
    assert!(!failed.all().contains(&"x".repeat(64)), "{failed}");
    // No token in it: nothing is sent, and that is said.
    fs::write(&other, "too short").expect("a token file");
    let failed = pmctl.fails_json(2, &["--token-file", &other, "status"]);
    assert_eq!(failed["code"], "token-unusable", "{failed:#}");
    server.stop();
}

#[test]
fn the_token_is_its_users_alone_new_at_each_start_and_gone_after_the_stop() {
    let pmctl = Pmctl::new();
    let path = token_path(&pmctl);
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let server = pmctl.serve();
    let first = read(&path);
    assert_eq!((first.trim().len(), mode(&path)), (64, 0o600));
    assert_eq!(mode(path.parent().expect("its folder")), 0o700);
    assert!(!server.all_output().contains(&first), "the token is in the log\n{server}");
    server.kill_hard();
    let server = pmctl.serve();
    let second = read(&path);
    assert_ne!(first, second);
    let old = format!("Authorization: Bearer {first}\r\n");
    assert_eq!(ask(&server, "GET", "/api/status", &old).0, 401);
    pmctl.ok(&["status"]);
    server.stop();
    assert!(!path.exists(), "the token outlived its server");
    // The default database's has the plain name.
    let default = Pmctl::with_default_database();
    let server = default.serve();
    let path = default.default_database().with_file_name("control.token");
    assert_eq!((read(&path).len(), mode(&path)), (64, 0o600));
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_chosen_token_is_kept_and_must_not_be_readable_by_others() {
    let pmctl = Pmctl::new();
    let path = pmctl.dir().join("chosen.token");
    let file = path.to_string_lossy().into_owned();
    let server = pmctl.serve_with(&["--token-file", &file]);
    let made = read(&path).trim().to_owned();
    let bearer = format!("Authorization: Bearer {made}\r\n");
    assert_eq!(ask(&server, "GET", "/api/status", &bearer).0, 200);
    pmctl.ok(&["status"]);
    pmctl.ok(&["--token-file", &file, "status"]);
    server.stop();
    assert_eq!(read(&path).trim(), made, "a chosen token stays");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    let failed = pmctl.fails_json(2, &["serve", "--listen", "127.0.0.1:0", "--token-file", &file]);
    assert_eq!(failed["code"], "token-too-open", "{failed:#}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::write(&path, "short").expect("a token file");
    let failed = pmctl.fails_json(2, &["serve", "--listen", "127.0.0.1:0", "--token-file", &file]);
    assert_eq!(failed["code"], "token-unusable", "{failed:#}");
}

#[test]
#[cfg_attr(not(built_by_root), ignore = "needs root, to be another user of the machine")]
fn another_user_of_the_machine_is_refused_without_the_token_and_served_with_it() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let stranger = Pmctl::as_user(STRANGER).without("PMCTL_DATABASE_URL");
    let url = server.url();
    let failed = stranger.fails_json(5, &["--server", &url, "service", "list"]);
    assert_eq!(failed["code"], "unauthorized", "{failed:#}");
    let failed = stranger.fails_json(5, &["--server", &url, "service", "stop", "web"]);
    assert_eq!(failed["code"], "unauthorized", "{failed:#}");
    let event = refusal(&pmctl, &["/pmctl.v1.Control/ListServices", "uid 65533"]);
    assert!(event["actor"].as_str().expect("an actor").ends_with(" uid 65533"), "{event:#}");
    assert_eq!(event["subject"], "POST /pmctl.v1.Control/ListServices");
    // The same over the JSON face, told how to do it.
    let curl = |path: &str| {
        let line = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'GET {path} HTTP/1.1\\r\\nHost: \
            {}\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3",
            server.control().port(),
            server.control()
        );
        let mut command = std::process::Command::new("setpriv");
        let uid = STRANGER.to_string();
        command.args(["--reuid", &uid, "--clear-groups", "bash", "-c", &line]);
        let output = command.output().expect("setpriv and bash");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let answer = curl("/api/services");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    assert!(answer.contains("\"unauthorized\""), "{answer}");
    for open in ["/healthz", "/readyz"] {
        assert!(curl(open).starts_with("HTTP/1.1 200 "), "{open}");
    }
    assert!(curl("/metrics").starts_with("HTTP/1.1 401 "));
    // A name in the events once is enough, and the refused know no more than that pmctl is here.
    let status = stranger.run(&["--server", &url, "status", "--wait", "ready", "--timeout", "30s"]);
    assert!(!status.all().contains("\"web\""), "{status}");
    // The content of the token file opens everything.
    let token = stranger.dir().join("token");
    fs::write(&token, read(&token_path(&pmctl))).expect("a token file");
    let token = token.to_string_lossy().into_owned();
    let listed = stranger.json(&["--server", &url, "--token-file", &token, "service", "list"]);
    assert_eq!(listed["services"][0]["name"], "web", "{listed:#}");
    stranger.ok(&["--server", &url, "--token-file", &token, "service", "stop", "web"]);
    server.stop();
}

#[test]
#[cfg_attr(not(built_by_root), ignore = "needs root, to be another user of the machine")]
fn a_member_of_the_control_group_needs_no_token_and_open_metrics_nobody() {
    let pmctl = Pmctl::new();
    // A user without a name is in no group; the group of its number is asked for by the server.
    let failed =
        pmctl.fails_json(2, &["serve", "--listen", "127.0.0.1:0", "--control-group", "no-such"]);
    assert_eq!(failed["code"], "control-group-unknown", "{failed:#}");
    // `daemon` (1) is the one member of its group on every common system.
    let server = pmctl.serve_with(&["--control-group", "daemon", "--open-metrics"]);
    let (member, other) = (Pmctl::as_user(1), Pmctl::as_user(STRANGER));
    let (member, other) =
        (member.without("PMCTL_DATABASE_URL"), other.without("PMCTL_DATABASE_URL"));
    member.ok(&["--server", &server.url(), "status"]);
    other.fails(5, &["--server", &server.url(), "status"]);
    let metrics = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'GET /metrics HTTP/1.1\\r\\nHost: {}\\r\\n\
         Connection: close\\r\\n\\r\\n' >&3; head -1 <&3",
        server.control().port(),
        server.control()
    );
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65533", "--clear-groups", "bash", "-c", &metrics]);
    let said = command.output().expect("setpriv and bash").stdout;
    assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&said));
    server.stop();
}

#[test]
#[cfg_attr(not(built_by_root), ignore = "needs root, to be another user of the machine")]
fn the_command_line_of_a_user_whose_socket_proves_nothing_sends_the_token_by_itself() {
    // `nobody` is who everybody without a number looks like: never trusted by the socket.
    let pmctl = Pmctl::as_user(65_534);
    let server = pmctl.serve();
    assert_eq!(pmctl.json(&["status"])["source"], "server");
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    assert_eq!(pmctl.json(&["service", "list"])["source"], "server");
    assert_eq!(pmctl.json(&["--server", &server.url(), "status"])["source"], "server");
    pmctl.ok(&["shutdown", "--wait"]);
}

#[test]
#[cfg_attr(not(built_by_root), ignore = "needs root, to be other users of the machine")]
fn the_token_is_not_shown_to_a_strangers_server_that_says_it_is_of_this_database() {
    let (pmctl, stranger) = (Pmctl::as_user(65_532), Pmctl::as_user(STRANGER));
    let server = pmctl.serve();
    server.stop();
    // Whoever asked the server once knows the UUID: a copy of the database says the same.
    let copy = stranger.database();
    let folder = copy.parent().expect("its folder");
    fs::create_dir_all(folder).expect("a folder");
    fs::copy(pmctl.database(), &copy).expect("a copy");
    for path in [folder, &copy] {
        std::os::unix::fs::chown(path, Some(STRANGER), Some(STRANGER)).expect("chown");
    }
    let theirs = stranger.serve();
    let ask = ["--server", &theirs.url(), "service", "list"];
    let server = pmctl.serve();
    assert_eq!(pmctl.fails_json(5, &ask)["code"], "unauthorized", "their socket is a stranger's");
    server.kill_hard();
    assert!(token_path(&pmctl).exists(), "left by a server that was killed");
    assert_eq!(pmctl.fails_json(5, &ask)["code"], "unauthorized", "nobody here made that token");
    theirs.stop();
}

#[test]
fn a_target_that_is_the_control_port_is_refused_and_recorded() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let port = free_port().to_string();
    let target = format!("main=http://localhost:{}", server.control().port());
    let add = ["service", "add", "loop", "--port", &port, "--target", &target];
    let failed = pmctl.fails_json(2, &add);
    assert_eq!(failed["code"], "target-not-control", "{failed:#}");
    let event = refusal(&pmctl, &["loop"]);
    assert_eq!(event["subject"], "loop", "{event:#}");
    server.stop();
}

#[test]
fn a_proxy_that_reaches_the_control_port_by_a_detour_is_known_by_its_trace() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let detour = Detour::to(server.control());
    let port = free_port();
    pmctl.add("sly", port, &format!("http://{}", detour.address));
    let mut client = Wire::to(port);
    client.send("GET /api/services HTTP/1.1\r\nHost: whatever.example\r\n\r\n");
    let answer = client.response();
    // The proxy asks its target by the target's name, which is none of the control plane's.
    assert_eq!(answer.status, 403, "{answer:?}");
    let trace = {
        let upstream = Upstream::echo();
        let port = free_port();
        pmctl.add("echo", port, &upstream.url());
        let seen = Wire::to(port).get("/").seen();
        let fields = seen["fields"].to_string();
        let at = fields.find("pmctl-").unwrap_or_else(|| panic!("no Via in {fields}"));
        fields[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
    };
    // With the right name too, the trace gives it away.
    let (status, code, answer) =
        ask(&server, "GET", "/api/services", &format!("Via: 1.1 {trace}\r\n"));
    assert_eq!((status, code.as_str()), (403, "caller-is-pmctl"), "{answer}");
    refusal(&pmctl, &["pmctl itself"]);
    let (status, ..) = ask(&server, "GET", "/api/services", "Via: 1.1 pmctl-0123456789ab-1\r\n");
    assert_eq!(status, 200, "another pmctl's trace");
    server.stop();
}

/// Passes every connection on, byte by byte.
struct Detour {
    address: SocketAddr,
}

impl Detour {
    fn to(there: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for here in listener.incoming().flatten() {
                let Ok(there) = TcpStream::connect(there) else { return };
                let (mut a, mut b) = (here.try_clone().expect("a copy"), there);
                let (mut c, mut d) = (b.try_clone().expect("a copy"), here);
                thread::spawn(move || io::copy(&mut a, &mut b));
                thread::spawn(move || io::copy(&mut c, &mut d));
            }
        });
        Self { address }
    }
}

#[test]
fn a_grpc_caller_is_refused_with_unauthenticated_and_health_is_open() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let mut grpc = Grpc::connect(server.control()).with_token("wrong");
    let refused = grpc.call("/pmctl.v1.Control/GetStatus", b"");
    assert_eq!((refused.http_status, refused.status), (401, 16), "{refused:?}");
    assert_eq!(grpc.call("/pmctl.v1.Control/GetServer", b"").status, 16);
    assert_eq!(grpc.call("/grpc.health.v1.Health/Check", b"").status, 0);
    server.stop();
}

#[test]
fn no_credential_is_in_any_answer_event_or_log() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::echo());
    let server = pmctl.serve_with(&["-vv"]);
    let port = free_port();
    let address = upstream.address();
    pmctl.add("web", port, &format!("http://ann:s3cret@{address}"));
    let mut said = Wire::to(port).get("/?password=s3cret").seen()["fields"].to_string();
    assert!(said.contains("Basic "), "the credentials are sent to the target: {said}");
    said.clear();
    // Whatever is wrong with it, what was sent is not said again.
    let wrong = [
        r#"{"name":"x","port":1,"targets":{"a":"ftp://ann:s3cret@b"}}"#,
        r#"{"name":"x","port":1,"targets":{"a":"http://ann:s3cret@b:99999"}}"#,
        r#"{"name":"x","port":1,"targets":{"a":"http://ann:s3cret@b/?q"}}"#,
        // Written as it is, the password ends the host and the URL is a wrong one.
        r#"{"name":"x","port":1,"targets":{"a":"http://ann:s3cret#1@b"}}"#,
        r#"{"name":"x","port":1,"targets":{"a":"http://ann:s3cret/1@b"}}"#,
        r#"{"name":"x","port":1,"targets":{"a":"http://ann:8080?s3cret@b"}}"#,
        r#"{"name":"x","port":1,"targets":"http://ann:s3cret@b"}"#,
        r#"{"name":"x","port":"http://ann:s3cret@b","targets":{}}"#,
    ];
    for body in wrong {
        let mut wire = server.connect();
        let (control, length) = (server.control(), body.len());
        wire.send(format!(
            "POST /api/services HTTP/1.1\r\nHost: {control}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        let answer = wire.response();
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        said.push_str(&format!("{body}\n -> {}\n", answer.text()).replace(body, ""));
    }
    let host = "Host: ann:s3cret@localhost\r\nAuthorization: Bearer s3cret\r\n";
    said.push_str(&ask(&server, "GET", "/api/status?token=s3cret", host).2);
    said.push_str(&ask(&server, "GET", "/api/status", "Authorization: Bearer s3cret\r\n").2);
    refusal(&pmctl, &["localhost"]);
    for path in ["/api/services", "/api/status", "/api/events", "/metrics", "/api/ports/status"] {
        said.push_str(&server.get(path).text());
    }
    for args in [
        &["service", "show", "web"][..],
        &["-vv", "service", "list"],
        &["-o", "json", "service", "list"],
        &["events", "-n", "1000"],
        &["ports", "status"],
        &["-vv", "--server", "http://ann:s3cret@127.0.0.1:1", "status"],
        &["--database-url", "postgres://ann:s3cret@h/x", "status"],
    ] {
        said.push_str(&pmctl.run(args).all());
    }
    said.push_str(&server.all_output());
    let token = read(&token_path(&pmctl));
    for secret in ["s3cret", "YW5uOnMzY3JldA", token.trim()] {
        let at = said.lines().find(|line| line.contains(secret));
        assert!(at.is_none(), "`{secret}` was said: {at:?}");
    }
    let log = server.stop();
    assert!(!log.contains("s3cret") && !log.contains(token.trim()), "{log}");
}
