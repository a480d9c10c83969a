//! Frames as RabbitMQ and its clients put them on the wire, octet for octet, both ways.

use leveret_codec::method::{access, basic, channel, connection, exchange, queue};
use leveret_codec::table::{Table, TableBuf, TableBuilder, Value};
use leveret_codec::{ContentHeader, Decoder, Method, Properties, PropertyFields, ShortStr};
use leveret_codec::{decode, encode, frame};

/// The octets are one frame with this method, and the method is these octets.
#[track_caller]
fn check<'a>(bytes: &[u8], channel: u16, method: impl Into<Method<'a>>) {
    let method = method.into();
    let (frame, length) = Decoder::new(131_072).decode(bytes).expect("a frame").expect("all of it");
    assert_eq!((frame.kind, frame.channel, length), (frame::METHOD, channel, bytes.len()));
    assert_eq!(Method::decode(frame.payload), Ok(method));
    let mut out = Vec::new();
    encode::any_method(&mut out, channel, &method);
    assert_eq!(out, bytes);
}

fn text(text: &'static str) -> ShortStr<'static> {
    ShortStr::from_static(text)
}

fn capabilities(names: &[&str]) -> TableBuf {
    let mut table = TableBuilder::default();
    for name in names {
        table.push(name.as_bytes(), &Value::Bool(true));
    }
    table.finish()
}

#[test]
fn rabbitmq_says_hello() {
    let bytes = b"\x01\x00\x00\x00\x00\x01\xf4\x00\x0a\x00\x0a\x00\x09\x00\x00\x01\xcf\
        \x0ccapabilitiesF\x00\x00\x00\xc7\
        \x12publisher_confirmst\x01\x1aexchange_exchange_bindingst\x01\x0abasic.nackt\x01\
        \x16consumer_cancel_notifyt\x01\x12connection.blockedt\x01\x13consumer_prioritiest\x01\
        \x1cauthentication_failure_closet\x01\x10per_consumer_qost\x01\x0fdirect_reply_tot\x01\
        \x0ccluster_nameS\x00\x00\x00\x0drabbit@warren\
        \x09copyrightS\x00\x00\x007Copyright (c) 2007-2022 VMware, Inc. or its affiliates.\
        \x0binformationS\x00\x00\x009Licensed under the MPL 2.0. Website: https://rabbitmq.com\
        \x08platformS\x00\x00\x00\x11Erlang/OTP 25.2.3\x07productS\x00\x00\x00\x08RabbitMQ\
        \x07versionS\x00\x00\x00\x063.10.8\
        \x00\x00\x00\x0ePLAIN AMQPLAIN\x00\x00\x00\x05en_US\xce";
    let capabilities = capabilities(&[
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ]);
    let mut properties = TableBuilder::default();
    properties
        .push(b"capabilities", &Value::Table(capabilities.as_table()))
        .push(b"cluster_name", &Value::LongStr(b"rabbit@warren"))
        .push(
            b"copyright",
            &Value::LongStr(b"Copyright (c) 2007-2022 VMware, Inc. or its affiliates."),
        )
        .push(
            b"information",
            &Value::LongStr(b"Licensed under the MPL 2.0. Website: https://rabbitmq.com"),
        )
        .push(b"platform", &Value::LongStr(b"Erlang/OTP 25.2.3"))
        .push(b"product", &Value::LongStr(b"RabbitMQ"))
        .push(b"version", &Value::LongStr(b"3.10.8"));
    let start = connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties.as_table(),
        mechanisms: b"PLAIN AMQPLAIN",
        locales: b"en_US",
    };
    check(bytes, 0, start);
}

