//! `docs/metrics.md` names what is exposed, and nothing else.

use ::tests::metrics_page::{documented, exposed};
use serde_json::Value;

use super::*;
use crate::multus::Refusal;

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Every value of every label, once.
fn everything() -> Metrics {
    let metrics = Metrics::new();
    // A new metric does not compile here before it is touched below.
    let Inner {
        registry: _,
        operations: _,
        late: _,
        running: _,
        queued: _,
        failures: _,
        attachments: _,
        pods: _,
        status_patches: _,
        events: _,
        events_dropped: _,
        set_aside: _,
        neighbours: _,
        watch_age: _,
    } = &*metrics.inner;
    let refused = Answer::Refused {
        cause: Refusal::Other,
        plugin: None,
        text: String::new(),
    };
    let broken = [
        Answer::Crashed,
        Answer::NotSent(String::new()),
        Answer::Lost(String::new()),
    ];
    for answer in [Answer::Done(Value::Null), refused].into_iter().chain(broken) {
        metrics.operation(Command::Add, &answer, Duration::ZERO);
        metrics.operation(Command::Del, &answer, Duration::ZERO);
    }
    metrics.attachments(AttachmentCounts::default(), 0);
    for outcome in ["written", "conflict", "gone", "failed"] {
        metrics.status_patch(outcome);
    }
    for reason in [
        Reason::AddedInterface,
        Reason::RemovedInterface,
        Reason::FailedAddingInterface,
        Reason::FailedRemovingInterface,
        Reason::InterfaceAddRejected,
    ] {
        metrics.event(reason, true);
        metrics.event(reason, false);
    }
    for part in Part::ALL {
        metrics.neighbour(part, true);
    }
    metrics
}

#[test]
fn the_page_of_the_metrics_names_all_of_them_and_no_other() {
    let page = documented(PAGE, "dynamic_networks_agent_");
    assert_eq!(exposed(&everything().render(Duration::ZERO), &page), page);
}
