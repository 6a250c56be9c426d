//! The events of one watch: a line of JSON each.

use futures::{StreamExt as _, stream::BoxStream};
use http_body_util::BodyExt as _;
use kube::{client::Body, core::Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::StreamReader,
};

use super::{Metadata, Object, Signal};
use crate::kubernetes::api_request::RequestError;

/// The lines of an answer's body.
pub struct Lines {
    lines: BoxStream<'static, Result<String, LinesCodecError>>,
    limit: usize,
}

/// One line.
pub struct Line(String);

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

impl Lines {
    /// Those of `body`, of at most `limit` bytes each.
    pub fn new(body: Body, limit: usize) -> Self {
        let chunks = body.into_data_stream();
        let chunks = chunks.map(|chunk| chunk.map_err(std::io::Error::other));
        let codec = LinesCodec::new_with_max_length(limit);
        Self {
            lines: FramedRead::new(StreamReader::new(chunks), codec).boxed(),
            limit,
        }
    }

    /// The next one; `None`: the API server has ended the watch.
    pub async fn next(&mut self) -> Result<Option<Line>, RequestError> {
        match self.lines.next().await {
            None => Ok(None),
            Some(Ok(line)) => Ok(Some(Line(line))),
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => Err(RequestError::TooLarge(self.limit)),
            Some(Err(LinesCodecError::Io(error))) => {
                Err(RequestError::Transport(kube::Error::ReadEvents(error)))
            }
        }
    }
}

impl Line {
    /// The version that the watch has come to, and what has happened. An event of the API server's
    /// own that says that it cannot go on is [`RequestError::Refused`].
    pub fn read<M: Metadata>(&self) -> Result<(String, Signal<M>), RequestError> {
        let event: Event<'_> = serde_json::from_str(&self.0)?;
        let object = event.object.get();
        match event.kind {
            Kind::Error => {
                let status: Status = serde_json::from_str(object)?;
                Err(RequestError::Refused {
                    status: status.boxed(),
                    retry_after: None,
                })
            }
            Kind::Bookmark => {
                let bookmark: Object<Version> = serde_json::from_str(object)?;
                Ok((bookmark.metadata.resource_version, Signal::Progress))
            }
            Kind::Added | Kind::Modified => versioned(object, Signal::Changed),
            Kind::Deleted => versioned(object, Signal::Deleted),
        }
    }
}

fn versioned<M: Metadata>(
    object: &str,
    signal: impl FnOnce(M) -> Signal<M>,
) -> Result<(String, Signal<M>), RequestError> {
    let object: Object<M> = serde_json::from_str(object)?;
    let version = object.metadata.resource_version().unwrap_or_default().to_owned();
    if version.is_empty() {
        return Err(RequestError::without("resourceVersion"));
    }
    Ok((version, signal(object.metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        name: String,
        resource_version: Option<String>,
    }

    impl Metadata for Named {
        fn resource_version(&self) -> Option<&str> {
            self.resource_version.as_deref()
        }
    }

    fn read(line: &str) -> Result<(String, Signal<Named>), RequestError> {
        Line(line.to_owned()).read()
    }

    #[test]
    fn reads_every_kind_of_event() {
        let named = |version: &str| Named {
            name: "a".to_owned(),
            resource_version: Some(version.to_owned()),
        };
        let event = |kind: &str, version: &str| {
            format!(
                r#"{{"type":"{kind}","object":{{"metadata":{{"name":"a","resourceVersion":"{version}"}}}}}}"#
            )
        };
        for (kind, signal) in [
            ("ADDED", Signal::Changed(named("3"))),
            ("MODIFIED", Signal::Changed(named("3"))),
            ("DELETED", Signal::Deleted(named("3"))),
            ("BOOKMARK", Signal::Progress),
        ] {
            assert_eq!(read(&event(kind, "3")).unwrap(), ("3".to_owned(), signal));
        }
    }

    #[test]
    fn refuses_an_event_without_a_version() {
        let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#;
        assert!(matches!(read(line), Err(RequestError::Undecodable(_))));
    }

    #[test]
    fn takes_an_error_event_for_a_refusal() {
        let line = r#"{"type":"ERROR","object":{"kind":"Status","message":"too old","code":410}}"#;
        assert_eq!(read(line).unwrap_err().to_string(), "too old (410)");
    }

    #[test]
    fn refuses_the_part_of_an_event() {
        assert!(matches!(
            read(r#"{"type":"ADD"#),
            Err(RequestError::Undecodable(_))
        ));
    }
}
