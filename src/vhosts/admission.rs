//! Who is let into a virtual host, and how many are in.
//!
//! Connections are counted here and not in the vhosts, so that a login to one of them waits for no other. No
//! lock is held while it waits for the one it is about.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Registry, Vhosts};
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::{Checked, Fault};
use crate::handle::{ConnectionPeer, OnClose, Session, VhostHandle};
use crate::outbox::Outbox;
use crate::tls::Security;

/// What is known of a connection before it is let in.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionEnd {
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    /// The SASL mechanism it used.
    pub(crate) mechanism: &'static str,
    /// How it is secured, if it is.
    pub(crate) security: Option<Arc<Security>>,
}

/// An address as people know it: that of IPv4 where a socket of IPv6 has such a client.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// How many connections are open, or about to be.
#[derive(Debug, Default)]
pub(super) struct OpenConnections {
    by_vhost: BTreeMap<String, BTreeMap<String, u64>>,
    by_user: BTreeMap<String, u64>,
}

impl OpenConnections {
    fn insert(&mut self, vhost: &str, user: &str) {
        let users = self.by_vhost.entry(vhost.to_owned()).or_default();
        *users.entry(user.to_owned()).or_default() += 1;
        *self.by_user.entry(user.to_owned()).or_default() += 1;
    }

    fn remove(&mut self, vhost: &str, user: &str) {
        decrement(&mut self.by_user, user);
        if let Some(users) = self.by_vhost.get_mut(vhost) {
            decrement(users, user);
            if users.is_empty() {
                self.by_vhost.remove(vhost);
            }
        }
    }

    fn of_vhost(&self, vhost: &str) -> u64 {
        self.by_vhost.get(vhost).map_or(0, |users| users.values().sum())
    }

    fn of_user(&self, user: &str) -> u64 {
        self.by_user.get(user).copied().unwrap_or(0)
    }

    /// The users that have a connection to a virtual host.
    pub(super) fn users_of(&self, vhost: &str) -> Vec<String> {
        self.by_vhost.get(vhost).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }
}

fn decrement(counts: &mut BTreeMap<String, u64>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Vhosts {
    /// Lets a client into a virtual host.
    pub(crate) async fn open(
        &self,
        name: &str,
        mut info: ConnectionInfo,
        end: ConnectionEnd,
        outbox: Arc<Outbox>,
    ) -> Checked<Session> {
        let user = info.user.name.clone();
        let (mut registry, handle, on_close) = self.admit(name, &user)?;
        info.rights = Arc::new(registry.rights(name, &user));
        info.name = format!("{} -> {}", end.address, end.local);
        let peer = Arc::new(ConnectionPeer {
            name: info.name.clone(),
            address: end.address,
            local: end.local,
            connected_at: self.now(),
            mechanism: end.mechanism,
            security: end.security,
            received: AtomicU64::new(0),
            room: Arc::default(),
        });
        let session = handle.open(info, peer, outbox, on_close).await?;
        // why: what changed while the vhost was busy was told to it before this client was in.
        loop {
            let current = self.registry();
            if Arc::ptr_eq(&current, &registry) {
                return Ok(session);
            }
            if !current.may_enter(name, &user) {
                return Err(Fault::VhostRefused { vhost: name.to_owned(), user }.into());
            }
            let rights = Arc::new(current.rights(name, &user));
            handle.set_rights(BTreeMap::from([(user.clone(), rights)]));
            registry = current;
        }
    }

    /// Counts a client that may enter, by the registry that is returned.
    ///
    /// rabbitmq: asks in this order: is the virtual host there, is it full, has the user too many
    /// connections, may the user be there.
    fn admit(&self, name: &str, user: &str) -> Checked<(Arc<Registry>, VhostHandle, OnClose)> {
        let registry = self.registry();
        let (Some(record), Some(handle)) = (registry.vhost(name), self.started(name)) else {
            return Err(Fault::VhostNotFound(name.to_owned()).into());
        };
        if handle.has_failed() {
            return Err(handle.down_fault(user));
        }
        let mut open = self.inner.open.lock();
        if let Some(max) = record.limit("max-connections")
            && open.of_vhost(name) >= max
        {
            let (vhost, user) = (name.to_owned(), user.to_owned());
            return Err(Fault::VhostConnectionLimit { vhost, user, max }.into());
        }
        if let Some(max) = registry.user(user).and_then(|it| it.limit("max-connections"))
            && open.of_user(user) >= max
        {
            return Err(Fault::UserConnectionLimit { user: user.to_owned(), max }.into());
        }
        if !registry.may_enter(name, user) {
            let (vhost, user) = (name.to_owned(), user.to_owned());
            return Err(Fault::VhostRefused { vhost, user }.into());
        }
        open.insert(name, user);
        drop(open);
        let (inner, name, user) = (self.inner.clone(), name.to_owned(), user.to_owned());
        let on_close = OnClose::new(move || inner.open.lock().remove(&name, &user));
        Ok((registry, handle, on_close))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_vhost_and_by_user() {
        let mut open = OpenConnections::default();
        open.insert("a", "eve");
        open.insert("a", "eve");
        open.insert("a", "bob");
        open.insert("b", "eve");
        assert_eq!((open.of_vhost("a"), open.of_vhost("b"), open.of_vhost("c")), (3, 1, 0));
        assert_eq!((open.of_user("eve"), open.of_user("bob")), (3, 1));
        assert_eq!(open.users_of("a"), ["bob", "eve"]);
        open.remove("a", "eve");
        open.remove("a", "bob");
        open.remove("b", "eve");
        assert_eq!(open.users_of("a"), ["eve"]);
        open.remove("a", "eve");
        assert!(open.by_vhost.is_empty() && open.by_user.is_empty());
    }
}
