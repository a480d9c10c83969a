//! Frames of a scenario to octets, and fields and tables both ways, by the broker's own codec.
//!
//! Method fields are named once, in the list below. It is complete because the compiler asks for
//! every field of every struct that is named, and for every variant of the codec's methods.

use std::collections::BTreeMap;

use leveret_codec::method::{access, basic, channel, confirm, connection, exchange, queue, tx};
use leveret_codec::table::{Array, ArrayBuilder, TableBuilder};
use leveret_codec::{
    Encode, Method, Properties, PropertyFields, ShortStr, Table, Value as Field, encode, frame,
    wire,
};
use serde_json::{Map, Value, json};

use super::scenario::{Body, Frame, MethodFrame, hex};

/// The limit on frames until another one is agreed on, and where it is none.
pub(crate) const FRAME_MAX: u32 = 131_072;

/// A JSON object: the fields of a method, or properties.
type Object = Map<String, Value>;

/// The octets of a frame, or of the several that make up a content.
pub(crate) fn encode(sent: &Frame, frame_max: u32) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match sent {
        Frame::Method(method) => encode_method(&mut out, method, frame_max)?,
        Frame::Header(sent) => {
            let mut payload = Vec::new();
            wire::put_short(&mut payload, sent.header.class);
            wire::put_short(&mut payload, sent.header.weight);
            wire::put_longlong(&mut payload, sent.header.size);
            payload.extend(properties(&sent.header.props)?);
            raw_frame(&mut out, frame::HEADER, sent.ch, &payload);
        }
        Frame::Body(sent) => raw_frame(&mut out, frame::BODY, sent.ch, &sent.body.octets()),
        // Not the codec's: the channel of a heartbeat may be wrong on purpose.
        Frame::Heartbeat(sent) => raw_frame(&mut out, frame::HEARTBEAT, sent.ch, &[]),
        Frame::Raw { raw } => out.extend_from_slice(raw),
        Frame::ProtocolHeader { .. } | Frame::Eof { .. } | Frame::Undecodable { .. } => {
            return Err(format!("{sent} can only be received"));
        }
    }
    Ok(out)
}

fn encode_method(out: &mut Vec<u8>, sent: &MethodFrame, frame_max: u32) -> Result<(), String> {
    let fields = owned_fields(&sent.args)?;
    let method = to_method(&sent.method, &fields)?;
    encode::any_method(out, sent.ch, &method);
    if !sent.has_content() {
        return Ok(());
    }
    let body = sent.body.as_ref().map(Body::octets).unwrap_or_default();
    let properties = match &sent.props {
        Some(props) => properties(props)?,
        None => Properties::EMPTY.as_bytes().to_vec(),
    };
    encode::content_header(out, sent.ch, body.len() as u64, &properties);
    let Some(sizes) = &sent.body_frames else {
        let frame_max = if frame_max == 0 { FRAME_MAX } else { frame_max };
        encode::body(out, sent.ch, &body, frame_max);
        return Ok(());
    };
    let mut rest = &body[..];
    for size in sizes {
        let (piece, after) = rest.split_at_checked(*size).ok_or("body_frames exceed the body")?;
        raw_frame(out, frame::BODY, sent.ch, piece);
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err("body_frames end before the body".to_owned()) }
}

/// A frame of whatever kind and size, allowed or not.
fn raw_frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    wire::put_octet(out, kind);
    wire::put_short(out, channel);
    wire::put_longstr(out, payload);
    out.push(frame::END);
}

/// A field as it stands in a file, its octets its own: what the codec's methods borrow from.
enum Owned {
    Number(u64),
    Bit(bool),
    /// A string, or the entries of a table.
    Octets(Vec<u8>),
}

fn owned_fields(fields: &Object) -> Result<BTreeMap<String, Owned>, String> {
    let owned = |(name, value): (&String, &Value)| {
        let field = match value {
            Value::Bool(bit) => Owned::Bit(*bit),
            Value::Array(entries) => Owned::Octets(table(entries)?.as_bytes().to_vec()),
            Value::Number(number) => {
                Owned::Number(number.as_u64().ok_or_else(|| format!("{name} is {number}"))?)
            }
            other => Owned::Octets(text(other)?),
        };
        Ok((name.clone(), field))
    };
    fields.iter().map(owned).collect()
}

