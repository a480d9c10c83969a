//! Class queue: declaring queues and binding them to exchanges.
//!
//! spec: 1.7

use super::define::methods;
use crate::table::Table;
use crate::wire::ShortStr;

methods! { 50;
    /// The client wants this queue to be there. spec: 1.7.2.1
    Declare<'a> = 10 "queue.declare" {
        /// Reserved.
        ticket: u16,
        /// Empty lets the server choose a name.
        queue: ShortStr<'a>,
        /// Only ask whether it is there.
        passive: bool,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        nowait: bool,
        arguments: Table<'a>,
    }

    /// The queue is there. spec: 1.7.2.2
    DeclareOk<'a> = 11 "queue.declare-ok" {
        queue: ShortStr<'a>,
        /// The messages that are ready.
        message_count: u32,
        consumer_count: u32,
    }

    /// Messages of the exchange go to the queue. spec: 1.7.2.3
    Bind<'a> = 20 "queue.bind" {
        /// Reserved.
        ticket: u16,
        queue: ShortStr<'a>,
        exchange: ShortStr<'a>,
        routing_key: ShortStr<'a>,
        nowait: bool,
        arguments: Table<'a>,
    }

    /// The queue is bound. spec: 1.7.2.4
    BindOk = 21 "queue.bind-ok" {}

    /// The client wants the messages that are ready to go. spec: 1.7.2.7
    Purge<'a> = 30 "queue.purge" {
        /// Reserved.
        ticket: u16,
        queue: ShortStr<'a>,
        nowait: bool,
    }

    /// They are gone. spec: 1.7.2.8
    PurgeOk = 31 "queue.purge-ok" {
        message_count: u32,
    }

    /// The client wants the queue to go. spec: 1.7.2.9
    Delete<'a> = 40 "queue.delete" {
        /// Reserved.
        ticket: u16,
        queue: ShortStr<'a>,
        if_unused: bool,
        if_empty: bool,
        nowait: bool,
    }

    /// The queue is gone. spec: 1.7.2.10
    DeleteOk = 41 "queue.delete-ok" {
        message_count: u32,
    }

    /// A binding is to go. spec: 1.7.2.5
    Unbind<'a> = 50 "queue.unbind" {
        /// Reserved.
        ticket: u16,
        queue: ShortStr<'a>,
        exchange: ShortStr<'a>,
        routing_key: ShortStr<'a>,
        arguments: Table<'a>,
    }

    /// The binding is gone. spec: 1.7.2.6
    UnbindOk = 51 "queue.unbind-ok" {}
}
