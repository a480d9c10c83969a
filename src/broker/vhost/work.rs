//! Work in steps: whatever is proportional to data is done a bounded number of steps at a time.
//!
//! A hold of the vhost, from the first input of a batch to [`finish_batch`](Vhost::finish_batch), has so many
//! steps. A step is about one message, consumer, queue or binding that is dealt with. What is not done when
//! they are used up stands here, takes its turn with all other work, and goes on with the next
//! [`handle_timeout`](Vhost::handle_timeout), which is due at once. So no input makes others wait for longer
//! than a hold.
//!
//! What clients see is the same as if it were done at once: a client whose command has become work is not
//! heard before that is done, and a queue in the middle of such work is held, so that nothing leaves it.
//!
//! invariant: who holds a queue evaluates it when it lets go of it.

use std::collections::{BTreeSet, VecDeque};

use super::Vhost;
use super::commit::Commit;
use super::dead_letters::DeadLetters;
use super::fan_out::FanOut;
use super::notice_tally::NoticeTally;
use super::policies::PolicyPass;
use super::release::Release;
use super::settle::Settlement;

use super::timeout::UnackedPass;
use super::unbind::{DeletedExchanges, Unbinding};
use crate::broker::expiry::Deadline;
use crate::broker::ids::{ChannelId, ConnectionId, ConsumerId, QueueId};
use crate::broker::limits;
use crate::broker::ready::Ready;
use crate::broker::transaction::HeldPublish;
use crate::broker::unacked::UnackedList;

/// What is done in steps.
pub(super) enum Task {
    /// A queue goes on: what is too old or too much leaves it, and consumers get what they can take.
    Evaluate(QueueId),
    /// The consumers that stand behind a channel's shared window go on.
    ResumeChannel(ChannelId),
    /// The consumers that stand behind a connection's outbox go on.
    ResumeConnection(ConnectionId),
    /// Many deliveries are settled at once.
    Settle(Settlement),
    /// A transaction is committed.
    Commit(Box<Commit>),
    /// A transaction was rolled back: these were its publishes.
    Forget(Vec<HeldPublish>),
    /// A channel or a connection ends.
    Release(Box<Release>),
    /// A queue was deleted: these were its consumers.
    CancelConsumers(VecDeque<ConsumerId>),
    /// A queue was deleted: these were its bindings.
    Unbind(Unbinding),
    /// A queue was deleted: these were its messages.
    Discard(Box<Ready>),
    /// Exchanges are deleted, with those that go with their last binding.
    DeleteExchanges(Box<DeletedExchanges>),
    /// Policies have changed: they are applied to what is there.
    ApplyPolicies(PolicyPass),
    /// Deliveries may wait too long for their acknowledgement.
    CheckUnacked(UnackedPass),
}

/// All work of a virtual host, and the steps of this hold.
pub(super) struct Work {
    /// How many steps this hold has left.
    left: usize,
    /// How many have been taken since the beginning.
    taken: u64,
    tasks: VecDeque<(Task, Option<ConnectionId>)>,
    /// Publishes to many queues. why: strictly one after the other, so that no later message overtakes an
    /// earlier one in any of them.
    pub(super) fan_outs: VecDeque<FanOut>,
    pub(super) dead_letters: DeadLetters,
    /// What the broker routed by itself and topic exchanges refused.
    pub(super) refused: NoticeTally,
    /// Queues that stand among the tasks to be evaluated, so that each is there once.
    postponed: BTreeSet<QueueId>,
    /// What all of it takes in memory and nobody else counts, in bytes.
    weight: u64,
}

impl Default for Work {
    fn default() -> Self {
        Work {
            left: limits::STEPS_A_HOLD,
            taken: 0,
            tasks: VecDeque::new(),
            fan_outs: VecDeque::new(),
            dead_letters: DeadLetters::default(),
            refused: NoticeTally::default(),
            postponed: BTreeSet::new(),
            weight: 0,
        }
    }
}

impl Work {
    /// Takes so many steps, or those that are left.
    pub(super) fn take(&mut self, steps: usize) {
        self.left = self.left.saturating_sub(steps);
        self.taken += steps as u64;
    }

    /// Takes a step; says whether there are more.
    pub(super) fn step(&mut self) -> bool {
        self.take(1);
        self.left > 0
    }

    /// Whether the steps of this hold are used up.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// How many steps this hold has left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// How many steps have been taken since the beginning.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Policies have changed once more: what is under way for those before is of no use.
    pub(super) fn drop_policy_pass(&mut self) {
        self.tasks.retain(|(task, _)| !matches!(task, Task::ApplyPolicies(_)));
    }

    /// Whether anything waits for its turn.
    pub(super) fn is_pending(&self) -> bool {
        !self.tasks.is_empty() || !self.fan_outs.is_empty() || !self.dead_letters.is_empty()
    }

    /// A hold ends, and the next one has all its steps.
    pub(super) fn renew(&mut self) {
        self.left = limits::STEPS_A_HOLD;
    }

