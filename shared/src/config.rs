//! The one configuration file of both programs: its keys, its defaults, and what is possible in it.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use crate::{
    json::{self, JsonError, Member, Node, Tree},
    names::is_label,
    violation::shown,
};

/// Where the file is mounted in both programs.
pub const DEFAULT_PATH: &str = "/etc/dynamic-networks-controller/dynamic-networks-config.json";

/// What a Unix socket's address has room for, in bytes (`sun_path` with its end).
const MAX_SOCKET_PATH: usize = 107;
/// More networks in front of the annotation's than any multus has.
const MAX_OFFSET: u32 = 255;
const MAX_DEPTH: usize = 8;

const CRI_SOCKET_PATH: &str = "criSocketPath";
const MULTUS_SOCKET_PATH: &str = "multusSocketPath";
const MULTUS_CNI_DIR: &str = "multusCniDir";
const MULTUS_CONF_DIR: &str = "multusConfDir";
const STATE_DIR: &str = "stateDir";
const INTERFACE_OFFSET: &str = "interfaceOffset";
const SYSTEM_NAMESPACES: &str = "systemNamespaces";
const NAMESPACE_ISOLATION: &str = "namespaceIsolation";
const GLOBAL_NAMESPACES: &str = "globalNamespaces";
const INTERFACE_NAMES: &str = "interfaceNames";
const MISSING_NETWORKS: &str = "missingNetworks";
const ENFORCEMENT: &str = "enforcement";

const KEYS: &[&str] = &[
    CRI_SOCKET_PATH,
    MULTUS_SOCKET_PATH,
    MULTUS_CNI_DIR,
    MULTUS_CONF_DIR,
    STATE_DIR,
    INTERFACE_OFFSET,
    SYSTEM_NAMESPACES,
    NAMESPACE_ISOLATION,
    GLOBAL_NAMESPACES,
    INTERFACE_NAMES,
    MISSING_NETWORKS,
    ENFORCEMENT,
];

/// How elements without an interface name are treated at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InterfaceNames {
    /// Names are filled in.
    #[default]
    Fill,
    /// The request is refused; the answer has the text to write.
    Reject,
    /// Admitted with a warning.
    Warn,
    /// No opinion.
    Off,
}

impl InterfaceNames {
    const ALL: [Self; 4] = [Self::Fill, Self::Reject, Self::Warn, Self::Off];

    /// Reads a mode as the configuration and the namespace label write it; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// The mode as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Reject => "reject",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for InterfaceNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an unknown NetworkAttachmentDefinition means at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MissingNetworks {
    /// Admitted with a warning.
    #[default]
    Warn,
    /// Refused.
    Reject,
}

impl MissingNetworks {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "warn" => Some(Self::Warn),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// What a broken rule means at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// The request is refused.
    #[default]
    Enforce,
    /// Admitted; the refusal becomes warnings and an audit annotation.
    Warn,
}

impl Enforcement {
    /// Reads a value as the configuration and the namespace label write it; `None` for any other
    /// text.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "enforce" => Some(Self::Enforce),
            "warn" => Some(Self::Warn),
            _ => None,
        }
    }
}

