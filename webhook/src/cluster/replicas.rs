//! Whether this replica may restart by itself: another one has to answer meanwhile.
//!
//! The list of the namespace's pods says which replicas there are; each that it calls ready is
//! asked itself, because it knows at once that it is about to restart, and the list only seconds
//! later. Two replicas that ask each other within the same milliseconds may both restart: random
//! delays make that rare.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use http_body_util::Empty;
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::{net::TcpStream, time::timeout};

/// Replicas have this label; its value is the name of the Service.
const LABEL: &str = "app.kubernetes.io/name";
/// For the list.
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// For one replica's answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// More replicas than anyone runs.
const MAX_REPLICAS: u32 = 50;

/// The replicas of this webhook.
#[derive(Clone)]
pub struct Replicas {
    pub client: Client,
    pub namespace: String,
    pub service: String,
    /// The pod of this one.
    pub own_name: String,
    /// Where each answers `/readyz`.
    pub admin_port: u16,
}

impl Replicas {
    /// Whether this replica may restart.
    ///
    /// # Errors
    /// Why it has to wait. What cannot be found out is no reason to wait.
    pub async fn may_restart(&self) -> Result<(), String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("{LABEL}={}", self.service);
        let parameters = ListParams::default().labels(&selector).limit(MAX_REPLICAS);
        let pods = match timeout(LIST_DEADLINE, pods.list(&parameters)).await {
            Ok(Ok(pods)) => pods.items,
            Ok(Err(error)) => return unknown(&error),
            Err(elapsed) => return unknown(&elapsed),
        };
        if !pods.iter().any(|pod| pod.name_any() == self.own_name) {
            return unknown(&format_args!("no pod {} with {selector}", self.own_name));
        }
        let is_other = |pod: &&Pod| {
            pod.name_any() != self.own_name && pod.metadata.deletion_timestamp.is_none() && !has_ended(pod)
        };
        let others: Vec<_> = pods.iter().filter(is_other).collect();
        for pod in &others {
            if let Some(address) = self.ready_at(pod)
                && answers_ready(address).await
            {
                return Ok(());
            }
        }
        // Where there is only this one, waiting would never end.
        if others.is_empty() {
            return Ok(());
        }
        Err(format!("none of the {} other replicas is ready", others.len()))
    }

    /// Where the replica answers probes, if the cluster calls it ready.
    fn ready_at(&self, pod: &Pod) -> Option<SocketAddr> {
        let status = pod.status.as_ref().filter(|status| is_ready(status))?;
        let ip = status.pod_ip.as_ref()?.parse().ok()?;
        Some(SocketAddr::new(ip, self.admin_port))
    }
}

fn unknown(cause: &dyn std::fmt::Display) -> Result<(), String> {
    tracing::warn!(%cause, "cannot find the other replicas; restarting without waiting for one");
    Ok(())
}

fn is_ready(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Such a pod is never started again: it is no replica any more.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

async fn answers_ready(address: SocketAddr) -> bool {
    match timeout(ANSWER_DEADLINE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            let answer = timeout(ANSWER_DEADLINE, readiness(stream, address)).await;
            answer.is_ok_and(|status| status == Some(StatusCode::OK))
        }
        Ok(Err(error)) => counts_unreached(error.kind()),
        Err(_elapsed) => counts_unreached(ErrorKind::TimedOut),
    }
}

/// Whether the cluster's word counts for a replica that cannot be reached: a NetworkPolicy may keep
/// replicas apart. One that refuses a connection restarts, which the cluster sees seconds later.
fn counts_unreached(error: ErrorKind) -> bool {
    error != ErrorKind::ConnectionRefused
}

async fn readiness(stream: TcpStream, address: SocketAddr) -> Option<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get("/readyz").header("Host", address.to_string());
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    tokio::select! {
        response = sender.send_request(request) => Some(response.ok()?.status()),
        _ = connection => None,
    }
}

#[cfg(test)]
mod tests;
