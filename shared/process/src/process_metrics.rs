//! What the kernel says about this process, under the names that every Prometheus client uses.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Metric, Registry},
};
use rustix::time::{ClockId, clock_gettime};

/// Updated when it is asked for.
#[derive(Clone, Debug)]
pub struct ProcessMetrics {
    open_files: Gauge,
    most_open_files: Gauge,
    resident: Gauge,
    processor: Counter<f64, AtomicU64>,
    started: Gauge<f64, AtomicU64>,
}

impl ProcessMetrics {
    /// Registers them without a prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let process = Self {
            open_files: registered(registry, "process_open_fds", "Open files and sockets"),
            most_open_files: registered(registry, "process_max_fds", "Open files and sockets allowed"),
            resident: registered(
                registry,
                "process_resident_memory_bytes",
                "Resident memory in bytes",
            ),
            processor: registered(registry, "process_cpu_seconds", "Processor time in seconds"),
            started: registered(
                registry,
                "process_start_time_seconds",
                "Start of the process as a Unix time",
            ),
        };
        if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
            process.started.set(now.as_secs_f64());
        }
        process
    }

    /// Reads `/proc/self` and the processor's clock. What cannot be read keeps its last value.
    pub fn update(&self) {
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
        let used = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "microseconds are lost after 285 years")]
        let used = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        self.processor.inner().store(used.to_bits(), Ordering::Relaxed);
    }
}

fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
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
    fn counts_open_files_memory_and_processor_time() {
        let process = ProcessMetrics::register(&mut Registry::default());
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
        assert!(process.processor.get() > 0.0);
        assert!(process.started.get() > 1e9);
        drop(held);
    }
}
