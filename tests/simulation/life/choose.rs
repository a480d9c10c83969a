//! What happens next.

use std::rc::Rc;

use super::super::model::{
    At, Binding, Content, EXCHANGES, KEYS, KINDS, Op, Outcome, Request, Settlement, Subscription,
    takes_dead_letters,
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
            5..=7 => return Op::CloseConnection(client),
            8..=19 if self.model.clients[&client].stalled => return Op::Unstall(client),
            8..=13 => return Op::Stall(client),
            20..=59 => return Op::PassMs(self.dice.below(700)),
            60..=199 => return Op::Finish,
            200..=289 => return Op::Write(1 + self.dice.below(12) as usize),
            290..=329 => return Op::Checkpoint,
            330..=334 => return Op::Kill,
            335..=339 => return Op::LosePower,
            340..=344 => return Op::FailDisk(self.dice.below(12)),
            _ => {}
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

    pub(super) fn new_client(&mut self) -> u64 {
        self.next_client += 1;
        self.next_client
    }

    fn choose_request(&mut self, at: At) -> Option<Request> {
        let open = self.model.queues.values().filter(|it| it.owner.is_none_or(|of| of == at.0));
        let queues: Vec<&'static str> = open.map(|queue| queue.kind.name).collect();
        if queues.is_empty() || self.dice.one_in(25) {
            return self.choose_declaration(at.0);
        }
        let queue = *self.dice.pick(&queues);
        match self.dice.below(100) {
            0 => Some(Request::Close),
            // What was never delivered, which costs the channel.
            1 => Some(self.settlement(1_000_000, false)),
            2 => self.dice.one_in(3).then_some(Request::DeleteQueue(queue)),
            3 => self.dice.one_in(3).then_some(Request::Purge(queue)),
            4..=6 => self.choose_binding(),
            7..=9 => Some(Request::SelectConfirms),
            10..=49 => Some(self.choose_publish(queue)),
            50..=57 => self.choose_consumer(at, queue),
            58..=61 => Some(self.choose_flow(at)),
            62..=69 => Some(Request::Get(queue, self.dice.one_in(3))),
            70 => Some(Request::Recover),
            _ => self.choose_settlement(at),
        }
    }

    fn choose_declaration(&mut self, client: u64) -> Option<Request> {
        if self.dice.one_in(4) {
            let name = self.dice.pick(&EXCHANGES).name;
            if self.model.exchanges.contains(name) && self.dice.one_in(6) {
                return Some(Request::DeleteExchange(name));
            }
            return Some(Request::DeclareExchange(name));
        }
        let name = self.dice.pick(&KINDS).name;
        let owner = self.model.queues.get(name).and_then(|queue| queue.owner);
        owner.is_none_or(|owner| owner == client).then_some(Request::DeclareQueue(name))
    }

    fn choose_binding(&mut self) -> Option<Request> {
        let exchanges: Vec<_> = self.model.exchanges.iter().copied().collect();
        // A message that comes to a queue directly and as a dead letter could not be told apart.
        let shared = self.model.queues.values().filter(|queue| queue.owner.is_none());
        let shared = shared.filter(|queue| !takes_dead_letters(queue.kind.name));
        let queues: Vec<&'static str> = shared.map(|queue| queue.kind.name).collect();
        if exchanges.is_empty() || queues.is_empty() {
            return Some(Request::DeclareExchange(EXCHANGES[0].name));
        }
        let (source, queue) = (*self.dice.pick(&exchanges), *self.dice.pick(&queues));
        let key = *self.dice.pick(KEYS);
        let binding = Binding { source, queue, key };
        let ends = self.dice.one_in(3);
        Some(if ends { Request::Unbind(binding) } else { Request::Bind(binding) })
    }

    fn choose_publish(&mut self, queue: &'static str) -> Request {
        self.next_body += 1;
        let exchanges: Vec<_> = self.model.exchanges.iter().copied().collect();
        let (exchange, key) = if exchanges.is_empty() || !self.dice.one_in(4) {
            ("", queue)
        } else {
            (*self.dice.pick(&exchanges), *self.dice.pick(KEYS))
        };
        let mut body = format!("m{}", self.next_body);
        let mut persistent = self.dice.below(3) > 0;
        if exchange.is_empty() && self.dice.one_in(20) {
            // A few of these fill an outbox.
            body.push_str(&"x".repeat(400_000));
            persistent = false;
        }
        Request::Publish(Rc::new(Content {
            exchange: exchange.to_owned(),
            key: key.to_owned(),
            body,
            persistent,
            priority: self.dice.one_in(3).then(|| self.dice.below(6) as u8),
            expiration_ms: self.dice.one_in(8).then(|| self.dice.below(4) * 300),
        }))
    }

    fn choose_consumer(&mut self, at: At, queue: &'static str) -> Option<Request> {
        if self.model.channels[&at].consumers.len() >= 3 {
            return self.choose_settlement(at);
        }
        // A tag used twice would make the deliveries of the first one look like the second one's.
        self.next_tag += 1;
        let tag = format!("c{}", self.next_tag);
        Some(Request::Consume(Subscription { queue, tag, no_ack: self.dice.one_in(4) }))
    }

    fn choose_flow(&mut self, at: At) -> Request {
        let tags: Vec<_> = self.model.channels[&at].consumers.keys().cloned().collect();
        if tags.is_empty() || self.dice.one_in(2) {
            return Request::Qos(self.dice.below(4) as u16, self.dice.one_in(3));
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
