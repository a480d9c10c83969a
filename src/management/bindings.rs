//! Bindings, of queues and of exchanges.
//!
//! A binding's name in paths is its routing key, quoted, `~` for an empty one; with arguments, `~`
//! and a hash of them follow.
//!
//! rabbitmq: hashes the arguments as Erlang writes them; here it is their bytes. Nobody can
//! compute either, the name comes from a list or from the answer to a POST.

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leveret_codec::method::{exchange, queue};
use leveret_codec::{Method, ShortStr, ShortString, Table};
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::exchanges::{arguments, from_path, short};
use super::fields::Field;
use super::list::ListQuery;
use super::listing::{self, Listing, ObjectKind};
use super::local_client::LocalClient;
use super::{Answer, Api, AppState, exchanges, off_thread, queues, show};
use crate::broker::snapshot::{BindingSnapshot, DestinationName};
use crate::broker::vhost::{BindingVisit, BindingsOf, Vhost};
use crate::handle::{PLACES_A_HOLD, Peers};

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
    Listing::of_all(&app, &caller, query, Bindings(BindingsOf::Vhost)).answer().await
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    Listing::of_vhost(&app, query, Bindings(BindingsOf::Vhost), &vhost)?.answer().await
}

type Names = Path<(String, String)>;

async fn of_source(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let name = from_path(&name);
    let exists = exchanges::exists(&app, &vhost, name).await;
    of_existing(&app, query, &vhost, exists, BindingsOf::Source(short(name)?.into())).await
}

async fn of_exchange(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let name = from_path(&name);
    let exists = exchanges::exists(&app, &vhost, name).await;
    let destination = DestinationName::Exchange(short(name)?.into());
    of_existing(&app, query, &vhost, exists, BindingsOf::Destination(destination)).await
}

async fn of_queue(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let exists = queues::exists(&app, &vhost, &name).await;
    let destination = DestinationName::Queue(short(&name)?.into());
    of_existing(&app, query, &vhost, exists, BindingsOf::Destination(destination)).await
}

/// The bindings of something, if it is there.
async fn of_existing(
    app: &Api,
    query: ListQuery,
    vhost: &str,
    exists: bool,
    of: BindingsOf,
) -> Answer {
    if !exists {
        return Err(Failure::missing());
    }
    Listing::of_vhost(app, query, Bindings(of), vhost)?.answer().await
}

/// Bindings, those that are named.
struct Bindings(BindingsOf);

impl ObjectKind for Bindings {
    /// A binding is named by all that it is.
    type Row = BindingSnapshot;
    type Object = BindingSnapshot;
    type Visit = BindingVisit;

    const FIELDS: &'static [Field<BindingSnapshot>] = &FIELDS;

    fn visit(&self) -> BindingVisit {
        BindingVisit::new(self.0.clone())
    }

    fn step(
        &self,
        vhost: &Vhost,
        _: Peers<'_>,
        visit: &mut BindingVisit,
        rows: &mut Vec<BindingSnapshot>,
    ) -> bool {
        vhost.visit_bindings(visit, PLACES_A_HOLD, &mut |binding| rows.push(binding))
    }

    fn read(_: &Vhost, _: Peers<'_>, row: &BindingSnapshot) -> Option<BindingSnapshot> {
        Some(row.clone())
    }

    fn name(_: &BindingSnapshot) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

/// What a binding shows.
const FIELDS: [Field<BindingSnapshot>; 7] = [
    ("source", |_, it| it.source.to_string().into()),
    ("vhost", |context, _| context.vhost.into()),
    ("destination", |_, it| it.destination.name().to_string().into()),
    ("destination_type", |_, it| {
        if it.destination.is_queue() { "queue".into() } else { "exchange".into() }
    }),
    ("routing_key", |_, it| it.routing_key.to_string().into()),
    ("arguments", |_, it| show::table(it.arguments.as_table()).into()),
    ("properties_key", |_, it| name_of(it).into()),
];

/// The two ends in a path.
struct Between {
    vhost: String,
    source: ShortString,
    destination: DestinationName,
}

impl Between {
    fn parse(
        vhost: String,
        source: &str,
        kind: &str,
        destination: &str,
    ) -> Result<Between, Failure> {
        let destination = match kind {
            "q" => DestinationName::Queue(short(destination)?.into()),
            "e" => DestinationName::Exchange(short(from_path(destination))?.into()),
            _ => return Err(Failure::missing()),
        };
        Ok(Between { vhost, source: short(from_path(source))?.into(), destination })
    }