#[test]
fn pika_logs_in() {
    assert_eq!(decode::protocol_header(b"AMQP\x00\x00\x09\x01"), Some(frame::PROTOCOL_HEADER));
    let bytes = b"\x01\x00\x00\x00\x00\x01\"\x00\x0a\x00\x0b\x00\x00\x00\xfe\
        \x07productS\x00\x00\x00\x1aPika Python Client Library\
        \x08platformS\x00\x00\x00\x0dPython 3.11.2\
        \x0ccapabilitiesF\x00\x00\x00o\
        \x1cauthentication_failure_closet\x01\x0abasic.nackt\x01\x12connection.blockedt\x01\
        \x16consumer_cancel_notifyt\x01\x12publisher_confirmst\x01\
        \x0binformationS\x00\x00\x00\x18See http://pika.rtfd.org\x07versionS\x00\x00\x00\x051.3.2\
        \x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US\xce";
    let capabilities = capabilities(&[
        "authentication_failure_close",
        "basic.nack",
        "connection.blocked",
        "consumer_cancel_notify",
        "publisher_confirms",
    ]);
    let mut properties = TableBuilder::default();
    properties
        .push(b"product", &Value::LongStr(b"Pika Python Client Library"))
        .push(b"platform", &Value::LongStr(b"Python 3.11.2"))
        .push(b"capabilities", &Value::Table(capabilities.as_table()))
        .push(b"information", &Value::LongStr(b"See http://pika.rtfd.org"))
        .push(b"version", &Value::LongStr(b"1.3.2"));
    let start_ok = connection::StartOk {
        client_properties: properties.as_table(),
        mechanism: text("PLAIN"),
        response: b"\0guest\0guest",
        locale: text("en_US"),
    };
    check(bytes, 0, start_ok);
}

#[test]
fn a_connection_is_tuned_and_opened() {
    check(
        b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1e\x07\xff\x00\x02\x00\x00\x00<\xce",
        0,
        connection::Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 },
    );
    check(
        b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00<\xce",
        0,
        connection::TuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 60 },
    );
    check(
        b"\x01\x00\x00\x00\x00\x00\x08\x00\x0a\x00(\x01/\x00\x01\xce",
        0,
        connection::Open { virtual_host: text("/"), insist: true, ..Default::default() },
    );
    check(b"\x01\x00\x00\x00\x00\x00\x05\x00\x0a\x00)\x00\xce", 0, connection::OpenOk::default());
    check(b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce", 1, channel::Open::default());
    check(
        b"\x01\x00\x01\x00\x00\x00\x08\x00\x14\x00\x0b\x00\x00\x00\x00\xce",
        1,
        channel::OpenOk::default(),
    );
}

#[test]
fn a_queue_is_declared() {
    let mut arguments = TableBuilder::default();
    arguments
        .push(b"x-max-length", &Value::I32(1000))
        .push(b"x-overflow", &Value::LongStr(b"reject-publish"));
    check(
        b"\x01\x00\x01\x00\x00\x00A\x002\x00\x0a\x00\x00\x05hares\x02\x00\x00\x000\
          \x0cx-max-lengthI\x00\x00\x03\xe8\x0ax-overflowS\x00\x00\x00\x0ereject-publish\xce",
        1,
        queue::Declare {
            queue: text("hares"),
            durable: true,
            arguments: arguments.as_table(),
            ..Default::default()
        },
    );
    check(
        b"\x01\x00\x01\x00\x00\x00\x12\x002\x00\x0b\x05hares\x00\x00\x00\x03\x00\x00\x00\x01\xce",
        1,
        queue::DeclareOk { queue: text("hares"), message_count: 3, consumer_count: 1 },
    );
}

#[test]
fn bits_in_a_row_share_an_octet() {
    check(
        b"\x01\x00\x01\x00\x00\x00\x17\x00(\x00\x0a\x00\x00\x05field\x05topic\x0a\x00\x00\x00\x00\xce",
        1,
        exchange::Declare {
            exchange: text("field"),
            kind: text("topic"),
            durable: true,
            internal: true,
            ..Default::default()
        },
    );
    check(
        b"\x01\x00\x01\x00\x00\x00\x17\x00<\x00\x14\x00\x00\x05hares\x05ctag1\x06\x00\x00\x00\x00\xce",
        1,
        basic::Consume {
            queue: text("hares"),
            consumer_tag: text("ctag1"),
            no_ack: true,
            exclusive: true,
            ..Default::default()
        },
    );
    check(
        b"\x01\x00\x01\x00\x00\x00\x0d\x00<\x00x\x00\x00\x01\x00\x00\x00\x00\x01\x03\xce",
        1,
        basic::Nack { delivery_tag: (1 << 40) + 1, multiple: true, requeue: true },
    );
    check(
        b"\x01\x00\x01\x00\x00\x00\x0b\x00\x1e\x00\x0a\x05/data\x14\xce",
        1,
        access::Request { realm: text("/data"), active: true, read: true, ..Default::default() },
    );
}

