//! Which addresses clients are accepted on at this moment.
//!
//! What this module deliberately is not: it accepts nobody.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The addresses. Cloning it copies a pointer.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveListeners(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl ActiveListeners {
    /// Clients are accepted on this address until what is returned is dropped, however that comes about.
    pub(crate) fn enter(&self, address: SocketAddr) -> ActiveListener {
        self.0.lock().insert(address);
        ActiveListener { all: self.clone(), address }
    }

    /// Whether clients are accepted on this address.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.0.lock().contains(&address)
    }
}

/// One address that clients are accepted on.
#[derive(Debug)]
pub(crate) struct ActiveListener {
    all: ActiveListeners,
    address: SocketAddr,
}

impl Drop for ActiveListener {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.address);
    }
}
