//! Who may do what: asked before anything else is looked at, so that a refusal gives nothing away.
//!
//! rabbitmq: a user has three patterns in a virtual host. What a name must match is in the method
//! that asks; the default exchange goes by the name `amq.default`.

use std::collections::BTreeMap;
use std::sync::Arc;

use leveret_codec::{ShortStr, ShortString};

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::access::{Permission, Rights, exchange_to_check};
use crate::broker::error::{Checked, Fault, Resource};
use crate::broker::exchange::{Exchange, ExchangeType};
use crate::broker::ids::ExchangeId;
use crate::broker::time::Time;

impl Vhost {
    /// What a user may do has changed. It counts for open connections too.
    pub fn handle_rights(&mut self, now: Time, user: &str, rights: &Arc<Rights>) {
        self.handle_all_rights(now, &BTreeMap::from([(user.to_owned(), rights.clone())]));
    }

    /// What users may do has changed. It counts for open connections too.
    pub fn handle_all_rights(&mut self, now: Time, rights: &BTreeMap<String, Arc<Rights>>) {
        self.now = now;
        self.batch.run.end();
        let clients: Vec<_> = self.sessions.clients().map(|(id, _)| id).collect();
        for id in clients {
            if let Some(client) = self.sessions.client_mut(id)
                && let Some(rights) = rights.get(&client.user().name)
            {
                client.set_rights(rights.clone());
            }
        }
    }

    pub(super) fn may_with_queue(
        &self,
        via: ChannelRef,
        permission: Permission,
        name: &ShortString,
    ) -> Checked<()> {
        let Some(client) = self.sessions.client(via.connection) else { return Ok(()) };
        match &client.rights().permissions {
            Some(permissions) if !permissions.allows(permission, name.as_bytes()) => {
                let to = Resource::queue(name, &self.name);
                Err(Fault::AccessRefused { to, user: client.user().name.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn may_with_exchange(
        &self,
        via: ChannelRef,
        permission: Permission,
        name: &[u8],
    ) -> Checked<()> {
        let Some(client) = self.sessions.client(via.connection) else { return Ok(()) };
        let Some(permissions) = &client.rights().permissions else { return Ok(()) };
        let name = exchange_to_check(name);
        if permissions.allows(permission, name) {
            return Ok(());
        }
        let to = Resource::exchange(&ShortString::truncated(name), &self.name);
        Err(Fault::AccessRefused { to, user: client.user().name.clone() }.into())
    }

    /// A topic exchange may be open to a user for some routing keys alone.
    pub(super) fn may_with_topic(
        &self,
        via: ChannelRef,
        permission: Permission,
        exchange: ExchangeId,
        key: ShortStr<'_>,
    ) -> Checked<()> {
        let Some(client) = self.sessions.client(via.connection) else { return Ok(()) };
        if client.rights().topics.is_empty() {
            return Ok(());
        }
        let topic = |exchange: &&Exchange| exchange.kind == ExchangeType::Topic;
        let Some(exchange) = self.exchanges.get(exchange).filter(topic) else { return Ok(()) };
        let name = exchange.name.as_bytes();
        if client.rights().topics.allows(name, permission, key.as_bytes()) {
            return Ok(());
        }
        let exchange = Resource::exchange(&exchange.name, &self.name);
        let user = client.user().name.clone();
        Err(Fault::TopicRefused { key: key.into(), exchange, user }.into())
    }
}
