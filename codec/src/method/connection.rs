//! Class connection: the handshake, and the end.
//!
//! ```text
//!   client    protocol header       start-ok         tune-ok, open             close
//!   server                    start           tune                  open-ok ..       close-ok
//! ```
//!
//! spec: 1.4

use super::define::methods;
use crate::table::Table;
use crate::wire::ShortStr;

methods! { 10;
    /// The server says what it is and how a client may log in. spec: 1.4.2.1
    Start<'a> = 10 "connection.start" {
        version_major: u8,
        version_minor: u8,
        server_properties: Table<'a>,
        /// Names of SASL mechanisms, separated by spaces.
        mechanisms: &'a [u8],
        /// Locales of reply texts, separated by spaces.
        locales: &'a [u8],
    }

    /// The client says what it is and logs in. spec: 1.4.2.2
    StartOk<'a> = 11 "connection.start-ok" {
        client_properties: Table<'a>,
        mechanism: ShortStr<'a>,
        /// What the mechanism needs; for PLAIN the name and the password.
        response: &'a [u8],
        locale: ShortStr<'a>,
    }

    /// The mechanism needs another step. spec: 1.4.2.3
    Secure<'a> = 20 "connection.secure" {
        challenge: &'a [u8],
    }

    /// The client's answer to the step. spec: 1.4.2.4
    SecureOk<'a> = 21 "connection.secure-ok" {
        response: &'a [u8],
    }

    /// The server proposes limits. spec: 1.4.2.5
    Tune = 30 "connection.tune" {
        channel_max: u16,
        /// The largest frame in octets, its overhead counted.
        frame_max: u32,
        /// Seconds; 0 is none.
        heartbeat: u16,
    }

    /// The client decides on the limits. spec: 1.4.2.6
    TuneOk = 31 "connection.tune-ok" {
        channel_max: u16,
        /// The largest frame in octets, its overhead counted.
        frame_max: u32,
        /// Seconds; 0 is none.
        heartbeat: u16,
    }

    /// The client chooses a virtual host. spec: 1.4.2.7
    Open<'a> = 40 "connection.open" {
        virtual_host: ShortStr<'a>,
        /// Reserved.
        capabilities: ShortStr<'a>,
        /// Reserved.
        insist: bool,
    }

    /// The connection is open. spec: 1.4.2.8
    OpenOk<'a> = 41 "connection.open-ok" {
        /// Reserved.
        known_hosts: ShortStr<'a>,
    }

    /// Either peer ends the connection. spec: 1.4.2.9
    Close<'a> = 50 "connection.close" {
        reply_code: u16,
        reply_text: ShortStr<'a>,
        /// The class of the method that failed, or 0.
        class_id: u16,
        /// The method that failed, or 0.
        method_id: u16,
    }

    /// The end is agreed to. spec: 1.4.2.10
    CloseOk = 51 "connection.close-ok" {}

    /// The server takes no messages until [`Unblocked`]. rabbitmq: an extension.
    Blocked<'a> = 60 "connection.blocked" {
        reason: ShortStr<'a>,
    }

    /// The server takes messages again. rabbitmq: an extension.
    Unblocked = 61 "connection.unblocked" {}

    /// A new password or token, before the old one expires. rabbitmq: an extension.
    UpdateSecret<'a> = 70 "connection.update-secret" {
        new_secret: &'a [u8],
        reason: ShortStr<'a>,
    }

    /// The new secret is good. rabbitmq: an extension.
    UpdateSecretOk = 71 "connection.update-secret-ok" {}
}
