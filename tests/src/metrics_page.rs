//! `docs/metrics.md` and what a program exposes, in one form, so that a test can hold one against
//! the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Error, Result},
    repository,
};

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
        let mut columns = line.strip_prefix("| ")?.split('|').map(str::trim);
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

/// The value of a series in an exposition, labels and all; `None` when it is not there: a metric
/// without a value yet is not exposed. A misspelt one is not either, so the name has to be on the
/// page.
///
/// # Errors
/// [`Error::Unexpected`] for a name that is not documented, or a value that is no number.
pub(crate) fn value(text: &str, series: &str) -> Result<Option<f64>> {
    let name = series.split('{').next().unwrap_or_default();
    let documented = documented(&repository::read("docs/metrics.md")?, "");
    let histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|part| name.strip_suffix(part));
    if ![Some(name), histogram]
        .iter()
        .flatten()
        .any(|name| documented.contains_key(*name))
    {
        return Err(Error::Unexpected(format!("docs/metrics.md has no metric {name}")));
    }
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let number = |value: &str| {
        value
            .parse()
            .map_err(|_| Error::Unexpected(format!("{series} is {value:?}")))
    };
    value.map(number).transpose()
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

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "dynamic_networks_agent_late_total 2\n\
                        dynamic_networks_agent_operation_seconds_count{verb=\"add\"} 3\n";

    #[test]
    fn reads_what_is_documented() {
        let read = |series| value(TEXT, series).unwrap();
        assert_eq!(read("dynamic_networks_agent_late_total"), Some(2.0));
        assert_eq!(
            read(r#"dynamic_networks_agent_operation_seconds_count{verb="add"}"#),
            Some(3.0)
        );
        assert_eq!(read("dynamic_networks_agent_owed_releases"), None);
    }

    #[test]
    fn a_misspelt_name_is_no_zero() {
        let read = value(TEXT, "dynamic_networks_agent_unreleased");
        assert!(matches!(read, Err(Error::Unexpected(_))), "{read:?}");
    }
}