/// A type that fields of the codec have, out of a file and back. One that is left out is zero.
trait FieldType<'a>: Sized + Default {
    fn from_owned(field: &'a Owned) -> Option<Self>;
    fn to_json(self) -> Value;
}

macro_rules! numbers {
    ($($type:ty)+) => {$(
        impl<'a> FieldType<'a> for $type {
            fn from_owned(field: &'a Owned) -> Option<Self> {
                let Owned::Number(number) = field else { return None };
                Self::try_from(*number).ok()
            }

            fn to_json(self) -> Value {
                self.into()
            }
        }
    )+};
}

numbers! { u8 u16 u32 u64 }

impl<'a> FieldType<'a> for bool {
    fn from_owned(field: &'a Owned) -> Option<Self> {
        let Owned::Bit(bit) = field else { return None };
        Some(*bit)
    }

    fn to_json(self) -> Value {
        self.into()
    }
}

impl<'a> FieldType<'a> for &'a [u8] {
    fn from_owned(field: &'a Owned) -> Option<Self> {
        let Owned::Octets(octets) = field else { return None };
        Some(octets)
    }

    fn to_json(self) -> Value {
        text_json(self)
    }
}

impl<'a> FieldType<'a> for ShortStr<'a> {
    fn from_owned(field: &'a Owned) -> Option<Self> {
        ShortStr::new(FieldType::from_owned(field)?).ok()
    }

    fn to_json(self) -> Value {
        text_json(self.as_bytes())
    }
}

impl<'a> FieldType<'a> for Table<'a> {
    fn from_owned(field: &'a Owned) -> Option<Self> {
        Table::parse(FieldType::from_owned(field)?).ok()
    }

    fn to_json(self) -> Value {
        table_json(self)
    }
}

/// The specification's name of a field: the codec's, but for the hyphens and a word that Rust keeps
/// for itself.
fn spec_name(field: &str) -> String {
    if field == "kind" { "type".to_owned() } else { field.replace('_', "-") }
}

fn field<'a, T: FieldType<'a>>(
    fields: &'a BTreeMap<String, Owned>,
    name: &str,
) -> Result<T, String> {
    let name = spec_name(name);
    match fields.get(&name) {
        None => Ok(T::default()),
        Some(field) => T::from_owned(field).ok_or_else(|| format!("{name} has a wrong value")),
    }
}

fn name_of<M: Encode>(_: &M) -> &'static str {
    M::NAME
}

macro_rules! methods {
    ($($variant:ident $class:ident::$method:ident { $($field:ident)* })+) => {
        fn to_method<'a>(
            name: &str,
            fields: &'a BTreeMap<String, Owned>,
        ) -> Result<Method<'a>, String> {
            $(if name == name_of(&$class::$method::default()) {
                let known = [$(spec_name(stringify!($field)),)*] as [String; _];
                if let Some(unknown) = fields.keys().find(|field| !known.contains(field)) {
                    return Err(format!("{name} has no field {unknown}"));
                }
                let method = $class::$method { $($field: field(fields, stringify!($field))?,)* };
                return Ok(Method::$variant(method));
            })+
            Err(format!("there is no method {name}"))
        }

        pub(crate) fn method_json(method: &Method<'_>) -> Object {
            #[allow(unused_mut)]
            let mut fields = Object::new();
            match *method {
                $(Method::$variant($class::$method { $($field,)* }) => {
                    $(fields.insert(spec_name(stringify!($field)), $field.to_json());)*
                })+
            }
            fields
        }
    };
}

