//! What a device plugin says about a device for network-status: a file for each, as the Device
//! Information Specification of the network plumbing group defines it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk::regular_file::{self, FileError};

/// Below the node's `/run`.
const DIR: &str = "k8s.cni.cncf.io/devinfo/dp";
/// A device information has a dozen short texts.
const MAX_BYTES: u64 = 16 * 1024;

/// Why a file was not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum InfoError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what the specification says.
    #[error(transparent)]
    Content(#[from] serde_json::Error),
}

/// The fields that multus knows: it drops all others.
#[derive(Serialize, Deserialize)]
struct DeviceInfo {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    r#type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pci: Option<Fields>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vdpa: Option<Fields>,
    #[serde(default, rename = "vhost-user", skip_serializing_if = "Option::is_none")]
    vhost_user: Option<Fields>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memif: Option<Fields>,
}

/// The fields of all kinds of devices; each kind has some of them.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Fields {
    #[serde(skip_serializing_if = "String::is_empty")]
    pci_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    vhost_net: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    rdma_device: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pf_pci_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    representor_device: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent_device: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    driver: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
}

/// The information about a device; `None`: its device plugin wrote none.
pub(super) fn read(host_run: &Path, resource: &str, id: &str) -> Result<Option<Value>, InfoError> {
    let name = format!("{resource}-{id}-device.json").replace('/', "-");
    let Some(file) = regular_file::read(&host_run.join(DIR).join(name), MAX_BYTES)? else {
        return Ok(None);
    };
    let info: DeviceInfo = serde_json::from_slice(&file.content)?;
    Ok(Some(serde_json::to_value(info)?))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use serde_json::json;

    use super::*;

    fn dir() -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir_all(run.path().join(DIR)).unwrap();
        run
    }

    #[test]
    fn reads_the_file_of_the_device_plugin() {
        let run = dir();
        let file = run.path().join(DIR).join("x-vf-0000:aa:00.1-device.json");
        let text =
            r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:aa:00.1","vendor":"7"},"more":1}"#;
        fs::write(file, text).unwrap();
        let expected = json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": "0000:aa:00.1"}});
        assert_eq!(read(run.path(), "x/vf", "0000:aa:00.1").unwrap(), Some(expected));
        assert_eq!(read(run.path(), "x/vf", "../../0000:aa:00.1").unwrap(), None);
        assert_eq!(read(run.path(), "x/vf", "2").unwrap(), None);
    }

    #[test]
    fn refuses_what_is_not_a_device_information() {
        let run = dir();
        let name = |id: &str| run.path().join(DIR).join(format!("x-vf-{id}-device.json"));
        fs::write(name("type"), r#"{"type":7}"#).unwrap();
        fs::write(name("text"), "garbage").unwrap();
        fs::write(name("long"), " ".repeat(20_000)).unwrap();
        symlink("/etc/passwd", name("link")).unwrap();
        for id in ["type", "text", "long", "link"] {
            assert!(read(run.path(), "x/vf", id).is_err(), "{id}");
        }
    }
}
