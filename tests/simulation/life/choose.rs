//! What happens next.

use std::rc::Rc;

use super::super::model::{
    At, Binding, Content, DEAD_LETTERS, Destination, EVERYTHING, ExchangeKind, Field, HEADERS,
    KEYS, MATCHES, Op, Outcome, PATTERNS, POLICIES, PolicyKind, Publish, REFUSED, REPLY_TO, RIGHTS,
    Request, Settlement, Subscription, USERS, exchange_kind, kind, takes_dead_letters,
};
use super::Life;

impl Life {
    pub(super) fn choose(&mut self) -> Op {
        let clients: Vec<u64> = self.model.clients.keys().copied().collect();
        if clients.is_empty() || clients.len() < 4 && self.dice.one_in(30) {
            return Op::Connect(self.new_client());
        }
        let client = *self.dice.pick(&clients);
        match self.dice.below(1000) {
            0..=4 => return Op::Disconnect(client),
            5..=7 if !self.model.clients[&client].blocked => return Op::CloseConnection(client),
            8..=19 if self.model.clients[&client].stalled => return Op::Unstall(client),
            8..=13 => return Op::Stall(client),
            20..=59 => return Op::PassMs(self.dice.below(700)),
            72..=79 if self.world.rights => return self.choose_rights(),
            80..=99 if self.model.alarm => return Op::SetAlarm(false),
            80..=85 if self.world.alarms => return Op::SetAlarm(true),
            60..=71 if self.world.policies => return self.choose_policy(),
            60..=199 => return Op::Finish,
            200..=289 => return Op::Write(1 + self.dice.below(12) as usize),
            290..=329 => return Op::Checkpoint,
            330..=344 if self.world.calm && !self.dice.one_in(6) => return Op::Finish,
            330..=334 => return Op::Kill,
            335..=339 => return Op::LosePower,
            340..=344 => return Op::FailDisk(self.dice.below(12)),
            _ => {}
        }
        // What it sends is not read.
        if self.model.clients[&client].blocked {
            return Op::Finish;
        }
        let channels: Vec<u16> =
            self.model.channels.keys().filter(|at| at.0 == client).map(|at| at.1).collect();
        if channels.is_empty() || channels.len() < 3 && self.dice.one_in(20) {
            let free = (1..).find(|number| !channels.contains(number));
            let number = free.expect("there are more numbers than channels");
            return Op::On((client, number), Request::Open);
        }
        let at = (client, *self.dice.pick(&channels));
        // What needs something that is not there is left out.
        self.choose_request(at).map_or(Op::Finish, |request| Op::On(at, request))
    }

    fn choose_rights(&mut self) -> Op {
        let user = self.dice.below(USERS.len() as u64) as usize;
        // Mostly everything, so that something happens.
        let rights = if self.dice.one_in(2) { &EVERYTHING } else { self.dice.pick(&RIGHTS) };
        Op::SetRights(user, rights)
    }

    fn choose_policy(&mut self) -> Op {
        let policy: &PolicyKind = self.dice.pick(&POLICIES);
        let is_set = self.model.policies.iter().any(|it| it.name == policy.name);
        // Mostly one that is not set yet.
        Op::SetPolicy(policy, !is_set || self.dice.one_in(3))
    }

    pub(super) fn new_client(&mut self) -> u64 {
        self.next_client += 1;
        self.next_client
    }

    fn choose_request(&mut self, at: At) -> Option<Request> {
        if let Some(transaction) = &self.model.channels[&at].transaction {
            // rabbitmq: a client waits for the answer to its commit before it says anything else.
            if transaction.is_committing() {
                return None;
            }
            if self.dice.one_in(10) {
                return Some(if self.dice.one_in(4) { Request::Rollback } else { Request::Commit });
            }
        }
        let open = self.model.queues.values().filter(|it| it.owner.is_none_or(|of| of == at.0));
        let queues: Vec<&'static str> = open.map(|queue| queue.kind.name).collect();
        if queues.is_empty() || self.dice.one_in(12) {
            return self.choose_declaration(at.0);
        }
        let favourite = self.world.favourite;
        let queue = if queues.contains(&favourite) && self.dice.one_in(3) {
            favourite
        } else {
            *self.dice.pick(&queues)
        };
        let channel = &self.model.channels[&at];
        let (is_transactional, is_confirming) = (channel.transaction.is_some(), channel.confirming);
        if !is_transactional && !is_confirming && self.dice.one_in(8) {
            return Some(self.choose_mode());
        }
        match self.dice.below(100) {
            0 => Some(Request::Close),
            // What was never delivered, which costs the channel.
            1 => Some(self.settlement(1_000_000, false)),
            2 => self.dice.one_in(3).then_some(Request::DeleteQueue(queue)),
            3 => self.dice.one_in(3).then_some(Request::Purge(queue)),
            4..=8 => self.choose_binding(),
            9 | 10 => Some(self.choose_mode()),
            // Which of a dead letter and a publish comes first within one commit is not said.
            11..=49 if is_transactional && takes_dead_letters(queue) => None,
            11..=49 => Some(self.choose_publish(at, queue)),
            50..=52 if self.world.replies => self.choose_replies(at),
            50..=57 => self.choose_consumer(at, queue),
            58..=61 => Some(self.choose_flow(at)),
            62..=69 => Some(Request::Get(queue, self.dice.one_in(3))),
            70 => Some(Request::Recover),
            _ => self.choose_settlement(at),
        }
    }

