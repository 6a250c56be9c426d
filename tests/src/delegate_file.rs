//! The delegate file of a sandbox: what multus tears down when the sandbox ends, one entry for each
//! attachment, in a list.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    error::{Error, Result},
    node::{MULTUS_CACHE, Node, parse},
    pod::Pod,
    wait::{PLUG, eventually},
};

/// One entry, as far as multus' teardown reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct DelegateEntry {
    /// `namespace/name` of the NAD, or the default network's name.
    pub network: String,
    /// The interface that a network selection element asked for; empty without.
    pub interface: String,
    /// The configuration that the teardown runs.
    pub config: Value,
    /// The bytes of the entry.
    pub raw: String,
}

impl Pod {
    /// The bytes of its sandbox's delegate file.
    ///
    /// # Errors
    /// [`Error::Command`] when there is none.
    pub async fn delegate_file(&self) -> Result<String> {
        let sandbox = &self.sandbox().await?.id;
        self.node
            .run(&["cat", &format!("{MULTUS_CACHE}/{sandbox}")])
            .await
    }

    /// Replaces its sandbox's delegate file, as another program may.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn write_delegate_file(&self, content: &str) -> Result<()> {
        let sandbox = &self.sandbox().await?.id;
        self.node
            .write(&format!("{MULTUS_CACHE}/{sandbox}"), content)
            .await
    }

    /// The entries of its sandbox's delegate file, in order.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Unexpected`] when multus could not read it.
    pub async fn delegates(&self) -> Result<Vec<DelegateEntry>> {
        entries(&self.delegate_file().await?)
    }

    /// Waits until its delegate file lists exactly these interfaces by name.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what it lists instead.
    pub async fn wait_listed(&self, wanted: &[&str]) -> Result<()> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let description = format!("the delegate file of {} lists {wanted:?}", self.name);
        eventually(PLUG, description, async || {
            let listed = self.delegates().await?.into_iter().map(|entry| entry.interface);
            let mut listed: Vec<_> = listed.filter(|interface| !interface.is_empty()).collect();
            listed.sort_unstable();
            if listed == wanted {
                return Ok(());
            }
            Err(Error::Unexpected(format!("{listed:?}")))
        })
        .await
    }
}

impl Node {
    /// Waits until multus has torn a sandbox down: its delegate file is gone, and with it every
    /// lease and cache entry of `eth0`.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is left.
    pub async fn wait_torn_down(&self, sandbox: &str) -> Result<()> {
        eventually(PLUG, format!("multus has torn down {sandbox}"), async || {
            let mut left = self.cold_plugged().await?;
            left.retain(|name| name.contains(sandbox));
            let leases = self.leases("podnet").await?.into_iter();
            left.extend(leases.filter(|l| l.sandbox == sandbox).map(|l| l.address));
            let cached = self.cached_results(sandbox).await?.into_iter();
            left.extend(cached.filter(|name| name.ends_with("-eth0")));
            left.is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(left.join(", ")))
        })
        .await
    }

    /// Waits until the node itself has a device of this name.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn wait_device(&self, device: &str) -> Result<()> {
        eventually(PLUG, format!("{device} is back on the node"), async || {
            let link = self.run(&["ip", "-o", "link", "show", "dev", device]).await;
            link.map(drop)
        })
        .await
    }
}

fn entries(file: &str) -> Result<Vec<DelegateEntry>> {
    let list: Vec<&RawValue> =
        serde_json::from_str(file).map_err(|e| Error::Unexpected(format!("{e} in {file:.300}")))?;
    list.into_iter().map(|raw| entry(raw.get())).collect()
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "Name", default)]
    network: String,
    #[serde(rename = "ifnameRequest", default)]
    interface: String,
    #[serde(rename = "Bytes")]
    config: String,
}

fn entry(raw: &str) -> Result<DelegateEntry> {
    let written: Written = parse(raw)?;
    let config = BASE64_STANDARD
        .decode(&written.config)
        .map_err(|e| Error::Unexpected(format!("{e} in {raw:.300}")))?;
    Ok(DelegateEntry {
        network: written.network,
        interface: written.interface,
        config: parse(&String::from_utf8_lossy(&config))?,
        raw: raw.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_multus_writes_and_keeps_the_bytes() {
        let raw = r#"{"Conf":{"name":"apl"},"Name":"default/apl", "ifnameRequest":"net1","Bytes":"eyJuYW1lIjoiYXBsIn0="}"#;
        let read = entries(&format!("[{raw}]")).unwrap();
        let expected = DelegateEntry {
            network: "default/apl".to_owned(),
            interface: "net1".to_owned(),
            config: serde_json::json!({"name": "apl"}),
            raw: raw.to_owned(),
        };
        assert_eq!(read, [expected]);
    }
}
