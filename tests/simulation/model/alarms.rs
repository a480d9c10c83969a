//! Alarms: who publishes while there is one is not read from until it is over.

use super::{Model, Notice};

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

    /// A client publishes, whatever becomes of it.
    pub(super) fn note_publisher(&mut self, id: u64) {
        let client = self.clients.get_mut(&id).expect("it is connected");
        if self.alarm && !std::mem::replace(&mut client.blocked, true) {
            self.notices.push(((id, 0), Notice::Blocked));
        }
    }
}
