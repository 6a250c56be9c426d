//! How many devices of each resource the containers of a pod are given. Summed up while the review
//! is read: whatever is sent, only [`MAX_RESOURCES`] sums are stored.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Of a pod with more resources than this, or with longer names, nothing is known.
const MAX_RESOURCES: usize = 32;
/// The longest name of an extended resource: a DNS name, and a name of 63 bytes.
const MAX_NAME: usize = 253 + 1 + 63;
/// A count in other words than digits ("2k"): more than any list asks for.
const UNKNOWN: u64 = u32::MAX as u64;

/// The limits of a list of containers.
#[derive(Debug, Default)]
pub(super) struct Containers {
    /// Of all.
    pub all: Limits,
    /// Of those that are restarted whenever they end.
    pub staying: Limits,
}

/// Counts by extended resource.
#[derive(Debug, Default)]
pub(super) struct Limits {
    counts: BTreeMap<String, u64>,
    too_many: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    restart_policy: Option<String>,
    #[serde(default)]
    resources: Option<Resources>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    limits: Option<Limits>,
}

impl Limits {
    pub fn add(&mut self, other: &Self) {
        self.too_many |= other.too_many;
        for (name, count) in &other.counts {
            self.count(name, *count);
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        if let Some(sum) = self.counts.get_mut(name) {
            *sum = sum.saturating_add(count);
        } else if self.counts.len() < MAX_RESOURCES && name.len() <= MAX_NAME {
            self.counts.insert(name.to_owned(), count);
        } else {
            self.too_many = true;
        }
    }

    /// Empty where not all of them are known.
    pub fn into_counts(self) -> BTreeMap<String, u64> {
        if self.too_many {
            BTreeMap::new()
        } else {
            self.counts
        }
    }
}

impl<'de> Deserialize<'de> for Containers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sum;
        impl<'de> Visitor<'de> for Sum {
            type Value = Containers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of containers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Containers, A::Error> {
                let mut sum = Containers::default();
                while let Some(container) = list.next_element::<Container>()? {
                    let limits = container.resources.and_then(|resources| resources.limits);
                    let limits = limits.unwrap_or_default();
                    sum.all.add(&limits);
                    if container.restart_policy.as_deref() == Some("Always") {
                        sum.staying.add(&limits);
                    }
                }
                Ok(sum)
            }
        }
        deserializer.deserialize_seq(Sum)
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sum;
        impl<'de> Visitor<'de> for Sum {
            type Value = Limits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of quantities")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
                let mut limits = Limits::default();
                while let Some(name) = map.next_key::<String>()? {
                    let Count(count) = map.next_value()?;
                    // Only extended resources have a domain.
                    if name.contains('/') {
                        limits.count(&name, count);
                    }
                }
                Ok(limits)
            }
        }
        deserializer.deserialize_map(Sum)
    }
}

/// A quantity.
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quantity;
        impl<'de> Visitor<'de> for Quantity {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Count, E> {
                Ok(Count(count))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Count, E> {
                Ok(Count(UNKNOWN))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Count, E> {
                Ok(Count(UNKNOWN))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Count, E> {
                Ok(Count(UNKNOWN))
            }

            fn visit_unit<E: Error>(self) -> Result<Count, E> {
                Ok(Count(UNKNOWN))
            }

            fn visit_str<E: Error>(self, count: &str) -> Result<Count, E> {
                Ok(Count(count.parse().unwrap_or(UNKNOWN)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(UNKNOWN))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(UNKNOWN))
            }
        }
        deserializer.deserialize_any(Quantity)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pod;

    fn devices(spec: &str) -> Vec<(String, u64)> {
        let pod: Pod = serde_json::from_str(&format!(r#"{{"spec":{spec}}}"#)).unwrap();
        pod.devices().into_iter().collect()
    }

    #[test]
    fn sums_the_limits_of_all_containers_that_stay() {
        let limits = |limits: &str| format!(r#"{{"resources":{{"limits":{limits}}}}}"#);
        let containers = [
            limits(r#"{"cpu":"2","x/vf":"2"}"#),
            limits(r#"{"x/vf":1,"x/odd":"2k"}"#),
            "{}".to_owned(),
        ]
        .join(",");
        let init = r#"{"resources":{"limits":{"x/vf":"7"}}},
            {"restartPolicy":"Always","resources":{"limits":{"x/vf":"1"}}}"#;
        let spec = format!(r#"{{"containers":[{containers}],"initContainers":[{init}]}}"#);
        let expected = [("x/odd".to_owned(), u64::from(u32::MAX)), ("x/vf".to_owned(), 4)];
        assert_eq!(devices(&spec), expected);
    }

    #[test]
    fn nothing_is_certain_beside_a_claim() {
        let container = r#"{"resources":{"limits":{"x/vf":"1"}}}"#;
        let spec = |claims: &str| format!(r#"{{"containers":[{container}],"resourceClaims":{claims}}}"#);
        assert_eq!(devices(&spec("[{}]")), []);
        assert_eq!(devices(&spec("[]")).len(), 1);
    }

    #[test]
    fn odd_values_and_many_resources_are_no_error() {
        let odd = r#"{"containers":[{"resources":{"limits":{"x/a":[1],"x/b":{"y":[]},"x/c":null,"x/d":-1,"x/e":1.5}}}]}"#;
        assert!(
            devices(odd)
                .iter()
                .all(|(_, count)| *count == u64::from(u32::MAX))
        );
        let many: Vec<String> = (0..40).map(|number| format!(r#""x/{number}":"1""#)).collect();
        let many = format!(
            r#"{{"containers":[{{"resources":{{"limits":{{{}}}}}}}]}}"#,
            many.join(",")
        );
        assert_eq!(devices(&many), []);
        assert_eq!(devices(r#"{"containers":null}"#), []);
    }
}
