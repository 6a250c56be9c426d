//! The client of the kubelet's PodResources API (v1).
//!
//! Guarantees: one call at a time, [`PAUSE`] apart, because the kubelet refuses more than 100 a
//! second, or 10 at once; the socket is dialled for each call, because the kubelet makes another
//! one when it restarts; who waits behind a call that failed shares its failure.
//!
//! Assumption: the answer names the pod without its uid. While the watch shows the pod and its
//! sandbox is ready, no other pod of that name is active on the node.

use std::{collections::BTreeSet, path::PathBuf, rc::Rc, time::Duration};

use agent_core::identity::PodIdentity;
use proto::pod_resources_v1::{
    GetPodResourcesRequest, ListPodResourcesRequest, PodResources as Answer,
    pod_resources_lister_client::PodResourcesListerClient,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Response, Status, transport::Channel};

use super::error::{self, CALL_DEADLINE, KubeletError};
use crate::uds;

/// From the begin of one call to that of the next.
const PAUSE: Duration = Duration::from_millis(20);
/// So long a failure is the answer to others, too.
const SHARED: Duration = Duration::from_secs(1);
/// The kubelet's own limit for an answer.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

type Client = PodResourcesListerClient<Channel>;

/// The kubelet of this node.
#[derive(Clone, Debug)]
pub struct PodResources {
    sockets: [PathBuf; 1],
    pace: Rc<Mutex<Pace>>,
}

/// What a pod was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// By device plugins: (resource, device).
    pub devices: BTreeSet<(String, String)>,
    /// By claims.
    pub claims: BTreeSet<ClaimDevice>,
}

/// A device of a claim (DRA), as its driver names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimDevice {
    /// The driver.
    pub driver: String,
    /// The pool.
    pub pool: String,
    /// The device in the pool.
    pub device: String,
}

#[derive(Debug, Default)]
struct Pace {
    not_before: Option<Instant>,
    failed: Option<(Instant, KubeletError)>,
}

/// An answer to `Get`, or a kubelet that has only `List`.
enum Got<T> {
    Answer(T),
    NoGet,
}

impl PodResources {
    /// A client of the kubelet at `socket`; nothing is dialled yet.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            sockets: [socket],
            pace: Rc::default(),
        }
    }

    /// What the pod was given.
    ///
    /// # Errors
    /// See [`KubeletError`].
    pub async fn of_pod(&self, pod: &PodIdentity) -> Result<Allocation, KubeletError> {
        let mut pace = self.pace.lock().await;
        let failed = pace.failed.take();
        if let Some((at, error)) = failed.filter(|(at, _)| at.elapsed() < SHARED) {
            pace.failed = Some((at, error.clone()));
            return Err(error);
        }
        let answer = match self.get(pod, &mut pace).await {
            Ok(Got::Answer(answer)) => Ok(answer),
            Ok(Got::NoGet) => self.find(pod, &mut pace).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &answer
            && error.is_of_the_kubelet()
        {
            pace.failed = Some((Instant::now(), error.clone()));
        }
        answer.map(allocation)
    }

    async fn get(&self, pod: &PodIdentity, pace: &mut Pace) -> Result<Got<Answer>, KubeletError> {
        let request = GetPodResourcesRequest {
            pod_name: pod.name().to_owned(),
            pod_namespace: pod.namespace().to_owned(),
        };
        let got = self
            .call("Get", pace, async move |mut client| {
                match client.get(request).await {
                    Err(status) if error::has_no_get(&status) => Ok(Response::new(Got::NoGet)),
                    answer => answer.map(|answer| answer.map(|answer| Got::Answer(answer.pod_resources))),
                }
            })
            .await?;
        match got {
            Got::Answer(Some(answer)) => Ok(Got::Answer(answer)),
            Got::Answer(None) => Err(KubeletError::UnknownPod(pod.clone())),
            Got::NoGet => Ok(Got::NoGet),
        }
    }

    /// Finds the pod in the list of all pods of the node.
    async fn find(&self, pod: &PodIdentity, pace: &mut Pace) -> Result<Answer, KubeletError> {
        let answer = self
            .call("List", pace, async move |mut client| {
                client.list(ListPodResourcesRequest {}).await
            })
            .await?;
        let mut listed = answer.pod_resources.into_iter();
        listed
            .find(|listed| listed.name == pod.name() && listed.namespace == pod.namespace())
            .ok_or_else(|| KubeletError::UnknownPod(pod.clone()))
    }

    /// Waits for its turn, dials, calls, and waits for at most [`CALL_DEADLINE`].
    async fn call<T>(
        &self,
        call: &'static str,
        pace: &mut Pace,
        ask: impl AsyncFnOnce(Client) -> Result<Response<T>, Status>,
    ) -> Result<T, KubeletError> {
        if let Some(due) = pace.not_before {
            sleep_until(due).await;
        }
        pace.not_before = Some(Instant::now() + PAUSE);
        let asked = async {
            let channel = uds::channel(&self.sockets).await;
            let client = Client::new(channel.map_err(KubeletError::Unreachable)?);
            let answer = ask(client.max_decoding_message_size(MAX_MESSAGE_BYTES)).await;
            let answer = answer.map_err(|status| error::of_status(call, &status))?;
            Ok(answer.into_inner())
        };
        let late = Err(KubeletError::TimedOut { call });
        timeout(CALL_DEADLINE, asked).await.unwrap_or(late)
    }
}

impl Allocation {
    /// The devices of one resource.
    pub fn devices_of(&self, resource: &str) -> BTreeSet<String> {
        let of_it = self.devices.iter().filter(|(of, _)| of == resource);
        of_it.map(|(_, id)| id.clone()).collect()
    }
}

fn allocation(answer: Answer) -> Allocation {
    let mut allocation = Allocation::default();
    for container in answer.containers {
        for devices in container.devices {
            let ids = devices.device_ids.into_iter();
            let ids = ids.map(|id| (devices.resource_name.clone(), id));
            allocation.devices.extend(ids);
        }
        for dynamic in container.dynamic_resources {
            let claimed = dynamic.claim_resources.into_iter().map(|claim| ClaimDevice {
                driver: claim.driver_name,
                pool: claim.pool_name,
                device: claim.device_name,
            });
            allocation.claims.extend(claimed);
        }
    }
    allocation
}
