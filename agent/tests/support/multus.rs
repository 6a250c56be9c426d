//! A multus daemon that answers every connection by one script.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

/// What it does with a request, once it has read all of it.
#[derive(Clone)]
pub enum Script {
    /// Writes these bytes and closes.
    Says(Vec<u8>),
    /// Answers a question after its health, and to anything else writes these bytes and closes.
    Crashes(Vec<u8>),
    /// Waits for [`ScriptedMultus::go_on`], then writes these bytes and closes.
    Waits(Vec<u8>),
    /// Writes a 200 and a body of this many bytes.
    Floods(u64),
}

/// Runs until it is dropped.
pub struct ScriptedMultus {
    dir: TempDir,
    requests: mpsc::UnboundedReceiver<Value>,
    gate: Arc<Semaphore>,
    flooded: Arc<Mutex<u64>>,
    server: JoinHandle<()>,
}

/// An HTTP answer with a body.
pub fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

impl ScriptedMultus {
    /// Listens at a socket of its own.
    pub fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(dir.path().join("multus.sock")).expect("a socket");
        let (sender, requests) = mpsc::unbounded_channel();
        let (gate, flooded) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(0)));
        let server = tokio::spawn({
            let (gate, flooded) = (gate.clone(), flooded.clone());
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let request = read_request(&mut stream).await;
                    sender.send(request.clone()).ok();
                    play(&script, &request, stream, &gate, &flooded).await;
                }
            }
        });
        Self {
            dir,
            requests,
            gate,
            flooded,
            server,
        }
    }

    /// Where it listens.
    pub fn sockets(&self) -> Vec<PathBuf> {
        vec![self.dir.path().join("multus.sock")]
    }

    /// The next request that has arrived completely.
    pub async fn request(&mut self) -> Value {
        super::soon(self.requests.recv())
            .await
            .expect("the scripted multus runs")
    }

    /// Ends one wait of [`Script::Waits`].
    pub fn go_on(&self) {
        self.gate.add_permits(1);
    }

    /// How many bytes of a flood went out.
    pub fn flooded(&self) -> u64 {
        *self.flooded.lock().expect("nobody panicked")
    }
}

impl Drop for ScriptedMultus {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn play(
    script: &Script,
    request: &Value,
    mut stream: UnixStream,
    gate: &Semaphore,
    flooded: &Mutex<u64>,
) {
    // A client that hangs up makes a write fail, which is no failure of the script.
    match script {
        Script::Says(bytes) => {
            stream.write_all(bytes).await.ok();
        }
        Script::Crashes(_) if request.is_null() => {
            stream.write_all(&http("200 OK", "")).await.ok();
        }
        Script::Crashes(bytes) => {
            stream.write_all(bytes).await.ok();
        }
        Script::Waits(bytes) => {
            gate.acquire().await.expect("the gate is open").forget();
            stream.write_all(bytes).await.ok();
        }
        Script::Floods(size) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok();
            let chunk = vec![b' '; 64 * 1024];
            while *flooded.lock().expect("nobody panicked") < *size && stream.write_all(&chunk).await.is_ok()
            {
                *flooded.lock().expect("nobody panicked") += chunk.len() as u64;
            }
        }
    }
}

/// Reads head and body; a body that is not JSON is `null`.
async fn read_request(stream: &mut UnixStream) -> Value {
    let mut received = Vec::new();
    loop {
        let read = stream.read_buf(&mut received).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return serde_json::from_str(body).unwrap_or_default();
            }
        }
        if read == 0 {
            return Value::Null;
        }
    }
}
