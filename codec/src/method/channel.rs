//! Class channel: opening and closing one, and its flow.
//!
//! spec: 1.5

use super::define::methods;
use crate::wire::ShortStr;

methods! { 20;
    /// The client opens the channel of the frame. spec: 1.5.2.1
    Open<'a> = 10 "channel.open" {
        /// Reserved.
        out_of_band: ShortStr<'a>,
    }

    /// The channel is open. spec: 1.5.2.2
    OpenOk<'a> = 11 "channel.open-ok" {
        /// Reserved.
        channel_id: &'a [u8],
    }

    /// A peer asks the other one to send content, or not to. spec: 1.5.2.3
    Flow = 20 "channel.flow" {
        active: bool,
    }

    /// The peer does so. spec: 1.5.2.4
    FlowOk = 21 "channel.flow-ok" {
        active: bool,
    }

    /// Either peer ends the channel. spec: 1.5.2.5
    Close<'a> = 40 "channel.close" {
        reply_code: u16,
        reply_text: ShortStr<'a>,
        /// The class of the method that failed, or 0.
        class_id: u16,
        /// The method that failed, or 0.
        method_id: u16,
    }

    /// The end is agreed to. spec: 1.5.2.6
    CloseOk = 41 "channel.close-ok" {}
}
