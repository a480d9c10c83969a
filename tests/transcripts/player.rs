//! Plays a scenario: does its steps one by one, and after each compares what came with what was
//! recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::{Connection, method};
use super::matcher::{Matcher, Variables};
use super::scenario::{Action, Confirms, Frame, MethodFrame, Options, Scenario, Step, TableOrder};

/// How long nothing more may come after the last expected frame.
const QUIET: Duration = Duration::from_millis(40);

/// A confirm of more publishes at once than a scenario ever makes is left as it came.
const MOST_CONFIRMED: u64 = 100_000;

/// Plays all steps; on the first one that goes otherwise says how.
pub(crate) async fn play(
    scenario: &Scenario,
    address: SocketAddr,
    vhost: &str,
) -> (Result<(), Failure>, Played) {
    let mut player = Player {
        address,
        vhost: vhost.to_owned(),
        variables: Variables::new(vhost),
        table_order: scenario.table_order,
        connections: BTreeMap::new(),
        news: Arc::new(Notify::new()),
    };
    let mut result = Ok(());
    for (number, step) in scenario.steps.iter().enumerate() {
        if let Err(trouble) = player.step(step).await {
            let action = action_lines(&step.action);
            result = Err(Failure { number, note: step.note.clone(), action, trouble });
            break;
        }
    }
    let Player { connections, variables, .. } = player;
    (result, Played { connections, variables })
}

/// What is left of a scenario when it has ended.
pub(crate) struct Played {
    connections: BTreeMap<String, Connection>,
    variables: Variables,
}

impl Played {
    /// Closes the connections properly. Says which names the broker made up.
    pub(crate) async fn close(self) -> BTreeSet<String> {
        for connection in self.connections.into_values() {
            connection.close().await;
        }
        self.variables.values().map(str::to_owned).collect()
    }
}

/// A step that did not go as recorded.
pub(crate) struct Failure {
    number: usize,
    note: Option<String>,
    action: Vec<String>,
    trouble: Trouble,
}

enum Trouble {
    /// The action itself did not work, such as a handshake.
    Action(String),
    /// Other frames came than those expected.
    Answer(Difference),
}

/// The first frame of a connection that is not the one expected.
struct Difference {
    connection: String,
    at: usize,
    why: String,
    /// From that frame on, as are those that came.
    want: Vec<Frame>,
    got: Vec<Frame>,
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let note = self.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        writeln!(f, "  step {}{note}", self.number)?;
        for line in &self.action {
            writeln!(f, "    {line}")?;
        }
        let Difference { connection, at, why, want, got } = match &self.trouble {
            Trouble::Action(error) => return writeln!(f, "  failed: {error}"),
            Trouble::Answer(difference) => difference,
        };
        writeln!(f, "  went wrong on {connection}, at frame {at} of the answer: {why}")?;
        for (title, frames) in [("expected", want), ("got", got)] {
            writeln!(f, "  {title}, from there on")?;
            match frames.is_empty() {
                true => writeln!(f, "    nothing")?,
                false => frames.iter().try_for_each(|frame| writeln!(f, "    {frame}"))?,
            }
        }
        Ok(())
    }
}

fn action_lines(action: &Action) -> Vec<String> {
    match action {
        Action::Send { on, send } => {
            let frames = send.iter().map(|frame| format!("  {frame}"));
            std::iter::once(format!("sends on {on}")).chain(frames).collect()
        }
        Action::Wait {} => vec!["waits".to_owned()],
        other => vec![serde_json::to_string(other).unwrap_or_default()],
    }
}

/// The frames of each connection, by its name.
type Answers = BTreeMap<String, Vec<Frame>>;

struct Player {
    address: SocketAddr,
    vhost: String,
    variables: Variables,
    table_order: TableOrder,
    connections: BTreeMap<String, Connection>,
    /// Told when anything comes on any of them.
    news: Arc<Notify>,
}