    fn choose_mode(&mut self) -> Request {
        if self.world.transactions && self.dice.one_in(2) {
            return Request::SelectTransactions;
        }
        Request::SelectConfirms
    }

    fn choose_declaration(&mut self, client: u64) -> Option<Request> {
        if self.dice.one_in(2) {
            let name = *self.dice.pick(&self.world.exchanges);
            if self.model.exchanges.contains(name) && self.dice.one_in(6) {
                return Some(Request::DeleteExchange(name));
            }
            return Some(Request::DeclareExchange(name));
        }
        let name = *self.dice.pick(&self.world.queues);
        let owner = self.model.queues.get(name).and_then(|queue| queue.owner);
        owner.is_none_or(|owner| owner == client).then_some(Request::DeclareQueue(name))
    }

    fn choose_binding(&mut self) -> Option<Request> {
        let source = self.choose_exchange();
        let destination = self.choose_destination(source)?;
        if self.dice.one_in(3) {
            // Mostly one that is there.
            let bindings: Vec<Binding> = self.model.bindings.iter().copied().collect();
            if !bindings.is_empty() && !self.dice.one_in(4) {
                return Some(Request::Unbind(*self.dice.pick(&bindings)));
            }
        }
        let ExchangeKind { kind, delayed_type, .. } = *exchange_kind(source);
        let key = *self.dice.pick(if kind == "topic" || delayed_type.is_some() {
            PATTERNS
        } else {
            KEYS
        });
        let arguments =
            if kind == "headers" || self.dice.one_in(10) { *self.dice.pick(MATCHES) } else { &[] };
        Some(Request::Bind(Binding { source, destination, key, arguments }))
    }

