//! The server on a real socket, against clients that behave and clients that do not.

use std::time::Instant;

use http_body_util::{BodyExt, StreamBody};
use hyper::{StatusCode, body::Bytes, client::conn::http2, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use super::*;
use crate::{
    http::{
        body::{Bodies, MAX_BODY},
        routes::App,
    },
    testing::{PATIENCE, TestServer, app, create, know, pod, post, read, short_limits, until},
};

async fn server(limits: Limits) -> TestServer {
    let app = app(&json!({}));
    know(&app, &[]);
    TestServer::of_app(app, limits).await
}

fn review() -> Bytes {
    create(&pod("a")).to_string().into()
}

/// Everything that the peer sends until it closes, and how long that took.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> (String, Duration) {
    let begun = Instant::now();
    let mut received = Vec::new();
    // A reset is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut received))
        .await
        .expect("the server never closes");
    (String::from_utf8_lossy(&received).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn reviews_are_answered_over_http1_and_http2() {
    let server = server(Limits::default()).await;
    let mut http1 = server.http1().await;
    let (mut http2, _) = server.http2().await;

    for _ in 0..3 {
        let (status, body) = read(http1.send_request(post("/mutate", review())).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        let (status, other) = read(http2.send_request(post("/mutate", review())).await.unwrap()).await;
        assert_eq!((status, other), (StatusCode::OK, body));
    }
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_cut() {
    let server = server(short_limits()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();

    let (_, took) = until_closed(&mut silent).await;

    assert!(took < PATIENCE / 4, "{took:?}");
    until("the metric", || {
        server
            .metrics
            .to_text()
            .contains(r#"handshakes_total{outcome="timeout"} 1"#)
    })
    .await;
}

#[tokio::test]
async fn plain_http_on_the_tls_port_fails_alone() {
    let server = server(Limits::default()).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"POST /mutate HTTP/1.1\r\n\r\n").await.unwrap();

    until_closed(&mut plain).await;

    let answered = server
        .http1()
        .await
        .send_request(post("/mutate", review()))
        .await
        .unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_idle_tls_connection_is_closed() {
    let server = server(short_limits()).await;
    for alpn in ["h2", "http/1.1"] {
        let mut idle = server.connect(alpn).await;

        let (_, took) = until_closed(&mut idle).await;

        assert!(took < PATIENCE / 4, "{alpn}: {took:?}");
    }
}

#[tokio::test]
async fn headers_that_come_too_slowly_are_cut() {
    let server = server(short_limits()).await;
    let mut slow = server.connect("http/1.1").await;
    let (mut reading, mut writing) = tokio::io::split(&mut slow);
    let trickle = async {
        writing
            .write_all(b"POST /mutate HTTP/1.1\r\nhost: ")
            .await
            .unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if writing.write_all(b"x").await.and(writing.flush().await).is_err() {
                std::future::pending::<()>().await;
            }
        }
    };

    let (received, took) = tokio::select! {
        closed = until_closed(&mut reading) => closed,
        () = trickle => unreachable!("trickles forever"),
    };

    assert!(!received.contains("200 OK"), "{received}");
    assert!(took < PATIENCE / 4, "{took:?}");
}

/// Begins a body of the largest size and sends a byte of it from time to time. Never returns.
async fn trickle(mut stream: impl AsyncWriteExt + Unpin) {
    let head = format!(
        "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {MAX_BODY}\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    while stream.write_all(b" ").await.and(stream.flush().await).is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::future::pending().await
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let app = App {
        bodies: Bodies::with_deadline(Duration::from_millis(200)),
        ..app(&json!({}))
    };
    let server = TestServer::of_app(app, Limits::default()).await;
    let (mut reading, writing) = tokio::io::split(server.connect("http/1.1").await);

    let (received, took) = tokio::select! {
        closed = until_closed(&mut reading) => closed,
        () = trickle(writing) => unreachable!("trickles forever"),
    };

    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
    assert!(took < PATIENCE / 4, "{took:?}");
}

#[tokio::test]
async fn trickling_bodies_do_not_delay_others() {
    let app = app(&json!({}));
    know(&app, &[]);
    let metrics = app.metrics.clone();
    let server = TestServer::of_app(app, Limits::default()).await;
    let mut tricklers = JoinSet::new();
    for _ in 0..16 {
        tricklers.spawn(trickle(server.connect("http/1.1").await));
    }
    until("some are being read", || {
        !metrics.to_text().contains("in_flight 0")
    })
    .await;

    let answer = timeout(PATIENCE / 4, async {
        server.http1().await.send_request(post("/mutate", review())).await
    });

    assert_eq!(answer.await.expect("held up").unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = server(Limits::default()).await;
    let too_large = Bytes::from(vec![b' '; MAX_BODY + 1]);

    let (mut http2, _) = server.http2().await;
    let announced = http2.send_request(post("/mutate", too_large)).await.unwrap();
    assert_eq!(announced.status(), StatusCode::PAYLOAD_TOO_LARGE);

    // Chunked: nothing says how much will come, so no room can be taken for it.
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server.connect("http/1.1").await))
            .await
            .unwrap();
    tokio::spawn(connection);
    let chunk = || Ok::<_, io::Error>(hyper::body::Frame::data(Bytes::from(vec![b' '; 64 * 1024])));
    let endless = StreamBody::new(futures::stream::repeat_with(chunk));
    let request = post("/mutate", "").map(|_| endless);
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.status(), StatusCode::LENGTH_REQUIRED);
}

/// Announces a body of `size` bytes and sends all of it but one. Never returns.
async fn nearly_whole(mut stream: impl AsyncWriteExt + Unpin, size: usize) {
    let head = format!(
        "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    );
    let body = vec![b' '; size - 1];
    // The server may refuse it meanwhile.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.flush().await;
    std::future::pending().await
}

#[rstest]
#[case::usual(150, 255 * 1024)]
#[case::large(20, MAX_BODY)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_bodies_do_not_delay_others(#[case] count: usize, #[case] size: usize) {
    let app = App {
        bodies: Bodies::with_deadline(PATIENCE),
        ..app(&json!({}))
    };
    know(&app, &[]);
    let metrics = app.metrics.clone();
    let server = TestServer::of_app(app, Limits::default()).await;
    let mut stalled = JoinSet::new();
    for _ in 0..count {
        stalled.spawn(nearly_whole(server.connect("http/1.1").await, size));
    }
    until("some are being read", || {
        !metrics.to_text().contains("in_flight 0")
    })
    .await;
    let mut http1 = server.http1().await;

    for _ in 0..20 {
        let begun = Instant::now();
        http1.ready().await.unwrap();
        let answer = http1.send_request(post("/mutate", review())).await.unwrap();
        assert_eq!(read(answer).await.0, StatusCode::OK);
        // Far below the deadline, also on a busy machine.
        assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_more_large_bodies_than_fit_into_memory() {
    let app = App {
        bodies: Bodies::with_deadline(PATIENCE),
        ..app(&json!({}))
    };
    know(&app, &[]);
    let limits = Limits {
        request: PATIENCE * 2,
        ..Limits::default()
    };
    let server = TestServer::of_app(app, limits).await;
    // A valid review, most of whose bytes are not read.
    let mut pod = pod("a");
    pod["spec"]["filler"] = "x".repeat(MAX_BODY - 10_000).into();
    let body = Bytes::from(create(&pod).to_string());
    let asks = (0..6).map(|_| async {
        let (mut http2, _) = server.http2().await;
        http2
            .send_request(post("/mutate", body.clone()))
            .await
            .unwrap()
            .status()
    });

    let answers = timeout(PATIENCE * 2, futures::future::join_all(asks))
        .await
        .unwrap();

    assert!(answers.iter().all(StatusCode::is_success), "{answers:?}");
}

#[tokio::test]
async fn a_packed_body_is_refused_unopened() {
    let server = server(Limits::default()).await;
    let mut request = post("/mutate", vec![0x1f, 0x8b, 8, 0]);
    request
        .headers_mut()
        .insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());

    let response = server.http1().await.send_request(request).await.unwrap();

    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

/// A router whose `/slow` answers when the second is notified, and notifies the first when it
/// begins.
fn slow_router() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, go) = (Arc::clone(&arrived), Arc::clone(&release));
    let slow = async move || {
        begun.notify_one();
        go.notified().await;
        "done"
    };
    let router = Router::new().route("/slow", axum::routing::post(slow));
    (router, arrived, release)
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_busy_ones() {
    let (router, arrived, release) = slow_router();
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = TestServer::start(router, limits).await;
    let mut first = server.http1().await;
    let busy = tokio::spawn(async move { read(first.send_request(post("/slow", "")).await.unwrap()).await });
    arrived.notified().await;
    let mut second = Box::pin(server.http1());
    assert!(
        timeout(Duration::from_millis(600), &mut second).await.is_err(),
        "two at once"
    );

    release.notify_one();

    assert_eq!(busy.await.unwrap().0, StatusCode::OK);
    let response = second.await.send_request(post("/other", "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let limits = Limits {
        connections: 3,
        headers: PATIENCE * 2,
        handshake: PATIENCE * 2,
        idle: PATIENCE * 2,
        ..Limits::default()
    };
    let server = server(limits).await;
    let mut used = server.http1().await;
    read(used.send_request(post("/mutate", review())).await.unwrap()).await;
    let mut unused = server.connect("h2").await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();

    let mut open = Vec::new();
    for closed in [&mut unused as &mut (dyn AsyncRead + Send + Unpin), &mut silent] {
        let mut fresh = server.http1().await;
        let answer = fresh.send_request(post("/mutate", review())).await.unwrap();
        assert_eq!(read(answer).await.0, StatusCode::OK);
        let (_, took) = until_closed(closed).await;
        assert!(took < PATIENCE / 4, "{took:?}");
        open.push(fresh);
    }

    used.ready().await.unwrap();
    let answer = used.send_request(post("/mutate", review())).await.unwrap();
    assert_eq!(read(answer).await.0, StatusCode::OK, "an API server's own stays");
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_cut() {
    let limits = Limits {
        request: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = server(limits).await;
    let io = TokioIo::new(server.connect("h2").await);
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1)
        .handshake(io)
        .await
        .unwrap();
    let ends = tokio::spawn(connection);

    let unread = sender.send_request(post("/mutate", review())).await.unwrap();

    assert_eq!(unread.status(), StatusCode::OK);
    let _ = timeout(PATIENCE / 2, ends).await.expect("it is cut");
    assert!(unread.into_body().collect().await.is_err());
}

#[tokio::test]
async fn open_connections_and_requests_are_counted_and_counted_down() {
    let server = server(Limits::default()).await;
    let mut http1 = server.http1().await;
    read(http1.send_request(post("/mutate", review())).await.unwrap()).await;
    assert!(
        server
            .metrics
            .to_text()
            .contains("dynamic_networks_webhook_connections 1")
    );

    drop(http1);

    until("no connections", || {
        server
            .metrics
            .to_text()
            .contains("dynamic_networks_webhook_connections 0")
    })
    .await;
}

#[tokio::test]
async fn draining_serves_new_connections_and_asks_to_close() {
    let server = server(short_limits()).await;
    let mut old = server.http1().await;
    read(old.send_request(post("/mutate", review())).await.unwrap()).await;
    server.drain.cancel();

    for http1 in [&mut old, &mut server.http1().await] {
        let response = http1.send_request(post("/mutate", review())).await.unwrap();
        assert_eq!(response.headers()[header::CONNECTION], "close");
        assert_eq!(read(response).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn draining_closes_http2_connections_after_an_answer() {
    let server = server(Limits {
        idle: PATIENCE,
        headers: PATIENCE,
        drain_idle: PATIENCE,
        ..short_limits()
    })
    .await;
    let (mut used, used_ends) = server.http2().await;
    read(used.send_request(post("/mutate", review())).await.unwrap()).await;
    server.drain.cancel();
    timeout(PATIENCE / 2, used_ends)
        .await
        .expect("asked to go at once")
        .unwrap()
        .unwrap();

    let (mut fresh, fresh_ends) = server.http2().await;
    let answered = read(fresh.send_request(post("/mutate", review())).await.unwrap()).await;

    assert_eq!(answered.0, StatusCode::OK);
    timeout(PATIENCE / 2, fresh_ends)
        .await
        .expect("asked to go after its answer")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn draining_ends_after_a_period_without_requests() {
    let limits = short_limits();
    let server = server(limits).await;
    server.drain.cancel();
    let begun = Instant::now();
    while begun.elapsed() < limits.drain_idle * 2 {
        let mut http1 = server.http1().await;
        assert_eq!(
            read(http1.send_request(post("/mutate", review())).await.unwrap())
                .await
                .0,
            StatusCode::OK
        );
        tokio::time::sleep(limits.drain_idle / 20).await;
    }
    assert!(!server.task.is_finished(), "it waits for the last request");

    timeout(PATIENCE, server.task).await.expect("it stops").unwrap();

    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn draining_ends_also_under_endless_requests() {
    let server = server(Limits {
        drain: Duration::from_millis(500),
        ..short_limits()
    })
    .await;
    let (mut http2, _) = server.http2().await;
    let endless = tokio::spawn(async move {
        while let Ok(response) = http2.send_request(post("/mutate", review())).await {
            read(response).await;
        }
    });

    server.drain.cancel();

    timeout(PATIENCE, server.task).await.expect("it stops").unwrap();
    endless.await.unwrap();
}

#[tokio::test]
async fn a_running_request_is_answered_during_shutdown() {
    let limits = Limits {
        drain_idle: Duration::ZERO,
        close_timeout: PATIENCE,
        ..short_limits()
    };
    let (slow, arrived, release) = slow_router();
    let server = TestServer::start(slow, limits).await;
    let (mut http2, _) = server.http2().await;
    let asked = tokio::spawn(async move { read(http2.send_request(post("/slow", "")).await.unwrap()).await });
    arrived.notified().await;
    server.drain.cancel();
    until("no longer listening", || {
        std::net::TcpStream::connect(server.address).is_err()
    })
    .await;

    release.notify_one();

    assert_eq!(asked.await.unwrap(), (StatusCode::OK, Bytes::from("done")));
    timeout(PATIENCE, server.task).await.expect("it stops").unwrap();
}
