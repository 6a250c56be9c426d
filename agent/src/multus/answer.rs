//! What came of a `/delegate` request, and how much of it is certain.

use std::{borrow::Cow, mem};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Call, Command,
    exchange::Reply,
    refusal::{self, Refusal},
};

/// What came of one request. The variants differ in what may have happened in the pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done. After ADD the CNI result (an object of version 1.x); `null` after DEL.
    Done(Value),
    /// Multus refused, or a plugin failed. Unless the cause says otherwise, an ADD may be half done.
    Refused {
        /// What kind of failure.
        cause: Refusal,
        /// The `type` of the plugin of a chain that failed, when the text names it.
        plugin: Option<String>,
        /// The text for people: without multus' preamble, printable, at most 1024 characters.
        text: String,
    },
    /// The connection ended before an answer began, and the daemon goes on: its handler panicked, which the same request would do again.
    Crashed,
    /// Not sent: nothing can have run.
    NotSent(String),
    /// Sent, but there was no answer that makes sense: what ran, and whether it still does, is unknown.
    Lost(String),
}

impl Answer {
    pub(super) fn of(call: &Call, reply: &Reply) -> Self {
        match (reply.status, call.command) {
            // A DEL has nothing to tell: multus answers with an empty body.
            (StatusCode::OK, Command::Del) => Self::Done(Value::Null),
            (StatusCode::OK, Command::Add) => result(&reply.body),
            (StatusCode::BAD_REQUEST, _) => refused(call, &words(&reply.body)),
            (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => Self::Refused {
                cause: Refusal::NoDelegateApi,
                plugin: None,
                text: format!(
                    "the daemon does not serve /delegate (HTTP {}): multus 4 in thick mode is needed",
                    reply.status.as_u16()
                ),
            },
            (status, _) => Self::Lost(format!(
                "unexpected HTTP status {}: {}",
                status.as_u16(),
                refusal::printable(&words(&reply.body))
            )),
        }
    }
}

/// `{"Result": {…}}`
fn result(body: &[u8]) -> Answer {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut answer) => match answer.get_mut("Result").map(mem::take) {
            Some(result @ Value::Object(_)) => Answer::Done(result),
            Some(other) => Answer::Lost(format!("the result is {}, not an object", kind(&other))),
            None => Answer::Lost("the answer has no result".to_owned()),
        },
        Err(_) if body.is_empty() => Answer::Lost("the answer is empty".to_owned()),
        Err(error) => Answer::Lost(format!("the answer is not JSON: {error}")),
    }
}

fn refused(call: &Call, words: &str) -> Answer {
    let text = refusal::without_preamble(words);
    Answer::Refused {
        cause: Refusal::of(text, call.interface.as_str()),
        plugin: refusal::failed_plugin(text).map(str::to_owned),
        text: refusal::printable(text),
    }
}

/// The text of an error answer: plain, or a CNI error object (CNI spec 1.1, section 5), which the daemon can send as well.
fn words(body: &[u8]) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct CniError {
        msg: String,
        #[serde(default)]
        details: String,
    }
    match serde_json::from_slice::<CniError>(body) {
        Ok(error) if error.details.is_empty() => error.msg.into(),
        Ok(error) => format!("{}; {}", error.msg, error.details).into(),
        Err(_) => String::from_utf8_lossy(body),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
