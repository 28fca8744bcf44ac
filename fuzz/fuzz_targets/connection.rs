//! A whole connection, over loopback: a client and a target that send whatever they are told.
//!
//! The bytes are pieces that end with 0xFE. The first byte of a piece says who sends the rest of it: an
//! even one the client, an odd one the target, which sends its pieces in turn, one for each time that it
//! has read something, and closes behind the last one.
//!
//! Whatever they send, the client's connection comes to an end, what the target was sent are valid
//! requests, and what the client was sent are valid answers, one for a request.
#![no_main]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use pmctl::model::{Port, ServiceId, Target, UpstreamTls};
use pmctl::proxy::{
    Limits, Plane, PlaneSettings, ProxyHandle, ProxySpec, Route, ViaId, bind, fuzzing,
};

const END: u8 = 0xFE;
/// Longer than every bound of the proxy together.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections to the target, by their numbers.
type Connections = HashMap<usize, TcpStream>;

struct Bed {
    proxy: SocketAddr,
    script: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Connections to the target.
    accepted: Arc<AtomicUsize>,
    /// Those of this conversation.
    open: Arc<Mutex<Connections>>,
    /// What each of them was sent, once it is over; and how many are over.
    heard: Mutex<(Receiver<Vec<u8>>, usize)>,
    _held: (Plane, ProxyHandle),
}

static BED: LazyLock<Bed> = LazyLock::new(|| {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a target");
    let url = format!("http://{}", target.local_addr().expect("an address"));
    let script = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let (told, heard) = channel();
    let accepted = Arc::<AtomicUsize>::default();
    let open = Arc::<Mutex<Connections>>::default();
    let (answers, count, kept) = (Arc::clone(&script), Arc::clone(&accepted), Arc::clone(&open));
    thread::spawn(move || {
        for (number, stream) in target.incoming().flatten().enumerate() {
            let twin = stream.try_clone().expect("a descriptor");
            kept.lock().expect("connections").insert(number, twin);
            count.fetch_add(1, Ordering::SeqCst);
            let (answers, told, kept) = (Arc::clone(&answers), told.clone(), Arc::clone(&kept));
            thread::spawn(move || {
                let heard = recite(&stream, &answers);
                // With both the connection is closed.
                kept.lock().expect("connections").remove(&number);
                drop(stream);
                let _ = told.send(heard);
            });
        }
    });
    let short = Duration::from_millis(20);
    let limits = Limits {
        header_timeout: short,
        first_byte_timeout: short,
        idle_timeout: short,
        body_idle_timeout: short,
        half_close_timeout: short,
        linger_timeout: short,
        pool_max_idle: 4,
        ..Limits::default()
    };
    let settings = PlaneSettings { workers: 1, limits, ..PlaneSettings::default() };
    let plane = Plane::start(settings).expect("a data plane");
    let (listener, proxy) = (0..100).find_map(|_| free()).expect("a free port");
    let target =
        Target { url: url.parse().expect("a URL"), credentials: None, tls: UpstreamTls::default() };
    let route = Route::new(&"main".parse().expect("a name"), &target, &ViaId::random());
    let spec = ProxySpec {
        id: ServiceId(1),
        name: "fuzz".parse().expect("a name"),
        route: route.expect("a route"),
    };
    let handle = plane.spawn(spec, listener);
    Bed { proxy, script, accepted, open, heard: Mutex::new((heard, 0)), _held: (plane, handle) }
});

fn free() -> Option<(pmctl::proxy::BoundListener, SocketAddr)> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?;
    let port = Port::new(address.port())?;
    Some((bind(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port).ok()?, address))
}

/// Says what the script says; what was heard meanwhile.
fn recite(mut stream: &TcpStream, answers: &Mutex<Vec<Vec<u8>>>) -> Vec<u8> {
    let pieces = answers.lock().expect("a script").clone();
    let (mut pieces, mut heard, mut buffer) = (pieces.into_iter(), Vec::new(), vec![0; 64 * 1024]);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        heard.extend_from_slice(&buffer[..read]);
        match pieces.next() {
            Some(piece) if stream.write_all(&piece).is_ok() => {}
            _ => break,
        }
    }
    heard
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut client, mut target) = (Vec::new(), Vec::new());
    for piece in bytes.split(|byte| *byte == END) {
        match piece.split_first() {
            Some((who, piece)) if who % 2 == 0 => client.push(piece),
            Some((_, piece)) => target.push(piece.to_vec()),
            None => {}
        }
    }
    let bed = &*BED;
    *bed.script.lock().expect("a script") = target;
    let mut stream = TcpStream::connect(bed.proxy).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let sent = client.concat();
    for piece in client {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let (mut came, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => came.extend_from_slice(&buffer[..read]),
            Ok(0) => break,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
                panic!("the connection does not end")
            }
            Err(_) => break,
        }
    }
    fuzzing::answers_at_client(&sent, &came);
    let mut heard = bed.heard.lock().expect("what was heard");
    while heard.1 < bed.accepted.load(Ordering::SeqCst) {
        for target in bed.open.lock().expect("connections").values() {
            let _ = target.shutdown(Shutdown::Both);
        }
        let sent = heard.0.recv_timeout(PATIENCE).expect("the connection to the target ends");
        heard.1 += 1;
        fuzzing::requests_at_target(&sent);
    }
});
