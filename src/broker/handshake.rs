//! The handshake of a connection, up to connection.open.
//!
//! ```text
//!  header ─► start ─► start-ok ─► (authenticate) ─► tune ─► tune-ok ─► open ─► (vhost) ─► open-ok
//!                                      │ refused                         │ refused
//!                                      ▼                                 ▼
//!                               close 403, close-ok              close 530, close-ok
//! ```
//!
//! spec: 2.2.4, 4.2.2 and the class `connection`. What is in brackets is asked of the edge, which
//! knows users and virtual hosts. Whatever else comes ends the connection.
//!
//! rabbitmq: a client that has not opened a connection yet is not trusted: what it does wrong is
//! not answered, and its socket is closed after a delay.

use std::sync::Arc;

use leveret_codec::encode;
use leveret_codec::method::connection;
use leveret_codec::table::TableBuilder;
use leveret_codec::{Frame, Method, Table, TableBuf, Value, frame};

use super::access::{AuthenticationFailure, Credentials, EXTERNAL, User};
use super::command::encode_close;
use super::connection_info::{ConnectionInfo, ConnectionSettings, OpenRequest, Progress};
use super::error::{AtFault, Fault, FrameStart};
use super::frame_fault::method_fault;
use super::limits;

/// The name that clients switch features by.
///
/// rabbitmq: kombu, bunny and others read `product` and `version` to learn what the broker can do,
/// so they say what leveret does as, and `platform` says who it is.
const PRODUCT: &[u8] = b"RabbitMQ";
/// The release that is followed.
pub const VERSION: &str = "3.10.8";
const PLATFORM: &[u8] = concat!("leveret ", env!("CARGO_PKG_VERSION")).as_bytes();
const MECHANISMS: &[u8] = b"PLAIN AMQPLAIN";
const MECHANISMS_WITH_EXTERNAL: &[u8] = b"PLAIN AMQPLAIN EXTERNAL";
const LOCALES: &[u8] = b"en_US";
const CAPABILITIES: [&[u8]; 9] = [
    b"publisher_confirms",
    b"exchange_exchange_bindings",
    b"basic.nack",
    b"consumer_cancel_notify",
    b"connection.blocked",
    b"consumer_priorities",
    b"authentication_failure_close",
    b"per_consumer_qos",
    b"direct_reply_to",
];

/// Which method the handshake waits for, or whose answer.
#[derive(Debug)]
enum Step {
    StartOk,
    Authentication,
    TuneOk { user: User },
    Open { info: ConnectionInfo },
    Opening,
    CloseOk,
}

/// The part of a connection's life before it is open.
#[derive(Debug)]
pub(super) struct Handshake {
    step: Step,
    client_properties: TableBuf,
    mechanism: &'static str,
}