methods! {
    ConnectionStart connection::Start {
        version_major version_minor server_properties mechanisms locales
    }
    ConnectionStartOk connection::StartOk { client_properties mechanism response locale }
    ConnectionSecure connection::Secure { challenge }
    ConnectionSecureOk connection::SecureOk { response }
    ConnectionTune connection::Tune { channel_max frame_max heartbeat }
    ConnectionTuneOk connection::TuneOk { channel_max frame_max heartbeat }
    ConnectionOpen connection::Open { virtual_host capabilities insist }
    ConnectionOpenOk connection::OpenOk { known_hosts }
    ConnectionClose connection::Close { reply_code reply_text class_id method_id }
    ConnectionCloseOk connection::CloseOk {}
    ConnectionBlocked connection::Blocked { reason }
    ConnectionUnblocked connection::Unblocked {}
    ConnectionUpdateSecret connection::UpdateSecret { new_secret reason }
    ConnectionUpdateSecretOk connection::UpdateSecretOk {}
    ChannelOpen channel::Open { out_of_band }
    ChannelOpenOk channel::OpenOk { channel_id }
    ChannelFlow channel::Flow { active }
    ChannelFlowOk channel::FlowOk { active }
    ChannelClose channel::Close { reply_code reply_text class_id method_id }
    ChannelCloseOk channel::CloseOk {}
    AccessRequest access::Request { realm exclusive passive active write read }
    AccessRequestOk access::RequestOk { ticket }
    ExchangeDeclare exchange::Declare {
        ticket exchange kind passive durable auto_delete internal nowait arguments
    }
    ExchangeDeclareOk exchange::DeclareOk {}
    ExchangeDelete exchange::Delete { ticket exchange if_unused nowait }
    ExchangeDeleteOk exchange::DeleteOk {}
    ExchangeBind exchange::Bind { ticket destination source routing_key nowait arguments }
    ExchangeBindOk exchange::BindOk {}
    ExchangeUnbind exchange::Unbind { ticket destination source routing_key nowait arguments }
    ExchangeUnbindOk exchange::UnbindOk {}
    QueueDeclare queue::Declare {
        ticket queue passive durable exclusive auto_delete nowait arguments
    }
    QueueDeclareOk queue::DeclareOk { queue message_count consumer_count }
    QueueBind queue::Bind { ticket queue exchange routing_key nowait arguments }
    QueueBindOk queue::BindOk {}
    QueuePurge queue::Purge { ticket queue nowait }
    QueuePurgeOk queue::PurgeOk { message_count }
    QueueDelete queue::Delete { ticket queue if_unused if_empty nowait }
    QueueDeleteOk queue::DeleteOk { message_count }
    QueueUnbind queue::Unbind { ticket queue exchange routing_key arguments }
    QueueUnbindOk queue::UnbindOk {}
    BasicQos basic::Qos { prefetch_size prefetch_count global }
    BasicQosOk basic::QosOk {}
    BasicConsume basic::Consume {
        ticket queue consumer_tag no_local no_ack exclusive nowait arguments
    }
    BasicConsumeOk basic::ConsumeOk { consumer_tag }
    BasicCancel basic::Cancel { consumer_tag nowait }
    BasicCancelOk basic::CancelOk { consumer_tag }
    BasicPublish basic::Publish { ticket exchange routing_key mandatory immediate }
    BasicReturn basic::Return { reply_code reply_text exchange routing_key }
    BasicDeliver basic::Deliver { consumer_tag delivery_tag redelivered exchange routing_key }
    BasicGet basic::Get { ticket queue no_ack }
    BasicGetOk basic::GetOk { delivery_tag redelivered exchange routing_key message_count }
    BasicGetEmpty basic::GetEmpty { cluster_id }
    BasicAck basic::Ack { delivery_tag multiple }
    BasicReject basic::Reject { delivery_tag requeue }
    BasicRecoverAsync basic::RecoverAsync { requeue }
    BasicRecover basic::Recover { requeue }
    BasicRecoverOk basic::RecoverOk {}
    BasicNack basic::Nack { delivery_tag multiple requeue }
    ConfirmSelect confirm::Select { nowait }
    ConfirmSelectOk confirm::SelectOk {}
    TxSelect tx::Select {}
    TxSelectOk tx::SelectOk {}
    TxCommit tx::Commit {}
    TxCommitOk tx::CommitOk {}
    TxRollback tx::Rollback {}
    TxRollbackOk tx::RollbackOk {}
}

macro_rules! property_fields {
    ($($field:ident)+) => {
        /// Flags and values of these properties.
        fn properties(props: &Object) -> Result<Vec<u8>, String> {
            let known = [$(spec_name(stringify!($field)),)+];
            if let Some(unknown) = props.keys().find(|name| !known.contains(name)) {
                return Err(format!("there is no property {unknown}"));
            }
            let owned = owned_fields(props)?;
            let mut out = Vec::new();
            let fields = PropertyFields { $(
                $field: match owned.contains_key(&spec_name(stringify!($field))) {
                    true => Some(field(&owned, stringify!($field))?),
                    false => None,
                },
            )+ };
            fields.encode(&mut out);
            Ok(out)
        }

        pub(crate) fn properties_json(fields: PropertyFields<'_>) -> Object {
            let PropertyFields { $($field,)+ } = fields;
            let mut props = Object::new();
            $(if let Some(value) = $field {
                props.insert(spec_name(stringify!($field)), value.to_json());
            })+
            props
        }
    };
}

