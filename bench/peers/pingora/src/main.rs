//! The least reverse proxy on pingora that does what the others do.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Forward {
    target: SocketAddr,
    host: String,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.target, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        if let Some(host) = session.req_header().headers.get("host") {
            request.insert_header("x-forwarded-host", host.clone())?;
        }
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        request.insert_header("x-forwarded-proto", "http")?;
        request.insert_header("host", &self.host)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().and_then(|written| written.parse::<u16>().ok());
    let (Some(threads), Some(port), Some(count), Some(target)) = (next(), next(), next(), next())
    else {
        eprintln!("usage: pmctl-bench-pingora THREADS PORT COUNT TARGET_PORT");
        std::process::exit(2)
    };
    let settings = ServerConf {
        threads: threads.into(),
        work_stealing: false,
        upstream_keepalive_pool_size: 1_024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(10),
        ..Default::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, settings);
    server.bootstrap();
    let target = SocketAddr::from(([127, 0, 0, 1], target));
    let forward = Forward { target, host: target.to_string() };
    let mut service = http_proxy_service(&server.configuration, forward);
    for port in port..port + count {
        service.add_tcp(&format!("127.0.0.1:{port}"));
    }
    server.add_service(service);
    server.run_forever()
}
