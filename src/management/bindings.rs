//! Bindings, of queues and of exchanges.
//!
//! A binding's name in paths is its routing key, quoted, `~` for an empty one; with arguments, `~`
//! and a hash of them follow.
//!
//! rabbitmq: hashes the arguments as Erlang writes them; here it is their bytes. Nobody can
//! compute either, the name comes from a list or from the answer to a POST.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leveret_codec::method::{exchange, queue};
use leveret_codec::{Method, ShortStr, Table};
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::exchanges::{arguments, from_path, short};
use super::list::ListQuery;
use super::local_client::LocalClient;
use super::{Answer, Api, AppState, exchanges, queues, show};
use crate::broker::snapshot::BindingSnapshot;
use crate::broker::vhost::BindingsOf;

/// How lists of bindings are sorted.
const ORDER: [&str; 6] =
    ["vhost", "source", "destination_type", "destination", "routing_key", "properties_key"];

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/bindings", get(list))
        .route("/bindings/{vhost}", get(of_vhost))
        .route("/exchanges/{vhost}/{exchange}/bindings/source", get(of_source))
        .route("/exchanges/{vhost}/{exchange}/bindings/destination", get(of_exchange))
        .route("/queues/{vhost}/{queue}/bindings", get(of_queue))
        .route("/bindings/{vhost}/e/{source}/{kind}/{destination}", get(between).post(bind))
        .route("/bindings/{vhost}/e/{source}/{kind}/{destination}/{name}", get(one).delete(unbind))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let vhosts = app.vhosts.running().into_iter();
    let listed = vhosts.filter(|(name, _)| caller.lists_vhost(&app, name));
    let shown = listed.flat_map(|(vhost, handle)| {
        let mut bindings = Vec::new();
        handle.visit_bindings(BindingsOf::Vhost, |binding| bindings.push(shown(&vhost, &binding)));
        bindings
    });
    query.list_by(shown.collect(), &ORDER)
}

/// The bindings of a virtual host that are chosen.
fn chosen(
    app: &AppState,
    caller: &Caller,
    query: &ListQuery,
    vhost: &str,
    chosen: impl Fn(&BindingSnapshot) -> bool,
) -> Answer {
    caller.needs_vhost(app, vhost)?;
    let mut bindings = Vec::new();
    app.vhost(vhost)?.visit_bindings(BindingsOf::Vhost, |binding| {
        if chosen(&binding) {
            bindings.push(shown(vhost, &binding));
        }
    });
    query.list_by(bindings, &ORDER)
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    chosen(&app, &caller, &query, &vhost, |_| true)
}

type Names = Path<(String, String)>;

async fn of_source(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    let name = existing(&app, &caller, &vhost, from_path(&name), exchanges::exists)?;
    chosen(&app, &caller, &query, &vhost, |it| it.source.as_bytes() == name.as_bytes())
}

async fn of_exchange(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    let name = existing(&app, &caller, &vhost, from_path(&name), exchanges::exists)?;
    chosen(&app, &caller, &query, &vhost, |it| {
        !it.destination.is_queue() && it.destination.name().as_bytes() == name.as_bytes()
    })
}

async fn of_queue(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    let name = existing(&app, &caller, &vhost, &name, queues::exists)?;
    chosen(&app, &caller, &query, &vhost, |it| {
        it.destination.is_queue() && it.destination.name().as_bytes() == name.as_bytes()
    })
}

/// The name, if there is something of it.
fn existing<'a>(
    app: &AppState,
    caller: &Caller,
    vhost: &str,
    name: &'a str,
    exists: fn(&AppState, &str, &str) -> bool,
) -> Result<&'a str, Failure> {
    caller.needs_vhost(app, vhost)?;
    if exists(app, vhost, name) { Ok(name) } else { Err(Failure::missing()) }
}

/// The two ends in a path.
struct Between {
    vhost: String,
    source: String,
    to_queue: bool,
    destination: String,
}

