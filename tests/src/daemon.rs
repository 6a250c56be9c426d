//! Programs of a test as processes of the node: the agent in place of the installed one, and a
//! double in front of multus.
//!
//! What a test leaves running would hold the agent's records:
//! [`Cluster::put_right`](crate::Cluster) ends it by the files of pids.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    api_double::ApiDouble,
    error::{Error, Result},
    metrics_page,
    namespace::{NO_NETWORKS, Namespace},
    node::{Node, printed},
    pod::Pod,
    process::{Program, Running, built, get},
    repository,
    vitals::Vitals,
    wait::{LONG, PLUG, eventually},
};

/// On the node.
const DIRECTORY: &str = "/run/tests";
/// An administrator's.
pub(crate) const KUBECONFIG: &str = "/run/cluster/state/kubeconfig";
const AGENT: &str = "dynamic-networks-agent";
const DOUBLE: &str = "multus-double";
const ADMIN_PORT: u16 = 18080;
/// By how many seconds an agent's wall clock is ahead, if it has one of its own.
const CLOCK: &str = "/run/tests/clock";

/// One process of the node.
pub(crate) struct Daemon {
    pub(crate) node: Node,
    pid_file: String,
    running: Running,
}

impl Daemon {
    pub(crate) async fn start(
        node: &Node,
        (name, number): (&'static str, u16),
        variables: &[String],
        arguments: &[String],
    ) -> Result<Self> {
        Self::start_program(node, &built(name)?, (name, number), variables, arguments).await
    }

    /// The same for a program of any origin.
    pub(crate) async fn start_program(
        node: &Node,
        file: &Path,
        (name, number): (&'static str, u16),
        variables: &[String],
        arguments: &[String],
    ) -> Result<Self> {
        let program = format!("{DIRECTORY}/{name}");
        node.install(file, &PathBuf::from(&program)).await?;
        let pid_file = format!("{program}.{number}.pid");
        let script = "echo \"$$ $2\" >\"$1\" && shift 2 && exec env -i \"$@\"";
        let mut words = vec!["sh", "-c", script, "sh", &pid_file, &program];
        words.extend(variables.iter().map(String::as_str));
        words.push(&program);
        words.extend(arguments.iter().map(String::as_str));
        let running = Program::on_node(name, node.command(&words)).start()?;
        Ok(Self {
            node: node.clone(),
            pid_file,
            running,
        })
    }

    async fn pid(&self) -> Result<String> {
        let text = self.node.run(&["cat", &self.pid_file]).await?;
        Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid().await?;
        self.node.run(&["kill", signal, &pid]).await.map(drop)
    }

    async fn kill(&mut self) -> Result<String> {
        self.signal("-KILL").await?;
        Ok(self.running.ended().await?.text)
    }
}

impl Node {
    /// Ends what tests have left running here.
    pub(crate) async fn end_daemons(&self) -> Result<()> {
        let script = r#"for f in "$1"/*.pid; do
            [ -e "$f" ] || continue
            read -r pid program <"$f"
            [ "$(readlink "/proc/$pid/exe")" != "$program" ] || kill -KILL "$pid"
            rm -f "$f"
        done"#;
        self.run(&["sh", "-c", script, "sh", DIRECTORY]).await.map(drop)
    }

    /// Builds the library that gives a program its own wall clock and puts it here. The answer is
    /// where.
    async fn clock_library(&self) -> Result<String> {
        let setup = |e: std::io::Error| Error::Setup(format!("a directory for the clock: {e}"));
        let directory = tempfile::tempdir().map_err(setup)?;
        let built = directory.path().join("clock.so");
        let source = repository::root().join("tests/clock/clock.c");
        let mut command = tokio::process::Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]);
        let output = command.arg(&built).arg(&source).output().await;
        printed(&format!("cc {}", source.display()), output)?;
        let path = format!("{DIRECTORY}/clock.so");
        self.install(&built, &PathBuf::from(&path)).await?;
        Ok(path)
    }
}

/// How an agent of a test differs from an installed one.
pub struct AgentOptions {
    config: Value,
    call_timeout: u64,
    read_timeout: Option<u64>,
    kubeconfig: Option<String>,
    clock: Option<i64>,
    host_run: &'static str,
    number: u16,
}

/// An agent as a process of the node, until it is killed or stopped.
pub struct NodeAgent {
    daemon: Daemon,
    admin: SocketAddr,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            config: json!({}),
            call_timeout: 3,
            read_timeout: None,
            kubeconfig: None,
            clock: None,
            host_run: "/run",
            number: 1,
        }
    }
}

