//! Naming parity: a pod gets the same interfaces with the gate in place as multus alone would give
//! it, and a list that multus alone cannot start (two elements under one name) is made to work.
//! With networks of multus' own before the annotation's: `alone_multus.rs`.

use tests::{Result, in_namespace, same_names};

#[tokio::test]
async fn names_are_those_that_multus_would_give() -> Result<()> {
    in_namespace("parity", async |ns| same_names(ns, 0, 8).await).await
}
