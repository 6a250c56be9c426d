//! What the kernel says about this process, under the names that every Prometheus client uses.

use std::fs;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use super::register::gauge;

/// Updated when it is asked for.
#[derive(Debug)]
pub(super) struct Process {
    open_files: Gauge,
    most_open_files: Gauge,
    resident: Gauge,
}

impl Process {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            open_files: gauge(registry, "process_open_fds", "Open files and sockets"),
            most_open_files: gauge(registry, "process_max_fds", "Open files and sockets allowed"),
            resident: gauge(
                registry,
                "process_resident_memory_bytes",
                "Resident memory in bytes",
            ),
        }
    }

    /// Reads `/proc/self`. What cannot be read keeps its last value.
    pub(super) fn update(&self) {
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is one of them.
            let open = open.count().saturating_sub(1);
            self.open_files.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        if let Some(most) = field("/proc/self/limits", "Max open files") {
            self.most_open_files.set(most);
        }
        if let Some(kibibytes) = field("/proc/self/status", "VmRSS:") {
            self.resident.set(kibibytes.saturating_mul(1024));
        }
    }
}

/// The first number after `name` at the beginning of a line.
fn field(path: &str, name: &str) -> Option<i64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_open_files_and_resident_memory() {
        let process = Process::register(&mut Registry::default());
        process.update();
        let before = process.open_files.get();
        let held: Vec<_> = (0..100)
            .map(|_| fs::File::open("/proc/self/status").unwrap())
            .collect();
        process.update();
        // Other tests of this process open and close files meanwhile.
        assert!(process.open_files.get() >= before + 50, "{before}");
        assert!(process.most_open_files.get() >= process.open_files.get());
        assert!(process.resident.get() > 1024 * 1024);
        drop(held);
    }
}
