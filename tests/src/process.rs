//! The two programs as plain processes of this machine, for what they do with a bad start.

use std::{
    ffi::OsStr,
    io::{Seek, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::error::{Error, Result};

/// A program that has not ended by then does not end by itself.
const ENDS: Duration = Duration::from_secs(20);

/// One of the two programs, about to be started with an environment of nothing but what is given.
pub struct Program {
    name: &'static str,
    command: Command,
}

/// How a program ended.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None`: by a signal.
    pub code: Option<i32>,
    /// Both its outputs.
    pub text: String,
}

/// A program that runs until it is dropped.
pub struct Running {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Program {
    /// The agent, as cargo built it beside this test.
    ///
    /// # Errors
    /// [`Error::Setup`] when it is not built.
    pub fn agent() -> Result<Self> {
        Self::built("dynamic-networks-agent")
    }

    /// The webhook, as cargo built it beside this test.
    ///
    /// # Errors
    /// [`Error::Setup`] when it is not built.
    pub fn webhook() -> Result<Self> {
        Self::built("dynamic-networks-webhook")
    }

    fn built(name: &'static str) -> Result<Self> {
        let path = built(name)?;
        let mut command = Command::new(path);
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(Self { name, command })
    }

    /// A program that `command` starts on the node.
    pub(crate) fn on_node(name: &'static str, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { name, command }
    }

    /// One flag with its value.
    pub fn flag(mut self, flag: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.arg(flag).arg(value);
        self
    }

    /// One argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// What it reads on its standard input; nothing, without.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when there is no room for it.
    pub fn given(mut self, input: &str) -> Result<Self> {
        let file = || {
            let mut file = tempfile::tempfile()?;
            file.write_all(input.as_bytes())?;
            file.rewind()?;
            Ok(file)
        };
        let file = file().map_err(|e: std::io::Error| Error::Unexpected(e.to_string()))?;
        self.command.stdin(file);
        Ok(self)
    }

    /// One variable of its environment.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when the system refuses.
    pub fn start(mut self) -> Result<Running> {
        let mut child = self
            .command
            .spawn()
            .map_err(|e| Error::Unexpected(format!("{}: {e}", self.name)))?;
        let text = Arc::default();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            tokio::spawn(collect(out, Arc::clone(&text)));
            tokio::spawn(collect(err, Arc::clone(&text)));
        }
        Ok(Running { child, text })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with its output when it does not end.
    pub async fn run(self) -> Result<Output> {
        let name = self.name;
        let mut running = self.start()?;
        match tokio::time::timeout(ENDS, running.ended()).await {
            Ok(output) => output,
            Err(_) => Err(Error::Unexpected(format!(
                "{name} goes on running:\n{}",
                running.text()
            ))),
        }
    }
}

impl Running {
    /// What it printed so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most memory that it has had so far (its resident set), in KiB.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it has ended.
    pub fn peak_memory(&self) -> Result<u64> {
        let pid = self.child.id().unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|e| Error::Unexpected(format!("process {pid}: {e}")))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|text| text.trim().trim_end_matches("kB").trim().parse().ok())
            .ok_or_else(|| Error::Unexpected(format!("process {pid}: {status}")))
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with its output.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(Error::Unexpected(format!(
                "it ended ({ended:?}):\n{}",
                self.text()
            ))),
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with its output when it does not end.
    pub async fn terminate(mut self) -> Result<Output> {
        let pid = self.child.id().map(|id| id.to_string()).unwrap_or_default();
        let _ = Command::new("kill").args(["-TERM", &pid]).status().await;
        match tokio::time::timeout(ENDS, self.ended()).await {
            Ok(output) => output,
            Err(_) => Err(Error::Unexpected(format!(
                "SIGTERM does not end it:\n{}",
                self.text()
            ))),
        }
    }

    /// Waits until it ends without being asked to.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with its output when it does not.
    pub async fn ended_by_itself(mut self) -> Result<Output> {
        match tokio::time::timeout(ENDS, self.ended()).await {
            Ok(output) => output,
            Err(_) => Err(Error::Unexpected(format!("it goes on running:\n{}", self.text()))),
        }
    }

    pub(crate) async fn ended(&mut self) -> Result<Output> {
        let status = self
            .child
            .wait()
            .await
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        // Both readers drop their share at the end of the pipes.
        while Arc::strong_count(&self.text) > 1 {
            tokio::task::yield_now().await;
        }
        Ok(Output {
            code: status.code(),
            text: self.text(),
        })
    }
}

async fn collect(mut pipe: impl AsyncRead + Unpin, text: Arc<Mutex<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let Some(piece) = buffer.get(..count) else { break };
        text.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(piece));
    }
}

/// A program as cargo built it beside this test.
///
/// # Errors
/// [`Error::Setup`] when it is not built.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    // Tests are in `<target>/<profile>/deps`, programs one level higher; those of this crate itself
    // too.
    let test = std::env::current_exe().map_err(|e| Error::Setup(e.to_string()))?;
    let path = test.ancestors().nth(2).unwrap_or(Path::new("/")).join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Setup(format!(
        "{} is not built (`cargo build`)",
        path.display()
    )))
}

/// A loopback address that was free a moment ago.
///
/// # Errors
/// [`Error::Unexpected`] when the system has none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    listener
        .and_then(|l| l.local_addr())
        .map_err(|e| Error::Unexpected(e.to_string()))
}

/// GET over plain HTTP: the status code and the body.
///
/// # Errors
/// [`Error::Unexpected`] when nobody answers.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = answer
        .await
        .map_err(|e| Error::Unexpected(format!("http://{address}{path}: {e}")))?;
    let code = answer.split_whitespace().nth(1).and_then(|c| c.parse().ok());
    let code = code.ok_or_else(|| Error::Unexpected(format!("not HTTP: {answer:.200}")))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((code, body.to_owned()))
}
