//! The two files, as the kubelet mounts them from two ConfigMaps.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use shared::config::{ConfigFileError, Effective, EffectiveError};
use tokio::task::spawn_blocking;

use crate::read_text;

/// A ConfigMap volume has this link to its present content.
const VOLUME_LINK: &str = "..data";
/// So many names of files are shown.
const SHOWN_NAMES: usize = 3;

/// Where the configuration is.
#[derive(Clone, Debug)]
pub struct Files {
    /// The file of the manifest.
    pub manifest: PathBuf,
    /// The file of the user's settings, which may be absent.
    pub settings: PathBuf,
}

/// Why the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read the configuration {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// A file has a bad content.
    #[error("invalid configuration {}: {cause}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Names key, value and what is allowed.
        cause: ConfigFileError,
    },
    /// The user's ConfigMap has other keys only.
    #[error(
        "invalid configuration {}: the ConfigMap has {found} and no key {}; rename the key",
        directory.display(), file.display()
    )]
    Misnamed {
        /// Where the ConfigMap is mounted.
        directory: PathBuf,
        /// The key that is read.
        file: PathBuf,
        /// Keys that it has.
        found: String,
    },
}

impl Files {
    /// Reads and judges both.
    pub(super) async fn read(&self) -> Result<Effective, SettingsError> {
        let files = self.clone();
        let read = spawn_blocking(move || files.read_now()).await;
        read.unwrap_or_else(|error| Err(unreadable(&self.manifest, &error)))
    }

    fn read_now(&self) -> Result<Effective, SettingsError> {
        let text = |path: &Path| read_text(path).map_err(|error| unreadable(path, &error));
        let manifest = text(&self.manifest)?;
        let settings = match read_text(&self.settings) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.other_keys()?;
                None
            }
            Err(error) => return Err(unreadable(&self.settings, &error)),
        };
        let invalid = |path: &Path, cause| SettingsError::Invalid {
            path: path.to_owned(),
            cause,
        };
        Effective::merge(&manifest, settings.as_deref()).map_err(|error| match error {
            EffectiveError::Manifest(cause) => invalid(&self.manifest, cause),
            EffectiveError::Settings(cause) => invalid(&self.settings, cause),
        })
    }

    /// A ConfigMap without the key that is read would be ignored without a word.
    fn other_keys(&self) -> Result<(), SettingsError> {
        let (Some(directory), Some(file)) = (self.settings.parent(), self.settings.file_name()) else {
            return Ok(());
        };
        let Ok(entries) = fs::read_dir(directory) else {
            return Ok(());
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        let is_volume = names.iter().any(|name| name == VOLUME_LINK);
        names.retain(|name| !name.as_encoded_bytes().starts_with(b".."));
        if !is_volume || names.is_empty() {
            return Ok(());
        }
        names.sort();
        names.truncate(SHOWN_NAMES);
        let found: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        Err(SettingsError::Misnamed {
            directory: directory.to_owned(),
            file: OsStr::to_owned(file).into(),
            found: found.join(", "),
        })
    }
}

fn unreadable(path: &Path, error: &dyn ToString) -> SettingsError {
    SettingsError::Unreadable {
        path: path.to_owned(),
        cause: error.to_string(),
    }
}
