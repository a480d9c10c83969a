//! One client: what it sends is answered with yes, or passed on.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use leveret_codec::method::{access, basic, channel, confirm, connection, exchange, queue, tx};
use leveret_codec::{
    ContentHeader, Decoder, Encode, Frame, Method, ShortStr, ShortString, encode, frame,
};

use super::consumers::{Consumer, Consumers, lock};

/// How much is read at once, in octets: as much as a socket of loopback holds when it is busy.
const READ_OCTETS: usize = 512 * 1024;

const FRAME_MAX: u32 = 131_072;

/// Why a connection ends before it is closed.
pub(super) enum Gone {
    /// Its socket did.
    Socket,
    /// It said what the relay cannot follow.
    Wrong(&'static str),
}

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Gone::Socket
    }
}

/// A connection of a client.
pub(super) struct Client {
    socket: TcpStream,
    /// The same, for whoever writes.
    output: Arc<Mutex<TcpStream>>,
    consumers: Arc<Consumers>,
    decoder: Decoder,
    /// What it is to be sent.
    replies: Vec<u8>,
    /// Channels with confirms, and how much was published there: in all, and of that confirmed.
    confirms: HashMap<u16, (u64, u64)>,
    /// The last queue that was declared, which an empty name means.
    last_queue: ShortString,
    /// How many names were made up for queues.
    made_up: u32,
    /// Its consumers.
    own: Vec<Arc<Consumer>>,
    /// Whose turn it is among the consumers of one queue.
    turn: usize,
    ended: bool,
}

impl Client {
    pub(super) fn new(socket: TcpStream, consumers: Arc<Consumers>) -> Result<Self, Gone> {
        socket.set_nodelay(true)?;
        Ok(Client {
            output: Arc::new(Mutex::new(socket.try_clone()?)),
            socket,
            consumers,
            decoder: Decoder::new(FRAME_MAX),
            replies: Vec::new(),
            confirms: HashMap::new(),
            last_queue: ShortString::default(),
            made_up: 0,
            own: Vec::new(),
            turn: 0,
            ended: false,
        })
    }

    pub(super) fn run(mut self) -> Result<(), Gone> {
        let mut header = [0; 8];
        self.socket.read_exact(&mut header)?;
        if header != frame::PROTOCOL_HEADER {
            self.socket.write_all(&frame::PROTOCOL_HEADER)?;
            return Err(Gone::Wrong("its first octets are not those of AMQP 0-9-1"));
        }
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            mechanisms: b"PLAIN",
            locales: b"en_US",
            ..Default::default()
        };
        encode::method(&mut self.replies, 0, &start);
        self.reply()?;
        let mut input = vec![0; READ_OCTETS];
        let mut filled = 0;
        while !self.ended {
            if filled == input.len() {
                // A message that is larger than all of it.
                input.resize(2 * filled, 0);
            }
            let read = self.socket.read(&mut input[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            let used = self.take(&input[..filled])?;
            input.copy_within(used..filled, 0);
            filled -= used;
        }
        Ok(())
    }

    /// Takes whole methods and whole messages; says how many octets they were.
    fn take(&mut self, input: &[u8]) -> Result<usize, Gone> {
        let mut used = 0;
        let mut reached = Vec::new();
        while let Some((frame, length)) = self.frame(&input[used..])? {
            if frame.kind == frame::METHOD {
                let method = decoded(&frame)?;
                if let Method::BasicPublish(publish) = method {
                    match self.publishes(frame.channel, &publish, &input[used..], &mut reached)? {
                        0 => break,
                        taken => used += taken,
                    }
                    continue;
                }
                self.method(frame.channel, &method)?;
            } else if frame.kind != frame::HEARTBEAT {
                return Err(Gone::Wrong("content of two channels at once"));
            }
            used += length;
        }
        for consumer in reached {
            consumer.flush();
        }
        self.confirm();
        self.reply()?;
        Ok(used)
    }

    /// Delivers the whole messages at the start of `input`, as long as they go where the first goes;
    /// says how many octets they were. Their consumers are added to `reached`.
    fn publishes(
        &mut self,
        channel: u16,
        first: &basic::Publish<'_>,
        input: &[u8],
        reached: &mut Vec<Arc<Consumer>>,
    ) -> Result<usize, Gone> {
        let consumers = self.consumers.of(first);
        // why: no lock is waited for while one is held, and with one consumer it is taken once.
        let mut only = match consumers.as_slice() {
            [consumer] => Some((consumer, consumer.deliveries())),
            _ => None,
        };
        let (mut used, mut messages) = (0, 0);
        while let Some((frame, length)) = self.frame(&input[used..])? {
            if frame.kind != frame::METHOD || frame.channel != channel {
                break;
            }
            let Some(publish) = basic::Publish::from_payload(frame.payload) else { break };
            if (publish.exchange, publish.routing_key) != (first.exchange, first.routing_key) {
                break;
            }
            let Some(content) = self.content(channel, &input[used + length..])? else { break };
            if let Some((consumer, deliveries)) = &mut only {
                consumer.deliver(deliveries, channel, &publish, content);
            } else if publish.exchange.is_empty() && !consumers.is_empty() {
                self.turn = (self.turn + 1) % consumers.len();
                let consumer = &consumers[self.turn];
                consumer.deliver(&mut consumer.deliveries(), channel, &publish, content);
            } else {
                for consumer in &consumers {
                    consumer.deliver(&mut consumer.deliveries(), channel, &publish, content);
                }
            }
            used += length + content.len();
            messages += 1;
        }
        drop(only);
        if let Some((published, _)) = self.confirms.get_mut(&channel) {
            *published += messages;
        }
        for consumer in consumers {
            if !reached.iter().any(|other| Arc::ptr_eq(other, &consumer)) {
                reached.push(consumer);
            }
        }
        Ok(used)
    }

    fn frame<'a>(&self, input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Gone> {
        self.decoder.decode(input).map_err(|_| Gone::Wrong("octets that are no frame"))
    }

