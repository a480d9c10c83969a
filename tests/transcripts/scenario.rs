//! What a scenario file says, as types: steps, and the frames that are sent and expected.
//!
//! A frame that comes from the broker is told in the same form, so that the two can be compared and
//! a failure be read beside the file. The README beside this file explains the format.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One recorded conversation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) topic: String,
    /// What it shows, in a line.
    pub(crate) shows: String,
    #[serde(rename = "recorded_from")]
    _recorded_from: String,
    #[serde(default)]
    pub(crate) table_order: TableOrder,
    #[serde(default)]
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

impl Scenario {
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// The name among all topics.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.topic, self.name)
    }
}

/// Whether the order of a table's entries counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TableOrder {
    #[default]
    Any,
    Exact,
}

/// What must be there before the first step.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    pub(crate) users: Vec<User>,
}

/// A user; without the three patterns, one without a permission in the virtual host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) configure: Option<String>,
    pub(crate) write: Option<String>,
    pub(crate) read: Option<String>,
}

/// One action and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "StepKeys")]
pub(crate) struct Step {
    pub(crate) action: Action,
    /// The frames each connection must get; one that is not named must get none.
    pub(crate) expect: BTreeMap<String, Vec<Frame>>,
    /// Sleep so long after the action.
    pub(crate) wait: Duration,
    /// How long the expected frames may take after that.
    pub(crate) timeout: Duration,
    /// Between the channels of a connection the order is free.
    pub(crate) unordered: bool,
    /// Confirms may come in any order and number, anywhere.
    pub(crate) confirms: Option<Confirms>,
    pub(crate) note: Option<String>,
}

/// The only value of a step's `confirms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Confirms {
    Any,
}

/// What a step does.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Action {
    Open {
        open: String,
        #[serde(flatten)]
        options: Options,
    },
    Tcp {
        tcp: String,
    },
    Send {
        on: String,
        send: Vec<Frame>,
    },
    Drop {
        drop: String,
    },
    Wait {},
}

/// What an `open` may be told.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Options {
    pub(crate) channels: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vhost: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel_max: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame_max: Option<u32>,
    pub(crate) heartbeat: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_capabilities: Option<Vec<String>>,
}

/// A step as it is written, with one of five keys for what it does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepKeys {
    open: Option<String>,
    tcp: Option<String>,
    on: Option<String>,
    send: Option<Vec<Frame>>,
    drop: Option<String>,
    #[serde(default)]
    channels: Vec<u16>,
    user: Option<String>,
    password: Option<String>,
    vhost: Option<String>,
    channel_max: Option<u16>,
    frame_max: Option<u32>,
    #[serde(default)]
    heartbeat: u16,
    client_capabilities: Option<Vec<String>>,
    #[serde(default)]
    expect: BTreeMap<String, Vec<Frame>>,
    #[serde(default)]
    wait_ms: u64,
    timeout_ms: Option<u64>,
    #[serde(default)]
    unordered: bool,
    confirms: Option<Confirms>,
    note: Option<String>,
    /// It only mattered when the scenario was recorded.
    #[serde(default, rename = "heartbeats")]
    _heartbeats: bool,
}

impl TryFrom<StepKeys> for Step {
    type Error = &'static str;

    fn try_from(keys: StepKeys) -> Result<Self, Self::Error> {
        let action = match (keys.open, keys.tcp, keys.on.zip(keys.send), keys.drop) {
            (Some(open), None, None, None) => {
                let options = Options {
                    channels: keys.channels,
                    user: keys.user,
                    password: keys.password,
                    vhost: keys.vhost,
                    channel_max: keys.channel_max,
                    frame_max: keys.frame_max,
                    heartbeat: keys.heartbeat,
                    client_capabilities: keys.client_capabilities,
                };
                Action::Open { open, options }
            }
            (None, Some(tcp), None, None) => Action::Tcp { tcp },
            (None, None, Some((on, send)), None) => Action::Send { on, send },
            (None, None, None, Some(drop)) => Action::Drop { drop },
            (None, None, None, None) => Action::Wait {},
            _ => return Err("a step does one thing"),
        };
        Ok(Self {
            action,
            expect: keys.expect,
            wait: Duration::from_millis(keys.wait_ms),
            timeout: keys.timeout_ms.map_or(PATIENCE, Duration::from_millis),
            unordered: keys.unordered,
            confirms: keys.confirms,
            note: keys.note,
        })
    }
}

