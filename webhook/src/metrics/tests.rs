//! `docs/metrics.md` names what is exposed, and nothing else.

use ::tests::metrics_page::{documented, exposed};
use certs::PairError;
use shared::config::Effective;

use super::*;

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Every value of every label, once.
fn everything() -> Metrics {
    let metrics = Metrics::default();
    // A new metric does not compile here before it is touched below.
    let Metrics {
        registry: _,
        process: _,
        verdicts: _,
        violations: _,
        latency: _,
        in_flight: _,
        connections: _,
        handshakes: _,
        expiry: _,
        certificates: _,
        synced: _,
        age: _,
        dropped_lines: _,
        settings: _,
    } = &metrics;
    for path in ["mutate", "validate", "workload", "network"] {
        for operation in ["CREATE", "UPDATE", "DELETE", "other"] {
            for verdict in ["allowed", "filled", "refused", "unreadable", "warned"] {
                metrics.reviewed(ReviewLabels { path, operation }, verdict, Duration::ZERO);
            }
        }
    }
    for operation in ["CREATE", "UPDATE"] {
        metrics.violated(operation, Rule::IpAddress);
    }
    for outcome in ["ok", "failed", "timeout"] {
        metrics.handshake(outcome);
    }
    metrics.certificate("ok");
    let now = time::OffsetDateTime::UNIX_EPOCH;
    let unreadable = PairError::Unreadable {
        what: "key",
        cause: String::new(),
    };
    for error in [
        PairError::Empty("key"),
        unreadable,
        PairError::Mismatch,
        PairError::Expired(now),
        PairError::NotYetValid(now),
        PairError::Foreign(String::new()),
    ] {
        metrics.certificate(error.kind());
    }
    for cache in ["networks", "namespaces"] {
        metrics.cache_synced(cache, true);
        metrics.cache_age(cache, Duration::ZERO);
    }
    metrics.log_lines_dropped(1);
    let effective = Effective::merge("{}", None).unwrap();
    metrics.settings().loaded(&effective.entries());
    metrics
}

#[test]
fn docs_metrics_md_lists_exactly_the_exposed_metrics() {
    let mut page = documented(PAGE, "dynamic_networks_webhook_");
    page.extend(documented(PAGE, "process_"));
    assert_eq!(exposed(&everything().to_text(), &page), page);
}
