//! A double that stands before the real multus daemon: `multus-double SOCKET REAL_SOCKET ORDERS`.
//!
//! It passes every request on, but for those about an interface of which there is a file
//! `ORDERS/<interface>`. That file holds the name of a script, one of [`SCRIPTS`], [`SILENT`] or
//! [`SLOW`], and perhaps the word `after`: then multus gets the request all the same, and only its
//! answer is lost.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use serde_json::Value;

/// The answers that are bad, by the names of their scripts.
const SCRIPTS: &[(&str, &str)] = &[
    ("hangup", ""),
    (
        "reset",
        "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{\"Result\":{\"cniVersion\"",
    ),
    ("empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (
        "null",
        "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"Result\":null}",
    ),
    ("garbage", "\u{1}\u{2}\u{fffd} no HTTP at all\r\n\r\n"),
    (
        "html",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nContent-Length: 45\r\n\r\n<html><body><h1>It is broken</h1></body>\r\n\r\n ",
    ),
    (
        "refuse",
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\r\nthe double says no to it",
    ),
    // Its head, that is; the body follows.
    ("flood", "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"),
];
/// No answer until the order is gone.
const SILENT: &str = "silent";
/// The real answer, byte by byte.
const SLOW: &str = "slow";

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [socket, real, orders] = &arguments[..] else {
        eprintln!("usage: multus-double SOCKET REAL_SOCKET ORDERS");
        return ExitCode::FAILURE;
    };
    match serve(socket, real, orders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multus-double: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(socket: &Path, real: &Path, orders: &Path) -> io::Result<()> {
    // One of an earlier run.
    let _ = fs::remove_file(socket);
    for stream in UnixListener::bind(socket)?.incoming() {
        let (stream, real, orders) = (stream?, real.to_owned(), orders.to_owned());
        thread::spawn(move || {
            if let Err(error) = answer(stream, &real, &orders) {
                eprintln!("multus-double: {error}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: UnixStream, real: &Path, orders: &Path) -> io::Result<()> {
    let request = read_request(&mut stream)?;
    let interface = interface_of(&request);
    let order = fs::read_to_string(orders.join(&interface)).unwrap_or_default();
    let mut words = order.split_whitespace();
    let (script, after) = (words.next().unwrap_or_default(), words.next() == Some("after"));
    let head = SCRIPTS.iter().find(|(name, _)| *name == script);
    if let Some((_, head)) = head {
        if after {
            ask(real, &request)?;
        }
        stream.write_all(head.as_bytes())?;
        if script == "flood" {
            flood(&mut stream)?;
        }
        return Ok(());
    }
    while script == SILENT && orders.join(&interface).exists() {
        thread::sleep(Duration::from_millis(20));
    }
    let answer = ask(real, &request)?;
    if script == SLOW {
        for byte in answer {
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(2));
        }
        return Ok(());
    }
    stream.write_all(&answer)
}

/// Head and body, as they came.
fn read_request(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    while !is_whole(&request) {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(request)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

/// Of the request's `CNI_IFNAME`; `none` for one that has none, such as a question for its health.
fn interface_of(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["env"]["CNI_IFNAME"].as_str().unwrap_or("none").to_owned()
}

fn ask(real: &Path, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(real)?;
    let text = String::from_utf8_lossy(request).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Until the reader has had enough.
fn flood(stream: &mut UnixStream) -> io::Result<()> {
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..1024 {
        stream.write_all(&chunk)?;
    }
    Ok(())
}
