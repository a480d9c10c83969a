//! Reading definitions as lenient as RabbitMQ reads them, with an error that says where.

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

use super::{Definitions, DefinitionsError, Limits, VhostEntry};

/// Reads all categories that are there.
pub(super) fn definitions(json: &[u8]) -> Result<Definitions, DefinitionsError> {
    // Some editors begin a file with it.
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    if json.is_empty() {
        return Ok(Definitions::default());
    }
    let json: Value = serde_json::from_slice(json)
        .map_err(|error| DefinitionsError::NotJson(error.to_string()))?;
    let Value::Object(mut categories) = json else {
        return Err(invalid("the beginning", "not an object"));
    };
    let unknown_keys = unknown_keys(&categories);
    let mut text = |name: &str| match categories.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(name, "not a text")),
    };
    Ok(Definitions {
        rabbit_version: text("rabbit_version")?,
        rabbitmq_version: text("rabbitmq_version")?,
        product_name: text("product_name")?,
        product_version: text("product_version")?,
        users: entries(&mut categories, "users")?,
        vhosts: entries(&mut categories, "vhosts")?,
        permissions: entries(&mut categories, "permissions")?,
        topic_permissions: entries(&mut categories, "topic_permissions")?,
        parameters: entries(&mut categories, "parameters")?,
        global_parameters: entries(&mut categories, "global_parameters")?,
        policies: entries(&mut categories, "policies")?,
        queues: entries(&mut categories, "queues")?,
        exchanges: entries(&mut categories, "exchanges")?,
        bindings: entries(&mut categories, "bindings")?,
        unknown_keys,
    })
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The categories, and what entries of each have. Also what RabbitMQ of some version writes that means nothing here.
const KNOWN_KEYS: [(&str, &[&str]); 10] = [
    ("users", &["name", "password_hash", "password", "hashing_algorithm", "tags", "limits"]),
    (
        "vhosts",
        &[
            "name",
            "description",
            "tags",
            "default_queue_type",
            "metadata",
            "limits",
            "tracing",
            "protected_from_deletion",
        ],
    ),
    ("permissions", &["user", "vhost", "configure", "write", "read"]),
    ("topic_permissions", &["user", "vhost", "exchange", "write", "read"]),
    ("parameters", &["vhost", "component", "name", "value"]),
    ("global_parameters", &["name", "value"]),
    ("policies", &["vhost", "name", "pattern", "apply-to", "definition", "priority"]),
    ("queues", &["name", "vhost", "durable", "auto_delete", "exclusive", "type", "arguments"]),
    ("exchanges", &["name", "vhost", "type", "durable", "auto_delete", "internal", "arguments"]),
    (
        "bindings",
        &[
            "source",
            "vhost",
            "destination",
            "destination_type",
            "routing_key",
            "arguments",
            "properties_key",
        ],
    ),
];

/// What may stand beside the categories.
const KNOWN_TEXTS: [&str; 12] = [
    "rabbit_version",
    "rabbitmq_version",
    "product_name",
    "product_version",
    "rabbitmq_definition_format",
    "original_cluster_name",
    "original_vhost_name",
    "explanation",
    "metadata",
    "description",
    "default_queue_type",
    "limits",
];

/// Keys that nothing is known of, each once.
fn unknown_keys(categories: &Map<String, Value>) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    for (category, entries) in categories {
        let known = KNOWN_KEYS.iter().find(|(name, _)| name == category);
        let Some((_, known)) = known else {
            if !KNOWN_TEXTS.contains(&category.as_str()) {
                unknown.insert(format!("'{category}'"));
            }
            continue;
        };
        let keys = entries.as_array().into_iter().flatten().filter_map(Value::as_object);
        let keys = keys.flat_map(Map::keys).filter(|key| !known.contains(&key.as_str()));
        unknown.extend(keys.map(|key| format!("'{key}' in {category}")));
    }
    unknown
}

fn entries<T: DeserializeOwned>(
    categories: &mut Map<String, Value>,
    category: &str,
) -> Result<Vec<T>, DefinitionsError> {
    let entries = match categories.remove(category) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(invalid(category, "not a list")),
    };
    let entries = entries.into_iter().enumerate();
    entries
        .map(|(index, entry)| {
            let name = ["name", "user", "source"].iter().find_map(|key| entry.get(key)?.as_str());
            let place = match name {
                Some(name) => format!("{category}[{index}] '{name}'"),
                None => format!("{category}[{index}]"),
            };
            if !entry.is_object() {
                return Err(invalid(place, "not an object"));
            }
            serde_json::from_value(entry).map_err(|error| invalid(place, error.to_string()))
        })
        .collect()
}