    /// What it takes in memory and nobody else counts, in bytes.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn add_weight(&mut self, bytes: u64) {
        self.weight += bytes;
    }

    pub(super) fn remove_weight(&mut self, bytes: u64) {
        self.weight -= bytes;
    }

    /// What is left of queues that were deleted: for tests.
    pub(super) fn discarded(&self) -> impl Iterator<Item = &Ready> {
        self.tasks.iter().filter_map(|(task, _)| match task {
            Task::Discard(ready) => Some(&**ready),
            _ => None,
        })
    }

    /// What the messages in it weigh that it is to count, in bytes: for tests.
    pub(super) fn counted_weight(&self) -> u64 {
        let discarded = self.discarded().map(Ready::weight);
        let fan_outs = self.fan_outs.iter().map(FanOut::weight);
        discarded.chain(fan_outs).sum::<u64>() + self.dead_letters.weight()
    }

    /// What publishes weigh that were held and are counted by who held them, in bytes: for tests.
    pub(super) fn held_weight(&self) -> u64 {
        let held = self.tasks.iter().map(|(task, _)| match task {
            Task::Forget(publishes) => publishes.iter().map(HeldPublish::weight).sum(),
            Task::Commit(commit) => commit.weight(),
            _ => 0,
        });
        held.sum()
    }

    /// The deliveries that their channels do not list any more: for tests.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = (ChannelId, &UnackedList)> {
        self.tasks
            .iter()
            .filter_map(|(task, _)| match task {
                Task::Settle(settlement) => Some(vec![settlement.deliveries()]),
                Task::Commit(commit) => Some(commit.deliveries()),
                _ => None,
            })
            .flatten()
    }
}

impl Vhost {
    /// How many steps all inputs have taken since the beginning: see [`limits::STEPS_A_HOLD`].
    pub fn steps(&self) -> u64 {
        self.work.taken()
    }

    /// Whether work waits for its turn.
    pub fn has_work(&self) -> bool {
        self.work.is_pending()
    }

    /// Begins a piece of work, and ends it at once if there are steps enough. A client whose work it is waits
    /// for its end with its next command.
    pub(super) fn start(&mut self, task: Task, client: Option<ConnectionId>) {
        if let Some(rest) = self.run(task) {
            if let Some(waiting) = client.and_then(|id| self.sessions.client_mut(id)) {
                waiting.tasks += 1;
            }
            self.work.tasks.push_back((rest, client));
        }
    }

    /// A queue could not be evaluated to its end.
    pub(super) fn postpone(&mut self, queue: QueueId) {
        if self.work.postponed.insert(queue) {
            self.work.tasks.push_back((Task::Evaluate(queue), None));
        }
    }

    /// Goes on with all work in turn, as far as the steps of this hold reach.
    pub(super) fn carry_on(&mut self) {
        while self.work.is_pending() && !self.work.is_exhausted() {
            self.carry_on_dead_letters();
            self.carry_on_fan_outs();
            // why: each gets a part of the steps, so that a long one does not keep the others from theirs.
            let turns = self.work.tasks.len().min(TURNS);
            let (whole, part) = (self.work.left, self.work.left / (turns + 1));
            let mut spent = 0;
            for _ in 0..turns {
                if spent >= whole {
                    break;
                }
                let Some((task, client)) = self.work.tasks.pop_front() else { break };
                self.work.left = part.max(LEAST_STEPS).min(whole - spent);
                let before = self.work.taken;
                if let Task::Evaluate(queue) = &task {
                    self.work.postponed.remove(queue);
                }
                let rest = self.run(task);
                // why not by what is left: the last deed of a turn may take more than there was.
                spent += (self.work.taken - before) as usize;
                match rest {
                    Some(rest) => self.work.tasks.push_back((rest, client)),
                    None => self.end_task(client),
                }
            }
            self.work.left = whole.saturating_sub(spent);
        }
    }

    pub(super) fn end_task(&mut self, client: Option<ConnectionId>) {
        let Some(id) = client else { return };
        let Some(client) = self.sessions.client_mut(id) else { return };
        client.tasks -= 1;
    }

    /// Sees to it that what waits for its turn gets it.
    pub(super) fn arm_work(&mut self) {
        if self.work.is_pending() {
            self.deadlines.add(self.now, Deadline::Work);
        }
    }

    /// Goes on with a piece of work; gives back what is left of it.
    fn run(&mut self, task: Task) -> Option<Task> {
        match task {
            Task::Evaluate(queue) => {
                self.work.take(1);
                self.evaluate(queue);
                None
            }
            Task::ResumeChannel(channel) => self.resume_channel_line(channel).then_some(task),
            Task::ResumeConnection(connection) => {
                self.resume_connection_line(connection).then_some(task)
            }
            Task::Settle(settlement) => self.settle_on(settlement).map(Task::Settle),
            Task::Commit(commit) => self.commit_on(commit).map(Task::Commit),
            Task::Forget(publishes) => self.forget_on(publishes).map(Task::Forget),
            Task::Release(release) => self.release_on(release).map(Task::Release),
            Task::CancelConsumers(consumers) => {
                self.cancel_on(consumers).map(Task::CancelConsumers)
            }
            Task::Unbind(unbinding) => self.unbind_on(unbinding).map(Task::Unbind),
            Task::Discard(ready) => self.discard_on(ready).map(Task::Discard),
            Task::DeleteExchanges(deleted) => {
                self.delete_exchanges_on(deleted).map(Task::DeleteExchanges)
            }
            Task::ApplyPolicies(pass) => self.apply_policies_on(pass).map(Task::ApplyPolicies),
            Task::CheckUnacked(pass) => self.check_unacked_on(pass).map(Task::CheckUnacked),
        }
    }

    /// Frees the messages of a queue that was deleted.
    fn discard_on(&mut self, mut ready: Box<Ready>) -> Option<Box<Ready>> {
        let mut is_done = false;
        while !self.work.is_exhausted() {
            let Some(entry) = ready.pop_any() else {
                is_done = true;
                break;
            };
            self.work.remove_weight(entry.weight());
            self.work.take(1);
        }
        self.memory.note_repeated(ready.take_repeated());
        (!is_done).then_some(ready)
    }
}

/// How many tasks have their turn before dead letters have theirs again.
const TURNS: usize = 64;
/// How many steps a task has at least when it is its turn.
const LEAST_STEPS: usize = 64;
