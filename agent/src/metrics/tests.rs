//! `docs/metrics.md` names what is exposed, and nothing else.

use ::tests::metrics_page::{documented, exposed};
use serde_json::Value;
use shared::config::Effective;

use super::*;
use agent_core::delegate::Refusal;

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Every value of every label, once.
fn everything() -> Metrics {
    let metrics = Metrics::new();
    // A new label set does not compile here before all its values are used below.
    let Inner {
        calls:
            Calls {
                operations: _,
                late: _,
                running: _,
                queued: _,
            },
        pods:
            Pods {
                step_failures: _,
                attachments: _,
                owed_releases: _,
                drifted: _,
                pods: _,
                edit_to_attached: _,
                edit_phases: _,
                status_patches: _,
            },
        events: Events {
            events: _,
            suppressed: _,
            dropped: _,
        },
        node:
            Node {
                set_aside: _,
                cri_calls: _,
                delegate_file_failures: _,
                offset_contradicted: _,
                multus_config_differences: _,
                dependencies: _,
                watch_age: _,
                panics: _,
            },
        process: _,
        settings: _,
        registry: _,
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
    metrics.edit([Duration::ZERO; 4]);
    for outcome in ["written", "conflict", "gone", "failed"] {
        metrics.status_patch(outcome);
    }
    for reason in [
        Reason::AddedInterface,
        Reason::RemovedInterface,
        Reason::FailedAddingInterface,
        Reason::FailedRemovingInterface,
        Reason::InterfaceAddRejected,
        Reason::SettingsRefused,
        Reason::MultusConfigDiffers,
    ] {
        metrics.event(reason, true);
        metrics.event(reason, false);
    }
    for cause in [Suppressed::Repeated, Suppressed::Budget] {
        metrics.event_suppressed(cause);
    }
    for dependency in Dependency::ALL {
        metrics.dependency(dependency, true);
    }
    let effective = Effective::merge("{}", None).unwrap();
    metrics.settings().loaded(&effective.entries());
    metrics
}

#[test]
fn the_page_of_the_metrics_names_all_of_them_and_no_other() {
    let mut page = documented(PAGE, "dynamic_networks_agent_");
    page.extend(documented(PAGE, "process_"));
    assert_eq!(exposed(&everything().render(Duration::ZERO), &page), page);
}
