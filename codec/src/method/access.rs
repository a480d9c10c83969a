//! Class access: tickets, which 0-9-1 has no more.
//!
//! rabbitmq: answers a request, as some old clients still ask for a ticket before they do anything.

use super::define::methods;
use crate::wire::ShortStr;

methods! { 30;
    /// The client asks for a ticket. spec: class 30 of 0-8.
    Request<'a> = 10 "access.request" {
        realm: ShortStr<'a>,
        exclusive: bool,
        passive: bool,
        active: bool,
        write: bool,
        read: bool,
    }

    /// The ticket, which nobody looks at. spec: class 30 of 0-8.
    RequestOk = 11 "access.request-ok" {
        ticket: u16,
    }
}
