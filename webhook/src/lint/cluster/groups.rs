//! What was said about a cluster, by rule and owner.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    super::{
        Outcome,
        output::one_line,
        report::{Finding, Judgement, Level, Report},
        tree::Position,
    },
    Owner, Unread,
};

/// More is counted, not listed.
const MAX_GROUPS: usize = 10_000;

/// Errors first, then by rule, owner and words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    level: Level,
    rule: Option<&'static str>,
    owner: Owner,
    message: String,
}

/// What the same is said about.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    template: bool,
    pods: usize,
}

#[derive(Debug, Default)]
pub(in super::super) struct Groups {
    groups: BTreeMap<Key, Count>,
    /// Findings beyond those that are listed, by level.
    unlisted: BTreeMap<Level, usize>,
    unread: Vec<String>,
    pods: usize,
    templates: usize,
    networks: usize,
}

impl Groups {
    pub(super) fn add_pod(&mut self, owner: &Owner, findings: Vec<Finding>) {
        self.pods += 1;
        for finding in findings {
            self.add(
                owner,
                finding,
                Count {
                    template: false,
                    pods: 1,
                },
            );
        }
    }

    pub(super) fn add_template(&mut self, owner: &Owner, findings: Vec<Finding>) {
        self.templates += 1;
        for finding in findings {
            self.add(
                owner,
                finding,
                Count {
                    template: true,
                    pods: 0,
                },
            );
        }
    }

    pub(super) fn add_network(&mut self, owner: &Owner, findings: Vec<Finding>) {
        self.networks += 1;
        for finding in findings {
            self.add(owner, finding, Count::default());
        }
    }

    /// That something could not be read.
    pub(super) fn unread(&mut self, what: &str, cause: &Unread) {
        self.unread.push(format!("cannot read {what}: {cause}"));
    }

    fn add(&mut self, owner: &Owner, finding: Finding, count: Count) {
        let key = Key {
            level: finding.level,
            rule: finding.rule,
            owner: owner.clone(),
            message: finding.message,
        };
        self.count(key, count);
    }

    fn count(&mut self, key: Key, more: Count) {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            *self.unlisted.entry(key.level).or_default() += 1;
            return;
        }
        let count = self.groups.entry(key).or_default();
        count.template |= more.template;
        count.pods += more.pods;
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, count) in other.groups {
            self.count(key, count);
        }
        for (level, count) in other.unlisted {
            *self.unlisted.entry(level).or_default() += count;
        }
        self.unread.extend(other.unread);
        self.pods += other.pods;
        self.templates += other.templates;
        self.networks += other.networks;
    }

    /// One line for each group, and one that says how much was judged.
    pub(in super::super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        for (key, count) in &self.groups {
            let Key {
                level, rule, message, ..
            } = key;
            let level = match level {
                Level::Error => String::new(),
                level => format!("{}: ", level.name()),
            };
            let rule = rule.map(|rule| (format!("{rule}: "), format!(" [rule {rule}]")));
            let (rule, suffix) = rule.unwrap_or_default();
            let message = message.strip_suffix(suffix.as_str()).unwrap_or(message);
            let line = format!("{level}{rule}{}: {message}", title(&key.owner, *count));
            writeln!(out, "{}", one_line(&line))?;
        }
        for line in self.rest() {
            writeln!(out, "{}", one_line(&line))?;
        }
        let Self {
            pods,
            templates,
            networks,
            ..
        } = self;
        writeln!(
            out,
            "judged: pods {pods}, workload templates {templates}, NetworkAttachmentDefinitions {networks}"
        )
    }

    fn rest(&self) -> impl Iterator<Item = String> {
        let unlisted = self.unlisted.iter();
        let unlisted = unlisted.map(|(level, count)| format!("and {count} more of level {}", level.name()));
        unlisted.chain(self.unread.iter().cloned())
    }

    /// The same as reports about the objects of `cluster`.
    pub(in super::super) fn reports(&self, cluster: &str) -> Vec<Report> {
        let report = |title: String, judgement| Report {
            file: cluster.to_owned(),
            at: Position::default(),
            title,
            judgement,
        };
        let groups = self.groups.iter().map(|(key, count)| {
            let finding = Finding {
                level: key.level,
                rule: key.rule,
                ..Finding::error(key.message.clone())
            };
            let judgement = match key.level {
                Level::Error => Judgement::refused("refused", vec![finding]),
                Level::Warning | Level::Note => Judgement {
                    findings: vec![finding],
                    ..Judgement::ok("ok")
                },
            };
            report(title(&key.owner, *count), judgement)
        });
        let unlisted = self.unlisted.iter().map(|(level, count)| {
            let finding = Finding {
                level: *level,
                ..Finding::error(format!("and {count} more"))
            };
            let judgement = match level {
                Level::Error => Judgement::refused("refused", vec![finding]),
                Level::Warning | Level::Note => Judgement {
                    findings: vec![finding],
                    ..Judgement::ok("ok")
                },
            };
            report(String::new(), judgement)
        });
        let unread = self.unread.iter();
        let unread = unread.map(|cause| report(String::new(), Judgement::unreadable(cause)));
        groups.chain(unlisted).chain(unread).collect()
    }

    /// The worst of everything.
    pub(in super::super) fn outcome(&self, strict: bool) -> Outcome {
        let has =
            |level| self.groups.keys().any(|key| key.level == level) || self.unlisted.contains_key(&level);
        if !self.unread.is_empty() {
            Outcome::Unreadable
        } else if has(Level::Error) || strict && has(Level::Warning) {
            Outcome::Refused
        } else {
            Outcome::Admitted
        }
    }
}

/// `Deployment shop/web (template, 3 pods)`
fn title(owner: &Owner, count: Count) -> String {
    let Owner {
        kind,
        namespace,
        name,
    } = owner;
    let template = count.template.then(|| "template".to_owned());
    let pods = match count.pods {
        0 => None,
        1 if kind == "Pod" => None,
        1 => Some("1 pod".to_owned()),
        pods => Some(format!("{pods} pods")),
    };
    let parts: Vec<String> = template.into_iter().chain(pods).collect();
    if parts.is_empty() {
        return format!("{kind} {namespace}/{name}");
    }
    format!("{kind} {namespace}/{name} ({})", parts.join(", "))
}
