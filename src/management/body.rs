//! What a request brings: a JSON object, with what must be in it.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value, json};

use super::answer::Failure;

/// The largest body of a request, in bytes.
///
/// rabbitmq: its default `max_http_body_size`.
const LIMIT_BYTES: usize = 20_000_000;

/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The body of a request, all of it.
pub(super) struct Payload(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Payload {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let reading = to_bytes(request.into_body(), LIMIT_BYTES);
        match tokio::time::timeout(TIMEOUT, reading).await {
            Ok(Ok(bytes)) => Ok(Payload(bytes)),
            Ok(Err(_)) => Err(Failure::bad_request("Exceeded HTTP request body size limit")),
            Err(_) => Err(Failure::bad_request("the request body took too long")),
        }
    }
}

impl Payload {
    /// The object that it is.
    ///
    /// rabbitmq: nothing at all, and null, are an empty one.
    pub(super) fn object(&self) -> Result<Object, Failure> {
        if self.0.is_empty() || &*self.0 == b"null" || &*self.0 == b"undefined" {
            return Ok(Object(Map::new()));
        }
        match serde_json::from_slice(&self.0) {
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
        Payload(Bytes::copy_from_slice(text.as_bytes()))
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