    /// The header and the bodies at the start of `input`, once they are all there.
    fn content<'a>(&self, channel: u16, input: &'a [u8]) -> Result<Option<&'a [u8]>, Gone> {
        let Some((header, mut used)) = self.frame(input)? else { return Ok(None) };
        let parsed = ContentHeader::decode(header.payload);
        let (frame::HEADER, true, Some(parsed)) = (header.kind, header.channel == channel, parsed)
        else {
            return Err(Gone::Wrong("no header behind a publish"));
        };
        let mut left = parsed.body_size;
        while left > 0 {
            let Some((body, length)) = self.frame(&input[used..])? else { return Ok(None) };
            let size = body.payload.len() as u64;
            if body.kind != frame::BODY || body.channel != channel || size > left {
                return Err(Gone::Wrong("no body behind a header"));
            }
            left -= size;
            used += length;
        }
        Ok(Some(&input[..used]))
    }

    /// Says yes.
    fn method(&mut self, channel: u16, method: &Method<'_>) -> Result<(), Gone> {
        match method {
            Method::ConnectionStartOk(_) => {
                let tune =
                    connection::Tune { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 };
                self.ok(channel, &tune);
            }
            Method::ConnectionOpen(_) => self.ok(channel, &connection::OpenOk::default()),
            Method::ConnectionClose(_) => {
                self.ended = true;
                self.ok(channel, &connection::CloseOk {});
            }
            Method::ConnectionUpdateSecret(_) => self.ok(channel, &connection::UpdateSecretOk {}),
            Method::ChannelOpen(_) => self.ok(channel, &channel::OpenOk::default()),
            Method::ChannelFlow(it) => self.ok(channel, &channel::FlowOk { active: it.active }),
            Method::ChannelClose(_) => self.ok(channel, &channel::CloseOk {}),
            Method::AccessRequest(_) => self.ok(channel, &access::RequestOk { ticket: 1 }),
            Method::ExchangeDeclare(it) if !it.nowait => {
                self.ok(channel, &exchange::DeclareOk {});
            }
            Method::ExchangeDelete(it) if !it.nowait => self.ok(channel, &exchange::DeleteOk {}),
            Method::ExchangeBind(it) if !it.nowait => self.ok(channel, &exchange::BindOk {}),
            Method::ExchangeUnbind(it) if !it.nowait => self.ok(channel, &exchange::UnbindOk {}),
            Method::QueueDeclare(it) => self.declare(channel, it),
            Method::QueueBind(it) if !it.nowait => self.ok(channel, &queue::BindOk {}),
            Method::QueueUnbind(_) => self.ok(channel, &queue::UnbindOk {}),
            Method::QueuePurge(it) if !it.nowait => self.ok(channel, &queue::PurgeOk::default()),
            Method::QueueDelete(it) if !it.nowait => self.ok(channel, &queue::DeleteOk::default()),
            Method::BasicQos(_) => self.ok(channel, &basic::QosOk {}),
            Method::BasicConsume(it) => self.consume(channel, it)?,
            Method::BasicCancel(it) => self.cancel(channel, it),
            Method::BasicGet(_) => self.ok(channel, &basic::GetEmpty::default()),
            Method::BasicRecover(_) => self.ok(channel, &basic::RecoverOk {}),
            Method::ConfirmSelect(it) => {
                self.confirms.insert(channel, (0, 0));
                if !it.nowait {
                    self.ok(channel, &confirm::SelectOk {});
                }
            }
            Method::TxSelect(_) => self.ok(channel, &tx::SelectOk {}),
            Method::TxCommit(_) => self.ok(channel, &tx::CommitOk {}),
            Method::TxRollback(_) => self.ok(channel, &tx::RollbackOk {}),
            // Acknowledgements, answers, and what wants no answer.
            _ => {}
        }
        Ok(())
    }

    fn ok(&mut self, channel: u16, method: &impl Encode) {
        encode::method(&mut self.replies, channel, method);
    }

    fn declare(&mut self, channel: u16, declare: &queue::Declare<'_>) {
        self.last_queue = if declare.queue.is_empty() {
            self.made_up += 1;
            let port = self.socket.peer_addr().map_or(0, |address| address.port());
            ShortString::truncated(format!("amq.gen-{port}-{}", self.made_up).as_bytes())
        } else {
            declare.queue.into()
        };
        if !declare.nowait {
            let queue = self.last_queue.clone();
            let (message_count, consumer_count) = (0, 0);
            let queue = queue.as_short();
            self.ok(channel, &queue::DeclareOk { queue, message_count, consumer_count });
        }
    }

    /// A new consumer; the ok is written before any delivery can be.
    fn consume(&mut self, channel: u16, consume: &basic::Consume<'_>) -> Result<(), Gone> {
        let default = ShortStr::from_static("relay");
        let tag = if consume.consumer_tag.is_empty() { default } else { consume.consumer_tag };
        if !consume.nowait {
            self.ok(channel, &basic::ConsumeOk { consumer_tag: tag });
        }
        self.reply()?;
        let queue =
            if consume.queue.is_empty() { self.last_queue.clone() } else { consume.queue.into() };
        let consumer = Arc::new(Consumer::new(self.output.clone(), channel, tag.into()));
        self.own.push(consumer.clone());
        self.consumers.add(queue, consumer);
        Ok(())
    }

    fn cancel(&mut self, channel: u16, cancel: &basic::Cancel<'_>) {
        let tag = cancel.consumer_tag;
        for consumer in &self.own {
            if consumer.is(channel, tag) {
                consumer.cancel();
            }
        }
        if !cancel.nowait {
            self.ok(channel, &basic::CancelOk { consumer_tag: tag });
        }
    }

    /// One ack for all that was published since the last.
    fn confirm(&mut self) {
        for (channel, (published, confirmed)) in &mut self.confirms {
            if confirmed != published {
                let ack = basic::Ack { delivery_tag: *published, multiple: true };
                encode::method(&mut self.replies, *channel, &ack);
                *confirmed = *published;
            }
        }
    }

    fn reply(&mut self) -> Result<(), Gone> {
        if !self.replies.is_empty() {
            lock(&self.output).write_all(&self.replies)?;
            self.replies.clear();
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.own.iter().for_each(|consumer| consumer.cancel());
        // why: consumers have the socket too, which closes it only when the last of them is gone.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn decoded<'a>(frame: &Frame<'a>) -> Result<Method<'a>, Gone> {
    Method::decode(frame.payload).map_err(|_| Gone::Wrong("a method that cannot be read"))
}
