//! What passes through a proxy: untouched where it is the client's or the target's, rewritten where
//! the protocol asks for it, refused where it is dangerous.

mod bodies;
mod failures;
mod headers;
mod http2;
mod smuggling;
mod streams;

use crate::support::{Pmctl, Server, free_port};

/// A ready server with one service `web` in front of `url`.
fn proxy_to(url: &str) -> (Pmctl, Server, u16) {
    proxy_with(url, "")
}

/// The same with a `pmctl.toml`.
fn proxy_with(url: &str, config: &str) -> (Pmctl, Server, u16) {
    let (pmctl, port) = (Pmctl::new(), free_port());
    if !config.is_empty() {
        pmctl.write_config(config);
    }
    pmctl.add("web", port, url);
    let server = pmctl.serve();
    (pmctl, server, port)
}
