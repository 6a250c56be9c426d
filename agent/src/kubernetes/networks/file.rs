//! The CNI files of the node, for a network with an empty spec.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use shared::names::NetworkName;

use super::object::MAX_CONFIG_BYTES;
use agent_core::network::NetworkError;

/// So many files of the directory are looked at, the first by name.
const MAX_FILES: usize = 1024;
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The first file of the directory, by name, whose config has the network's name: as multus looks
/// for it. Blocks.
///
/// # Errors
/// [`NetworkError::NoFile`], [`NetworkError::TooLarge`].
pub fn find(directory: &Path, network: &NetworkName) -> Result<String, NetworkError> {
    let missing = || NetworkError::NoFile {
        network: network.clone(),
        dir: directory.display().to_string(),
    };
    let paths = config_files(directory).map_err(|_| missing())?;
    let found = paths.iter().filter_map(|path| read(path).ok()).find(|text| {
        let config = serde_json::from_str::<Value>(text).ok();
        config.is_some_and(|config| config.get("name").and_then(Value::as_str) == Some(network.name()))
    });
    let found = found.ok_or_else(missing)?;
    if found.len() > MAX_CONFIG_BYTES {
        return Err(NetworkError::TooLarge {
            network: network.clone(),
            part: "config",
            limit: MAX_CONFIG_BYTES,
        });
    }
    Ok(found)
}

fn config_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_config = |path: &PathBuf| {
        let extension = path.extension().and_then(OsStr::to_str);
        matches!(extension, Some("conf" | "conflist" | "json"))
    };
    let entries = fs::read_dir(directory)?.take(MAX_FILES);
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.filter(is_config).collect();
    paths.sort();
    Ok(paths)
}

/// A regular file, never by way of a link, which could lead anywhere.
fn read(path: &Path) -> io::Result<String> {
    // Without NONBLOCK the opening of a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn wanted() -> NetworkName {
        NetworkName::parse("ns/wanted").unwrap()
    }

    fn config(name: &str, note: &str) -> String {
        format!(r#"{{"name":"{name}","type":"bridge","note":"{note}"}}"#)
    }

    #[test]
    fn takes_the_first_file_with_the_networks_name() {
        let dir = tempfile::tempdir().unwrap();
        for (file, name) in [
            ("30.conf", "wanted"),
            ("20.json", "wanted"),
            ("10.conf", "other"),
            ("00.txt", "wanted"),
        ] {
            fs::write(dir.path().join(file), config(name, file)).unwrap();
        }
        fs::write(dir.path().join("05.conf"), "no JSON").unwrap();
        assert_eq!(find(dir.path(), &wanted()), Ok(config("wanted", "20.json")));
    }

    #[test]
    fn follows_no_link_and_opens_no_pipe() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("a");
        fs::write(&target, config("wanted", "")).unwrap();
        symlink(&target, dir.path().join("10.conf")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("20.conf"), Mode::RWXU).unwrap();
        assert!(matches!(
            find(dir.path(), &wanted()),
            Err(NetworkError::NoFile { .. })
        ));
    }

    #[test]
    fn refuses_a_file_that_is_too_long() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("a.conf"),
            config("wanted", &"x".repeat(MAX_CONFIG_BYTES)),
        )
        .unwrap();
        assert!(matches!(
            find(dir.path(), &wanted()),
            Err(NetworkError::TooLarge { .. })
        ));
    }

    #[test]
    fn says_which_directory_has_no_such_file() {
        let absent = Path::new("/nonexistent/net.d");
        let text = find(absent, &wanted()).unwrap_err().to_string();
        assert_eq!(
            text,
            "the NetworkAttachmentDefinition ns/wanted has no config, and no file in /nonexistent/net.d is named \"wanted\""
        );
    }
}
