//! `--fix`: writes interface names into the files, and nothing else.
//!
//! # Guarantees
//! Every byte outside of the annotations that get a name stays. The edited text is read again
//! before it is written, and must differ in those annotations only; else the file is not touched.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Write},
    ops::Range,
    os::unix::fs::{MetadataExt, fchown},
    path::Path,
};

use shared::{annotations::NETWORKS, selection::SelectionList};

use super::{
    notation::Notation,
    tree::{self, Node, Scalar},
};

/// UTF-8, as some editors mark it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An annotation and what is to stand there.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) annotation: Scalar,
    pub(super) namespace: String,
    pub(super) filled: String,
}

/// Why a file stays as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFixed {
    #[error("line {0}: this notation of the annotation cannot be edited safely; write the names by hand")]
    Notation(usize),
    #[error(
        "line {0}: an alias uses this text in another place, too; write the names by hand, without the alias"
    )]
    Shared(usize),
    #[error("the edited text would not say the same besides the names; write the names by hand")]
    Differs,
    #[error("the file is not UTF-8, or was changed meanwhile; write the names by hand, or try again")]
    Encoding,
    #[error("standard input cannot be edited; name the file")]
    StandardInput,
    #[error("the file cannot be replaced: {0}")]
    Write(#[from] io::Error),
}

/// Replaces the file at `path`, whose text is `text`, by one with `edits`.
pub(super) fn apply(path: Option<&Path>, text: &str, edits: &[Edit]) -> Result<(), NotFixed> {
    let path = path.ok_or(NotFixed::StandardInput)?;
    let edited = edited(text, edits)?;
    replace(path, text, &edited)
}

/// `text` with all of `edits`.
fn edited(text: &str, edits: &[Edit]) -> Result<String, NotFixed> {
    let mut wanted: BTreeMap<usize, (&Edit, usize)> = BTreeMap::new();
    for edit in edits {
        let (first, uses) = wanted.entry(edit.annotation.start).or_insert((edit, 0));
        if first.filled != edit.filled {
            return Err(NotFixed::Shared(line(text, edit)));
        }
        *uses += 1;
    }
    let (mut edited, mut at) = (String::with_capacity(text.len()), 0);
    for (edit, _) in wanted.values() {
        let unknown = || NotFixed::Notation(line(text, edit));
        for (range, written) in changes(text, edit).ok_or_else(unknown)? {
            edited.push_str(text.get(at..range.start).ok_or_else(unknown)?);
            edited.push_str(&written);
            at = range.end;
        }
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    let mut check = Check {
        filled: wanted
            .iter()
            .map(|(start, (edit, _))| (*start, edit.filled.as_str()))
            .collect(),
        seen: HashMap::new(),
    };
    let (before, after) = (tree::read(text), tree::read(&edited));
    let is_same = before.len() == after.len()
        && before.iter().zip(&after).all(|pair| match pair {
            (Ok(before), Ok(after)) => check.is_fixed(before, after, false),
            (Err(before), Err(after)) => before.message == after.message,
            _ => false,
        });
    let shared = wanted
        .iter()
        .find(|(start, (_, uses))| check.seen.get(*start) != Some(uses));
    match shared {
        Some((_, (edit, _))) => Err(NotFixed::Shared(line(text, edit))),
        None if is_same => Ok(edited),
        None => Err(NotFixed::Differs),
    }
}

fn line(text: &str, edit: &Edit) -> usize {
    let before = text.get(..edit.annotation.start).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// The bytes of the file that change, in order, and what is written there.
fn changes(text: &str, edit: &Edit) -> Option<Vec<(Range<usize>, String)>> {
    let notation = Notation::of(text, &edit.annotation)?;
    let before = SelectionList::parse(Some(&edit.annotation.text), &edit.namespace).ok()?;
    let after = SelectionList::parse(Some(&edit.filled), &edit.namespace).ok()?;
    let mut changes = Vec::new();
    for (index, (old, new)) in before.elements.iter().zip(&after.elements).enumerate() {
        if old.interface.is_some() || new.interface.is_none() {
            continue;
        }
        let mut names = vec![None; before.elements.len()];
        *names.get_mut(index)? = new.interface.clone();
        let (range, written) = difference(before.source(), &before.with_interfaces(&names));
        let start = notation.byte(range.start)?;
        // An empty range is where it begins, also where the next byte is written elsewhere.
        let end = if range.is_empty() {
            start
        } else {
            notation.byte(range.end)?
        };
        changes.push((start..end, notation.encoded(&written)?));
    }
    Some(changes)
}

/// The bytes of `old` that are others in `new`, and those that are there instead.
fn difference(old: &str, new: &str) -> (Range<usize>, String) {
    let same = |a: char, b: char| if a == b { Some(a.len_utf8()) } else { None };
    let pairs = old.chars().zip(new.chars());
    let head: usize = pairs.map_while(|(a, b)| same(a, b)).sum();
    let (old_tail, new_tail) = (
        old.get(head..).unwrap_or_default(),
        new.get(head..).unwrap_or_default(),
    );
    let pairs = old_tail.chars().rev().zip(new_tail.chars().rev());
    let tail: usize = pairs.map_while(|(a, b)| same(a, b)).sum();
    let written = new_tail.get(..new_tail.len() - tail).unwrap_or_default();
    (head..old.len() - tail, written.to_owned())
}

/// Compares an edited document with what it was.
struct Check<'a> {
    filled: HashMap<usize, &'a str>,
    /// How many annotations each edited text stands for.
    seen: HashMap<usize, usize>,
}

impl Check<'_> {
    fn is_fixed(&mut self, before: &Node, after: &Node, is_annotation: bool) -> bool {
        let start = before.scalar().map(|scalar| scalar.start);
        let filled = start
            .filter(|_| is_annotation)
            .and_then(|start| self.filled.get(&start));
        if let Some((start, filled)) = start.zip(filled) {
            *self.seen.entry(start).or_default() += 1;
            return after.scalar().is_some_and(|after| after.text == *filled);
        }
        if let (Some(before), Some(after)) = (before.items(), after.items()) {
            return before.len() == after.len()
                && before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| self.is_fixed(before, after, false));
        }
        if !before.is_map() || !after.is_map() {
            return before.to_value() == after.to_value();
        }
        before.entries().count() == after.entries().count()
            && before
                .entries()
                .zip(after.entries())
                .all(|((key, before), (same, after))| {
                    key == same && self.is_fixed(before, after, key == NETWORKS)
                })
    }
}

/// Replaces a file at once, so that it is never seen half written. Its mode and owner stay; a
/// symlink stays one.
fn replace(path: &Path, text: &str, edited: &str) -> Result<(), NotFixed> {
    let path = fs::canonicalize(path)?;
    let stored = fs::read(&path)?;
    let marked = stored.strip_prefix(BYTE_ORDER_MARK);
    if marked.unwrap_or(&stored) != text.as_bytes() {
        return Err(NotFixed::Encoding);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    if marked.is_some() {
        file.write_all(BYTE_ORDER_MARK)?;
    }
    file.write_all(edited.as_bytes())?;
    let (old, new) = (fs::metadata(&path)?, file.as_file().metadata()?);
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    file.as_file().set_permissions(old.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests;
