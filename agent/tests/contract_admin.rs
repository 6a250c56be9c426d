//! The admin port under attack: real sockets from addresses of 127.0.0.0/8, which all are this
//! host's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use agent::{
    admin::server::{Limits, Server},
    run::open_files,
};
use axum::{Router, extract::ConnectInfo, routing::get};
use support::soon;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const KUBELET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const PROMETHEUS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// As long as a page of metrics can be.
const PAGE: usize = 64 * 1024;

struct Admin {
    address: SocketAddr,
    _served: JoinSet<()>,
}

async fn serve(limits: Limits) -> Admin {
    open_files::raise_limit().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/metrics", get(async || "m".repeat(PAGE)))
        .route(
            "/peer",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
        );
    let server = Server {
        listener,
        router,
        limits,
    };
    let mut served = JoinSet::new();
    served.spawn(async move { match server.run().await {} });
    Admin {
        address: (Ipv4Addr::LOCALHOST, port).into(),
        _served: served,
    }
}

impl Admin {
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        // Else 2,000 of them use up the ports of an address on a busy machine.
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddrV4::new(from, 0).into()).unwrap();
        soon(socket.connect(self.address)).await.unwrap()
    }

    async fn get(&self, from: Ipv4Addr, path: &str) -> String {
        let mut stream = self.connect(from).await;
        ask(&mut stream, path, "close").await;
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }
}

async fn ask(stream: &mut TcpStream, path: &str, connection: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Whether the server has closed it, as far as has arrived.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 1024]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn count_open(streams: &[TcpStream]) -> usize {
    streams.iter().filter(|stream| !is_closed(stream)).count()
}

/// Waits until at most `most` are open.
async fn dwindle(streams: &[TcpStream], most: usize) {
    soon(async {
        while count_open(streams) > most {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Returns when the server has closed it.
async fn closes(stream: &mut TcpStream) {
    // A reset is an end, too.
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn two_thousand_idle_connections_are_eight() {
    let limits = Limits::default();
    let admin = serve(limits).await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(admin.connect(ATTACKER).await);
    }
    let begun = Instant::now();
    assert!(admin.get(KUBELET, "/livez").await.ends_with("ok\n"));
    assert!(admin.get(PROMETHEUS, "/metrics").await.len() > PAGE);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    dwindle(&idle, limits.per_peer).await;
}

#[tokio::test]
async fn slow_requests_hold_up_no_probe() {
    let admin = serve(Limits::default()).await;
    let mut slow = Vec::new();
    for _ in 0..2000 {
        let mut stream = admin.connect(ATTACKER).await;
        // The server may have closed it already.
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n").await.ok();
        slow.push(stream);
    }
    assert!(admin.get(KUBELET, "/livez").await.ends_with("ok\n"));
    dwindle(&slow, Limits::default().per_peer).await;
}

/// The kubelet's and the scraper's come last.
#[tokio::test]
async fn attackers_with_many_addresses_leave_room() {
    let limits = Limits::default();
    let admin = serve(limits).await;
    let mut idle = Vec::new();
    for number in 0..500_u32 {
        let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number);
        idle.push(admin.connect(from).await);
    }
    assert!(admin.get(KUBELET, "/livez").await.ends_with("ok\n"));
    assert!(admin.get(PROMETHEUS, "/metrics").await.len() > PAGE);
    dwindle(&idle, limits.connections).await;
}

#[tokio::test]
async fn a_scraper_keeps_its_connection_under_attack() {
    let admin = serve(Limits::default()).await;
    let mut scraper = admin.connect(PROMETHEUS).await;
    for _ in 0..3 {
        let mut idle = Vec::new();
        for _ in 0..100 {
            idle.push(admin.connect(ATTACKER).await);
        }
        ask(&mut scraper, "/metrics", "keep-alive").await;
        let mut received = 0;
        while received < PAGE {
            let read = soon(scraper.read(&mut [0; 16 * 1024])).await.unwrap();
            assert_ne!(read, 0, "closed after {received} bytes");
            received += read;
        }
    }
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let limits = Limits {
        head: Duration::from_millis(50),
        ..Limits::default()
    };
    let admin = serve(limits).await;
    closes(&mut admin.connect(KUBELET).await).await;
    let mut idle = admin.connect(KUBELET).await;
    ask(&mut idle, "/livez", "keep-alive").await;
    closes(&mut idle).await;
    let mut slow = admin.connect(KUBELET).await;
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    closes(&mut slow).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut() {
    let limits = Limits {
        lifetime: Duration::from_millis(50),
        farewell: Duration::from_millis(50),
        ..Limits::default()
    };
    let admin = serve(limits).await;
    let mut stream = admin.connect(ATTACKER).await;
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    soon(stream.write_all(request.as_bytes())).await.ok();
    // Nothing is read here until the server has given up.
    soon(async {
        while stream.write_all(b"GET").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let admin = serve(Limits::default()).await;
    let mut stream = admin.connect(ATTACKER).await;
    let head = format!("GET /livez HTTP/1.1\r\nA: {}\r\n", "a".repeat(64 * 1024));
    stream.write_all(head.as_bytes()).await.ok();
    closes(&mut stream).await;
}

#[tokio::test]
async fn a_request_carries_its_peer() {
    let admin = serve(Limits::default()).await;
    assert!(admin.get(KUBELET, "/peer").await.ends_with("127.0.0.3"));
}