/// The configuration, complete: every key with its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `criSocketPath`: the CRI runtime's socket, as this program sees it.
    pub cri_socket_path: PathBuf,
    /// `multusSocketPath`: candidates for the multus daemon's socket; the first that accepts a connection is used. One when
    /// configured, otherwise the defaults: upstream's, OpenShift's, and that of multus before 4.0.
    pub multus_socket_paths: Vec<PathBuf>,
    /// `multusCniDir`: multus' delegate files and libcni's result cache.
    pub multus_cni_dir: PathBuf,
    /// `multusConfDir`: CNI files for NADs with an empty spec.
    pub multus_conf_dir: PathBuf,
    /// `stateDir`: our records.
    pub state_dir: PathBuf,
    /// `interfaceOffset`: how many networks beyond the cluster network multus puts before the annotation's.
    pub interface_offset: u32,
    /// `systemNamespaces`: namespaces where the offset is 0.
    pub system_namespaces: Vec<String>,
    /// `namespaceIsolation`: as multus enforces it at pod start.
    pub namespace_isolation: bool,
    /// `globalNamespaces`: namespaces whose networks everyone may use under isolation.
    pub global_namespaces: Vec<String>,
    /// `interfaceNames`: treatment of unnamed elements.
    pub interface_names: InterfaceNames,
    /// `missingNetworks`: treatment of unknown networks.
    pub missing_networks: MissingNetworks,
    /// `enforcement`: whether broken rules refuse.
    pub enforcement: Enforcement,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cri_socket_path: "/run/containerd/containerd.sock".into(),
            multus_socket_paths: vec![
                "/run/multus/multus.sock".into(),
                "/run/multus/socket/multus.sock".into(),
                "/var/run/multus-cni/multus.sock".into(),
            ],
            multus_cni_dir: "/var/lib/cni/multus".into(),
            multus_conf_dir: "/etc/cni/multus/net.d".into(),
            state_dir: "/var/lib/dynamic-networks".into(),
            interface_offset: 0,
            system_namespaces: vec!["kube-system".to_owned()],
            namespace_isolation: false,
            global_namespaces: vec!["default".to_owned()],
            interface_names: InterfaceNames::default(),
            missing_networks: MissingNetworks::default(),
            enforcement: Enforcement::default(),
        }
    }
}

/// Why the file was refused: names the key, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigFileError(pub String);

impl Config {
    /// Parses the file's content. Keys that are absent have their defaults.
    ///
    /// # Errors
    /// See [`ConfigFileError`].
    pub fn parse(json: &str) -> Result<Self, ConfigFileError> {
        let document = json::parse(json, MAX_DEPTH).map_err(|error| syntax_error(json, &error))?;
        let Tree::Object(members) = &document.tree else {
            return Err(ConfigFileError(format!(
                "the configuration must be a JSON object such as {{}}, not {}",
                document.kind()
            )));
        };
        let mut config = Self::default();
        for (index, member) in members.iter().enumerate() {
            if members
                .iter()
                .take(index)
                .any(|earlier| earlier.key == member.key)
            {
                return Err(ConfigFileError(format!(
                    "the key \"{}\" occurs twice; keep one",
                    shown(&member.key)
                )));
            }
            config.set(&Setting { member })?;
        }
        Ok(config)
    }

    fn set(&mut self, setting: &Setting<'_>) -> Result<(), ConfigFileError> {
        match setting.member.key.as_ref() {
            CRI_SOCKET_PATH => self.cri_socket_path = setting.socket()?,
            MULTUS_SOCKET_PATH => self.multus_socket_paths = vec![setting.socket()?],
            MULTUS_CNI_DIR => self.multus_cni_dir = setting.path()?,
            MULTUS_CONF_DIR => self.multus_conf_dir = setting.path()?,
            STATE_DIR => self.state_dir = setting.path()?,
            INTERFACE_OFFSET => self.interface_offset = setting.offset()?,
            SYSTEM_NAMESPACES => self.system_namespaces = setting.namespaces()?,
            NAMESPACE_ISOLATION => self.namespace_isolation = setting.boolean()?,
            GLOBAL_NAMESPACES => self.global_namespaces = setting.namespaces()?,
            INTERFACE_NAMES => {
                let allowed = "\"fill\", \"reject\", \"warn\" or \"off\"";
                self.interface_names = setting.word(InterfaceNames::parse, allowed)?;
            }
            MISSING_NETWORKS => {
                self.missing_networks = setting.word(MissingNetworks::parse, "\"warn\" or \"reject\"")?;
            }
            ENFORCEMENT => {
                self.enforcement = setting.word(Enforcement::parse, "\"enforce\" or \"warn\"")?;
            }
            _ => return Err(setting.unknown()),
        }
        Ok(())
    }

