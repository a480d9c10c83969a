//! What a request brings: a JSON object, with what must be in it.

use std::time::Duration;

use axum::body::{Bytes, HttpBody as _, to_bytes};
use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::answer::Failure;
use super::{Api, Permits};

/// The largest body of a request, in bytes.
///
/// rabbitmq: its default `max_http_body_size`.
const LIMIT_BYTES: usize = 20_000_000;

/// Up to how many bytes a body needs no permit.
const SMALL_BYTES: u64 = 64 * 1024;

/// How many values a body may have. They take up to some hundred bytes each in memory, and may take two in the
/// body. Definitions as large as a body may be have fewer.
const MOST_VALUES: usize = 1_000_000;

/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The body of a request, all of it.
///
/// why: a large one holds a permit for as long as it is there, and what is made of it with it: so many clients as
/// have a socket could make the broker hold a gigabyte otherwise.
pub(super) struct Payload {
    bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Api> for Payload {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Api) -> Result<Self, Failure> {
        let body = request.into_body();
        // A length that is not told may be any.
        let is_small = body.size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BYTES);
        let permit = match is_small {
            true => None,
            false => Some(Permits::take(&app.permits.bodies).await?),
        };
        let reading = to_bytes(body, LIMIT_BYTES);
        match tokio::time::timeout(TIMEOUT, reading).await {
            Ok(Ok(bytes)) if has_too_many_values(&bytes) => {
                let most = format!("the request body has more than {MOST_VALUES} values");
                Err(Failure::bad_request(most))
            }
            Ok(Ok(bytes)) => Ok(Payload { bytes, _permit: permit }),
            Ok(Err(_)) => Err(Failure::bad_request("Exceeded HTTP request body size limit")),
            Err(_) => Err(Failure::bad_request("the request body took too long")),
        }
    }
}

impl Payload {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The object that it is.
    ///
    /// rabbitmq: nothing at all, and null, are an empty one.
    pub(super) fn object(&self) -> Result<Object, Failure> {
        if matches!(self.as_bytes(), b"" | b"null" | b"undefined") {
            return Ok(Object(Map::new()));
        }
        match serde_json::from_slice(self.as_bytes()) {
            Ok(Value::Object(object)) => Ok(Object(object)),
            Ok(Value::String(_)) => Err(Failure::bad_request(
                "invalid payload: the request body JSON-decoded to a string. \
                 Is the input doubly-JSON-encoded?",
            )),
            _ => Err(Failure::bad_request("not_json")),
        }
    }

    /// The object, which must have these keys.
    pub(super) fn object_with(&self, keys: &[&str]) -> Result<Object, Failure> {
        let object = self.object()?;
        let missing: Vec<_> = keys.iter().filter(|key| !object.0.contains_key(**key)).collect();
        if missing.is_empty() {
            Ok(object)
        } else {
            Err(Failure::bad_request(keys_missing(&missing)))
        }
    }
}

/// Whether JSON would have more values than are taken: each but the first follows a comma or an opening bracket.
fn has_too_many_values(json: &[u8]) -> bool {
    if json.len() <= MOST_VALUES {
        return false;
    }
    let (mut values, mut in_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    values > MOST_VALUES
}

/// A JSON object out of a request.
#[derive(Debug)]
pub(super) struct Object(pub(super) Map<String, Value>);

impl Object {
    /// What is there under a key; null is nothing.
    pub(super) fn find(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// What must be there under a key, and be a text.
    pub(super) fn text(&self, key: &str) -> Result<&str, Failure> {
        match self.find(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Failure::bad_request(json!(["not_string", key]))),
        }
    }

    /// A text, empty when it is not there.
    pub(super) fn text_or_empty(&self, key: &str) -> Result<&str, Failure> {
        if self.find(key).is_none() { Ok("") } else { self.text(key) }
    }

    /// Yes or no, and no when it is not there.
    ///
    /// rabbitmq: takes the words as well.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Failure> {
        match self.find(key) {
            None | Some(Value::Bool(false)) => Ok(false),
            Some(Value::Bool(true)) => Ok(true),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(Failure::bad_request(json!(["not_boolean", other]))),
        }
    }

    /// A whole number.
    ///
    /// rabbitmq: takes one in quotes as well.
    pub(super) fn integer(&self, key: &str) -> Result<i64, Failure> {
        let value = self.find(key).unwrap_or(&Value::Null);
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| Failure::bad_request(json!(["not_integer", value])))
    }

    /// An object in it, empty when it is not there.
    ///
    /// rabbitmq: an empty list is an empty object.
    pub(super) fn nested(&self, key: &str) -> Result<Map<String, Value>, Failure> {
        match self.find(key) {
            None => Ok(Map::new()),
            Some(Value::Array(list)) if list.is_empty() => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => Err(Failure::bad_request(json!(["not_object", key]))),
        }
    }
}

/// The longest list of terms that Erlang prints in one line.
const LINE: usize = 60;

fn keys_missing(keys: &[&&str]) -> String {
    let terms: Vec<_> = keys.iter().map(|key| format!("{{key_missing,{key}}}")).collect();
    let line = format!("[{}]", terms.join(","));
    if line.len() <= LINE { line } else { format!("[{}]", terms.join(",\n ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(text: &str) -> Payload {
        Payload { bytes: Bytes::copy_from_slice(text.as_bytes()), _permit: None }
    }

    #[test]
    fn values_are_counted_and_texts_are_one() {
        let list = |values: usize| format!("[{}1]", "1,".repeat(values - 2));
        assert!(!has_too_many_values(list(MOST_VALUES).as_bytes()));
        assert!(has_too_many_values(list(MOST_VALUES + 1).as_bytes()));
        let nested = "[".repeat(MOST_VALUES) + "1";
        assert!(has_too_many_values(nested.as_bytes()));
        let text = format!(r#"["\"{}", 1]"#, ",".repeat(MOST_VALUES));
        assert!(!has_too_many_values(text.as_bytes()));
    }

    #[test]
    fn nothing_is_an_empty_object_and_nonsense_is_none() {
        for text in ["", "null", "{}"] {
            assert!(payload(text).object().unwrap().0.is_empty(), "{text}");
        }
        for text in ["[]", "1", "{", "{'a': 1}"] {
            let failure = payload(text).object().unwrap_err();
            assert_eq!(failure, Failure::bad_request("not_json"), "{text}");
        }
    }

    #[test]
    fn missing_keys_are_told_as_erlang_prints_them() {
        let failure = |keys: &[&str]| payload("{}").object_with(keys).unwrap_err();
        assert_eq!(
            failure(&["ackmode", "encoding"]),
            Failure::bad_request("[{key_missing,ackmode},{key_missing,encoding}]")
        );
        assert_eq!(
            failure(&["properties", "payload", "payload_encoding"]),
            Failure::bad_request(
                "[{key_missing,properties},\n {key_missing,payload},\n \
                 {key_missing,payload_encoding}]"
            )
        );
    }

    #[test]
    fn flags_and_numbers_may_be_words() {
        let object = payload(r#"{"a": "true", "b": false, "c": "x", "d": "12", "e": 1.5}"#);
        let object = object.object().unwrap();
        assert_eq!(object.flag("a"), Ok(true));
        assert_eq!(object.flag("b"), Ok(false));
        assert_eq!(object.flag("no"), Ok(false));
        assert_eq!(object.flag("c"), Err(Failure::bad_request(json!(["not_boolean", "x"]))));
        assert_eq!(object.integer("d"), Ok(12));
        assert!(object.integer("e").is_err() && object.integer("no").is_err());
    }
}
