//! Which server takes an instance out, and what counts as gone.

use std::future::{pending, ready};
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::eureka::{Answered, Applications, Extent, InstanceStatus, Roll};

/// What a server has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Ours,
    Theirs,
    Nothing,
    /// Ours in its list alone, whose lease has expired.
    Expired,
    /// The same, but the list is of a moment ago.
    Stale,
    /// It answers nothing.
    Silence,
    /// It answers, but takes nothing out.
    Stuck,
    /// It fails.
    Failure,
}

/// A registry whose servers are `a`, `b` and so on.
struct Made {
    servers: Vec<(&'static str, Has)>,
    cancelled: Mutex<Vec<String>>,
}

fn named(id: &str) -> Instance {
    Instance { instance_id: id.to_owned(), app: "A".into(), ..Instance::default() }
}

impl Made {
    fn new(has: &[Has]) -> Self {
        let servers = ["a", "b", "c"].into_iter().zip(has.iter().copied()).collect();
        Self { servers, cancelled: Mutex::default() }
    }

    fn has(&self, server: &str) -> Has {
        let known = self.servers.iter().find(|(name, _)| *name == server);
        known.map_or(Has::Nothing, |(_, has)| *has)
    }

    /// What comes of it, and who was told to take it out.
    async fn take_out(&self, consent: Consent) -> (Option<Removal>, Vec<String>) {
        let is_ours = |found: &Instance| found.host_name != "theirs";
        let bound = Duration::from_secs(2);
        let removal = take_out(self, ("A", "i"), is_ours, consent, bound).await;
        (removal.ok(), self.cancelled.lock().unwrap().clone())
    }
}

impl RegistryCalls for Made {
    fn servers(&self) -> Vec<&str> {
        self.servers.iter().map(|(name, _)| *name).collect()
    }

    fn instance_at<'a>(
        &'a self,
        server: &'a str,
        _app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>> {
        let theirs = Instance { host_name: "theirs".into(), ..named(id) };
        match self.has(server) {
            Has::Ours | Has::Stuck => ready(Ok(Some(named(id)))).boxed(),
            Has::Theirs => ready(Ok(Some(theirs))).boxed(),
            Has::Nothing | Has::Expired | Has::Stale => ready(Ok(None)).boxed(),
            Has::Silence => pending().boxed(),
            Has::Failure => ready(Err(CallError::Silent { url: server.to_owned() })).boxed(),
        }
    }

    fn application_at<'a>(
        &'a self,
        server: &'a str,
        _app: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Instance>, CallError>> {
        let is_listed = matches!(self.has(server), Has::Expired | Has::Stale);
        ready(Ok(is_listed.then(|| named("i")).into_iter().collect())).boxed()
    }

    fn cancel_at<'a>(
        &'a self,
        server: &'a str,
        _app: &'a str,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<bool, CallError>> {
        self.cancelled.lock().unwrap().push(server.to_owned());
        match self.has(server) {
            Has::Stuck => pending().boxed(),
            has => ready(Ok(has != Has::Stale)).boxed(),
        }
    }

    fn register<'a>(&'a self, _: &'a Instance) -> BoxFuture<'a, Result<Answered, CallError>> {
        unreachable!()
    }

    fn renew<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: InstanceStatus,
        _: i64,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        unreachable!()
    }

    fn cancel<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Answered, CallError>> {
        unreachable!()
    }

    fn instance<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>> {
        unreachable!()
    }

    fn applications_at<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Applications, CallError>> {
        unreachable!()
    }

    fn application<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, CallError>> {
        unreachable!()
    }

    fn applications(&self) -> BoxFuture<'_, Result<(Applications, Answered), CallError>> {
        unreachable!()
    }

    fn roll(&self, _: Extent) -> BoxFuture<'_, Result<Roll, CallError>> {
        unreachable!()
    }
}

#[tokio::test]
async fn an_instance_is_gone_only_if_every_server_says_so() {
    let outcome = async |has: &[Has]| Made::new(has).take_out(Consent::Remove).await.0;
    assert_eq!(outcome(&[Has::Nothing, Has::Nothing]).await, Some(Removal::Gone));
    assert_eq!(outcome(&[Has::Nothing, Has::Failure]).await, None, "the other may have it");
    assert_eq!(outcome(&[Has::Silence, Has::Nothing]).await, None);
    assert_eq!(outcome(&[Has::Theirs, Has::Failure]).await, None);
    assert_eq!(outcome(&[Has::Nothing, Has::Theirs]).await, Some(Removal::Foreign));
    assert_eq!(outcome(&[]).await, None, "nobody was asked");
}

#[tokio::test]
async fn one_server_takes_it_out_and_the_next_where_that_one_cannot() {
    let told = async |has: &[Has]| Made::new(has).take_out(Consent::Remove).await;
    let by = |servers: &[&str]| {
        (Some(Removal::Cancelled), servers.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(told(&[Has::Ours, Has::Ours]).await, by(&["a"]));
    assert_eq!(told(&[Has::Nothing, Has::Ours]).await, by(&["b"]));
    assert_eq!(told(&[Has::Failure, Has::Ours, Has::Ours]).await, by(&["b"]));
    assert_eq!(told(&[Has::Expired, Has::Nothing]).await, by(&["a"]));
    assert_eq!(told(&[Has::Stale, Has::Ours]).await, by(&["a", "b"]), "it did nothing");
    assert_eq!(told(&[Has::Stuck, Has::Ours]).await, by(&["a", "b"]));
    assert_eq!(told(&[Has::Silence, Has::Ours]).await, by(&["b"]));
}

#[tokio::test]
async fn a_look_takes_nothing_out() {
    let looked = Made::new(&[Has::Ours, Has::Ours]).take_out(Consent::Look).await;
    assert_eq!(looked, (Some(Removal::Cancelled), Vec::new()));
}