impl AgentOptions {
    /// One key of the configuration file.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config[key] = value.into();
        self
    }

    /// It is told that the node's `/run` is mounted at `path`.
    #[must_use]
    pub fn with_host_run(mut self, path: &'static str) -> Self {
        self.host_run = path;
        self
    }

    /// Beside another one.
    #[must_use]
    pub fn second(mut self) -> Self {
        self.number = 2;
        self
    }

    /// How many seconds it waits for plugins, in place of half a minute.
    #[must_use]
    pub fn call_timeout(mut self, seconds: u64) -> Self {
        self.call_timeout = seconds;
        self
    }

    /// It has only `double` for an API server.
    #[must_use]
    pub fn behind(mut self, double: &ApiDouble) -> Self {
        self.kubeconfig = Some(double.kubeconfig().to_owned());
        self
    }

    /// It has a wall clock of its own, so many seconds ahead of the machine's, which
    /// [`NodeAgent::move_clock`] moves.
    #[must_use]
    pub fn with_clock(mut self, seconds: i64) -> Self {
        self.clock = Some(seconds);
        self
    }

    /// After how many seconds it takes a silent API server for gone, in place of a minute.
    #[must_use]
    pub fn read_timeout(mut self, seconds: u64) -> Self {
        self.read_timeout = Some(seconds);
        self
    }
}

impl Namespace {
    /// Takes the installed agent away, which [`crate::alone_in_namespace`] brings back, and makes
    /// the pod in whose name the agents of this test release what deleted pods leave.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn instead_of_the_agent(&self) -> Result<Pod> {
        let (pod, stopped) = futures::join!(
            self.create_pod("agent-of-tests", NO_NETWORKS),
            self.cluster.stop_agent()
        );
        stopped?;
        pod
    }

    /// Starts an agent on the node as `own` and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what it says.
    pub async fn agent(&self, own: &Pod, options: AgentOptions) -> Result<NodeAgent> {
        let agent = self.agent_that_starts(own, options).await?;
        agent.is_ready().await?;
        Ok(agent)
    }

    /// Starts an agent on the node as `own`.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Setup`].
    pub async fn agent_that_starts(&self, own: &Pod, options: AgentOptions) -> Result<NodeAgent> {
        let node = &self.cluster.node;
        let config = format!("{DIRECTORY}/config.{}.json", options.number);
        let points = format!("{DIRECTORY}/failpoints");
        node.run(&["mkdir", "-p", &points]).await?;
        node.write(&config, &options.config.to_string()).await?;
        let kubeconfig = match &options.kubeconfig {
            None => KUBECONFIG.to_owned(),
            Some(text) => {
                let path = format!("{DIRECTORY}/kubeconfig.{}", options.number);
                node.write(&path, text).await?;
                path
            }
        };
        let address = self.cluster.variable("NODE_IP").unwrap_or_default();
        let admin = format!("{address}:{}", ADMIN_PORT + options.number);
        let mut variables = vec![
            format!("{}={points}", agent::failpoint::DIRECTORY),
            format!("{}={}", agent::failpoint::CALL_TIMEOUT, options.call_timeout),
        ];
        let read_timeout = options
            .read_timeout
            .map(|seconds| format!("{}={seconds}", agent::failpoint::READ_TIMEOUT));
        variables.extend(read_timeout);
        if let Some(seconds) = options.clock {
            node.write(CLOCK, &seconds.to_string()).await?;
            variables.push(format!("CLOCK_OFFSET={CLOCK}"));
            variables.push(format!("LD_PRELOAD={}", node.clock_library().await?));
        }
        let arguments = [
            ("--config", config.as_str()),
            ("--node-name", &node.name),
            ("--admin-listen", &admin),
            ("--host-run", options.host_run),
            ("--kubeconfig", &kubeconfig),
            ("--pod-namespace", &self.name),
            ("--pod-name", &own.name),
            ("--pod-uid", &own.uid),
        ];
        let arguments: Vec<_> = arguments
            .iter()
            .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
            .collect();
        let admin = admin
            .parse()
            .map_err(|e| Error::Setup(format!("the node's address {address:?}: {e}")))?;
        let daemon = Daemon::start(node, (AGENT, options.number), &variables, &arguments).await?;
        Ok(NodeAgent { daemon, admin })
    }
}

impl NodeAgent {
    /// Waits until it is ready.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what it says.
    pub async fn is_ready(&self) -> Result<()> {
        eventually(LONG, "the agent of the test is ready", async || {
            match self.page("/readyz").await? {
                (200, _) => Ok(()),
                (code, body) => Err(Error::Unexpected(format!("{code} {body}"))),
            }
        })
        .await
    }

    /// Waits until it is not ready for a reason that contains `reason`.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what it says instead.
    pub async fn is_not_ready(&self, reason: &str) -> Result<()> {
        let description = format!("the agent of the test is not ready: {reason}");
        eventually(PLUG, description, async || {
            let (code, body) = self.page("/readyz").await?;
            (code == 503 && body.contains(reason))
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{code} {body}")))
        })
        .await
    }

