//! Who may call the control plane where no socket tells its user: whoever is on this machine may look, and the
//! token opens the rest.

use std::fs;

use crate::support::{Pmctl, Upstream, free_port};

#[test]
fn without_the_token_all_is_shown_and_nothing_changed() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("web", free_port(), &upstream.url());
    let server = pmctl.serve();
    let stop = "/api/services/web/stop";
    assert_eq!(server.ask("GET", "/api/services", "").status, 200);
    let refused = server.ask("POST", stop, "");
    assert_eq!(refused.status, 401, "{refused:?}");
    let wrong = format!("Authorization: Bearer {}\r\n", "x".repeat(64));
    let refused = server.ask("GET", "/api/services", &wrong);
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(pmctl.rows()["web"], ("running".to_owned(), "running".to_owned()));

    let token = pmctl.dir().join("state/pmctl.db.default.control.token");
    let token = fs::read_to_string(token).expect("the token");
    let right = format!("Authorization: Bearer {}\r\n", token.trim());
    let stopped = server.ask("POST", stop, &right);
    assert_eq!(stopped.status, 200, "{stopped:?}");
    assert_eq!(pmctl.rows()["web"], ("stopped".to_owned(), "stopped".to_owned()));
}