fn invalid(place: impl Into<String>, reason: impl Into<String>) -> DefinitionsError {
    DefinitionsError::Invalid { place: place.into(), reason: reason.into() }
}

/// A virtual host as it stands in definitions. What it is like stands beside its name or, newer,
/// among its metadata.
#[derive(Serialize, Deserialize)]
pub(super) struct Vhost {
    name: String,
    #[serde(default, skip_serializing)]
    description: Option<String>,
    #[serde(default, skip_serializing, deserialize_with = "some_tags")]
    tags: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    default_queue_type: Option<String>,
    #[serde(default, skip_serializing)]
    tracing: Option<bool>,
    #[serde(default, skip_serializing)]
    protected_from_deletion: Option<bool>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, deserialize_with = "limits")]
    limits: Limits,
}

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default)]
    description: String,
    #[serde(default, deserialize_with = "tags")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_queue_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protected_from_deletion: Option<bool>,
}

impl From<Vhost> for VhostEntry {
    fn from(read: Vhost) -> Self {
        let Vhost { name, description, tags, tracing, metadata, limits, .. } = read;
        // rabbitmq: writes out that there is none. Of two, the one among the metadata counts.
        let is_one = |queue_type: &String| queue_type != "undefined";
        let kind = metadata.default_queue_type.filter(is_one);
        let is_protected = read.protected_from_deletion.or(metadata.protected_from_deletion);
        VhostEntry {
            name,
            description: description.unwrap_or(metadata.description),
            tags: tags.unwrap_or(metadata.tags),
            default_queue_type: kind.or(read.default_queue_type.filter(is_one)),
            tracing,
            protected_from_deletion: is_protected,
            limits,
        }
    }
}

impl From<VhostEntry> for Vhost {
    fn from(entry: VhostEntry) -> Self {
        let VhostEntry { name, description, tags, default_queue_type, limits, .. } = entry;
        let protected_from_deletion = entry.protected_from_deletion;
        let metadata = Metadata { description, tags, default_queue_type, protected_from_deletion };
        Vhost {
            name,
            description: None,
            tags: None,
            default_queue_type: None,
            tracing: None,
            protected_from_deletion: None,
            metadata,
            limits,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "tags are a list of texts, or one with commas")]
enum Tags {
    List(Vec<String>),
    Text(String),
}

/// rabbitmq: a text with commas until 3.8, a list since.
pub(super) fn tags<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Tags::deserialize(from)? {
        Tags::List(tags) => tags,
        Tags::Text(text) => {
            let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
            tags.map(str::to_owned).collect()
        }
    })
}

fn some_tags<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    tags(from).map(Some)
}

/// rabbitmq: an empty object may have become an empty list on its way through Erlang.
pub(super) fn object<'de, D: Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        Value::Array(values) if values.is_empty() => Ok(Map::new()),
        other => Err(D::Error::custom(format!("expected an object, found {other}"))),
    }
}

/// A text, or none.
///
/// invariant: the wrong value is not shown, as it may be a password.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(D::Error::custom("a password or its hash should be a text")),
    }
}

pub(super) fn limits<'de, D: Deserializer<'de>>(from: D) -> Result<Limits, D::Error> {
    let limit = |(name, value): (String, Value)| match value.as_i64() {
        Some(limit) => Ok((name, limit)),
        None => Err(D::Error::custom(format!("the limit '{name}' is not a whole number"))),
    };
    object(from)?.into_iter().map(limit).collect()
}

pub(super) fn priority<'de, D: Deserializer<'de>>(from: D) -> Result<Number, D::Error> {
    match Value::deserialize(from)? {
        Value::Number(number) => Ok(number),
        other => {
            Err(D::Error::custom(format!("priority should be a number, actually was {other}")))
        }
    }
}

pub(super) fn no_priority() -> Number {
    0.into()
}

/// What a policy is for of which nothing is said.
pub(super) fn all() -> String {
    "all".to_owned()
}

/// Arguments as an object.
pub(super) mod arguments {
    use leveret_codec::TableBuf;
    use serde::de::Error as _;
    use serde::{Deserializer, Serialize, Serializer};

    use super::super::field_table;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<TableBuf, D::Error> {
        field_table::from_json(&super::object(from)?).map_err(D::Error::custom)
    }

    pub(in super::super) fn serialize<S: Serializer>(
        table: &TableBuf,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        field_table::to_json(table.as_table()).serialize(to)
    }
}
