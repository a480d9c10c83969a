//! The handshake, before the connection is open.

use leveret::broker::connection::{Connection, ConnectionSettings, Progress};
use leveret_codec::method::{channel, connection, queue};
use leveret_codec::{Value, encode, frame};

use crate::support::world::{Client, World, encoded, s, table, text};

const SILENT_END: &str = "end after 3000 ms";

fn newcomer(world: &World) -> Client {
    Client::unopened(world, ConnectionSettings::default())
}

fn start_ok(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let start_ok = connection::StartOk {
        mechanism: s(mechanism),
        response,
        locale: s("en_US"),
        ..Default::default()
    };
    encoded(0, &start_ok)
}

fn start_ok_capable(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let capabilities = table(&[("authentication_failure_close", Value::Bool(true))]);
    let properties = table(&[("capabilities", Value::Table(capabilities.as_table()))]);
    let start_ok = connection::StartOk {
        client_properties: properties.as_table(),
        mechanism: s(mechanism),
        response,
        locale: s("en_US"),
    };
    encoded(0, &start_ok)
}

fn tune_ok(channel_max: u16, frame_max: u32, heartbeat: u16) -> Vec<u8> {
    encoded(0, &connection::TuneOk { channel_max, frame_max, heartbeat })
}

fn open(vhost: &str) -> Vec<u8> {
    encoded(0, &connection::Open { virtual_host: s(vhost), ..Default::default() })
}

/// One that has logged in and is to tune.
fn logged_in(world: &World) -> Client {
    let mut client = newcomer(world);
    client.handshake(&frame::PROTOCOL_HEADER);
    let tune = client.handshake(&start_ok("PLAIN", b"\0guest\0guest"));
    assert_eq!(tune, "connection.tune 2047 131072 60");
    client
}

#[test]
fn a_handshake_leads_to_an_open_connection() {
    let world = World::new();
    let mut client = logged_in(&world);
    assert_eq!(client.handshake(&tune_ok(100, 4096, 0)), "");
    assert_eq!(client.handshake(&open("/")), "");
    assert_eq!(client.lines(), ["connection.open-ok"]);
    client.channel(1).declare("q");
}

#[test]
fn the_protocol_header_may_come_in_pieces() {
    let world = World::new();
    let mut client = newcomer(&world);
    assert_eq!(client.handshake(b"AMQP\x00"), "");
    assert_eq!(client.handshake(&frame::PROTOCOL_HEADER), "connection.start");
}

#[test]
fn the_old_protocol_header_is_taken() {
    let world = World::new();
    assert_eq!(newcomer(&world).handshake(b"AMQP\x01\x01\x00\x09"), "connection.start");
}

#[test]
fn another_protocol_is_answered_with_ours_and_ended() {
    let world = World::new();
    for header in
        [b"AMQP\x00\x00\x09\x00", b"AMQP\x00\x00\x08\x00", b"GET / HT", b"AMQP\x00\x01\x00\x00"]
    {
        let answer = newcomer(&world).handshake(header);
        assert_eq!(answer, format!("{:?}\nend after 0 ms", frame::PROTOCOL_HEADER));
    }
}

#[test]
fn amqplain_names_login_and_password() {
    let world = World::new();
    let login = table(&[("LOGIN", text("guest")), ("PASSWORD", text("guest"))]);
    let mut client = newcomer(&world);
    client.handshake(&frame::PROTOCOL_HEADER);
    let answer = client.handshake(&start_ok("AMQPLAIN", login.as_table().as_bytes()));
    assert_eq!(answer, "connection.tune 2047 131072 60");
}

#[test]
fn a_refused_login_is_told_to_who_can_hear_it() {
    let world = World::new();
    for response in [&b"\0guest\0wrong"[..], b"\0nobody\0guest", b"\0guest\0"] {
        let mut client = newcomer(&world);
        client.handshake(&frame::PROTOCOL_HEADER);
        assert_eq!(
            client.handshake(&start_ok_capable("PLAIN", response)),
            "connection.close 403 0,0 ACCESS_REFUSED - Login was refused using authentication \
             mechanism PLAIN. For details see the broker logfile."
        );
        assert_eq!(client.handshake(&encoded(0, &connection::CloseOk {})), "end after 0 ms");
    }
}

