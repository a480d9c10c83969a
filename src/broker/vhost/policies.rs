//! Policies at work: what applies to a queue or an exchange when it is made, and what changes when
//! policies do.
//!
//! rabbitmq: a policy takes effect on what is there already, and ends with its removal; messages
//! that wait keep the expiry they were given.

use std::sync::Arc;

use super::Vhost;
use crate::broker::ids::{ExchangeId, QueueId};
use crate::broker::policy::{PolicySet, effective_alternate, effective_queue_arguments};
use crate::broker::time::Time;

impl Vhost {
    /// The policies have changed.
    pub fn handle_policies(&mut self, now: Time, policies: Arc<PolicySet>) {
        self.now = now;
        if *policies == *self.policies {
            return;
        }
        self.policies = policies;
        let exchanges: Vec<_> = self.exchanges.iter().map(|(id, _)| id).collect();
        for id in exchanges {
            self.apply_exchange_policy(id);
        }
        let queues: Vec<_> = self.queues.iter().map(|(id, _)| id).collect();
        for id in queues {
            self.apply_queue_policy(id);
            self.drop_head(id);
        }
        self.process_dead_letters();
    }

    /// Lets the policies that match a queue apply to it.
    pub(super) fn apply_queue_policy(&mut self, id: QueueId) {
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
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let (policy, _) = self.policies.for_exchange(exchange.name.as_bytes());
        exchange.policy = policy.map(|policy| policy.name.clone());
        exchange.alternate = effective_alternate(&exchange.arguments, policy);
    }
}