property_fields! {
    content_type content_encoding headers delivery_mode priority correlation_id reply_to expiration
    message_id timestamp kind user_id app_id cluster_id
}

/// The octets of a string, which a file has as a text or, where it is none, in hexadecimal.
pub(crate) fn text(value: &Value) -> Result<Vec<u8>, String> {
    match (value, value.get("hex").and_then(Value::as_str)) {
        (Value::String(text), _) => Ok(text.clone().into_bytes()),
        (_, Some(digits)) => hex::from_text(digits).ok_or(format!("{digits} is not hexadecimal")),
        _ => Err(format!("{value} is not a string")),
    }
}

fn text_json(octets: &[u8]) -> Value {
    match std::str::from_utf8(octets) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": hex::to_text(octets) }),
    }
}

fn table(entries: &[Value]) -> Result<TableBuilder, String> {
    let mut table = TableBuilder::default();
    for entry in entries {
        let Some([name, tag, value]) = entry.as_array().map(Vec::as_slice) else {
            return Err(format!("{entry} is not an entry of a table"));
        };
        let name = text(name)?;
        with_value(tag, value, &mut |value| {
            table.push(&name, value);
        })?;
    }
    Ok(table)
}

fn array(values: &[Value]) -> Result<ArrayBuilder, String> {
    let mut array = ArrayBuilder::default();
    for element in values {
        let Some([tag, value]) = element.as_array().map(Vec::as_slice) else {
            return Err(format!("{element} is not an element of an array"));
        };
        with_value(tag, value, &mut |value| {
            array.push(value);
        })?;
    }
    Ok(array)
}

