//! Class exchange: declaring exchanges and binding them to each other.
//!
//! spec: 1.6

use super::define::methods;
use crate::table::Table;
use crate::wire::ShortStr;

methods! { 40;
    /// The client wants this exchange to be there. spec: 1.6.2.1
    Declare<'a> = 10 "exchange.declare" {
        /// Reserved.
        ticket: u16,
        exchange: ShortStr<'a>,
        /// `type` in the specification.
        kind: ShortStr<'a>,
        /// Only ask whether it is there.
        passive: bool,
        durable: bool,
        // rabbitmq: reserved in 0-9-1; auto-delete and internal are taken from 0-8.
        auto_delete: bool,
        /// Reached through other exchanges alone.
        internal: bool,
        nowait: bool,
        arguments: Table<'a>,
    }

    /// The exchange is there. spec: 1.6.2.2
    DeclareOk = 11 "exchange.declare-ok" {}

    /// The client wants the exchange to go. spec: 1.6.2.3
    Delete<'a> = 20 "exchange.delete" {
        /// Reserved.
        ticket: u16,
        exchange: ShortStr<'a>,
        if_unused: bool,
        nowait: bool,
    }

    /// The exchange is gone. spec: 1.6.2.4
    DeleteOk = 21 "exchange.delete-ok" {}

    /// Messages of the source go to the destination too. rabbitmq: an extension.
    Bind<'a> = 30 "exchange.bind" {
        /// Reserved.
        ticket: u16,
        destination: ShortStr<'a>,
        source: ShortStr<'a>,
        routing_key: ShortStr<'a>,
        nowait: bool,
        arguments: Table<'a>,
    }

    /// The exchanges are bound. rabbitmq: an extension.
    BindOk = 31 "exchange.bind-ok" {}

    /// A binding is to go. rabbitmq: an extension.
    Unbind<'a> = 40 "exchange.unbind" {
        /// Reserved.
        ticket: u16,
        destination: ShortStr<'a>,
        source: ShortStr<'a>,
        routing_key: ShortStr<'a>,
        nowait: bool,
        arguments: Table<'a>,
    }

    /// The binding is gone. rabbitmq: an extension, and its id is 51, not 41.
    UnbindOk = 51 "exchange.unbind-ok" {}
}
