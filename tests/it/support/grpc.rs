//! gRPC by hand over one HTTP/2 connection: enough to ask a control plane what any client may ask.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use super::DEADLINE;
use super::h2::runtime;

/// A connection to a control plane.
pub struct Grpc {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    token: Option<String>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Answer {
    pub http_status: u16,
    /// `grpc-status`, from the trailers or, for a call refused at once, the head.
    pub status: i32,
    pub messages: Vec<Bytes>,
}

impl Grpc {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
            let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = shaken.expect("an HTTP/2 connection");
            runtime.handle().spawn(connection);
            sender
        });
        Self { runtime, sender, address, token: None }
    }

    /// The same, with this bearer token in every call.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Calls `/package.Service/Method` with one encoded message and reads the answer to its end.
    #[track_caller]
    pub fn call(&mut self, path: &str, message: &[u8]) -> Answer {
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).expect("a small message"));
        frame.put_slice(message);
        let mut request = Request::builder()
            .version(Version::HTTP_2)
            .method("POST")
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(frame.freeze())).expect("a request");
        let asked = async {
            let response = self.sender.send_request(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            let whole = body.collect().await.expect("a whole answer");
            let trailers = whole.trailers().cloned().unwrap_or_default();
            let status = grpc_status(&trailers).or_else(|| grpc_status(&head.headers));
            Answer {
                http_status: head.status.as_u16(),
                status: status.unwrap_or(-1),
                messages: unframe(whole.to_bytes()),
            }
        };
        self.runtime.block_on(async {
            tokio::time::timeout(DEADLINE, asked).await.expect("an answer within the deadline")
        })
    }
}

fn grpc_status(fields: &HeaderMap) -> Option<i32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn unframe(mut bytes: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while bytes.len() >= 5 {
        let frame = bytes.split_to(5);
        let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
        let length = usize::try_from(length).expect("a length").min(bytes.len());
        messages.push(bytes.split_to(length));
    }
    messages
}