    /// One of its pages: status and body.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it does not answer.
    pub async fn page(&self, path: &str) -> Result<(u16, String)> {
        get(self.admin, path).await
    }

    /// The value of one of its metrics, labels and all.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it has no such metric.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (_, body) = self.page("/metrics").await?;
        let value = metrics_page::value(&body, name)?;
        value.ok_or_else(|| Error::Unexpected(format!("no metric {name} in:\n{body}")))
    }

    /// Begins to measure its memory and open files.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not run.
    pub async fn vitals(&self) -> Result<Vitals> {
        let pid = self.daemon.pid().await?;
        self.daemon.node.vitals(&pid).await
    }

    /// The address of its admin port, as pods reach it.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The most memory that it has had, in KiB.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn peak_memory(&self) -> Result<u64> {
        let status = format!("/proc/{}/status", self.daemon.pid().await?);
        let status = self.daemon.node.run(&["cat", &status]).await?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| Error::Unexpected(format!("no VmHWM in:\n{status}")))
    }

    /// Moves the wall clock of an agent that has its own: from now on it is so many seconds ahead
    /// of the machine's.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn move_clock(&self, seconds: i64) -> Result<()> {
        self.daemon.node.write(CLOCK, &seconds.to_string()).await
    }

    /// Arms a fail point: the agent stops there when it gets there.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn holds_at(&self, point: agent::failpoint::FailPoint) -> Result<()> {
        let script = "rm -rf \"$1\"/* && : >\"$1/$2\"";
        let directory = format!("{DIRECTORY}/failpoints");
        let node = &self.daemon.node;
        node.run(&["sh", "-c", script, "sh", &directory, point.as_str()])
            .await
            .map(drop)
    }

    /// Waits until it has stopped at the armed fail point, and kills it there.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not get there.
    pub async fn is_killed_at(&mut self, point: agent::failpoint::FailPoint) -> Result<()> {
        let reached = format!("{DIRECTORY}/failpoints/{}.reached", point.as_str());
        let description = format!("the agent is at {}", point.as_str());
        eventually(PLUG, description, async || {
            self.daemon.node.run(&["test", "-e", &reached]).await
        })
        .await?;
        self.kill().await.map(drop)
    }

    /// SIGKILL; the answer is what it had printed.
    ///
    /// # Errors
    /// [`Error::Command`] when it does not run.
    pub async fn kill(&mut self) -> Result<String> {
        self.daemon.kill().await
    }

    /// SIGTERM; waits until it has ended, with status 0.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with its output.
    pub async fn stop(&mut self) -> Result<()> {
        self.daemon.signal("-TERM").await?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.daemon.running.ended());
        let output = ended
            .await
            .map_err(|_| Error::Unexpected("SIGTERM does not end it".to_owned()))??;
        match output.code {
            Some(0) => Ok(()),
            code => Err(Error::Unexpected(format!(
                "it ended with {code:?}:\n{}",
                output.text
            ))),
        }
    }

    /// What it printed so far.
    pub fn text(&self) -> String {
        self.daemon.running.text()
    }
}

/// Stands before the real multus daemon and passes requests on, unless an order about their
/// interface says otherwise.
pub struct MultusDouble(Daemon);

impl MultusDouble {
    /// Where agents find it.
    pub const SOCKET: &str = "/run/tests/multus/multus.sock";
    const ORDERS: &str = "/run/tests/multus-orders";

    /// Starts it, without orders.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not listen.
    pub async fn start(node: &Node) -> Result<Self> {
        node.run(&["rm", "-rf", Self::ORDERS]).await?;
        node.run(&["mkdir", "-p", Self::ORDERS, "/run/tests/multus"])
            .await?;
        let arguments = [Self::SOCKET, "/run/multus/multus.sock", Self::ORDERS].map(str::to_owned);
        let daemon = Daemon::start(node, (DOUBLE, 1), &[], &arguments).await?;
        eventually(PLUG, "the double listens", async || {
            node.run(&["test", "-S", Self::SOCKET]).await
        })
        .await?;
        Ok(Self(daemon))
    }

    /// From now on answers requests about `interface` by the script of this name: see
    /// `src/bin/multus-double.rs`.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn plays(&self, interface: &str, script: &str) -> Result<()> {
        let path = format!("{}/{interface}", Self::ORDERS);
        self.0.node.write(&path, script).await
    }

    /// Passes everything on again.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn steps_aside(&self) -> Result<()> {
        let script = "rm -f \"$1\"/*";
        let command = ["sh", "-c", script, "sh", Self::ORDERS];
        self.0.node.run(&command).await.map(drop)
    }

    /// Ends it; its socket goes with it.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn end(&mut self) -> Result<()> {
        let node = self.0.node.clone();
        self.0.kill().await?;
        node.run(&["rm", "-f", Self::SOCKET]).await.map(drop)
    }
}
