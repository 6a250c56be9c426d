//! A double before the real container runtime: `cri-double SOCKET REAL_SOCKET DIRECTORY`.
//!
//! It passes every byte on and counts the calls: `DIRECTORY/calls` grows by one byte with each gRPC
//! call (a HEADERS frame of HTTP/2 from the client). While there is a file `DIRECTORY/away`,
//! connections are closed and new ones closed at once, which counts as a call too. While there is a
//! file `DIRECTORY/silent`, answers do not say where network namespaces are; each place that is
//! hidden adds a byte to it.

use std::{
    collections::BTreeMap,
    env, fs,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// What a client of HTTP/2 says first.
const PREFACE: usize = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Length, type, flags, stream.
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [socket, real, directory] = &arguments[..] else {
        eprintln!("usage: cri-double SOCKET REAL_SOCKET DIRECTORY");
        return ExitCode::FAILURE;
    };
    match serve(socket, real, directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cri-double: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The connections that are open, both ends of each, by number.
type Open = Arc<Mutex<BTreeMap<u64, [UnixStream; 2]>>>;

fn serve(socket: &Path, real: &Path, directory: &Path) -> io::Result<()> {
    let calls = directory.join("calls");
    let calls = OpenOptions::new().create(true).append(true).open(calls)?;
    let calls = Arc::new(calls);
    let away = directory.join("away");
    let open = Open::default();
    // One of an earlier run.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    let (closing, marked) = (Arc::clone(&open), away.clone());
    thread::spawn(move || close_while(&marked, &closing));
    for (number, stream) in (0..).zip(listener.incoming()) {
        let stream = stream?;
        if away.exists() {
            count(&calls, 1)?;
            continue;
        }
        match UnixStream::connect(real) {
            Ok(server) => pass_on(number, [stream, server], &open, &calls, directory)?,
            Err(error) => {
                count(&calls, 1)?;
                eprintln!("cri-double: {error}");
            }
        }
    }
    Ok(())
}

fn close_while(away: &Path, open: &Open) {
    loop {
        if away.exists() {
            open.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .for_each(close);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn close(ends: &[UnixStream; 2]) {
    for end in ends {
        // The other side may have closed it already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

fn pass_on(
    number: u64,
    ends: [UnixStream; 2],
    open: &Open,
    calls: &Arc<File>,
    directory: &Path,
) -> io::Result<()> {
    let cloned = || Ok::<_, io::Error>([ends[0].try_clone()?, ends[1].try_clone()?]);
    let (requests, answers) = (cloned()?, cloned()?);
    open.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number, ends);
    let calls = Arc::clone(calls);
    thread::spawn(move || {
        let mut frames = Frames::default();
        copy(&requests[0], &requests[1], |bytes| {
            count(&calls, frames.heads_in(bytes))
        });
        close(&requests);
    });
    let open = Arc::clone(open);
    let silent = directory.join("silent");
    thread::spawn(move || {
        copy(&answers[1], &answers[0], |bytes| {
            let Ok(mut silent) = OpenOptions::new().append(true).open(&silent) else {
                return Ok(());
            };
            silent.write_all(&vec![b'.'; hide_namespaces(bytes)])
        });
        close(&answers);
        open.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    });
    Ok(())
}

fn copy(mut from: &UnixStream, mut to: &UnixStream, mut seen: impl FnMut(&mut [u8]) -> io::Result<()>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        let bytes = &mut chunk[..length];
        if seen(bytes).and_then(|()| to.write_all(bytes)).is_err() {
            return;
        }
    }
}

/// The keys of containerd's JSON below which the namespace is.
const KEYS: [&[u8]; 2] = [b"\"NetNSPath\"", b"\"runtimeSpec\""];

/// Renames those keys, without changing a length; returns how many there were.
fn hide_namespaces(bytes: &mut [u8]) -> usize {
    let mut hidden = 0;
    for key in KEYS {
        for start in 0..bytes.len().saturating_sub(key.len() - 1) {
            if bytes[start..].starts_with(key) {
                bytes[start + 1] = b'X';
                hidden += 1;
            }
        }
    }
    hidden
}

fn count(mut calls: &File, number: usize) -> io::Result<()> {
    calls.write_all(&vec![b'.'; number])
}

/// Where in the client's stream of frames the next byte is.
struct Frames {
    skip: usize,
    head: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            head: Vec::new(),
        }
    }
}

impl Frames {
    /// How many HEADERS frames begin in the next bytes.
    fn heads_in(&mut self, mut bytes: &[u8]) -> usize {
        let mut found = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (FRAME_HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [high, middle, low, kind, ..] = self.head[..]
                && self.head.len() == FRAME_HEAD
            {
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                found += usize::from(kind == HEADERS);
                self.head.clear();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 4, 0, 0, 0, 1];
        frame.extend(vec![HEADERS; length.into()]);
        frame
    }

    #[test]
    fn hides_the_keys_that_name_namespaces() {
        let mut bytes = br#"{"NetNSPath":"/run/netns/x","runtimeSpec":{},"pid":1}"#.to_vec();
        assert_eq!(hide_namespaces(&mut bytes), 2);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text, r#"{"XetNSPath":"/run/netns/x","XuntimeSpec":{},"pid":1}"#);
    }

    #[test]
    fn counts_headers_however_the_stream_is_cut() {
        let mut stream = vec![b'P'; PREFACE];
        for (kind, length) in [(4, 0), (HEADERS, 30), (0, 200), (HEADERS, 1)] {
            stream.extend(frame(kind, length));
        }
        for size in 1..stream.len() {
            let mut frames = Frames::default();
            let found: usize = stream.chunks(size).map(|piece| frames.heads_in(piece)).sum();
            assert_eq!(found, 2, "in pieces of {size}");
        }
    }
}