/// How long expected frames may take, unless a step says so itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// What goes over the wire in one piece, or, for a method with content, what belongs together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Frame {
    Method(MethodFrame),
    Header(HeaderFrame),
    Body(BodyFrame),
    Heartbeat(HeartbeatFrame),
    /// Sent only: these octets.
    Raw {
        #[serde(with = "hex")]
        raw: Vec<u8>,
    },
    /// Received only: the header of a server that wants another protocol.
    ProtocolHeader {
        #[serde(with = "hex")]
        protocol_header: Vec<u8>,
    },
    /// Received only: the server has hung up.
    Eof {
        eof: bool,
    },
    /// Received only, and never expected: what makes no sense at this place.
    #[serde(skip_deserializing)]
    Undecodable {
        ch: u16,
        undecodable: String,
        #[serde(with = "hex")]
        payload: Vec<u8>,
    },
}

/// A method, with its content if it has one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodFrame {
    #[serde(default)]
    pub(crate) ch: u16,
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) args: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) props: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
    /// The sizes of the body's frames, where they are not what they are by rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_frames: Option<Vec<usize>>,
}

impl MethodFrame {
    pub(crate) fn has_content(&self) -> bool {
        self.props.is_some() || self.body.is_some()
    }
}

/// A content header that is sent alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderFrame {
    #[serde(default)]
    pub(crate) ch: u16,
    pub(crate) header: Header,
}

/// What is in a content header.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) class: u16,
    #[serde(default)]
    pub(crate) weight: u16,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) props: Map<String, Value>,
}

/// A body frame that is sent alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyFrame {
    #[serde(default)]
    pub(crate) ch: u16,
    pub(crate) body: Body,
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatFrame {
    #[serde(default)]
    pub(crate) ch: u16,
    pub(crate) heartbeat: bool,
}

/// Octets in the shortest form that can be read.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Body {
    Text(String),
    Hex {
        #[serde(with = "hex")]
        hex: Vec<u8>,
    },
    Repeat {
        repeat: String,
        times: usize,
    },
}

impl Body {
    pub(crate) fn of(octets: Vec<u8>) -> Self {
        if octets.len() > 256
            && let Some(unit) = (1..=16).find(|unit| is_repeated(&octets, *unit))
            && let Ok(repeat) = std::str::from_utf8(&octets[..unit])
        {
            return Self::Repeat { repeat: repeat.to_owned(), times: octets.len() / unit };
        }
        match String::from_utf8(octets) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Hex { hex: error.into_bytes() },
        }
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex { hex } => hex.clone(),
            Self::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
        }
    }
}

fn is_repeated(octets: &[u8], unit: usize) -> bool {
    octets.len().is_multiple_of(unit) && octets.chunks(unit).all(|chunk| chunk == &octets[..unit])
}

impl Frame {
    /// The method's name, when it is one.
    pub(crate) fn method(&self) -> Option<&str> {
        match self {
            Self::Method(frame) => Some(&frame.method),
            _ => None,
        }
    }

    /// The channel; 0 for what concerns the connection.
    pub(crate) fn channel(&self) -> u16 {
        match self {
            Self::Method(MethodFrame { ch, .. })
            | Self::Header(HeaderFrame { ch, .. })
            | Self::Body(BodyFrame { ch, .. })
            | Self::Heartbeat(HeartbeatFrame { ch, .. })
            | Self::Undecodable { ch, .. } => *ch,
            Self::Raw { .. } | Self::ProtocolHeader { .. } | Self::Eof { .. } => 0,
        }
    }
}

/// The frame as a file has it, on one line, cut where it gets long.
impl Display for Frame {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 700;
        let line = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{} …", &line[..end]),
            None => f.write_str(&line),
        }
    }
}

/// Octets as hexadecimal digits.
pub(crate) mod hex {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn to_text(octets: &[u8]) -> String {
        octets.iter().fold(String::new(), |mut text, octet| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{octet:02x}");
            text
        })
    }

    pub(crate) fn from_text(text: &str) -> Option<Vec<u8>> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let octet = |pair: &[u8; 2]| {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()
        };
        pairs.iter().map(octet).collect()
    }

    pub(crate) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_text(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        from_text(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not hexadecimal")))
    }
}