/// Lends the codec's form of a value, which borrows its octets.
fn with_value(tag: &Value, value: &Value, lend: &mut dyn FnMut(&Field<'_>)) -> Result<(), String> {
    let wrong = || format!("{value} is no value of the type {tag}");
    let signed = || value.as_i64().ok_or_else(wrong);
    let unsigned = || value.as_u64().ok_or_else(wrong);
    let list = || value.as_array().ok_or_else(wrong);
    let narrow = |_| wrong();
    match tag.as_str().unwrap_or_default() {
        "t" => lend(&Field::Bool(value.as_bool().ok_or_else(wrong)?)),
        "b" => lend(&Field::I8(signed()?.try_into().map_err(narrow)?)),
        "B" => lend(&Field::U8(unsigned()?.try_into().map_err(narrow)?)),
        "s" => lend(&Field::I16(signed()?.try_into().map_err(narrow)?)),
        "u" => lend(&Field::U16(unsigned()?.try_into().map_err(narrow)?)),
        "I" => lend(&Field::I32(signed()?.try_into().map_err(narrow)?)),
        "i" => lend(&Field::U32(unsigned()?.try_into().map_err(narrow)?)),
        "l" => lend(&Field::I64(signed()?)),
        "f" => lend(&Field::F32(value.as_f64().ok_or_else(wrong)? as f32)),
        "d" => lend(&Field::F64(value.as_f64().ok_or_else(wrong)?)),
        "D" => {
            let [scale, digits] = list()?.as_slice() else { return Err(wrong()) };
            let part = |part: &Value| part.as_u64().and_then(|part| u32::try_from(part).ok());
            let (scale, value) = part(scale).zip(part(digits)).ok_or_else(wrong)?;
            let scale = scale.try_into().map_err(narrow)?;
            lend(&Field::Decimal { scale, value });
        }
        "S" => lend(&Field::LongStr(&text(value)?)),
        "x" => {
            let octets = value.as_str().and_then(hex::from_text).ok_or_else(wrong)?;
            lend(&Field::Bytes(&octets));
        }
        "T" => lend(&Field::Timestamp(unsigned()?)),
        "F" => lend(&Field::Table(table(list()?)?.as_table())),
        "A" => lend(&Field::Array(array(list()?)?.as_array())),
        "V" => lend(&Field::Void),
        _ => return Err(wrong()),
    }
    Ok(())
}

fn table_json(table: Table<'_>) -> Value {
    let entries = table.iter().map(|entry| {
        json!([text_json(entry.name.as_bytes()), tag(&entry.value), value_json(&entry.value)])
    });
    entries.collect()
}

fn array_json(array: Array<'_>) -> Value {
    array.iter().map(|value| json!([tag(&value), value_json(&value)])).collect()
}

fn tag(value: &Field<'_>) -> String {
    char::from(value.tag()).to_string()
}

fn value_json(value: &Field<'_>) -> Value {
    match *value {
        Field::Bool(value) => value.into(),
        Field::I8(value) => value.into(),
        Field::U8(value) => value.into(),
        Field::I16(value) => value.into(),
        Field::U16(value) => value.into(),
        Field::I32(value) => value.into(),
        Field::U32(value) => value.into(),
        Field::I64(value) => value.into(),
        Field::F32(value) => f64::from(value).into(),
        Field::F64(value) => value.into(),
        Field::Decimal { scale, value } => json!([scale, value]),
        Field::LongStr(octets) => text_json(octets),
        Field::Bytes(octets) => hex::to_text(octets).into(),
        Field::Timestamp(value) => value.into(),
        Field::Table(table) => table_json(table),
        Field::Array(array) => array_json(array),
        Field::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;
    use crate::transcripts::incoming::Incoming;

    fn frame(value: Value) -> Frame {
        from_value(value).unwrap()
    }

    fn sent_and_received(frame: &Frame) -> Vec<Frame> {
        let octets = encode(frame, FRAME_MAX).unwrap();
        let mut incoming = Incoming::default();
        octets.chunks(3).flat_map(|piece| incoming.feed(piece)).collect()
    }

    #[test]
    fn what_is_sent_can_be_received() {
        let values = json!([
            ["a", "t", true], ["b", "b", -1], ["c", "B", 255], ["d", "s", -2], ["e", "u", 65535],
            ["f", "I", -3], ["g", "i", 4_294_967_295_u32], ["h", "l", -4], ["i", "f", 1.5],
            ["j", "d", 2.5], ["k", "D", [2, 314]], ["l", "S", "hi"], ["m", "x", "00ff"],
            ["n", "T", 1], ["o", "F", [["p", "V", null]]], ["q", "A", [["S", { "hex": "ff" }]]],
        ]);
        let publish = frame(json!({
            "ch": 1,
            "method": "basic.publish",
            "args": {
                "ticket": 0, "exchange": "x", "routing-key": "k", "mandatory": false,
                "immediate": true,
            },
            "props": { "headers": values, "type": "t", "delivery-mode": 2 },
            "body": "hello",
            "body_frames": [4, 1],
        }));
        assert_eq!(sent_and_received(&publish), [publish]);
        let start = frame(json!({ "raw": "414d515000000901" }));
        let header = Frame::ProtocolHeader { protocol_header: b"AMQP\0\0\x09\x01".to_vec() };
        assert_eq!(sent_and_received(&start), [header]);
    }

    #[test]
    fn the_octets_are_those_of_the_specification() {
        let declare = frame(json!({
            "ch": 1,
            "method": "queue.declare",
            "args": { "queue": "q", "durable": true, "nowait": true },
        }));
        let octets = encode(&declare, FRAME_MAX).unwrap();
        assert_eq!(hex::to_text(&octets), "0100010000000d0032000a000001711200000000ce");
    }

    #[test]
    fn a_typing_error_is_not_sent() {
        let wrong = |value| encode(&frame(value), FRAME_MAX).unwrap_err();
        let error = wrong(json!({ "method": "queue.declare", "args": { "qeue": "q" } }));
        assert_eq!(error, "queue.declare has no field qeue");
        let error = wrong(json!({ "method": "basic.ack", "args": { "delivery-tag": "1" } }));
        assert_eq!(error, "delivery-tag has a wrong value");
        assert_eq!(wrong(json!({ "method": "queue.make" })), "there is no method queue.make");
    }

    #[test]
    fn nonsense_is_received_as_such() {
        let mut incoming = Incoming::default();
        let frames = incoming.feed(b"\x03\x00\x01\x00\x00\x00\x01x\xce");
        let [Frame::Undecodable { undecodable, .. }] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(undecodable, "a body out of place");
    }
}
