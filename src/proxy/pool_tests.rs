//! What is kept, and for how long.

use std::future::poll_fn;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::task::coop::poll_proceed;

use super::*;
use crate::model::ServiceId;
use crate::proxy::handle::ProxySpec;
use crate::proxy::tests::kit::{block_on, upstream};

/// An address of nobody (RFC 5737), which is not connected to here.
const URL: &str = "h2c://192.0.2.1:9";

fn pool_of(first: &Upstream) -> (Pool, Arc<Proxy>) {
    let limits = Limits { connect_timeout: Duration::from_millis(50), ..Limits::default() };
    let limits = Arc::new(limits);
    let name = "dspapi".parse().unwrap();
    let spec = ProxySpec { id: ServiceId(1), name, route: first.clone().into() };
    let proxy = Arc::new(Proxy::new(spec, Arc::clone(&limits), Arc::from([]), None));
    (Pool::new(limits, None), proxy)
}

#[test]
fn nobody_waits_longer_for_the_connection_of_another_than_for_his_own() {
    let target = upstream("blue", URL);
    let (pool, proxy) = pool_of(&target);
    block_on(async {
        let kept = pool.kept(&proxy, target.generation());
        kept.speaks_h2.set(true);
        let _turn = kept.making.lock().await;
        let refused = pool.checkout(&proxy, &target, Want::Any, false).await.err();
        let Some(CheckoutError::Connect(ConnectError::Timeout { .. })) = refused else {
            panic!("{refused:?}");
        };
    });
}

#[test]
fn nothing_is_kept_any_more_for_a_target_that_was_switched_away() {
    let (old, new) = (upstream("blue", URL), upstream("green", URL));
    let (pool, proxy) = pool_of(&old);
    assert!(!pool.kept(&proxy, old.generation()).over.get());
    proxy.route.store(Arc::new(new.into()));
    pool.forget(old.generation());
    assert!(pool.kept(&proxy, old.generation()).over.get());
    assert!(pool.kept.borrow().is_empty());
}

#[test]
fn bytes_that_nobody_asked_for_are_seen_by_a_task_that_has_had_its_share_of_calls() {
    let target = upstream("blue", URL);
    let (_pool, proxy) = pool_of(&target);
    block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let guard = UpstreamGuard::new(&proxy);
        let mut connection = RawConnection { io: UpstreamIo::Plain(stream), guard };
        assert!(connection.is_usable());
        far.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        connection.io.get_ref().readable().await.unwrap();
        poll_fn(|cx| {
            while let Poll::Ready(restore) = poll_proceed(cx) {
                restore.made_progress();
            }
            assert!(!connection.is_usable());
            Poll::Ready(())
        })
        .await;
    });
}