impl Player {
    async fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        self.act(&step.action).await.map_err(Trouble::Action)?;
        sleep(step.wait).await;
        self.answers(step).await.map_err(Trouble::Answer)
    }

    async fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Open { open, options } => {
                let mut connection = Connection::tcp(self.address, self.news.clone()).await?;
                let vhost = match &options.vhost {
                    Some(vhost) => self.variables.fill(vhost),
                    None => self.vhost.clone(),
                };
                connection.open(options, &vhost).await?;
                self.connections.insert(open.clone(), connection);
            }
            Action::Tcp { tcp } => {
                let connection = Connection::tcp(self.address, self.news.clone()).await?;
                self.connections.insert(tcp.clone(), connection);
            }
            Action::Send { on, send } => {
                let frames: Vec<_> =
                    send.iter().map(|frame| self.variables.fill_frame(frame)).collect();
                let connection = self.connections.get_mut(on);
                connection.ok_or_else(|| format!("{on} is not open"))?.send(&frames).await?;
            }
            Action::Drop { drop } => {
                let connection = self.connections.remove(drop);
                connection.ok_or_else(|| format!("{drop} is not open"))?.hang_up().await;
            }
            Action::Wait {} => {}
        }
        Ok(())
    }

    /// Waits for the expected frames, and then for any more.
    async fn answers(&mut self, step: &Step) -> Result<(), Difference> {
        let want = self.wanted(step);
        let deadline = Instant::now() + step.timeout;
        let mut quiet = None;
        loop {
            let got = self.arrived(step, &want);
            let in_order = !step.unordered && step.confirms.is_none();
            if in_order && self.compare(&want, &got, Amount::SoFar).is_some() {
                break;
            }
            let count = |name: &String| got.get(name).map_or(0, Vec::len);
            if want.iter().all(|(name, frames)| count(name) >= frames.len()) {
                quiet.get_or_insert_with(|| Instant::now() + QUIET);
            }
            if timeout_at(quiet.unwrap_or(deadline), self.news.notified()).await.is_err() {
                break;
            }
        }
        let got = self.arrived(step, &want);
        let difference = self.compare(&want, &got, Amount::All);
        self.connections.values_mut().for_each(settle);
        difference.map_or(Ok(()), Err)
    }

    fn wanted(&self, step: &Step) -> Answers {
        let parted = |name: &String| self.connections.get(name).is_some_and(|it| it.parted);
        let comparable = |(name, frames): (&String, &Vec<Frame>)| {
            // Confirms are written down one by one already.
            let frames = without_what_is_free(frames, parted(name), true);
            (name.clone(), if step.unordered { by_channel(frames) } else { frames })
        };
        step.expect.iter().map(comparable).collect()
    }

    /// What has come in this step, in the form in which it is compared.
    fn arrived(&mut self, step: &Step, want: &Answers) -> Answers {
        let is_heartbeat = |frame: &Frame| matches!(frame, Frame::Heartbeat(_));
        let mut answers = Answers::new();
        for (name, connection) in &mut self.connections {
            connection.collect();
            let heartbeats = want.get(name).is_some_and(|want| want.iter().any(is_heartbeat));
            let mut frames = without_what_is_free(&connection.got, connection.parted, heartbeats);
            if step.confirms == Some(Confirms::Any) {
                frames = confirms_behind(frames, connection.confirmed.clone());
            }
            answers.insert(name.clone(), if step.unordered { by_channel(frames) } else { frames });
        }
        answers
    }

    /// The first difference. Only a comparison of all gives variables their values.
    fn compare(&mut self, want: &Answers, got: &Answers, amount: Amount) -> Option<Difference> {
        let mut tried = self.variables.clone();
        let variables = if amount == Amount::All { &mut self.variables } else { &mut tried };
        let mut matcher = Matcher { variables, table_order: self.table_order };
        let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
        for name in names {
            let want = want.get(name).map_or(&[][..], Vec::as_slice);
            let got = got.get(name).map_or(&[][..], Vec::as_slice);
            let missing = amount == Amount::All;
            for at in 0..want.len().max(got.len()) {
                let why = match (want.get(at), got.get(at)) {
                    (Some(want), Some(got)) => matcher.difference(want, got),
                    (Some(_), None) => missing.then(|| "it has not come".to_owned()),
                    (None, _) => Some("nothing more is expected".to_owned()),
                };
                let Some(why) = why else { continue };
                let fill = |frame: &Frame| matcher.variables.fill_frame(frame);
                return Some(Difference {
                    connection: name.clone(),
                    at,
                    why,
                    want: want.iter().skip(at).map(fill).collect(),
                    got: got.iter().skip(at).cloned().collect(),
                });
            }
        }
        None
    }
}

/// How much of the answer a comparison looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    SoFar,
    All,
}

/// The frames without those that may be there or not: heartbeats, and the end of the stream once
/// the broker has said goodbye. Heartbeats that are asked for count as one when they are in a row.
fn without_what_is_free(frames: &[Frame], mut parted: bool, heartbeats: bool) -> Vec<Frame> {
    let mut kept: Vec<Frame> = Vec::new();
    for frame in frames {
        parted |= frame.method() == Some("connection.close-ok");
        let is_free = match frame {
            Frame::Eof { .. } => parted,
            Frame::Heartbeat(_) => !heartbeats || matches!(kept.last(), Some(Frame::Heartbeat(_))),
            _ => false,
        };
        if !is_free {
            kept.push(frame.clone());
        }
    }
    kept
}

fn by_channel(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.sort_by_key(Frame::channel);
    frames
}

/// The frames with the confirms behind all others, one for each publish.
fn confirms_behind(frames: Vec<Frame>, mut confirmed: BTreeMap<u16, BTreeSet<u64>>) -> Vec<Frame> {
    let (confirms, mut ordered): (Vec<_>, Vec<_>) =
        frames.into_iter().partition(|frame| confirm(frame).is_some());
    let mut single = Vec::new();
    for (frame, tag, multiple) in confirms.iter().filter_map(confirm) {
        let before = confirmed.entry(frame.ch).or_default();
        let tags: Vec<u64> = match multiple {
            true => (1..=tag).filter(|tag| !before.contains(tag)).collect(),
            // One that was confirmed before is told again: it must not be.
            false => vec![tag],
        };
        before.extend(&tags);
        for tag in tags {
            let mut args = json!({ "delivery-tag": tag, "multiple": false });
            if frame.method == "basic.nack" {
                args["requeue"] = false.into();
            }
            single.push(((frame.ch, tag), method(frame.ch, &frame.method, args)));
        }
    }
    single.sort_by_key(|(place, _)| *place);
    ordered.extend(single.into_iter().map(|(_, frame)| frame));
    ordered
}

