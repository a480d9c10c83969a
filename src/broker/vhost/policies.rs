//! Policies at work: what applies to a queue or an exchange when it is made, and what changes when
//! policies do.
//!
//! rabbitmq: a policy takes effect on what is there already, and ends with its removal; messages
//! that wait keep the expiry they were given.

use std::sync::Arc;

use super::Vhost;
use super::work::Task;
use crate::broker::ids::{ExchangeId, QueueId};
use crate::broker::policy::{PolicySet, effective_alternate, effective_queue_arguments};
use crate::broker::time::Time;

/// How far policies have been applied to what is there, by place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PolicyPass {
    exchange: usize,
    queue: usize,
}

/// How many steps it takes to apply what matches a queue or an exchange, about.
const STEPS: usize = 4;
/// How many policies are matched with a name in a step, about.
const POLICIES_A_STEP: usize = 2;

impl Vhost {
    /// The policies have changed.
    pub fn handle_policies(&mut self, now: Time, policies: Arc<PolicySet>) {
        self.now = now;
        if *policies == *self.policies {
            return;
        }
        self.policies = policies;
        self.work.drop_policy_pass();
        self.start(Task::ApplyPolicies(PolicyPass::default()), None);
        self.process_dead_letters();
    }

    /// Applies policies to what is there, as far as the steps reach; gives back the rest.
    pub(super) fn apply_policies_on(&mut self, mut pass: PolicyPass) -> Option<PolicyPass> {
        while pass.exchange < self.exchanges.end() {
            if self.work.is_exhausted() {
                return Some(pass);
            }
            if let Some(id) = self.exchanges.at(pass.exchange) {
                self.apply_exchange_policy(id);
            }
            pass.exchange += 1;
            self.work.take(STEPS);
        }
        while pass.queue < self.queues.end() {
            if self.work.is_exhausted() {
                return Some(pass);
            }
            if let Some((id, _)) = self.queues.at(pass.queue) {
                self.apply_queue_policy(id);
                self.evaluate(id);
            }
            pass.queue += 1;
            self.work.take(STEPS);
        }
        None
    }

    /// Lets the policies that match a queue apply to it.
    pub(super) fn apply_queue_policy(&mut self, id: QueueId) {
        self.work.take(self.policies.len() / POLICIES_A_STEP + self.policies.match_steps());
        let Some(queue) = self.queues.get_mut(id) else { return };
        let (policy, operator) =
            self.policies.for_queue(queue.name.as_bytes(), queue.declared.queue_type);
        queue.policy = policy.map(|policy| policy.name.clone());
        queue.operator_policy = operator.map(|policy| policy.name.clone());
        let expires_ms = queue.arguments.expires_ms;
        queue.arguments = effective_queue_arguments(&queue.declared, policy, operator);
        // rabbitmq: another time to expire counts from now on.
        if queue.arguments.expires_ms != expires_ms {
            queue.last_used = self.now;
        }
        self.arm(id);
    }

    /// Lets the policy that matches an exchange apply to it.
    pub(super) fn apply_exchange_policy(&mut self, id: ExchangeId) {
        self.work.take(self.policies.len() / POLICIES_A_STEP + self.policies.match_steps());
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let (policy, _) = self.policies.for_exchange(exchange.name.as_bytes());
        exchange.policy = policy.map(|policy| policy.name.clone());
        exchange.alternate = effective_alternate(&exchange.arguments, policy);
    }
}
