//! What each command does.

use hyper::Method;

use super::super::super::Console;
use super::super::json::Json;
use super::super::server::quoted;
use super::commands::{Command, Deed, Other};
use super::lists::{Column, List, MESSAGES, Scope};
use super::objects::Object;
use super::settings::Settings;
use super::tables::draw;
use super::words::{Flag, Kind, Said};
use super::{Ended, api};

/// The largest definitions and messages that are read from standard input, in bytes.
const INPUT_BYTES: u64 = 1 << 30;

/// A call of a command.
pub(super) struct Call<'a, 'b> {
    pub(super) said: &'a Said,
    pub(super) settings: &'a Settings,
    pub(super) console: &'a mut Console<'b>,
}

impl Call<'_, '_> {
    pub(super) fn perform(&mut self, command: &Command) -> Result<(), Ended> {
        match command.deed {
            Deed::Declare(object) => self.declare(object),
            Deed::Delete(object) => {
                let path = match object.name {
                    "binding" => self.binding_path(object),
                    _ => Ok(self.path(object.path)),
                };
                let deleted = path.and_then(|path| self.ask(&Method::DELETE, &path, None));
                self.unless_gone(deleted)
            }
            Deed::List(list) => self.list(list),
            Deed::Other(other) => self.perform_other(other, command.flags),
        }
    }

    fn list(&mut self, list: &List) -> Result<(), Ended> {
        let path = match list.scope {
            Scope::Vhost => format!("{}/{}", list.path, quoted(&self.settings.vhost)),
            Scope::All | Scope::Taken => list.path.to_owned(),
        };
        let mut objects = self.ask(&Method::GET, &path, None)?;
        if list.scope == Scope::Taken {
            let all = Json::parse(&objects).unwrap_or(Json::Null);
            let is_here = |object: &&Json| {
                object.get("vhost").and_then(Json::as_text) == Some(&self.settings.vhost)
            };
            let here = all.elements().iter().filter(is_here).cloned().collect();
            objects = Json::List(here).to_line();
        }
        self.print_rows(&objects, list.columns);
        Ok(())
    }

    fn perform_other(&mut self, other: Other, flags: &[Flag]) -> Result<(), Ended> {
        match other {
            Other::Publish => self.publish(flags),
            Other::Get => {
                let count = self.value("count", flags).parse().unwrap_or(1_i64);
                let body = Json::Object(vec![
                    ("count".to_owned(), Json::Number(count.into())),
                    ("ackmode".to_owned(), Json::text(self.value("ack-mode", flags))),
                    ("encoding".to_owned(), Json::text("auto")),
                ]);
                let path = self.path("/queues/{vhost}/{queue}/get");
                let messages = self.ask(&Method::POST, &path, Some(&body))?;
                self.print_rows(&messages, MESSAGES);
                Ok(())
            }
            Other::Purge => {
                let path = self.path("/queues/{vhost}/{name}/contents");
                self.ask(&Method::DELETE, &path, None).map(drop)
            }
            Other::CloseConnection => {
                let closed = self.ask(&Method::DELETE, &self.path("/connections/{name}"), None);
                self.unless_gone(closed)
            }
            Other::CloseUser => {
                let path = self.path("/connections/username/{username}");
                let closed = self.ask(&Method::DELETE, &path, None);
                self.unless_gone(closed)
            }
            Other::Overview => self.overview("Overview", OVERVIEW),
            Other::Churn => self.overview(
                "Entity (connections, queues, etc) churn over the most recent sampling period",
                CHURN,
            ),
            Other::Endpoint => {
                self.console.print(format!("Using endpoint: {}\n", self.settings.endpoint()));
                Ok(())
            }
            Other::Export => self.export("/definitions"),
            Other::ExportVhost => self.export(&self.path("/definitions/{vhost}")),
            Other::Import => self.import("/definitions"),
            Other::ImportVhost => self.import(&self.path("/definitions/{vhost}")),
            Other::Check(check) => self.check(&self.path(check)),
        }
    }

    fn ask(&self, method: &Method, path: &str, body: Option<&Json>) -> Result<String, Ended> {
        let body = body.map(Json::to_line);
        api::succeed(self.settings, method, path, body.as_deref().map(str::as_bytes))
    }

