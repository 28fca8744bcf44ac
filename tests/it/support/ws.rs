//! WebSocket: an upstream that echoes, and a client.

use std::net::{SocketAddr, TcpListener, TcpStream};

use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::DEADLINE;
use super::upstream::small_thread;

/// An upstream that gives every message back, each connection on a thread of its own.
pub struct WsEcho {
    address: SocketAddr,
}

impl WsEcho {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        // Ends with the test process: it holds nothing but its own port.
        small_thread(move || {
            for stream in listener.incoming().flatten() {
                small_thread(move || echo(stream));
            }
        });
        Self { address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn echo(stream: TcpStream) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if socket.send(message).is_err() {
                    return;
                }
            }
            // Reading on sends the pongs and the answer to a close.
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// A client connection to `path` of the service on `port`, upgraded.
#[track_caller]
pub fn ws_connect(port: u16, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a read deadline");
    let url = format!("ws://127.0.0.1:{port}{path}");
    let (socket, response) =
        tungstenite::client(url, stream).unwrap_or_else(|e| panic!("no upgrade: {e}"));
    assert_eq!(response.status(), 101);
    socket
}