/// A confirm of the broker: its tag, and whether it is for all up to that.
fn confirm(frame: &Frame) -> Option<(&MethodFrame, u64, bool)> {
    let Frame::Method(method) = frame else { return None };
    if !["basic.ack", "basic.nack"].contains(&method.method.as_str()) {
        return None;
    }
    let tag = method.args.get("delivery-tag").and_then(Value::as_u64)?;
    let multiple = method.args.get("multiple") == Some(&Value::Bool(true));
    (tag <= MOST_CONFIRMED).then_some((method, tag, multiple))
}

/// Ends a step for a connection: what came in it is only remembered.
fn settle(connection: &mut Connection) {
    for frame in connection.got.drain(..) {
        connection.parted |= frame.method() == Some("connection.close-ok");
        if let Some((method, tag, multiple)) = confirm(&frame) {
            let first = if multiple { 1 } else { tag };
            connection.confirmed.entry(method.ch).or_default().extend(first..=tag);
        }
    }
}

/// Deletes queues and exchanges that scenarios leave in a virtual host they share.
pub(crate) async fn clean(
    address: SocketAddr,
    vhost: &str,
    queues: &BTreeSet<String>,
    exchanges: &BTreeSet<String>,
) -> Result<(), String> {
    let mut connection = Connection::tcp(address, Arc::new(Notify::new())).await?;
    connection.open(&Options { channels: vec![1], ..Options::default() }, vhost).await?;
    let queues = queues.iter().map(|name| ("queue", name));
    let exchanges = exchanges.iter().map(|name| ("exchange", name));
    for (kind, name) in queues.chain(exchanges) {
        // An exclusive queue is locked until its connection is quite gone.
        for _ in 0..50 {
            let delete = method(1, &format!("{kind}.delete"), json!({ kind: name }));
            connection.send(&[delete]).await?;
            let Err(refusal) = connection.expect(&format!("{kind}.delete-ok")).await else { break };
            if !refusal.contains("channel.close") {
                return Err(refusal);
            }
            let again = ["channel.close-ok", "channel.open"].map(|name| method(1, name, json!({})));
            connection.send(&again).await?;
            connection.expect("channel.open-ok").await?;
            if !refusal.contains("RESOURCE_LOCKED") {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    connection.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcripts::scenario::HeartbeatFrame;

    fn ack(tag: u64, multiple: bool) -> Frame {
        method(1, "basic.ack", json!({ "delivery-tag": tag, "multiple": multiple }))
    }

    fn close_ok() -> Frame {
        method(0, "connection.close-ok", json!({}))
    }

    const EOF: Frame = Frame::Eof { eof: true };
    const HEARTBEAT: Frame = Frame::Heartbeat(HeartbeatFrame { ch: 0, heartbeat: true });

    #[test]
    fn confirms_are_told_one_by_one_behind_the_rest() {
        let deliver = method(1, "basic.deliver", json!({}));
        let nack = method(1, "basic.nack", json!({ "delivery-tag": 2, "multiple": false }));
        let frames = vec![nack.clone(), ack(4, true), deliver.clone()];
        let earlier = BTreeMap::from([(1, BTreeSet::from([1]))]);
        let mut single = nack;
        if let Frame::Method(nack) = &mut single {
            nack.args.insert("requeue".to_owned(), false.into());
        }
        let expected = vec![deliver, single, ack(3, false), ack(4, false)];
        assert_eq!(confirms_behind(frames, earlier), expected);
    }

    #[test]
    fn a_second_confirm_is_not_lost() {
        let twice = vec![ack(1, false), ack(1, false)];
        assert_eq!(confirms_behind(twice.clone(), BTreeMap::new()), twice);
    }

    #[test]
    fn who_hangs_up_after_close_ok_is_free() {
        assert_eq!(without_what_is_free(&[EOF], false, false), [EOF]);
        assert_eq!(without_what_is_free(&[EOF], true, false), []);
        assert_eq!(without_what_is_free(&[close_ok(), EOF], false, false), [close_ok()]);
    }

    #[test]
    fn heartbeats_count_once_and_only_where_they_are_expected() {
        let frames = [HEARTBEAT, HEARTBEAT, close_ok(), HEARTBEAT];
        assert_eq!(without_what_is_free(&frames, false, false), [close_ok()]);
        let once = [HEARTBEAT, close_ok(), HEARTBEAT];
        assert_eq!(without_what_is_free(&frames, false, true), once);
    }
}
