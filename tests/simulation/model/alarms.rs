//! Alarms: who publishes while there is one is not read from until it is over, and what it has published
//! waits for that.

use super::{At, Model, Notice, Request};

impl Model {
    /// An alarm is raised, or over.
    pub(super) fn set_alarm(&mut self, is_raised: bool) {
        self.alarm = is_raised;
        if is_raised {
            return;
        }
        for (id, client) in &mut self.clients {
            if std::mem::take(&mut client.blocked) {
                self.notices.push(((*id, 0), Notice::Unblocked));
            }
        }
    }

    /// Holds a publish back while there is an alarm. Says whether it does.
    pub(super) fn hold_for_alarm(&mut self, at: At, request: &Request) -> bool {
        if !self.alarm || !matches!(request, Request::Publish(_)) {
            return false;
        }
        let client = self.clients.get_mut(&at.0).expect("it is connected");
        assert!(!client.blocked, "it is not read from");
        client.blocked = true;
        client.held = Some((at, request.clone()));
        self.notices.push(((at.0, 0), Notice::Blocked));
        true
    }

    /// Takes what clients that are read from again have published before.
    pub(crate) fn take_unblocked(&mut self) -> Vec<(At, Request)> {
        let unblocked = self.clients.values_mut().filter(|client| !client.blocked);
        unblocked.filter_map(|client| client.held.take()).collect()
    }
}
