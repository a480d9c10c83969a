//! What inputs of a virtual host cost, beside what they did.

use std::collections::{BTreeMap, BTreeSet};

use leveret::broker::limits;
use leveret::broker::vhost::Vhost;

/// Watches how many steps a virtual host takes.
#[derive(Default)]
pub(crate) struct StepMeter {
    steps: u64,
    /// When the last hold ended.
    steps_of_holds: u64,
    contents: Contents,
}

/// What there is in a virtual host.
#[derive(Default)]
struct Contents {
    /// Exchanges, bindings, connections and channels.
    others: [usize; 4],
    /// By name: messages that wait, that are not acknowledged, consumers, the queue itself, and its octets.
    queues: BTreeMap<String, ([usize; 4], u64)>,
}

impl StepMeter {
    /// Notes the end of a hold, in which the largest message had so many octets.
    #[track_caller]
    pub(crate) fn note_hold(&mut self, vhost: &Vhost, largest: usize) {
        let steps = vhost.steps();
        let taken = steps - std::mem::replace(&mut self.steps_of_holds, steps);
        let most = limits::most_steps_of_a_hold(largest);
        assert!(taken <= most as u64, "a hold of {taken} steps");
    }

    /// Checks what was done since the last time: it goes back to so many octets of input, and so many came
    /// out. `visited` says how many things had to be looked at.
    #[track_caller]
    pub(crate) fn check_input(&mut self, vhost: &Vhost, octets: usize, visited: usize) {
        let steps = vhost.steps();
        let taken = steps - std::mem::replace(&mut self.steps, steps);
        let before = std::mem::replace(&mut self.contents, Contents::of(vhost));
        let (moved, moved_octets) = self.contents.differ_from(&before);
        let (octets, moved) = (octets + moved_octets, moved + visited);
        let most = limits::most_steps_of_an_input(octets, moved);
        assert!(taken <= most as u64, "{taken} steps for {octets} octets and {moved} things");
    }
}

impl Contents {
    fn of(vhost: &Vhost) -> Self {
        let sums = vhost.snapshot();
        let others = [sums.exchanges, vhost.bindings().len(), sums.connections, sums.channels];
        let queues = vhost.queues().into_iter().map(|it| {
            let numbers = [it.messages_ready, it.messages_unacknowledged, it.consumers, 1];
            (it.name, (numbers, it.message_bytes_ready + it.message_bytes_unacknowledged))
        });
        Contents { others, queues: queues.collect() }
    }

    /// How many things came or went, and how many octets.
    fn differ_from(&self, before: &Contents) -> (usize, usize) {
        let count = |ours: &[usize; 4], theirs: &[usize; 4]| -> usize {
            ours.iter().zip(theirs).map(|(ours, theirs)| ours.abs_diff(*theirs)).sum()
        };
        let mut moved = count(&self.others, &before.others);
        let mut octets = 0;
        let names = self.queues.keys().chain(before.queues.keys());
        for name in names.collect::<BTreeSet<_>>() {
            let [ours, theirs] =
                [self, before].map(|it| it.queues.get(name).copied().unwrap_or_default());
            moved += count(&ours.0, &theirs.0);
            octets += ours.1.abs_diff(theirs.1) as usize;
        }
        (moved, octets)
    }
}
