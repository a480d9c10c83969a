//! What there may be in a life.
//!
//! why: not everything at once. Of a few things each pair meets often, and another life has others.

use super::super::dice::Dice;
use super::super::model::{DEAD_LETTERS, EXCHANGES, KINDS, dead_letters_of, takes_dead_letters};

pub(super) struct World {
    pub(super) queues: Vec<&'static str>,
    /// The queue that most happens to.
    pub(super) favourite: &'static str,
    pub(super) exchanges: Vec<&'static str>,
    /// Whether an exchange may hold messages back.
    pub(super) delays: bool,
    pub(super) transactions: bool,
    /// Of consumers.
    pub(super) priorities: bool,
    pub(super) policies: bool,
    /// Whether users may not do everything.
    pub(super) rights: bool,
    pub(super) alarms: bool,
    /// Direct reply-to.
    pub(super) replies: bool,
    /// Crashes are rare.
    pub(super) calm: bool,
}

impl World {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut queues = Vec::new();
        for kind in KINDS.iter().filter(|kind| !takes_dead_letters(kind.name)) {
            if dice.one_in(3) {
                queues.push(kind.name);
                queues.extend(dead_letters_of(kind.name));
            }
        }
        if queues.is_empty() {
            queues.push(KINDS[0].name);
        }
        let is_there = |name: &str, dice: &mut Dice| name == DEAD_LETTERS || dice.one_in(2);
        let exchanges: Vec<_> = EXCHANGES.iter().filter(|it| is_there(it.name, dice)).collect();
        World {
            favourite: *dice.pick(&queues),
            queues,
            delays: exchanges.iter().any(|it| it.delayed_type.is_some()),
            exchanges: exchanges.into_iter().map(|it| it.name).collect(),
            transactions: dice.one_in(2),
            priorities: dice.one_in(2),
            policies: dice.one_in(2),
            rights: dice.one_in(3),
            alarms: dice.one_in(3),
            replies: dice.one_in(3),
            calm: dice.one_in(2),
        }
    }
}
