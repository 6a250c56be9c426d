//! Opens many connections and keeps them: `connection-holder ADDRESS COUNT SECONDS`.
//!
//! Every second connection sends nothing; the others send a request head, one byte a second. One
//! that the server closes is opened again. At the end it prints the maximum of open connections and
//! the number of closed ones.

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const HEAD: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: agent\r\nx-slow: ";
const PACE: Duration = Duration::from_secs(1);
const CONNECTS: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let parsed = (|| {
        let [address, count, seconds] = &arguments[..] else {
            return None;
        };
        let address: SocketAddr = address.parse().ok()?;
        Some((address, count.parse().ok()?, seconds.parse().ok()?))
    })();
    let Some((address, count, seconds)) = parsed else {
        eprintln!("usage: connection-holder ADDRESS COUNT SECONDS");
        return ExitCode::FAILURE;
    };
    hold(address, count, Duration::from_secs(seconds));
    ExitCode::SUCCESS
}

fn hold(address: SocketAddr, count: usize, length: Duration) {
    let end = Instant::now() + length;
    let mut connections: Vec<Option<(TcpStream, usize)>> = Vec::new();
    connections.resize_with(count, || None);
    let (mut most, mut closed) = (0, 0);
    while Instant::now() < end {
        let round = Instant::now();
        for (index, place) in connections.iter_mut().enumerate() {
            if Instant::now() >= end {
                break;
            }
            let open = place.as_mut().is_some_and(|held| goes_on(held, index % 2 == 1));
            if !open {
                closed += usize::from(place.is_some());
                *place = connect(address);
            }
        }
        most = most.max(connections.iter().flatten().count());
        let left = PACE.saturating_sub(round.elapsed());
        thread::sleep(left.min(end.saturating_duration_since(Instant::now())));
    }
    println!("{most} {closed}");
}

fn connect(address: SocketAddr) -> Option<(TcpStream, usize)> {
    let stream = TcpStream::connect_timeout(&address, CONNECTS).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some((stream, 0))
}

/// Sends the next byte, where it is a slow one; false when the server has closed the connection.
fn goes_on((stream, sent): &mut (TcpStream, usize), slow: bool) -> bool {
    let mut answer = [0; 256];
    match stream.read(&mut answer) {
        Ok(0) => return false,
        Err(error) if error.kind() != ErrorKind::WouldBlock => return false,
        _ => {}
    }
    if slow {
        let byte = HEAD.get(*sent).unwrap_or(&b'a');
        *sent += 1;
        return stream.write_all(&[*byte]).is_ok();
    }
    true
}