impl Handshake {
    /// Begins: connection.start is put into `output`.
    pub(super) fn begin(settings: &ConnectionSettings, output: &mut Vec<u8>) -> Self {
        let mut capabilities = TableBuilder::default();
        for name in CAPABILITIES {
            capabilities.push(name, &Value::Bool(true));
        }
        let capabilities = capabilities.finish();
        let mut properties = TableBuilder::default();
        properties
            .push(b"capabilities", &Value::Table(capabilities.as_table()))
            .push(b"cluster_name", &Value::LongStr(b"leveret@localhost"))
            .push(b"copyright", &Value::LongStr(b"The leveret authors, MIT OR Apache-2.0"))
            .push(b"information", &Value::LongStr(b"AMQP 0-9-1 as RabbitMQ speaks it"))
            .push(b"platform", &Value::LongStr(PLATFORM))
            .push(b"product", &Value::LongStr(PRODUCT))
            .push(b"version", &Value::LongStr(VERSION.as_bytes()));
        let properties = properties.finish();
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: properties.as_table(),
            mechanisms: if settings.external { MECHANISMS_WITH_EXTERNAL } else { MECHANISMS },
            locales: LOCALES,
        };
        encode::method(output, 0, &start);
        Handshake {
            step: Step::StartOk,
            client_properties: TableBuf::default(),
            mechanism: "PLAIN",
        }
    }

    /// Takes one frame.
    pub(super) fn handle_frame(
        &mut self,
        frame: &Frame<'_>,
        settings: &ConnectionSettings,
        output: &mut Vec<u8>,
    ) -> Progress {
        if frame.kind == frame::HEARTBEAT && frame.channel == 0 {
            return Progress::More;
        }
        if frame.kind != frame::METHOD || frame.channel != 0 {
            if matches!(self.step, Step::CloseOk) {
                return Progress::More;
            }
            let fault = Fault::MisplacedFrame(FrameStart::new(frame.kind, frame.payload));
            return self.answer(|| Some(fault.into()), output);
        }
        let method = match Method::decode(frame.payload) {
            Ok(method) => method,
            Err(error) => return self.answer(|| method_fault(frame, &error), output),
        };
        match (&mut self.step, method) {
            (Step::StartOk, Method::ConnectionStartOk(start_ok)) => {
                self.start_ok(&start_ok, settings)
            }
            (Step::TuneOk { user }, Method::ConnectionTuneOk(tune_ok)) => {
                let user = user.clone();
                self.tune_ok(user, tune_ok, settings)
            }
            (Step::Open { info }, Method::ConnectionOpen(open)) => {
                let request =
                    OpenRequest { vhost: open.virtual_host.to_string(), info: info.clone() };
                self.step = Step::Opening;
                Progress::Open(Box::new(request))
            }
            (Step::CloseOk, Method::ConnectionCloseOk(_)) => Progress::End { delay_ms: 0 },
            (Step::CloseOk, Method::ConnectionClose(_)) => {
                encode::method(output, 0, &connection::CloseOk {});
                Progress::More
            }
            (Step::CloseOk, _) => Progress::More,
            (_, method) => {
                let ids = (method.class_id(), method.method_id());
                self.answer(|| Some(AtFault::new(Fault::NotWhileOpening, ids)), output)
            }
        }
    }

    /// Octets that are no frame: nothing behind them can be read. Says how long the socket is kept.
    pub(super) fn handle_frame_error(&mut self, fault: Fault, output: &mut Vec<u8>) -> u64 {
        if self.is_tuned() {
            self.close(&fault.into(), output);
        }
        limits::REFUSAL_DELAY_MS
    }

    /// rabbitmq: what is wrong is said to clients that have logged in and answered to tune; others are
    /// disconnected.
    fn answer(
        &mut self,
        at_fault: impl FnOnce() -> Option<AtFault>,
        output: &mut Vec<u8>,
    ) -> Progress {
        if !self.is_tuned() {
            return self.refuse();
        }
        match at_fault() {
            Some(at_fault) => {
                self.close(&at_fault, output);
                Progress::More
            }
            // rabbitmq: its reader dies of a method it does not know.
            None => Progress::End { delay_ms: 0 },
        }
    }

    fn is_tuned(&self) -> bool {
        matches!(self.step, Step::Open { .. } | Step::Opening)
    }

    /// The edge has looked the credentials up.
    pub(super) fn handle_authenticated(
        &mut self,
        result: Result<User, AuthenticationFailure>,
        settings: &ConnectionSettings,
        output: &mut Vec<u8>,
    ) -> Progress {
        match result {
            Ok(user) => {
                let tune = connection::Tune {
                    channel_max: settings.channel_max,
                    frame_max: settings.frame_max,
                    heartbeat: settings.heartbeat_secs,
                };
                encode::method(output, 0, &tune);
                self.step = Step::TuneOk { user };
                Progress::More
            }
            Err(_) if self.announced(b"authentication_failure_close") => {
                self.close(&Fault::LoginRefused(self.mechanism).into(), output);
                Progress::More
            }
            Err(_) => self.refuse(),
        }
    }

    /// The edge could not open the virtual host.
    pub(super) fn handle_refused(&mut self, fault: Box<Fault>, output: &mut Vec<u8>) {
        self.close(&AtFault::new(fault, (10, 40)), output);
    }

    fn start_ok(
        &mut self,
        start_ok: &connection::StartOk<'_>,
        settings: &ConnectionSettings,
    ) -> Progress {
        self.client_properties = start_ok.client_properties.to_owned_table();
        let credentials = match start_ok.mechanism.as_bytes() {
            b"PLAIN" => plain(start_ok.response),
            b"AMQPLAIN" => amqplain(start_ok.response),
            // rabbitmq: whatever the response says is ignored.
            b"EXTERNAL" if settings.external => Some(credentials(EXTERNAL, b"", b"")),
            _ => None,
        };
        match credentials {
            Some(credentials) => {
                self.mechanism = credentials.mechanism;
                self.step = Step::Authentication;
                Progress::Authenticate(credentials)
            }
            None => self.refuse(),
        }
    }

    fn tune_ok(
        &mut self,
        user: User,
        tune_ok: connection::TuneOk,
        settings: &ConnectionSettings,
    ) -> Progress {
        // rabbitmq: what the client answers is final if it lies within what was offered; zero
        // ("no limit") does not.
        let channel_max_fits = (1..=settings.channel_max).contains(&tune_ok.channel_max);
        let frame_max_fits = (limits::FRAME_MIN..=settings.frame_max).contains(&tune_ok.frame_max);
        if !channel_max_fits || !frame_max_fits {
            return self.refuse();
        }
        let info = ConnectionInfo {
            name: String::new(),
            user,
            channel_max: tune_ok.channel_max,
            frame_max: tune_ok.frame_max,
            heartbeat_secs: tune_ok.heartbeat,
            consumer_cancel_notify: self.announced(b"consumer_cancel_notify"),
            connection_blocked: self.announced(b"connection.blocked"),
            obeys_alarms: true,
            client_properties: self.client_properties.clone(),
            rights: Arc::default(),
        };
        self.step = Step::Open { info };
        Progress::More
    }

    fn announced(&self, capability: &[u8]) -> bool {
        let capabilities = self.client_properties.as_table().find(b"capabilities");
        let announced = match capabilities {
            Some(Value::Table(table)) => table.find(capability),
            _ => None,
        };
        announced == Some(Value::Bool(true))
    }

    fn close(&mut self, at_fault: &AtFault, output: &mut Vec<u8>) {
        encode_close(output, 0, at_fault);
        self.step = Step::CloseOk;
    }

    fn refuse(&self) -> Progress {
        Progress::End { delay_ms: limits::REFUSAL_DELAY_MS }
    }
}

/// PLAIN: NUL, user, NUL, password.
///
/// rabbitmq: an authorization identity before the first NUL is not accepted.
fn plain(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.split(|octet| *octet == 0);
    let (authorization, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if !authorization.is_empty() || parts.next().is_some() {
        return None;
    }
    Some(credentials("PLAIN", user, password))
}

/// AMQPLAIN: a field table without its length, with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<Credentials> {
    let table = Table::parse(response).ok()?;
    let (login, password) = (table.find(b"LOGIN")?, table.find(b"PASSWORD")?);
    Some(credentials("AMQPLAIN", login.as_bytes()?, password.as_bytes()?))
}

fn credentials(mechanism: &'static str, user: &[u8], password: &[u8]) -> Credentials {
    let user = String::from_utf8_lossy(user).into_owned();
    Credentials { mechanism, user, password: password.to_vec() }
}
