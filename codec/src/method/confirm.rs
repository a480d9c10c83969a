//! Class confirm: the server acknowledges what was published on the channel.
//!
//! rabbitmq: an extension.

use super::define::methods;

methods! { 85;
    /// The client wants confirms from here on. rabbitmq: an extension.
    Select = 10 "confirm.select" {
        nowait: bool,
    }

    /// It gets them. rabbitmq: an extension.
    SelectOk = 11 "confirm.select-ok" {}
}
