//! Who may call, decided before every route: first where a request is addressed to and which page
//! made it (`guard`), then whether pmctl itself made it, then what its socket and its token prove.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq;

use super::answer::{Failure, is_grpc};
use super::guard::{Own, verdict};
use crate::model::{Access, Caller, Fault, FaultKind, Standing, Unproven};
use crate::ops::{Ops, Refusal};
use crate::text::{self, Message};

/// The secret that opens everything. It is never shown.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// From its text, which must be visible ASCII.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether `sent` is it. Takes as long for a near miss as for a wide one.
    fn is(&self, sent: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(sent).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Whether a request with these fields went through a proxy of this very process.
pub type OwnTrace = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

/// The answer that tells a gRPC caller of a fault; the flag says that it is who calls that is not
/// known (UNAUTHENTICATED), rather than what is asked that is not allowed.
pub type GrpcRefusal = fn(&Fault, bool) -> Response;

/// What the guard before the routes goes by.
#[derive(Clone)]
pub struct Guard {
    /// The names of this listener.
    pub own: Own,
    /// What opens everything.
    pub token: Token,
    /// `/metrics` is for everybody.
    pub open_metrics: bool,
    /// Recognises this process's own requests.
    pub is_own: OwnTrace,
    /// Speaks gRPC.
    pub grpc: GrpcRefusal,
    /// Where refusals are written down.
    pub ops: Ops,
}

/// `router` with the guard before every route and fallback of it. Requests without a [`Caller`] in
/// their extensions are refused; those let in have their [`Access`] there.
pub fn guarded(router: Router, guard: Guard) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(guard), check))
}

async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().copied() else {
        // Only a mistake in assembling the server leads here.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match decide(&guard, &caller, &request) {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(denial) => {
            let message = match &denial {
                Denial::Forbidden(message) | Denial::Unauthorized(message) => message.clone(),
            };
            guard.ops.record_refusal(Refusal {
                // Without the query: it is the part of a URL where secrets stand.
                subject: format!("{} {}", request.method(), request.uri().path()),
                actor: caller.actor(),
                ip: Some(caller.ip()),
                uid: caller.uid(),
                about: message.to_string(),
                message,
            });
            denial.answer(guard.grpc, request.headers())
        }
    }
}

/// Why somebody is turned away.
#[derive(Debug)]
enum Denial {
    /// Nobody may do that. 403.
    Forbidden(Message),
    /// This caller has not shown that it may. 401.
    Unauthorized(Message),
}

impl Denial {
    fn answer(self, grpc: GrpcRefusal, headers: &HeaderMap) -> Response {
        let (status, message) = match self {
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Self::Unauthorized(message) => (StatusCode::UNAUTHORIZED, message),
        };
        let is_unauthorized = status == StatusCode::UNAUTHORIZED;
        let fault = Fault::new(FaultKind::Denied, message);
        let mut response = match is_grpc(headers) {
            true => {
                let mut response = grpc(&fault, is_unauthorized);
                *response.status_mut() = status;
                response
            }
            false => Failure::with(status, fault).into_response(),
        };
        if is_unauthorized {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

fn decide(guard: &Guard, caller: &Caller, request: &Request) -> Result<Access, Denial> {
    let headers = request.headers();
    verdict(&guard.own.seen_by(caller), request.uri(), headers).map_err(Denial::Forbidden)?;
    if caller.standing == Standing::OwnSocket || (guard.is_own)(headers) {
        return Err(Denial::Forbidden(text::access::caller_is_pmctl()));
    }
    let by_socket = caller.access();
    let need = match need(request.method(), request.uri().path()) {
        Need::Nothing => return Ok(by_socket),
        Need::Figures if guard.open_metrics => return Ok(by_socket),
        Need::Figures => Access::Reading,
        Need::Access(access) => access,
    };
    let access = match token(headers) {
        // Whoever sends a token means to be known by it: a wrong one is never overlooked.
        Some(sent) if !sent.is_some_and(|sent| guard.token.is(sent)) => {
            return Err(Denial::Unauthorized(text::access::token_wrong()));
        }
        Some(_) => Access::Full,
        None => by_socket,
    };
    if access >= need {
        return Ok(access);
    }
    Err(Denial::Unauthorized(match access {
        Access::Reading => text::access::limited_reading(),
        Access::Greeting | Access::Full => text::access::unauthorized(shown(caller)),
    }))
}

/// The caller as far as it is the same for each of its connections.
fn shown(caller: &Caller) -> String {
    match caller.standing {
        Standing::Trusted { uid } | Standing::Unknown { why: Unproven::OtherUser(uid) } => {
            format!("uid {uid}")
        }
        Standing::Unknown { .. } | Standing::OwnSocket => caller.ip().to_string(),
    }
}

/// The bearer token that was sent: `None` if there are no credentials at all, `Some(None)` if they
/// are anything else than one bearer token.
fn token(headers: &HeaderMap) -> Option<Option<&[u8]>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some(None);
    }
    let (scheme, token) = match first.as_bytes().split_at_checked(BEARER.len()) {
        Some(parts) => parts,
        None => return Some(None),
    };
    Some(scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim_ascii()))
}