    /// The bindings between them, those with this key if there is one.
    fn bindings(&self, key: Option<ShortString>) -> BindingsOf {
        BindingsOf::Between(self.source.clone(), self.destination.clone(), key)
    }

    /// The binding of this name.
    async fn find(&self, app: &AppState, name: &str) -> Result<BindingSnapshot, Failure> {
        let handle = app.vhost(&self.vhost)?;
        let keys = keys_of(name).into_iter();
        let of_keys: Vec<_> = keys.map(|key| self.bindings(Some(key))).collect();
        let name = name.to_owned();
        let found = off_thread(move || {
            let mut found = None;
            for of_key in of_keys {
                handle.visit_bindings(of_key, |binding| {
                    if found.is_none() && is_named(&binding, &name) {
                        found = Some(binding);
                    }
                });
            }
            found
        });
        found.await.ok_or_else(Failure::missing)
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
    caller.needs_vhost(&app, &ends.vhost)?;
    Listing::of_vhost(&app, query, Bindings(ends.bindings(None)), &ends.vhost)?.answer().await
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
    let (source, destination) = (ends.source.as_short(), ends.destination.name().as_short());
    let (routing_key, arguments) = (short(key)?, arguments.as_table());
    let method = if ends.destination.is_queue() {
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
    let destination = ends.destination.name().to_string();
    Ok(answer::created_at(&format!("{}/{}", quoted(&destination), quoted(&name))))
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
    let found = ends.find(&app, &name).await?;
    Ok(query.show(listing::shown::<Bindings>(&app, &ends.vhost, &found)))
}

async fn unbind(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, destination, name)): Named,
) -> Answer {
    let ends = Between::parse(vhost, &source, &kind, &destination)?;
    caller.needs_vhost(&app, &ends.vhost)?;
    let binding = ends.find(&app, &name).await?;
    let (source, destination) = (ends.source.as_short(), ends.destination.name().as_short());
    let (routing_key, arguments) = (binding.routing_key.as_short(), binding.arguments.as_table());
    let method = if ends.destination.is_queue() {
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

/// The keys that a binding may have whose name this is in a path, see [`is_named`].
fn keys_of(name: &str) -> Vec<ShortString> {
    let before_hash = name.rsplit_once('~').map(|(key, _)| unquoted(key));
    let keys = [Some(unquoted(name)), Some(name.to_owned()), before_hash].into_iter().flatten();
    let mut keys: Vec<_> = keys.filter_map(|key| ShortString::new(key.as_bytes()).ok()).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Whether a path, after it was taken apart, names this binding: its key is quoted still, or not
/// any more.
fn is_named(binding: &BindingSnapshot, name: &str) -> bool {
    let own = name_of(binding);
    if own == name {
        return true;
    }
    let is_key = |text: &str| text.as_bytes() == binding.routing_key.as_bytes();
    match (own.split_once('~'), name.rsplit_once('~')) {
        (Some((_, hash)), Some((key, named))) => {
            !hash.is_empty() && hash == named && is_key(&unquoted(key))
        }
        (None, _) => is_key(&unquoted(name)) || is_key(name),
        _ => false,
    }
}

fn unquoted(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// Everything that stands for itself in a quoted name.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b' ');

fn quoted(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use leveret_codec::TableBuf;
    use leveret_codec::table::{TableBuilder, Value};

    use super::*;

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
        let finds = |binding: &BindingSnapshot, name: &str| {
            is_named(binding, name) && keys_of(name).contains(&binding.routing_key)
        };
        assert!(finds(&plain, "a+b%2F%23") && finds(&plain, "a b/#"));
        assert!(!is_named(&plain, "a") && !is_named(&plain, "~"));
        assert!(finds(&binding("", TableBuf::default()), "~"));
        assert!(finds(&binding("~", TableBuf::default()), "%7E"));

        let mut arguments = TableBuilder::default();
        arguments.push(b"x-match", &Value::LongStr(b"any"));
        for key in ["", "k#"] {
            let with = binding(key, arguments.clone().finish());
            let name = name_of(&with);
            assert_eq!(name.len(), quoted(key).len() + 23);
            assert!(finds(&with, &name) && finds(&with, &name.replace("%23", "#")));
            assert!(!is_named(&with, "~") && !is_named(&with, key) && !is_named(&with, "~x"));
        }
    }
}
