//! A path and a body, made of words as in `name=q durable=true`.

use super::super::json::{Json, python_literal};
use super::super::server::quoted;
use super::kinds::{Kind, Mandatory, Otherwise};
use super::settings::Settings;
use super::{Ended, Words};

/// What is to be sent, and where to.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) path: String,
    body: Vec<(String, Json)>,
}

impl Request {
    /// Reads the words for this kind of object.
    pub(super) fn parse(words: &Words, kind: &Kind, settings: &Settings) -> Result<Self, Ended> {
        let mut request = Request { path: String::new(), body: Vec::new() };
        for (name, otherwise) in kind.optional {
            let value = match otherwise {
                Otherwise::Nothing => continue,
                Otherwise::Text(text) => Json::text(text),
                Otherwise::Zero => Json::Number(0.into()),
                Otherwise::EmptyObject => Json::Object(Vec::new()),
            };
            request.set(name, value);
        }
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(Ended::usage(format!(
                    "Argument \"{word}\" not in the name=value format"
                )));
            };
            let is_known = kind.mandatory.iter().any(|known| known.names().contains(&name))
                || kind.optional.iter().any(|(known, _)| *known == name);
            if !is_known {
                return Err(Ended::usage(format!("Argument \"{name}\" is not recognised")));
            }
            let value = match kind.json.contains(&name) {
                true => Json::parse(value).ok_or_else(|| {
                    Ended::Told(format!("ERROR: Could not parse JSON:\n  {value}\n"))
                })?,
                false => Json::text(value),
            };
            request.set(name, value);
        }
        request.assert_mandatory(kind)?;
        let has_vhost = kind.mandatory.iter().any(|known| known.names().contains(&"vhost"));
        if !has_vhost {
            let vhost = settings.vhost.as_ref().unwrap_or(&settings.declare_vhost);
            request.set("vhost", Json::text(vhost));
        }
        request.path = request.path_of(kind)?;
        request.set_queue_type();
        Ok(request)
    }

    fn assert_mandatory(&self, kind: &Kind) -> Result<(), Ended> {
        for mandatory in kind.mandatory {
            if mandatory.names().iter().any(|name| self.get(name).is_some()) {
                continue;
            }
            return Err(Ended::Usage(match mandatory {
                Mandatory::One(name) => format!("mandatory argument \"{name}\" is required"),
                Mandatory::AnyOf(names) => {
                    let names: Vec<_> = names.iter().map(|name| python_literal(name)).collect();
                    let names = names.join(", ");
                    format!("one of mandatory arguments \"[{names}]\" is required")
                }
            }));
        }
        Ok(())
    }

    /// The path, with the values of arguments in it.
    fn path_of(&self, kind: &Kind) -> Result<String, Ended> {
        let mut path = String::new();
        for part in kind.path.split('{') {
            let Some((name, rest)) = part.split_once('}') else {
                path.push_str(part);
                continue;
            };
            let named = if name == "destination_char" { "destination_type" } else { name };
            let value = self.get(named).and_then(Json::as_text).filter(|value| !value.is_empty());
            // rabbitmq: the script fails here without a word of its own.
            let value = value
                .ok_or_else(|| Ended::usage(format!("argument \"{named}\" must not be empty")))?;
            match name {
                "destination_char" => path.extend(value.chars().next()),
                _ => path.push_str(&quoted(value)),
            }
            path.push_str(rest);
        }
        Ok(path)
    }

    /// `queue_type=quorum` is short for an argument of the queue.
    fn set_queue_type(&mut self) {
        let Some(queue_type) = self.get("queue_type").cloned() else { return };
        let mut arguments = match self.get("arguments") {
            Some(Json::Object(arguments)) => arguments.clone(),
            _ => Vec::new(),
        };
        arguments.retain(|(name, _)| name != "x-queue-type");
        arguments.push(("x-queue-type".to_owned(), queue_type));
        self.set("arguments", Json::Object(arguments));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.body.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The text of an argument.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_text)
    }

    pub(super) fn set(&mut self, name: &str, value: Json) {
        match self.body.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.body.push((name.to_owned(), value)),
        }
    }

    /// What is to be sent.
    pub(super) fn into_body(self) -> Json {
        Json::Object(self.body)
    }
}
