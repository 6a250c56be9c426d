//! Devices of claims (DRA): a driver for network devices writes into its ResourceSlices by which
//! id and for which resource multus knows each of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::{Client, api::ListParams, core::Request};
use serde::Deserialize;

use super::pod_resources::ClaimDevice;
use crate::kubernetes::api_request::{self, RequestError};

/// Where ResourceSlices are. The kubelet tells of claims since Kubernetes 1.34, which has v1.
const PATH: &str = "/apis/resource.k8s.io/v1/resourceslices";
/// The attributes of the network plumbing group.
const DEVICE_ID: &str = "k8s.cni.cncf.io/deviceID";
const RESOURCE_NAME: &str = "k8s.cni.cncf.io/resourceName";
/// The longest answer of one driver: a slice has at most 128 devices, and a node a few slices.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// So many drivers are asked about for one pod.
const MAX_DRIVERS: usize = 16;
/// For one driver.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Slices {
    items: Vec<Slice>,
}

#[derive(Deserialize)]
struct Slice {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    pool: Pool,
    #[serde(default)]
    devices: Option<Vec<Device>>,
}

#[derive(Deserialize)]
struct Pool {
    name: String,
    #[serde(default)]
    generation: i64,
}

#[derive(Deserialize)]
struct Device {
    name: String,
    #[serde(default)]
    attributes: Option<BTreeMap<String, Attribute>>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(default)]
    string: Option<String>,
}

/// The ids of those claimed devices that are of `resource`.
pub(super) async fn devices_of(
    client: &Client,
    node: &str,
    claimed: &BTreeSet<ClaimDevice>,
    resource: &str,
) -> Result<BTreeSet<String>, RequestError> {
    let drivers: BTreeSet<&str> = claimed.iter().map(|claimed| claimed.driver.as_str()).collect();
    let mut ids = BTreeSet::new();
    for driver in drivers.into_iter().take(MAX_DRIVERS) {
        let selector = format!("spec.driver={driver},spec.nodeName={node}");
        let request = Request::new(PATH).list(&ListParams::default().fields(&selector))?;
        let answer = api_request::read(client, request, MAX_BYTES, DEADLINE).await?;
        let slices: Slices = serde_json::from_slice(&answer)?;
        let of_driver = claimed.iter().filter(|claimed| claimed.driver == driver);
        ids.extend(of_driver.filter_map(|claimed| slices.id_of(claimed, resource)));
    }
    Ok(ids)
}

impl Slices {
    /// Slices of an older generation of a pool are about to be deleted.
    fn id_of(&self, claimed: &ClaimDevice, resource: &str) -> Option<String> {
        let of_pool = self
            .items
            .iter()
            .filter(|slice| slice.spec.pool.name == claimed.pool);
        let newest = of_pool.clone().map(|slice| slice.spec.pool.generation).max()?;
        let mut devices = of_pool
            .filter(|slice| slice.spec.pool.generation == newest)
            .flat_map(|slice| slice.spec.devices.iter().flatten());
        let device = devices.find(|device| device.name == claimed.device)?;
        let attribute = |key| device.attributes.as_ref()?.get(key)?.string.as_deref();
        let is_of_it = attribute(RESOURCE_NAME) == Some(resource);
        attribute(DEVICE_ID).filter(|_| is_of_it).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hyper::Response;
    use kube::client::Body;

    use super::*;

    const SLICES: &str = r#"{"kind": "ResourceSliceList", "items": [
        {"spec": {"driver": "vf", "pool": {"name": "p", "generation": 1}, "devices": [
            {"name": "d", "attributes": {
                "k8s.cni.cncf.io/deviceID": {"string": "old"},
                "k8s.cni.cncf.io/resourceName": {"string": "x/vf"}}}]}},
        {"spec": {"driver": "vf", "pool": {"name": "p", "generation": 2}, "devices": [
            {"name": "d", "attributes": {
                "k8s.cni.cncf.io/deviceID": {"string": "0000:aa:00.1"},
                "k8s.cni.cncf.io/resourceName": {"string": "x/vf"},
                "vendor.example/index": {"int": 1}}},
            {"name": "gpu"}]}},
        {"spec": {"driver": "vf", "pool": {"name": "q"}}}]}"#;

    #[tokio::test]
    async fn only_the_slices_of_this_node_are_asked_for() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&asked);
        let service = tower::service_fn(move |request: hyper::Request<Body>| {
            paths.lock().unwrap().push(request.uri().to_string());
            std::future::ready(Ok::<_, tower::BoxError>(Response::new(Body::from(
                SLICES.as_bytes().to_vec(),
            ))))
        });
        let client = Client::new(service, "default");
        let claimed = ["d", "gpu"].map(|device| ClaimDevice {
            driver: "vf".to_owned(),
            pool: "p".to_owned(),
            device: device.to_owned(),
        });
        let devices = devices_of(&client, "node1", &BTreeSet::from(claimed), "x/vf").await;
        assert_eq!(devices.unwrap(), BTreeSet::from(["0000:aa:00.1".to_owned()]));
        let selector = "fieldSelector=spec.driver%3Dvf%2Cspec.nodeName%3Dnode1";
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(
            asked[0].starts_with(PATH) && asked[0].contains(selector),
            "{asked:?}"
        );
    }

    #[test]
    fn a_claimed_device_has_the_id_of_its_attributes() {
        let slices: Slices = serde_json::from_str(SLICES).unwrap();
        let id = |pool: &str, device: &str, resource: &str| {
            let claimed = ClaimDevice {
                driver: "vf".to_owned(),
                pool: pool.to_owned(),
                device: device.to_owned(),
            };
            slices.id_of(&claimed, resource)
        };
        assert_eq!(id("p", "d", "x/vf").as_deref(), Some("0000:aa:00.1"));
        assert_eq!(id("p", "d", "x/other"), None);
        assert_eq!(id("p", "gpu", "x/vf"), None);
        assert_eq!(id("q", "d", "x/vf"), None);
        assert_eq!(id("r", "d", "x/vf"), None);
    }
}