impl Between {
    fn parse(
        vhost: String,
        source: &str,
        kind: &str,
        destination: &str,
    ) -> Result<Between, Failure> {
        let to_queue = match kind {
            "q" => true,
            "e" => false,
            _ => return Err(Failure::missing()),
        };
        let destination = if to_queue { destination } else { from_path(destination) };
        let source = from_path(source).to_owned();
        Ok(Between { vhost, source, to_queue, destination: destination.to_owned() })
    }

    fn joins(&self, binding: &BindingSnapshot) -> bool {
        let destination = binding.destination.name();
        binding.destination.is_queue() == self.to_queue
            && binding.source.as_bytes() == self.source.as_bytes()
            && destination.as_bytes() == self.destination.as_bytes()
    }

    /// The binding of this name.
    fn find(&self, app: &AppState, name: &str) -> Result<BindingSnapshot, Failure> {
        let mut found = None;
        app.vhost(&self.vhost)?.visit_bindings(BindingsOf::Vhost, |binding| {
            if self.joins(&binding) && is_named(&binding, name) {
                found = Some(binding);
            }
        });
        found.ok_or_else(Failure::missing)
    }
}

type Ends = Path<(String, String, String, String)>;

async fn between(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, destination)): Ends,
    query: ListQuery,
) -> Answer {
    let ends = Between::parse(vhost, &source, &kind, &destination)?;
    chosen(&app, &caller, &query, &ends.vhost, |binding| ends.joins(binding))
}

async fn bind(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, destination)): Ends,
    body: Payload,
) -> Answer {
    let ends = Between::parse(vhost, &source, &kind, &destination)?;
    caller.needs_vhost(&app, &ends.vhost)?;
    if app.vhosts.vhost(&ends.vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let object = body.object()?;
    let arguments = arguments(&object)?;
    let key = object.text_or_empty("routing_key")?;
    let (source, destination) = (short(&ends.source)?, short(&ends.destination)?);
    let (routing_key, arguments) = (short(key)?, arguments.as_table());
    let method = if ends.to_queue {
        Method::QueueBind(queue::Bind {
            queue: destination,
            exchange: source,
            routing_key,
            arguments,
            ..queue::Bind::default()
        })
    } else {
        Method::ExchangeBind(exchange::Bind {
            destination,
            source,
            routing_key,
            arguments,
            ..exchange::Bind::default()
        })
    };
    let mut client = LocalClient::open(&app, &caller, &ends.vhost).await?;
    client.call(method).await.map_err(|refusal| refusal.of_definition())?;
    // why: relative to the path of the request, as RabbitMQ has it.
    let sorted = crate::broker::message::sorted_entries(arguments);
    let name = properties_key(key.as_bytes(), sorted.as_table());
    Ok(answer::created_at(&format!("{}/{}", quoted(&ends.destination), quoted(&name))))
}

type Named = Path<(String, String, String, String, String)>;

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, destination, name)): Named,
    query: ListQuery,
) -> Answer {
    let ends = Between::parse(vhost, &source, &kind, &destination)?;
    caller.needs_vhost(&app, &ends.vhost)?;
    Ok(query.show(shown(&ends.vhost, &ends.find(&app, &name)?)))
}

async fn unbind(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, destination, name)): Named,
) -> Answer {
    let ends = Between::parse(vhost, &source, &kind, &destination)?;
    caller.needs_vhost(&app, &ends.vhost)?;
    let binding = ends.find(&app, &name)?;
    let (source, destination) = (short(&ends.source)?, short(&ends.destination)?);
    let (routing_key, arguments) = (binding.routing_key.as_short(), binding.arguments.as_table());
    let method = if ends.to_queue {
        Method::QueueUnbind(queue::Unbind {
            queue: destination,
            exchange: source,
            routing_key,
            arguments,
            ticket: 0,
        })
    } else {
        Method::ExchangeUnbind(exchange::Unbind {
            destination,
            source,
            routing_key,
            arguments,
            ..exchange::Unbind::default()
        })
    };
    let mut client = LocalClient::open(&app, &caller, &ends.vhost).await?;
    let unbound = client.call(method).await;
    unbound.map(|_| answer::done()).map_err(|refusal| refusal.of_definition())
}

