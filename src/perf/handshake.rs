//! The handshake, from the client's side.
//!
//! spec: 1.4, and the drawing in [`leveret_codec::method::connection`].

use leveret_codec::method::connection;
use leveret_codec::table::TableBuilder;
use leveret_codec::{Method, ShortStr, Value, encode, frame};

use super::connection::{Connection, FRAME_MAX, SECOND_NS};
use super::error::PerfError;
use super::uri::Uri;

/// How long each step may take.
const STEP_NS: u64 = 30 * SECOND_NS;

/// Logs in with name and password (PLAIN), agrees to the broker's limits and enters the virtual
/// host. Returns the heartbeat timeout, in seconds.
///
/// # Errors
/// When the broker refuses one of these.
pub(super) fn log_in(connection: &mut Connection, uri: &Uri) -> Result<u16, PerfError> {
    encode::protocol_header(connection.output());
    expect_amqp(connection)?;
    connection.answered(STEP_NS, |method| match method {
        Method::ConnectionStart(_) => Some(()),
        _ => None,
    })?;
    start_ok(connection, uri);
    let tune = connection.answered(STEP_NS, |method| match method {
        Method::ConnectionTune(tune) => Some(*tune),
        _ => None,
    });
    let tune = tune.map_err(|error| match error {
        // why: a client that cannot be told why, or a broker that does not tell, sees no more.
        PerfError::Lost { address, .. } => {
            let reason = "the broker closed it during the login; is the password right?".to_owned();
            PerfError::Lost { address, reason }
        }
        error => error,
    })?;
    // 0 is no limit.
    let frame_max = if tune.frame_max == 0 { FRAME_MAX } else { tune.frame_max.min(FRAME_MAX) };
    connection.frame_max = frame_max.max(frame::MIN_SIZE);
    let tune_ok = connection::TuneOk {
        channel_max: tune.channel_max,
        frame_max: connection.frame_max,
        heartbeat: tune.heartbeat,
    };
    connection.tell(0, &tune_ok);
    let virtual_host = ShortStr::new(uri.vhost.as_bytes());
    let virtual_host =
        virtual_host.map_err(|_| PerfError::TooLong { what: "the name of the virtual host" })?;
    connection.tell(0, &connection::Open { virtual_host, ..Default::default() });
    connection.answered(STEP_NS, |method| match method {
        Method::ConnectionOpenOk(_) => Some(()),
        _ => None,
    })?;
    Ok(tune.heartbeat)
}

/// Waits for the first octets. A peer that speaks something else answers with no frame of AMQP, or
/// with the protocol header that it wants.
fn expect_amqp(connection: &mut Connection) -> Result<(), PerfError> {
    let begun_ns = connection.watch.elapsed_ns();
    connection.flush()?;
    while connection.input().len() < frame::HEAD {
        let now_ns = connection.watch.elapsed_ns();
        if now_ns.saturating_sub(begun_ns) > STEP_NS {
            let seconds = STEP_NS / SECOND_NS;
            return Err(PerfError::Silent { address: connection.address.clone(), seconds });
        }
        if connection.read()?.is_none() {
            connection.flush()?;
            connection.wait(false, SECOND_NS / 10)?;
        }
    }
    if connection.input().first() == Some(&frame::METHOD) {
        return Ok(());
    }
    let begin = &connection.input()[..frame::HEAD];
    let reason = format!("it begins with \"{}\"", begin.escape_ascii());
    Err(PerfError::NotAmqp { address: connection.address.clone(), reason })
}

fn start_ok(connection: &mut Connection, uri: &Uri) {
    let mut capabilities = TableBuilder::default();
    for capability in [
        &b"authentication_failure_close"[..],
        b"basic.nack",
        b"connection.blocked",
        b"consumer_cancel_notify",
        b"publisher_confirms",
    ] {
        capabilities.push(capability, &Value::Bool(true));
    }
    let mut properties = TableBuilder::default();
    properties
        .push(b"product", &Value::LongStr(b"leveret perf"))
        .push(b"version", &Value::LongStr(env!("CARGO_PKG_VERSION").as_bytes()))
        .push(b"capabilities", &Value::Table(capabilities.as_table()));
    let response = ["", &uri.user, &uri.password].join("\0");
    let start_ok = connection::StartOk {
        client_properties: properties.as_table(),
        mechanism: ShortStr::from_static("PLAIN"),
        response: response.as_bytes(),
        locale: ShortStr::from_static("en_US"),
    };
    connection.tell(0, &start_ok);
}