#[test]
fn a_refused_login_is_silent_and_slow_for_others() {
    let world = World::new();
    let mut client = newcomer(&world);
    client.handshake(&frame::PROTOCOL_HEADER);
    assert_eq!(client.handshake(&start_ok("PLAIN", b"\0guest\0wrong")), SILENT_END);
}

#[test]
fn a_malformed_login_is_silent_even_for_who_can_hear() {
    let world = World::new();
    let incomplete = table(&[("LOGIN", text("guest"))]);
    let incomplete = incomplete.as_table();
    for (mechanism, response) in [
        ("PLAIN", &b"guest\0guest"[..]),
        ("PLAIN", b"admin\0guest\0guest"),
        ("PLAIN", b""),
        ("plain", b"\0guest\0guest"),
        ("EXTERNAL", b""),
        ("AMQPLAIN", incomplete.as_bytes()),
        ("AMQPLAIN", b"\x05LOG"),
    ] {
        let mut client = newcomer(&world);
        client.handshake(&frame::PROTOCOL_HEADER);
        let answer = client.handshake(&start_ok_capable(mechanism, response));
        assert_eq!(answer, SILENT_END, "{mechanism} {response:?}");
    }
}

#[test]
fn external_is_there_where_the_edge_can_say_whose_certificate_it_is() {
    for external in [false, true] {
        let settings = ConnectionSettings { external, ..ConnectionSettings::default() };
        let (mut connection, mut commands) = (Connection::new(settings), Vec::new());
        connection.handle_input(&frame::PROTOCOL_HEADER, &mut commands);
        let start = connection.take_output();
        let offered = start.windows(8).any(|octets| octets == b"EXTERNAL");
        assert_eq!(offered, external);
        let login = start_ok("EXTERNAL", b"\0admin\0ignored");
        let (_, progress) = connection.handle_input(&login, &mut commands);
        match progress {
            Progress::Authenticate(credentials) => {
                assert!(external && credentials.is_external());
                assert_eq!((credentials.user.as_str(), credentials.password.len()), ("", 0));
            }
            Progress::End { delay_ms } => assert_eq!((external, delay_ms), (false, 3_000)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tune_ok_must_lie_within_what_was_offered() {
    let world = World::new();
    for (channel_max, frame_max) in
        [(0, 131_072), (2048, 131_072), (10, 0), (10, 4095), (10, 131_073)]
    {
        let mut client = logged_in(&world);
        let answer = client.handshake(&tune_ok(channel_max, frame_max, 60));
        assert_eq!(answer, SILENT_END, "{channel_max} {frame_max}");
    }
    for (channel_max, frame_max, heartbeat) in [(1, 4096, 0), (2047, 131_072, u16::MAX)] {
        let mut client = logged_in(&world);
        assert_eq!(client.handshake(&tune_ok(channel_max, frame_max, heartbeat)), "");
    }
}

#[test]
fn the_negotiated_channel_max_holds() {
    let world = World::new();
    let mut client = logged_in(&world);
    client.handshake(&tune_ok(2, 131_072, 60));
    client.handshake(&open("/"));
    client.lines();
    client.channel(65535);
    client.channel(1);
    client.closed_channel(2).send(channel::Open::default());
    assert_eq!(
        client.lines(),
        ["connection.close 530 0,0 NOT_ALLOWED - number of channels opened (2) has reached the \
          negotiated channel_max (2)"]
    );
}

#[test]
fn an_unknown_virtual_host_is_not_found() {
    let world = World::new();
    for name in ["other", ""] {
        let mut client = logged_in(&world);
        client.handshake(&tune_ok(10, 131_072, 60));
        assert_eq!(
            client.handshake(&open(name)),
            format!("connection.close 530 10,40 NOT_ALLOWED - vhost {name} not found")
        );
        // Others of its methods do not count; close is answered, close-ok ends it.
        assert_eq!(client.handshake(&open("/")), "");
        assert_eq!(
            client.handshake(&encoded(0, &connection::Close::default())),
            "connection.close-ok"
        );
        assert_eq!(client.handshake(&encoded(0, &connection::CloseOk {})), "end after 0 ms");
    }
}

#[test]
fn a_method_out_of_turn_ends_the_handshake_silently() {
    let world = World::new();
    let mut client = newcomer(&world);
    client.handshake(&frame::PROTOCOL_HEADER);
    assert_eq!(client.handshake(&open("/")), SILENT_END);

    let mut client = logged_in(&world);
    assert_eq!(client.handshake(&open("/")), SILENT_END);

    let mut client = logged_in(&world);
    let close = encoded(0, &connection::Close::default());
    assert_eq!(client.handshake(&close), SILENT_END);

    let mut client = logged_in(&world);
    let declare = encoded(1, &queue::Declare::default());
    assert_eq!(client.handshake(&declare), SILENT_END);
}

#[test]
fn heartbeats_are_taken_from_the_start() {
    let world = World::new();
    let mut heartbeat = Vec::new();
    encode::heartbeat(&mut heartbeat);
    let mut client = newcomer(&world);
    client.handshake(&frame::PROTOCOL_HEADER);
    assert_eq!(client.handshake(&heartbeat), "");
    assert!(client.handshake(&start_ok("PLAIN", b"\0guest\0guest")).starts_with("connection.tune"));
    assert_eq!(client.handshake(&heartbeat), "");
}

#[test]
fn before_tune_ok_a_frame_has_at_most_4096_octets() {
    let world = World::new();
    let mut client = newcomer(&world);
    client.handshake(&frame::PROTOCOL_HEADER);
    let long = vec![b'x'; 5000];
    assert_eq!(client.handshake(&start_ok("PLAIN", &long)), SILENT_END);
}

#[test]
fn the_settings_are_what_is_offered() {
    let world = World::new();
    let settings = ConnectionSettings {
        channel_max: 5,
        frame_max: 8192,
        heartbeat_secs: 7,
        ..Default::default()
    };
    let mut client = Client::unopened(&world, settings);
    client.handshake(&frame::PROTOCOL_HEADER);
    let tune = client.handshake(&start_ok("PLAIN", b"\0guest\0guest"));
    assert_eq!(tune, "connection.tune 5 8192 7");
}

#[test]
fn between_tune_ok_and_open_what_is_wrong_is_said() {
    let content =
        |kind: u8, channel: u8| [&[kind, 0, channel, 0, 0, 0, 2], &[0, 60, 0xce][..]].concat();
    let cases = [
        (
            encoded(1, &channel::Open::default()),
            "505 0,0 UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>",
        ),
        (content(frame::HEADER, 0), "505 0,0 UNEXPECTED_FRAME - type 2, all octets = <<0,60>>"),
        (content(frame::BODY, 1), "505 0,0 UNEXPECTED_FRAME - type 3, all octets = <<0,60>>"),
        (
            encoded(0, &queue::Declare { queue: s("q"), ..Default::default() }),
            "504 50,10 CHANNEL_ERROR - unexpected method in connection state opening",
        ),
        (
            encoded(0, &connection::Close::default()),
            "504 10,50 CHANNEL_ERROR - unexpected method in connection state opening",
        ),
    ];
    for (octets, answer) in cases {
        let world = World::new();
        let mut client = logged_in(&world);
        assert_eq!(client.handshake(&tune_ok(100, 4096, 0)), "");
        assert_eq!(client.handshake(&octets), format!("connection.close {answer}"));
        assert_eq!(client.handshake(&encoded(0, &connection::CloseOk {})), "end after 0 ms");
        // Before tune-ok nothing is.
        assert_eq!(logged_in(&world).handshake(&octets), SILENT_END);
    }
    let world = World::new();
    let mut client = logged_in(&world);
    client.handshake(&tune_ok(100, 4096, 0));
    let bad_end = [1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 40, 0];
    let answer = "connection.close 501 0,0 FRAME_ERROR - type 1, all octets = <<0,10,0,40>>: \
                  {invalid_frame_end_marker,0}";
    assert_eq!(client.handshake(&bad_end), format!("{answer}\n{SILENT_END}"));
}