fn shown(vhost: &str, binding: &BindingSnapshot) -> Value {
    json!({
        "source": binding.source.to_string(),
        "vhost": vhost,
        "destination": binding.destination.name().to_string(),
        "destination_type": if binding.destination.is_queue() { "queue" } else { "exchange" },
        "routing_key": binding.routing_key.to_string(),
        "arguments": show::table(binding.arguments.as_table()),
        "properties_key": name_of(binding),
    })
}

fn name_of(binding: &BindingSnapshot) -> String {
    properties_key(binding.routing_key.as_bytes(), binding.arguments.as_table())
}

/// What a binding is called in paths.
fn properties_key(routing_key: &[u8], arguments: Table<'_>) -> String {
    let key = ShortStr::truncated(routing_key).to_string();
    match (key.is_empty(), arguments.is_empty()) {
        (true, true) => "~".to_owned(),
        (false, true) => quoted(&key),
        _ => {
            let hash = URL_SAFE_NO_PAD.encode(Md5::digest(arguments.as_bytes()));
            format!("{}~{hash}", quoted(&key))
        }
    }
}

/// Whether a path, after it was taken apart, names this binding: its key is quoted still, or not
/// any more.
fn is_named(binding: &BindingSnapshot, name: &str) -> bool {
    let own = name_of(binding);
    if own == name {
        return true;
    }
    let unquoted = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    match (own.split_once('~'), name.rsplit_once('~')) {
        (Some((_, hash)), Some((key, named))) => {
            !hash.is_empty() && hash == named && unquoted(key) == binding.routing_key.to_string()
        }
        (None, _) => {
            let key = binding.routing_key.to_string();
            unquoted(name) == key || name == key
        }
        _ => false,
    }
}

/// Everything that stands for itself in a quoted name.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b' ');

fn quoted(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use leveret_codec::table::{TableBuilder, Value};
    use leveret_codec::{ShortString, TableBuf};

    use super::*;
    use crate::broker::snapshot::DestinationName;

    fn binding(key: &str, arguments: TableBuf) -> BindingSnapshot {
        BindingSnapshot {
            source: ShortString::truncated(b"x"),
            destination: DestinationName::Queue(ShortString::truncated(b"q")),
            routing_key: ShortString::truncated(key.as_bytes()),
            arguments,
        }
    }

    #[test]
    fn a_binding_is_named_after_its_key() {
        for (key, name) in [("", "~"), ("a.b", "a.b"), ("a b/#", "a+b%2F%23"), ("~", "%7E")] {
            assert_eq!(name_of(&binding(key, TableBuf::default())), name);
        }
    }

    #[test]
    fn a_binding_is_found_by_its_name_however_it_came() {
        let plain = binding("a b/#", TableBuf::default());
        assert!(is_named(&plain, "a+b%2F%23") && is_named(&plain, "a b/#"));
        assert!(!is_named(&plain, "a") && !is_named(&plain, "~"));
        assert!(is_named(&binding("", TableBuf::default()), "~"));

        let mut arguments = TableBuilder::default();
        arguments.push(b"x-match", &Value::LongStr(b"any"));
        for key in ["", "k#"] {
            let with = binding(key, arguments.clone().finish());
            let name = name_of(&with);
            assert_eq!(name.len(), quoted(key).len() + 23);
            assert!(is_named(&with, &name) && is_named(&with, &name.replace("%23", "#")));
            assert!(!is_named(&with, "~") && !is_named(&with, key) && !is_named(&with, "~x"));
        }
    }
}