const BEARER: &[u8] = b"Bearer ";

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It is for everybody.
    Nothing,
    /// The metrics: for everybody, or for readers.
    Figures,
    /// At least that.
    Access(Access),
}

/// What each method of `pmctl.v1.Control` takes; a test compares the list with the proto.
const METHODS: &[(&str, Access)] = &[
    ("GetServer", Access::Greeting),
    ("GetStatus", Access::Reading),
    ("ListServices", Access::Reading),
    ("AddService", Access::Full),
    ("StartServices", Access::Full),
    ("StopServices", Access::Full),
    ("RestartServices", Access::Full),
    ("RemoveServices", Access::Full),
    ("SetService", Access::Full),
    ("AddTarget", Access::Full),
    ("RemoveTarget", Access::Full),
    ("SwitchTarget", Access::Full),
    ("GetPorts", Access::Reading),
    ("KillPorts", Access::Full),
    ("Cleanup", Access::Full),
    ("Verify", Access::Reading),
    ("GetHeartbeats", Access::Reading),
    ("GetHeartbeatHistory", Access::Reading),
    ("DrainService", Access::Full),
    ("ListEvents", Access::Reading),
    ("WatchEvents", Access::Reading),
    ("Shutdown", Access::Full),
];

/// By the path as it was sent: what is written otherwise is another path, which takes the most.
fn need(method: &Method, path: &str) -> Need {
    match path {
        "/healthz" | "/readyz" => return Need::Nothing,
        "/metrics" => return Need::Figures,
        _ => {}
    }
    if path.starts_with("/grpc.health.v1.Health/") {
        return Need::Nothing;
    }
    if path.starts_with("/grpc.reflection.") {
        return Need::Access(Access::Reading);
    }
    if let Some(called) = path.strip_prefix("/pmctl.v1.Control/") {
        let known = METHODS.iter().find(|(name, _)| *name == called);
        return Need::Access(known.map_or(Access::Full, |(_, access)| *access));
    }
    Need::Access(match *method {
        Method::GET | Method::HEAD => Access::Reading,
        _ => Access::Full,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn every_method_of_the_proto_is_in_the_list_and_no_other() {
        let proto = include_str!("../../proto/pmctl/v1/control.proto");
        let of_proto: BTreeSet<&str> = proto
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("rpc ")?.split('(').next())
            .collect();
        let listed: BTreeSet<&str> = METHODS.iter().map(|(name, _)| *name).collect();
        assert!(of_proto.len() > 10, "{of_proto:?}");
        assert_eq!(of_proto, listed);
    }

    #[test]
    fn reading_and_changing_are_told_apart_and_the_unknown_takes_the_most() {
        let of = |method: Method, path: &str| need(&method, path);
        for path in ["/healthz", "/readyz", "/grpc.health.v1.Health/Check"] {
            assert_eq!(of(Method::GET, path), Need::Nothing, "{path}");
        }
        for path in ["/api/services", "/", "/healthz/", "//healthz", "/%68ealthz"] {
            assert_eq!(of(Method::GET, path), Need::Access(Access::Reading), "{path}");
            assert_eq!(of(Method::POST, path), Need::Access(Access::Full), "{path}");
        }
        let grpc = |name: &str| of(Method::POST, &format!("/pmctl.v1.Control/{name}"));
        assert_eq!(grpc("GetServer"), Need::Access(Access::Greeting));
        assert_eq!(grpc("GetPorts"), Need::Access(Access::Reading));
        for name in ["KillPorts", "FromTheFuture", "getports", "GetPorts/"] {
            assert_eq!(grpc(name), Need::Access(Access::Full), "{name}");
        }
    }

    #[test]
    fn credentials_are_one_bearer_token_or_wrong() {
        let sent = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            token(&headers).map(|token| token.map(|t| String::from_utf8_lossy(t).into_owned()))
        };
        assert_eq!(sent(&[]), None);
        assert_eq!(sent(&["Bearer abc"]), Some(Some("abc".into())));
        assert_eq!(sent(&["bearer  abc"]), Some(Some("abc".into())));
        for wrong in [&["Basic YTpi"][..], &["abc"], &["Bearer a", "Bearer a"], &[""]] {
            assert_eq!(sent(wrong), Some(None), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_itself_alone_and_is_never_shown() {
        let token = Token::new("s3cret");
        assert!(token.is(b"s3cret"));
        for other in [&b""[..], b"s3cre", b"s3crets", b"S3cret"] {
            assert!(!token.is(other));
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[test]
    fn the_system_that_cannot_tell_users_lets_local_callers_read_only() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let of = |standing| Caller { peer, local: peer, standing }.access();
        assert_eq!(of(Standing::Trusted { uid: 1 }), Access::Full);
        assert_eq!(of(Standing::Unknown { why: Unproven::LocalOnly }), Access::Reading);
        for why in [Unproven::Remote, Unproven::Invisible, Unproven::OtherUser(0)] {
            assert_eq!(of(Standing::Unknown { why }), Access::Greeting);
        }
        assert!(Access::Greeting < Access::Reading && Access::Reading < Access::Full);
    }
}
