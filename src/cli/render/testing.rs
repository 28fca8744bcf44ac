//! What the tests of this room share: captured streams, styles, reports to be shown.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::{Output, Style};
use crate::config::OutputFormat;
use crate::model::{
    Actual, Counters, Credentials, Desired, Service, ServiceId, ServiceView, Target, Timestamp,
    UpstreamTls,
};
use crate::text::{Lang, Message};

/// The time of all tests: 2026-01-01 00:00:00 UTC.
pub(super) const NOW: i64 = 1_767_225_600_000;

#[derive(Clone, Default)]
pub(super) struct Streams {
    out: Captured,
    err: Captured,
}

impl Streams {
    pub(super) fn out(&self) -> String {
        self.out.text()
    }

    pub(super) fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that fails always.
pub(super) struct Broken(pub(super) io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

pub(super) fn capture(style: Style) -> (Output, Streams) {
    let streams = Streams::default();
    let clock = || Timestamp::from_millis(NOW);
    let output =
        Output::new(style, Box::new(streams.out.clone()), Box::new(streams.err.clone()), clock);
    (output, streams)
}

pub(super) fn json_style() -> Style {
    Style { format: OutputFormat::Json, ..Style::default() }
}

pub(super) fn zh() -> Style {
    Style { lang: Lang::ZhCn, ..Style::default() }
}

/// A moment so many seconds before [`NOW`].
pub(super) fn ago(secs: i64) -> Timestamp {
    Timestamp::from_millis(NOW - secs * 1_000)
}

/// A service that runs since two minutes, with two targets.
pub(super) fn service(
    name: &str,
    port: u16,
    actual: Actual,
    reason: Option<Message>,
) -> ServiceView {
    let target = |url: &str, credentials: Option<Credentials>| Target {
        url: url.parse().unwrap(),
        credentials,
        tls: UpstreamTls::default(),
    };
    let login = Credentials { username: "ann".into(), password: "s3cret".into() };
    let service = Service {
        id: ServiceId(1),
        name: name.parse().unwrap(),
        port: crate::model::Port::new(port).unwrap(),
        bind: None,
        desired: Desired::Running,
        actual,
        reason,
        since: ago(125),
        active_target: "blue".parse().unwrap(),
        targets: [
            ("blue".parse().unwrap(), target("http://127.0.0.1:9001", None)),
            ("green".parse().unwrap(), target("https://10.0.0.7/v2", Some(login))),
        ]
        .into(),
        tags: vec!["web".into()],
        register: true,
        health: None,
        created_at: ago(90_000),
        updated_at: ago(3_600),
        revision: 3,
    };
    let counters = Counters {
        connections: 12,
        in_flight: 3,
        tunnels: 1,
        accepted: 40,
        responses: [0, 1_200, 4, 30, 2],
        upstream_failures: 2,
        bytes_in: 2_048,
        bytes_out: 5 << 20,
    };
    ServiceView::new(service, (actual == Actual::Running).then_some(counters))
}
