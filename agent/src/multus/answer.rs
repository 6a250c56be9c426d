//! Reads the reply to a `/delegate` request.

use std::{borrow::Cow, mem};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use agent_core::delegate::{Answer, Call, Command, Refusal};
use shared::violation::json_type;

use super::{exchange::Reply, refusal};

/// Reads the reply to `call`.
pub(super) fn parse(call: &Call, reply: &Reply) -> Answer {
    match (reply.status, call.command) {
        // A DEL has no result: multus answers with an empty body.
        (StatusCode::OK, Command::Del) => Answer::Done(Value::Null),
        (StatusCode::OK, Command::Add) => result(&reply.body),
        (StatusCode::BAD_REQUEST, _) => refused(call, &words(&reply.body)),
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => Answer::Refused {
            cause: Refusal::NoDelegateApi,
            plugin: None,
            text: format!(
                "the daemon does not serve /delegate (HTTP {}): multus 4 in thick mode is needed",
                reply.status.as_u16()
            ),
        },
        (status, _) => Answer::Lost(format!(
            "unexpected HTTP status {}: {}",
            status.as_u16(),
            refusal::printable(&words(&reply.body))
        )),
    }
}

/// `{"Result": {…}}`
fn result(body: &[u8]) -> Answer {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut answer) => match answer.get_mut("Result").map(mem::take) {
            Some(result @ Value::Object(_)) => Answer::Done(result),
            Some(other) => Answer::Lost(format!("the result is {}, not an object", json_type(&other))),
            None => Answer::Lost("the answer has no result".to_owned()),
        },
        Err(_) if body.is_empty() => Answer::Lost("the answer is empty".to_owned()),
        Err(error) => Answer::Lost(format!("the answer is not JSON: {error}")),
    }
}

fn refused(call: &Call, words: &str) -> Answer {
    let text = refusal::without_preamble(words);
    Answer::Refused {
        cause: refusal::classify(text, call),
        plugin: refusal::failed_plugin(text),
        text: refusal::printable(text),
    }
}

/// The text of an error answer: plain, or a CNI error object (CNI spec 1.1, section 5), which the
/// daemon can send as well.
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