    /// What was said for an option, or what it is otherwise.
    fn value<'a>(&'a self, name: &str, flags: &[Flag]) -> &'a str {
        let otherwise = || flags.iter().find(|flag| flag.name == name)?.otherwise;
        self.said.get(name).or_else(otherwise).unwrap_or_default()
    }

    /// A path with the values of options in it.
    fn path(&self, template: &str) -> String {
        let mut path = String::new();
        for part in template.split('{') {
            let Some((name, rest)) = part.split_once('}') else {
                path.push_str(part);
                continue;
            };
            match name {
                "vhost" => path.push_str(&quoted(&self.settings.vhost)),
                "destination-char" => {
                    let is_exchange = self.said.get("destination-type") == Some("exchange");
                    path.push(if is_exchange { 'e' } else { 'q' });
                }
                name => path.push_str(&quoted(self.said.get(name).unwrap_or_default())),
            }
            path.push_str(rest);
        }
        path
    }

    fn declare(&self, object: &Object) -> Result<(), Ended> {
        let mut body = Vec::new();
        for flag in object.declare {
            let (Some(field), Some(value)) =
                (flag.field, self.said.get(flag.name).or(flag.otherwise))
            else {
                continue;
            };
            body.push((field.to_owned(), json_of(flag.kind, value)?));
        }
        match object.name {
            "user" => match (self.said.is_set("password"), self.said.is_set("password-hash")) {
                (false, false) => {
                    let text = "Please provide either --password or --password-hash";
                    return Err(Ended::Usage(text.to_owned()));
                }
                (true, true) => {
                    let text = "Please provide either --password or --password-hash, not both";
                    return Err(Ended::Usage(text.to_owned()));
                }
                _ => {}
            },
            "queue" => to_argument(&mut body, "type", "x-queue-type"),
            "stream" => {
                body.push(("type".to_owned(), Json::text("stream")));
                body.push(("durable".to_owned(), Json::Bool(true)));
                to_argument(&mut body, "type", "x-queue-type");
                to_argument(&mut body, "expiration", "x-max-age");
                to_argument(&mut body, "max-length-bytes", "x-max-length-bytes");
                to_argument(
                    &mut body,
                    "stream-max-segment-size-bytes",
                    "x-stream-max-segment-size-bytes",
                );
            }
            _ => {}
        }
        let method = if object.name == "binding" { Method::POST } else { Method::PUT };
        self.ask(&method, &self.path(object.path), Some(&Json::Object(body))).map(drop)
    }

    /// The path of the one binding that is meant.
    fn binding_path(&self, object: &Object) -> Result<String, Ended> {
        let path = self.path(object.path);
        let bindings = Json::parse(&self.ask(&Method::GET, &path, None)?).unwrap_or(Json::Null);
        let routing_key = self.said.get("routing-key").unwrap_or_default();
        let arguments = self.said.get("arguments").map(|text| json_of(Kind::Json, text));
        let arguments = arguments.transpose()?;
        let is_meant = |binding: &&Json| {
            binding.get("routing_key").and_then(Json::as_text) == Some(routing_key)
                && arguments.as_ref().is_none_or(|arguments| {
                    let own = binding.get("arguments").unwrap_or(&Json::Null);
                    own.to_lines() == arguments.to_lines()
                })
        };
        let found: Vec<_> = bindings.elements().iter().filter(is_meant).collect();
        let [binding] = found[..] else {
            return Err(match found.is_empty() {
                true => Ended::NotFound,
                false => Ended::Data(
                    "multiple bindings match, cannot determine which binding to delete without explicitly provided \
                     binding properties"
                        .to_owned(),
                ),
            });
        };
        let key = binding.get("properties_key").and_then(Json::as_text).unwrap_or("~");
        Ok(format!("{path}/{}", quoted(key)))
    }

    /// What is gone already may be a success.
    fn unless_gone(&self, deleted: Result<String, Ended>) -> Result<(), Ended> {
        match deleted {
            Err(Ended::NotFound) if self.said.is_set("idempotently") => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    fn print_rows(&mut self, objects: &str, columns: &[Column]) {
        let objects = Json::parse(objects).unwrap_or(Json::Null);
        let rows: Vec<Vec<String>> = objects
            .elements()
            .iter()
            .map(|object| columns.iter().map(|column| column.of(object)).collect())
            .collect();
        let headings: Vec<_> = columns.iter().map(|column| column.0).collect();
        self.console.print(draw(None, &headings, &rows, self.settings.style));
    }

    fn overview(&mut self, title: &str, rows: &[(&str, &str)]) -> Result<(), Ended> {
        let overview = self.ask(&Method::GET, "/overview", None)?;
        let overview = Json::parse(&overview).unwrap_or(Json::Null);
        let text = |path: &str| match overview.at(path) {
            None | Some(Json::Null | Json::Object(_) | Json::List(_)) => String::new(),
            Some(Json::Text(text)) => text.clone(),
            Some(Json::Number(number)) if number.is_f64() => {
                number.as_f64().map(|float| float.to_string()).unwrap_or_default()
            }
            Some(other) => other.to_compact(),
        };
        let rows: Vec<_> =
            rows.iter().map(|(key, path)| vec![(*key).to_owned(), text(path)]).collect();
        self.console.print(draw(Some(title), &["key", "value"], &rows, self.settings.style));
        Ok(())
    }

    fn publish(&mut self, flags: &[Flag]) -> Result<(), Ended> {
        let payload = match self.said.get("payload-file") {
            Some("-") => self.input()?,
            Some(file) => read(file)?,
            None => self.value("payload", flags).to_owned(),
        };
        let exchange = match self.value("exchange", flags) {
            "" => "amq.default",
            exchange => exchange,
        };
        let properties = json_of(Kind::Json, self.value("properties", flags))?;
        let body = Json::Object(vec![
            ("routing_key".to_owned(), Json::text(self.value("routing-key", flags))),
            ("payload".to_owned(), Json::Text(payload)),
            ("payload_encoding".to_owned(), Json::text("string")),
            ("properties".to_owned(), properties),
        ]);
        let path = format!("{}/{}/publish", self.path("/exchanges/{vhost}"), quoted(exchange));
        let answer = self.ask(&Method::POST, &path, Some(&body))?;
        let routed = Json::parse(&answer).and_then(|json| json.get("routed").cloned());
        self.console.print(match routed {
            Some(Json::Bool(true)) => "Message published and routed successfully\n",
            _ => "Message published but NOT routed\n",
        });
        Ok(())
    }

    fn export(&mut self, path: &str) -> Result<(), Ended> {
        let definitions = self.ask(&Method::GET, path, None)?;
        match self.said.get("file") {
            Some("-") | None => self.console.print(format!("{definitions}\n")),
            Some(_) if self.said.is_set("stdout") => {
                self.console.print(format!("{definitions}\n"));
            }
            Some(file) => std::fs::write(file, definitions).map_err(|error| {
                Ended::Data(format!(
                    "Command execution failed: `{file}` cannot be written: {error}"
                ))
            })?,
        }
        Ok(())
    }

    fn import(&mut self, path: &str) -> Result<(), Ended> {
        let definitions = match self.said.get("file") {
            Some("-") => self.input()?,
            Some(file) => read(file)?,
            None if self.said.is_set("stdin") => self.input()?,
            None => {
                let text = "either --file or --stdin must be provided";
                return Err(Ended::Usage(text.to_owned()));
            }
        };
        api::succeed(self.settings, &Method::POST, path, Some(definitions.as_bytes())).map(drop)
    }

    fn input(&mut self) -> Result<String, Ended> {
        let bytes = self.console.read_to_end(INPUT_BYTES);
        let bytes =
            bytes.map_err(|error| Ended::Data(format!("Command execution failed: {error}")))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn check(&mut self, check: &str) -> Result<(), Ended> {
        let path = format!("health/checks/{check}");
        let answer = api::ask(self.settings, &Method::GET, &format!("/{path}"), None);
        let answer = answer.map_err(|ended| match ended {
            Ended::Data(text) => Ended::Unavailable(text),
            ended => ended,
        })?;
        if answer.status.is_success() {
            if !self.settings.quiet {
                self.console.print("health check passed\n");
            }
            return Ok(());
        }
        let details = Json::parse(&String::from_utf8_lossy(&answer.body)).unwrap_or(Json::Null);
        let Some(reason) = details.get("reason").and_then(Json::as_text) else {
            return Err(Ended::Unavailable(format!(
                "API responded with a client error: status code of {}",
                answer.status
            )));
        };
        let mut rows = vec![
            ["result", "health check failed"].map(str::to_owned).to_vec(),
            vec!["path".to_owned(), path],
            vec!["status_code".to_owned(), answer.status.to_string()],
            ["reason", reason].map(str::to_owned).to_vec(),
        ];
        for alarm in details.get("alarms").map(Json::elements).unwrap_or_default() {
            let field = |name: &str| alarm.get(name).and_then(Json::as_text).unwrap_or_default();
            let key = format!("alarm in effect on node {}", field("node"));
            rows.push(vec![key, field("resource").to_owned()]);
        }
        for (key, name) in [("inactive port", "port"), ("inactive protocol", "protocol")] {
            if let Some(value) = self.said.get(name) {
                rows.push(vec![key.to_owned(), value.to_owned()]);
            }
        }
        Err(Ended::Unhealthy(draw(None, &["key", "value"], &rows, self.settings.style)))
    }
}

/// The rows of an overview, with where their values are.
const OVERVIEW: &[(&str, &str)] = &[
    ("Product name", "product_name"),
    ("Product version", "product_version"),
    ("RabbitMQ version", "rabbitmq_version"),
    ("Erlang version", "erlang_version"),
    ("Erlang details", "erlang_full_version"),
    ("Connections (total)", "object_totals.connections"),
    ("AMQP 0-9-1 channels (total)", "object_totals.channels"),
    ("Queues and streams (total)", "object_totals.queues"),
    ("Consumers (total)", "object_totals.consumers"),
    ("Messages (total)", "queue_totals.messages"),
    ("Messages ready for delivery (total)", "queue_totals.messages_ready"),
    (
        "Messages delivered but unacknowledged by consumers (total)",
        "queue_totals.messages_unacknowledged",
    ),
    ("Publishing (ingress) rate (global)", "message_stats.publish_details.rate"),
    ("Publishing confirm rate (global)", "message_stats.confirm_details.rate"),
    ("Consumer delivery (egress) rate (global)", "message_stats.deliver_details.rate"),
    (
        "Consumer delivery in automatic acknowledgement mode rate (global)",
        "message_stats.deliver_no_ack_details.rate",
    ),
    ("Consumer acknowledgement rate (global)", "message_stats.ack_details.rate"),
    (
        "Unroutable messages: returned-to-publisher rate (global)",
        "message_stats.return_unroutable_details.rate",
    ),
    ("Unroutable messages: dropped rate (global)", "message_stats.drop_unroutable_details.rate"),
    ("Cluster tags", "cluster_tags"),
    ("Node tags", "node_tags"),
];

const CHURN: &[(&str, &str)] = &[
    ("Client connections opened", "churn_rates.connection_created"),
    ("Client connections closed", "churn_rates.connection_closed"),
    ("Client channels opened", "churn_rates.channel_created"),
    ("Client channels closed", "churn_rates.channel_closed"),
    ("Queues and streams (re)declarations", "churn_rates.queue_declared"),
    ("Queues and streams created", "churn_rates.queue_created"),
    ("Queues and streams deleted", "churn_rates.queue_deleted"),
];

/// The value of an option as a field.
fn json_of(kind: Kind, value: &str) -> Result<Json, Ended> {
    Ok(match kind {
        Kind::Text => Json::text(value),
        Kind::Switch | Kind::Choice => Json::Bool(value == "true"),
        Kind::Number => Json::Number(value.parse::<i64>().unwrap_or(0).into()),
        Kind::Json => Json::read(value).map_err(|error| {
            let text =
                format!("Failed to parse JSON argument: `{value}` is not a valid JSON: {error}");
            Ended::Data(text)
        })?,
    })
}

/// Makes an argument of a field, if it is there.
fn to_argument(body: &mut Vec<(String, Json)>, field: &str, argument: &str) {
    let Some(index) = body.iter().position(|(name, _)| name == field) else { return };
    let (_, value) = body.remove(index);
    // A number stays one: all that is asked for here are lengths in bytes, and words.
    let value = match &value {
        Json::Text(text) => {
            text.parse::<i64>().map_or(value.clone(), |number| Json::Number(number.into()))
        }
        _ => value,
    };
    if let Some((_, Json::Object(arguments))) =
        body.iter_mut().find(|(name, _)| name == "arguments")
    {
        arguments.retain(|(name, _)| name != argument);
        arguments.push((argument.to_owned(), value));
    }
}

/// The text of a file.
fn read(file: &str) -> Result<String, Ended> {
    std::fs::read_to_string(file).map_err(|error| {
        Ended::Data(format!(
            "Command execution failed: `{file}` does not exist or is not readable: {error}"
        ))
    })
}