    /// An exchange, mostly one that is there.
    fn choose_exchange(&mut self) -> &'static str {
        let there: Vec<_> = self.model.exchanges.iter().copied().collect();
        if there.is_empty() || self.dice.one_in(20) {
            return *self.dice.pick(&self.world.exchanges);
        }
        *self.dice.pick(&there)
    }

    fn choose_destination(&mut self, source: &'static str) -> Option<Destination> {
        // A message that comes to a queue directly and as a dead letter could not be told apart.
        if source == DEAD_LETTERS {
            return Some(Destination::Queue(REFUSED));
        }
        if self.dice.one_in(3) {
            let name = self.choose_exchange();
            return (name != DEAD_LETTERS).then_some(Destination::Exchange(name));
        }
        let shared = self.model.queues.values().filter(|queue| queue.owner.is_none());
        let shared = shared.filter(|queue| !takes_dead_letters(queue.kind.name));
        let shared = shared.filter(|queue| self.may_expire_in(queue.kind.name));
        let queues: Vec<&'static str> = shared.map(|queue| queue.kind.name).collect();
        (!queues.is_empty()).then(|| Destination::Queue(*self.dice.pick(&queues)))
    }

    /// A subscription to answers, mostly the first one of a channel, or a question after an asker.
    fn choose_replies(&mut self, at: At) -> Option<Request> {
        if let Some(address) = self.choose_address().filter(|_| self.dice.one_in(3)) {
            return Some(Request::DeclareReplies(address));
        }
        let is_first = self.model.channels[&at].replies.is_none();
        if !is_first && !self.dice.one_in(6) {
            return None;
        }
        self.next_tag += 1;
        Some(Request::ConsumeReplies(format!("r{}", self.next_tag)))
    }

    /// An address that a client has seen, mostly of one that is still there.
    fn choose_address(&mut self) -> Option<String> {
        let all: Vec<String> = self.model.addresses.keys().cloned().collect();
        let is_there = |address: &&String| self.model.asker(address).is_some();
        let there: Vec<String> = all.iter().filter(is_there).cloned().collect();
        let from = if there.is_empty() || self.dice.one_in(6) { all } else { there };
        (!from.is_empty()).then(|| self.dice.pick(&from).clone())
    }

    /// Whether messages with a time to expire may come to a queue.
    ///
    /// why: when the consumer that is served alone goes with its client, the next one is served before what came
    /// back. Whether one on the disk has expired by then, before others come in front of it, depends on its page.
    fn may_expire_in(&self, queue: &str) -> bool {
        self.memory.is_none() || !kind(queue).single_active
    }

    fn choose_publish(&mut self, at: At, queue: &'static str) -> Request {
        self.next_body += 1;
        let mut content = Content { body: format!("m{}", self.next_body), ..Content::default() };
        content.persistent = self.dice.below(3) > 0;
        content.priority = self.dice.one_in(3).then(|| self.dice.below(6) as u8);
        content.expiration_ms = self.dice.one_in(8).then(|| self.dice.below(4) * 300);
        let exchange = self.choose_exchange();
        if exchange == DEAD_LETTERS || self.dice.below(3) > 0 {
            // Now and then one that may not be there.
            let other = self.dice.one_in(15).then(|| *self.dice.pick(&self.world.queues));
            let other = other.filter(|name| !takes_dead_letters(name));
            let queue = other.unwrap_or(queue);
            content.key = queue.to_owned();
            content.expiration_ms = content.expiration_ms.filter(|_| self.may_expire_in(queue));
            if self.dice.one_in(20) {
                // A few of these fill an outbox.
                content.body.push_str(&"x".repeat(400_000));
                content.persistent = false;
            }
        } else {
            content.exchange = exchange.to_owned();
            content.key = (*self.dice.pick(KEYS)).to_owned();
            let headers = self.dice.pick(HEADERS).iter();
            content.headers = headers.map(|(name, it)| ((*name).to_owned(), it.clone())).collect();
            if exchange_kind(exchange).delayed_type.is_some() || self.dice.one_in(20) {
                let delay = self.choose_delay();
                content.headers.push(("x-delay".to_owned(), Field::Number(delay)));
                content.headers.sort();
            }
            if self.dice.one_in(8) {
                content.copies.push((*self.dice.pick(KEYS)).to_owned());
            }
        }
        let mandatory = self.dice.one_in(4);
        if self.world.replies && self.dice.one_in(6) {
            let asks = self.model.channels[&at].replies.is_some() || self.dice.one_in(30);
            if asks && self.dice.one_in(2) {
                content.reply_to = Some(REPLY_TO.to_owned());
            } else if let Some(address) = self.choose_address() {
                content = Content { body: content.body, key: address, ..Content::default() };
            }
        }
        Request::Publish(Publish { content: Rc::new(content), mandatory })
    }

    /// Mostly one with which nothing is due at the same time.
    ///
    /// why: which of two exchanges lets go first what is due at once is not said. Publishes of a transaction are
    /// delayed from the same moment on.
    fn choose_delay(&mut self) -> i64 {
        let mut delay = self.dice.below(8) as i64 * 150 - 100;
        if delay > 0 {
            delay += self.next_body as i64 % 50;
        }
        while delay > 0 && self.model.is_anything_due_at(self.model.now + delay.unsigned_abs()) {
            delay += 1;
        }
        delay
    }

    fn choose_consumer(&mut self, at: At, queue: &'static str) -> Option<Request> {
        let channel = &self.model.channels[&at];
        // rabbitmq: a quorum queue knows no window that consumers share; that costs the connection.
        if channel.consumers.len() >= 3 || kind(queue).quorum && channel.shares_window() {
            return self.choose_settlement(at);
        }
        // A tag used twice would make the deliveries of the first one look like the second one's.
        self.next_tag += 1;
        let tag = format!("c{}", self.next_tag);
        let (no_ack, exclusive) = (self.dice.one_in(4), self.dice.one_in(30));
        let priority = if self.world.priorities { self.dice.below(3) as i32 - 1 } else { 0 };
        Some(Request::Consume(Subscription { queue, tag, no_ack, exclusive, priority }))
    }

    fn choose_flow(&mut self, at: At) -> Request {
        let channel = &self.model.channels[&at];
        let tags = channel.consumers.keys().chain(channel.reply_tag());
        let tags: Vec<_> = tags.cloned().collect();
        if tags.is_empty() || self.dice.one_in(2) {
            let global = self.dice.one_in(3) && !channel.consumes_from(|kind| kind.quorum);
            return Request::Qos(self.dice.below(4) as u16, global);
        }
        Request::Cancel(self.dice.pick(&tags).clone())
    }

    fn choose_settlement(&mut self, at: At) -> Option<Request> {
        let all: Vec<u64> = self.model.channels[&at].unacked.keys().copied().collect();
        let oldest = *all.first()?;
        let chosen = *self.dice.pick(&all);
        Some(match self.dice.below(10) {
            0 => self.settlement(0, true),
            1 | 2 => self.settlement(chosen, true),
            _ if self.dice.one_in(3) => self.settlement(chosen, false),
            _ => self.settlement(oldest, false),
        })
    }

    fn settlement(&mut self, tag: u64, multiple: bool) -> Request {
        let outcomes = [Outcome::Done, Outcome::Done, Outcome::Refused, Outcome::Requeued];
        Request::Settle(Settlement { tag, multiple, outcome: *self.dice.pick(&outcomes) })
    }
}
