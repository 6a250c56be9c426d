//! The values of the configuration's keys: what each must be, and the error that says so.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::{Enforcement, InterfaceNames, MissingNetworks};
use crate::{names::is_label, violation::shown};

/// What a Unix socket's address has room for, in bytes (`sun_path` with its end).
const MAX_SOCKET_PATH: usize = 107;
/// More networks in front of the annotation's than any multus has.
const MAX_OFFSET: u32 = 255;

pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    absolute_path(&Value::deserialize(deserializer)?)
}

pub(super) fn socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let path = absolute_path(&value)?;
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let allowed = format_args!("the path of a Unix socket, at most {MAX_SOCKET_PATH} bytes");
        return Err(must_be(&value, allowed));
    }
    Ok(path)
}

/// The one candidate instead of the defaults.
pub(super) fn only_socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    socket(deserializer).map(|path| vec![path])
}

pub(super) fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let offset = value.as_u64().and_then(|offset| u32::try_from(offset).ok());
    offset
        .filter(|offset| *offset <= MAX_OFFSET)
        .ok_or_else(|| must_be(&value, format_args!("an integer from 0 to {MAX_OFFSET}")))
}

pub(super) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    value
        .as_bool()
        .ok_or_else(|| must_be(&value, "true or false, without quotes"))
}

pub(super) fn namespaces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let namespace = |item: &Value| Some(item.as_str().filter(|name| is_label(name))?.to_owned());
    let namespaces = value
        .as_array()
        .and_then(|items| items.iter().map(namespace).collect());
    namespaces.ok_or_else(|| must_be(&value, "a list of namespaces, such as [\"kube-system\"]"))
}

pub(super) fn interface_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<InterfaceNames, D::Error> {
    word(
        deserializer,
        InterfaceNames::parse,
        "\"fill\", \"reject\", \"warn\" or \"off\"",
    )
}

pub(super) fn missing_networks<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<MissingNetworks, D::Error> {
    word(deserializer, MissingNetworks::parse, "\"warn\" or \"reject\"")
}

pub(super) fn enforcement<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Enforcement, D::Error> {
    word(deserializer, Enforcement::parse, "\"enforce\" or \"warn\"")
}

fn word<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Option<T>,
    allowed: &str,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let word = value.as_str().and_then(parse);
    word.ok_or_else(|| must_be(&value, allowed))
}

fn absolute_path<E: Error>(value: &Value) -> Result<PathBuf, E> {
    let is_possible = |path: &&Path| {
        let mut components = path.components();
        let climbs = components.any(|component| component == Component::ParentDir);
        path.is_absolute() && !climbs && path.parent().is_some()
    };
    let text = value.as_str().filter(|text| !text.contains('\0'));
    let path = text.map(Path::new).filter(is_possible).map(Path::to_owned);
    path.ok_or_else(|| must_be(value, "an absolute path without \"..\", such as \"/run/x\""))
}

/// Completes `the key "KEY" `.
fn must_be<E: Error>(value: &Value, allowed: impl fmt::Display) -> E {
    let value = shown(&value.to_string());
    E::custom(format_args!("has the value {value}; it must be {allowed}"))
}
