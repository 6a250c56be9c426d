//! What an agent asks the API server, and what the double may answer.

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING},
};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use shared::annotations::NETWORK_STATUS;

use super::Shared;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// All pods of the node.
    PodList,
    /// Their changes.
    PodWatch,
    /// A change of network-status.
    StatusPatch,
    /// A NetworkAttachmentDefinition, or changes of one.
    Network,
    /// An event to be written.
    Event,
    /// Anything else.
    Other,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The connection closes without a word; the API server does not hear of it.
    Hangup,
    /// The API server answers, and the connection closes instead.
    Lost,
    /// Somebody else changes network-status first. The API server's own answer to what comes too
    /// late is passed on.
    Overtaken,
    /// 409: too many others write.
    Conflict,
    /// 410: the version that is asked for is too old.
    Gone,
    /// The same, told as the only event of a watch.
    GoneEvent,
    /// 429: come back after so many seconds. In the words of the API server's fair queues.
    TooMany(u32),
    /// 503, as from a load balancer that has no API server left.
    Unavailable,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;

impl RequestKind {
    fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let watches = uri
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        match path {
            "/api/v1/pods" if watches => Self::PodWatch,
            "/api/v1/pods" => Self::PodList,
            _ if path.contains("/network-attachment-definitions") => Self::Network,
            _ if path.contains("/events") => Self::Event,
            _ if method == Method::PATCH && path.ends_with("/status") => Self::StatusPatch,
            _ => Self::Other,
        }
    }
}

impl Answer {
    /// What is answered without asking the API server.
    fn scripted(self) -> Result<Response<Body>, Failure> {
        let json = |code: StatusCode, body: String| {
            let answer = Response::builder().status(code);
            answer.header(CONTENT_TYPE, "application/json").body(whole(body))
        };
        let answer = match self {
            Self::Conflict => json(
                StatusCode::CONFLICT,
                status(
                    409,
                    "Conflict",
                    "the object has been modified; please apply your changes to the latest version",
                ),
            ),
            Self::Gone => json(StatusCode::GONE, expired()),
            Self::GoneEvent => {
                let event = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", expired());
                json(StatusCode::OK, event)
            }
            Self::TooMany(seconds) => Response::builder()
                .status(StatusCode::TOO_MANY_REQUESTS)
                .header(RETRY_AFTER, seconds)
                .body(whole("Too many requests, please try again later.\n")),
            Self::Unavailable => Response::builder()
                .status(StatusCode::SERVICE_UNAVAILABLE)
                .body(whole("No server is available to handle this request.\n")),
            Self::Hangup | Self::Lost | Self::Overtaken => return Err("not scripted".into()),
        };
        Ok(answer?)
    }
}

fn expired() -> String {
    status(410, "Expired", "too old resource version: 1 (2)")
}

fn status(code: u16, reason: &str, message: &str) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
    .to_string()
}

/// Of `/api/v1/namespaces/NAMESPACE/…`; empty for a path that is about none.
fn namespace_in(path: &str) -> &str {
    let rest = path.split_once("/namespaces/").map_or("", |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Shared {
    /// Carries the order about a request out. An error closes the connection.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let asked = RequestKind::of(request.method(), request.uri());
        self.count(asked, namespace_in(request.uri().path()));
        match self.order(asked, request.uri().path()) {
            None => self.pass_on(request).await,
            Some(Answer::Hangup) => Err("hung up".into()),
            Some(Answer::Lost) => {
                let answer = self.pass_on(request).await?;
                let code = answer.status();
                answer.into_body().collect().await?;
                Err(format!("{code} is lost").into())
            }
            Some(Answer::Overtaken) => {
                self.overtake(request.uri().path()).await?;
                self.pass_on(request).await
            }
            Some(answer) => answer.scripted(),
        }
    }

    /// Under the double's own name.
    async fn pass_on(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (mut head, body) = request.into_parts();
        for header in [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST] {
            head.headers.remove(header);
        }
        let body = body.collect().await?.to_bytes();
        let answer = self
            .server
            .send(Request::from_parts(head, kube::client::Body::from(body)))
            .await?;
        let (mut head, body) = answer.into_parts();
        for header in [CONNECTION, TRANSFER_ENCODING] {
            head.headers.remove(header);
        }
        Ok(Response::from_parts(
            head,
            body.map_err(Into::into).boxed_unsync(),
        ))
    }

    /// Adds a stranger's entry to the network-status of the pod whose status `path` is. Written as
    /// no program of ours would.
    async fn overtake(&self, path: &str) -> Result<(), Failure> {
        let parts: Vec<&str> = path
            .trim_start_matches("/api/v1/namespaces/")
            .split('/')
            .collect();
        let [namespace, "pods", name, "status"] = parts[..] else {
            return Err(format!("{path} is no pod's status").into());
        };
        let api: Api<ApiPod> = Api::namespaced(self.server.clone(), namespace);
        let pod = api.get(name).await?;
        let status = pod.annotations().get(NETWORK_STATUS);
        let others = status.and_then(|status| status.trim_end().strip_suffix(']'));
        let others = others.ok_or("there is no network-status")?;
        let status = format!("{others}, {}]", Answer::STRANGER);
        let patch = Patch::Merge(json!({"metadata": {"annotations": {NETWORK_STATUS: status}}}));
        api.patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}

impl Answer {
    /// The entry of network-status that [`Answer::Overtaken`] adds each time.
    pub const STRANGER: &str = r#"{ "name" : "stranger", "dns":{}, "default" :true }"#;
}