#[test]
fn a_message_is_a_method_a_header_and_a_body() {
    let bytes = b"\x01\x00\x01\x00\x00\x00\x0e\x00<\x00(\x00\x00\x00\x05hares\x01\xce\
        \x02\x00\x01\x00\x00\x002\x00<\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\
        \xb4@\x0atext/plain\x00\x00\x00\x09\x03hopI\x00\x00\x00\x01\x02\x02c1\x00\x00\x00\x00_^\x10\x00\
        \xce\x03\x00\x01\x00\x00\x00\x0cHello World!\xce";
    let publish =
        basic::Publish { routing_key: text("hares"), mandatory: true, ..Default::default() };
    let fields = PropertyFields {
        content_type: Some(text("text/plain")),
        headers: Some(Table::parse(b"\x03hopI\x00\x00\x00\x01").unwrap()),
        delivery_mode: Some(2),
        correlation_id: Some(text("c1")),
        timestamp: Some(1_600_000_000),
        ..Default::default()
    };

    let decoder = Decoder::new(131_072);
    let mut rest = &bytes[..];
    let mut next = |kind| {
        let (frame, length) = decoder.decode(rest).unwrap().expect("a whole frame");
        rest = &rest[length..];
        assert_eq!((frame.kind, frame.channel), (kind, 1));
        frame.payload
    };
    assert_eq!(Method::decode(next(frame::METHOD)), Ok(publish.into()));
    let header = ContentHeader::decode(next(frame::HEADER)).unwrap();
    assert_eq!((header.class_id, header.weight, header.body_size), (60, 0, 12));
    assert_eq!(Properties::parse(header.properties).unwrap().fields(), fields);
    assert_eq!(next(frame::BODY), b"Hello World!");
    assert!(rest.is_empty());

    let mut properties = Vec::new();
    fields.encode(&mut properties);
    let mut out = Vec::new();
    encode::method(&mut out, 1, &publish);
    encode::content_header(&mut out, 1, 12, &properties);
    encode::body(&mut out, 1, b"Hello World!", 131_072);
    assert_eq!(out, bytes);
}

#[test]
fn an_empty_message_has_no_body() {
    let bytes = b"\x01\x00\x01\x00\x00\x00\x1a\x00<\x00<\x05ctag1\x00\x00\x00\x00\x00\x00\x00\x01\
        \x01\x00\x05hares\xce\x02\x00\x01\x00\x00\x00\x0e\x00<\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\xce";
    let mut out = Vec::new();
    let deliver = basic::Deliver {
        consumer_tag: text("ctag1"),
        delivery_tag: 1,
        redelivered: true,
        routing_key: text("hares"),
        ..Default::default()
    };
    encode::method(&mut out, 1, &deliver);
    encode::content_header(&mut out, 1, 0, Properties::EMPTY.as_bytes());
    encode::body(&mut out, 1, b"", 131_072);
    assert_eq!(out, bytes);
}

#[test]
fn a_message_comes_back_or_is_fetched() {
    check(
        b"\x01\x00\x01\x00\x00\x00\x19\x00<\x002\x018\x08NO_ROUTE\x05field\x03a.b\xce",
        1,
        basic::Return {
            reply_code: 312,
            reply_text: text("NO_ROUTE"),
            exchange: text("field"),
            routing_key: text("a.b"),
        },
    );
    check(
        b"\x01\x00\x01\x00\x00\x00\x1b\x00<\x00G\x00\x00\x00\x00\x00\x00\x00\x07\x00\x05field\x03a.b\
          \x00\x00\x00\x02\xce",
        1,
        basic::GetOk {
            delivery_tag: 7,
            exchange: text("field"),
            routing_key: text("a.b"),
            message_count: 2,
            ..Default::default()
        },
    );
}

#[test]
fn a_channel_is_closed_for_a_reason() {
    check(
        b"\x01\x00\x01\x00\x00\x000\x00\x14\x00(\x01\x94%NOT_FOUND - no queue 'x' in vhost '/'\
          \x002\x00\x0a\xce",
        1,
        channel::Close {
            reply_code: 404,
            reply_text: text("NOT_FOUND - no queue 'x' in vhost '/'"),
            class_id: 50,
            method_id: 10,
        },
    );
}
