//! Processes that are measured from outside.

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
};

use crate::Outcome;

/// A process, until this is dropped.
pub struct Process(std::process::Child);

impl Process {
    /// Starts it. What it logs is read and thrown away, as a container's log is read.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        if let Some(mut log) = child.stderr.take() {
            thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        }
        Ok(Self(child))
    }

    /// Seconds of processor time so far of all its threads, in the kernel too.
    pub fn cpu(&self) -> Outcome<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let statistics = fs::read_to_string(thread?.path().join("schedstat"))?;
            let on_processor = statistics.split(' ').next().ok_or("no schedstat")?;
            nanoseconds += on_processor.parse::<f64>()?;
        }
        Ok(nanoseconds / 1e9)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> Outcome<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of this bench.
pub struct Child {
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its CA.
    pub authority: String,
}

impl Child {
    /// Starts `what`: see [`crate::serve`].
    pub fn serving(what: &str) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut process = Process::start(command.args(["serve", what]).stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(process.0.stdout.take().ok_or("no pipe")?).lines();
        let address = lines.next().ok_or("the server has ended")??.parse()?;
        let authority = lines.next().ok_or("the server has ended")??.replace('|', "\n");
        Ok(Self {
            process,
            address,
            authority,
        })
    }
}
