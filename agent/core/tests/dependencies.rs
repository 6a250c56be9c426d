//! The core cannot do I/O: nothing that it depends on gives it a way to.

/// What its manifest may list.
const ALLOWED: [&str; 5] = ["serde", "serde_json", "shared", "thiserror", "tracing"];

#[test]
fn depends_on_nothing_that_can_do_io() {
    let manifest = include_str!("../Cargo.toml");
    let (_, after) = manifest.split_once("\n[dependencies]\n").unwrap();
    let section = after.split("\n[").next().unwrap();
    let listed: Vec<&str> = section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect();
    assert_eq!(listed, ALLOWED);
}
