//! The links of one pod as the kernel announces them: for measuring when an interface is there,
//! without asking again and again.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::{
    error::{Error, Result},
    node::{Node, Sandbox},
    wait::{PLUG, eventually},
};

/// An address of the loopback interface that nobody uses.
const CALL: &str = "127.91.81.71/32";
/// How soon a monitor that listens has heard it.
const ANSWERS: Duration = Duration::from_millis(200);

/// The kernel's announcements about one sandbox's links and addresses, from the moment that it was
/// made.
pub struct Links {
    lines: Lines<BufReader<ChildStdout>>,
    // Ended when dropped.
    _monitor: Child,
}

impl Node {
    /// Listens to the kernel's announcements in a sandbox.
    ///
    /// # Errors
    /// [`Error::Unexpected`], [`Error::Deadline`] when nothing can be heard.
    pub async fn links(&self, sandbox: &Sandbox) -> Result<Links> {
        let namespace = format!("--net={}", sandbox.namespace_path);
        let mut monitor = self
            .command(&["nsenter", &namespace, "ip", "-o", "monitor", "link", "address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::Unexpected(format!("ip monitor: {e}")))?;
        let out = monitor.stdout.take();
        let out = out.ok_or_else(|| Error::Unexpected("ip monitor has no output".to_owned()))?;
        let mut links = Links {
            lines: BufReader::new(out).lines(),
            _monitor: monitor,
        };
        // It hears when it hears this.
        let script = format!("ip address add {CALL} dev lo && ip address del {CALL} dev lo");
        eventually(PLUG, "ip monitor listens", async || {
            self.run(&["nsenter", &namespace, "sh", "-c", &script]).await?;
            links.hears(ANSWERS, "the call", |line| line.contains(CALL)).await
        })
        .await?;
        Ok(links)
    }
}

impl Links {
    /// When the interface got its first address of IPv4: the last thing that a plugin chain does to
    /// it.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when that does not happen.
    pub async fn has_address(&mut self, interface: &str) -> Result<Instant> {
        // The name in front is the one that the monitor saw first; the label of the address is the
        // present one.
        let wanted = |line: &str| {
            let mut words = line.split('\\').next().unwrap_or_default().split_whitespace();
            !line.starts_with("Deleted")
                && words.nth(2) == Some("inet")
                && words.next_back() == Some(interface)
        };
        self.hears(PLUG, interface, wanted).await
    }

    /// When the interface went away.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when that does not happen.
    pub async fn is_gone(&mut self, interface: &str) -> Result<Instant> {
        let wanted = |line: &str| {
            let name = line
                .strip_prefix("Deleted ")
                .and_then(|rest| rest.split_whitespace().nth(1));
            let name = name.and_then(|name| name.trim_end_matches(':').split('@').next());
            name == Some(interface) && line.contains("link/")
        };
        self.hears(PLUG, interface, wanted).await
    }

    async fn hears(
        &mut self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Instant> {
        let heard = async {
            while let Some(line) = self.lines.next_line().await? {
                if wanted(&line) {
                    return Ok(Instant::now());
                }
            }
            Err(std::io::Error::other("ip monitor ended"))
        };
        match timeout(within, heard).await {
            Ok(Ok(instant)) => Ok(instant),
            Ok(Err(error)) => Err(Error::Unexpected(format!("{what}: {error}"))),
            Err(_) => Err(Error::Unexpected(format!(
                "nothing is heard of {what} in {within:?}"
            ))),
        }
    }
}
