//! What reading costs the rest of the program.

use std::fs;

use super::*;

fn cache() -> (tempfile::TempDir, CniCache) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("results")).unwrap();
    let cache = CniCache::new(dir.path().to_owned());
    (dir, cache)
}

/// multus 4.3.0 leaves entries of dead sandboxes behind: the directory can have a hundred thousand.
#[tokio::test]
async fn a_missing_entry_costs_no_pass() {
    let (_dir, cache) = cache();
    let (sandbox, interface) = (SandboxId::parse("5a9d").unwrap(), InterfaceName::net(1));
    assert_eq!(cache.entry("blue", &sandbox, &interface).await.unwrap(), None);
    cache.check().unwrap();
    assert_eq!(cache.listing.passes(), 0);
    cache.entries(&sandbox).await.unwrap();
    assert_eq!(cache.listing.passes(), 1);
}

#[tokio::test]
async fn waits_for_the_disk_on_another_thread() {
    let (_dir, cache) = cache();
    let read_on = cache.blocking(|| Ok(std::thread::current().id())).await;
    assert_ne!(read_on.unwrap(), std::thread::current().id());
}
