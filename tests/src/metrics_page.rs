//! `docs/metrics.md` and what a program exposes, in one form, so that a test can hold one against the other.

use std::collections::{BTreeMap, BTreeSet};

/// Metrics by their exposed name.
pub type Metrics = BTreeMap<String, Metric>;

/// What page and exposition both tell of a metric.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Metric {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// The values of each label; none where the page does not list them.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

/// The rows of the page's tables whose metric begins with `prefix`.
pub fn documented(page: &str, prefix: &str) -> Metrics {
    let row = |line: &str| {
        let mut columns = line.strip_prefix("| ")?.split(" | ");
        let name = columns.next()?.trim_matches('`').to_owned();
        let kind = columns.next()?.to_owned();
        let labels = columns.next()?.split(';').filter_map(|label| {
            let (name, values) = label.split_once(':').unwrap_or((label, ""));
            Some((quoted(name).next()?, quoted(values).collect()))
        });
        let metric = Metric {
            kind,
            labels: labels.collect(),
        };
        name.starts_with(prefix).then_some((name, metric))
    };
    page.lines().filter_map(row).collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// What an OpenMetrics text exposes; the values of labels that `page` does not list are left out.
pub fn exposed(text: &str, page: &Metrics) -> Metrics {
    let mut metrics = Metrics::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            current = format!("{name}{suffix}");
            metrics.entry(current.clone()).or_default().kind = kind.to_owned();
        } else if let (false, Some(metric)) = (line.starts_with('#'), metrics.get_mut(&current)) {
            for (label, value) in labels(line) {
                let listed = page.get(&current).and_then(|metric| metric.labels.get(label));
                let values = metric.labels.entry(label.to_owned()).or_default();
                values.extend(
                    listed
                        .is_none_or(|values| !values.is_empty())
                        .then(|| value.to_owned()),
                );
            }
        }
    }
    metrics
}

/// The labels of a sample, but for the bounds of a histogram.
fn labels(sample: &str) -> impl Iterator<Item = (&str, &str)> {
    let labels = sample
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or("", |(labels, _)| labels);
    labels
        .split(',')
        .filter_map(|label| label.split_once('='))
        .filter(|(label, _)| *label != "le")
        .map(|(label, value)| (label, value.trim_matches('"')))
}