    /// The offset that applies to pods of `namespace`.
    pub fn offset_in(&self, namespace: &str) -> u32 {
        if self.system_namespaces.iter().any(|n| n == namespace) {
            0
        } else {
            self.interface_offset
        }
    }
}

fn syntax_error(source: &str, error: &JsonError) -> ConfigFileError {
    ConfigFileError(match error {
        JsonError::Depth => {
            "the configuration is nested too deep; it is an object of strings, numbers and lists".to_owned()
        }
        JsonError::Syntax(offset, expected) => {
            let line = source.get(..*offset).unwrap_or_default().matches('\n').count() + 1;
            format!(
                "the configuration is not valid JSON: {expected} is expected at line {line} (byte {offset})"
            )
        }
    })
}

/// One key of the file and its value.
struct Setting<'a> {
    member: &'a Member<'a>,
}

impl Setting<'_> {
    fn value(&self) -> &Node<'_> {
        &self.member.value
    }

    fn must_be(&self, allowed: impl fmt::Display) -> ConfigFileError {
        let (key, value) = (&self.member.key, shown(self.value().raw));
        ConfigFileError(format!(
            "the key \"{key}\" has the value {value}; it must be {allowed}"
        ))
    }

    fn unknown(&self) -> ConfigFileError {
        let (key, value) = (shown(&self.member.key), shown(self.value().raw));
        ConfigFileError(format!(
            "the key \"{key}\" (value {value}) is unknown; the keys are {}",
            KEYS.join(", ")
        ))
    }

    fn path(&self) -> Result<PathBuf, ConfigFileError> {
        let wrong = || self.must_be("an absolute path without \"..\", such as \"/run/x\"");
        let Tree::Text(text) = &self.value().tree else {
            return Err(wrong());
        };
        let path = Path::new(text.as_ref());
        let climbs = path
            .components()
            .any(|component| component == Component::ParentDir);
        if !path.is_absolute() || climbs || text.contains('\0') || path.parent().is_none() {
            return Err(wrong());
        }
        Ok(path.to_owned())
    }

    fn socket(&self) -> Result<PathBuf, ConfigFileError> {
        let path = self.path()?;
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(self.must_be(format_args!(
                "the path of a Unix socket, at most {MAX_SOCKET_PATH} bytes"
            )));
        }
        Ok(path)
    }

    fn offset(&self) -> Result<u32, ConfigFileError> {
        let number = if self.value().tree == Tree::Number {
            self.value().raw.parse().ok()
        } else {
            None
        };
        let offset = number.filter(|offset| *offset <= MAX_OFFSET);
        offset.ok_or_else(|| self.must_be(format_args!("an integer from 0 to {MAX_OFFSET}")))
    }

    fn boolean(&self) -> Result<bool, ConfigFileError> {
        match self.value().tree {
            Tree::False => Ok(false),
            Tree::True => Ok(true),
            _ => Err(self.must_be("true or false, without quotes")),
        }
    }

    fn namespaces(&self) -> Result<Vec<String>, ConfigFileError> {
        let wrong = || self.must_be("a list of namespaces, such as [\"kube-system\"]");
        let Tree::List(items) = &self.value().tree else {
            return Err(wrong());
        };
        let namespace = |item: &Node<'_>| match &item.tree {
            Tree::Text(name) if is_label(name) => Ok(name.as_ref().to_owned()),
            _ => Err(wrong()),
        };
        items.iter().map(namespace).collect()
    }

    fn word<T>(&self, parse: fn(&str) -> Option<T>, allowed: &str) -> Result<T, ConfigFileError> {
        let text = if let Tree::Text(text) = &self.value().tree {
            parse(text)
        } else {
            None
        };
        text.ok_or_else(|| self.must_be(allowed))
    }
}

#[cfg(test)]
mod tests;
