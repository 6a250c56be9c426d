//! Which files are read, and their text.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use encoding_rs_io::DecodeReaderBytesBuilder;
use walkdir::WalkDir;

/// What kubectl takes of a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file, and its text or why there is none.
pub(super) struct Source {
    pub(super) name: String,
    /// None for standard input.
    pub(super) path: Option<PathBuf>,
    pub(super) text: Result<String, String>,
}

/// Reads files, directories and patterns; `-` or nothing is standard input. What cannot be read is
/// a source, too. A file that several of the paths lead to is read once.
pub(super) fn collect(paths: &[PathBuf], recursive: bool) -> Vec<Source> {
    let stdin = [PathBuf::from("-")];
    let paths = if paths.is_empty() { &stdin } else { paths };
    let mut seen = HashSet::new();
    let mut is_first = |source: &Source| {
        let file = source
            .path
            .as_deref()
            .and_then(|path| fs::canonicalize(path).ok());
        file.is_none_or(|file| seen.insert(file))
    };
    let all = paths.iter().flat_map(|path| at(path, recursive));
    all.filter(|source| is_first(source)).collect()
}

fn at(path: &Path, recursive: bool) -> Vec<Source> {
    if path == Path::new("-") {
        return vec![source(path, io::stdin().lock())];
    }
    let found = if path.is_dir() {
        in_directory(path, recursive)
    } else if path.exists() {
        Ok(vec![path.to_owned()])
    } else {
        matching(path)
    };
    match found {
        Ok(files) => files.iter().map(|file| opened(file)).collect(),
        Err(cause) => vec![Source {
            name: path.display().to_string(),
            path: None,
            text: Err(cause),
        }],
    }
}

/// Manifests in a directory, sorted by name; with `recursive`, in all below it.
fn in_directory(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, String> {
    let depth = if recursive { usize::MAX } else { 1 };
    let mut files = Vec::new();
    for entry in WalkDir::new(path).max_depth(depth).sort_by_file_name() {
        let path = entry.map_err(|error| error.to_string())?.into_path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err("no .yaml, .yml or .json files in this directory".to_owned());
    }
    Ok(files)
}

/// Files that a pattern means, for shells that do not know `**`, and for patterns in quotes.
fn matching(path: &Path) -> Result<Vec<PathBuf>, String> {
    let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']));
    let Some(pattern) = pattern else {
        return Ok(vec![path.to_owned()]);
    };
    let found = glob::glob(pattern).map_err(|error| error.to_string())?;
    let files: Vec<PathBuf> = found
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if files.is_empty() {
        return Err("no file matches this pattern".to_owned());
    }
    Ok(files)
}

fn opened(file: &Path) -> Source {
    match fs::File::open(file) {
        Ok(opened) => Source {
            path: Some(file.to_owned()),
            ..source(file, opened)
        },
        Err(error) => Source {
            name: file.display().to_string(),
            path: None,
            text: Err(error.to_string()),
        },
    }
}

fn source(name: &Path, reader: impl Read) -> Source {
    Source {
        name: name.display().to_string(),
        path: None,
        text: decoded(reader).map_err(|error| error.to_string()),
    }
}

/// UTF-8, or what the byte order mark says: UTF-16 as PowerShell writes it. No mark is left in the
/// text.
fn decoded(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    DecodeReaderBytesBuilder::new()
        .utf8_passthru(true)
        .strip_bom(true)
        .build(reader)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn names(sources: &[Source], directory: &Path) -> Vec<String> {
        let prefix = format!("{}/", directory.display());
        let names = sources.iter().map(|source| source.name.replace(&prefix, ""));
        names.collect()
    }

    #[test]
    fn reads_directories_and_patterns() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("deep/er")).unwrap();
        for name in ["b.yml", "a.yaml", "c.json", "README.md", "deep/er/d.yaml"] {
            fs::write(root.join(name), "kind: Service").unwrap();
        }
        let read = |path: &str, recursive| names(&collect(&[root.join(path)], recursive), root);

        assert_eq!(read("", false), ["a.yaml", "b.yml", "c.json"]);
        assert_eq!(read("", true), ["a.yaml", "b.yml", "c.json", "deep/er/d.yaml"]);
        assert_eq!(read("*.y*ml", false), ["a.yaml", "b.yml"]);
        assert_eq!(read("**/d.yaml", false), ["deep/er/d.yaml"]);
        assert_eq!(read("README.md", false), ["README.md"]);
    }

    #[test]
    fn reads_a_file_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, "kind: Service").unwrap();
        let paths = [directory.path().to_owned(), file.clone(), file];

        assert_eq!(names(&collect(&paths, false), directory.path()), ["a.yaml"]);
    }

    #[rstest]
    #[case("", "no .yaml, .yml or .json files in this directory")]
    #[case("*.yaml", "no file matches this pattern")]
    #[case("absent.yaml", "No such file or directory (os error 2)")]
    fn says_why_nothing_was_read(#[case] path: &str, #[case] expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let sources = collect(&[directory.path().join(path)], false);

        let [Source { text: Err(cause), .. }] = sources.as_slice() else {
            panic!("one source that could not be read");
        };
        assert_eq!(cause, expected);
    }

    #[rstest]
    #[case::utf_8(b"a: \xc3\xa9")]
    #[case::utf_8_with_a_mark(b"\xef\xbb\xbfa: \xc3\xa9")]
    #[case::utf_16_little_endian(b"\xff\xfea\0:\0 \0\xe9\0")]
    #[case::utf_16_big_endian(b"\xfe\xff\0a\0:\0 \0\xe9")]
    fn decodes_what_the_byte_order_mark_says(#[case] bytes: &[u8]) {
        assert_eq!(decoded(bytes).unwrap(), "a: é");
    }

    #[test]
    fn other_bytes_are_no_text() {
        assert!(decoded(&b"a: \xff"[..]).is_err());
    }
}
