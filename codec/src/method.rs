//! Methods: one struct each, in a module for each class, and [`Method`], which is any of them.
//!
//! A method frame's payload is a class id, a method id and the fields. Both directions of all
//! methods are here: a broker decodes one half and encodes the other, a client the reverse.
//!
//! To add a method, declare its struct in the module of its class and name it in the list below.
//!
//! spec: 4.2.4, method payloads. The sections 1.4 to 1.9 that the methods name are those of the
//! reference of classes and methods, which the specification has beside its text.

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
mod define;
pub mod exchange;
pub mod queue;
pub mod tx;

pub use define::Encode;

use nom::Parser;

use crate::error::MethodError;
use crate::wire::{self, put_short};
use define::Decode;

/// Makes one type of all methods, and the match by ids that finds the right one.
macro_rules! any_method {
    ($($variant:ident($class:ident::$method:ident $(<$life:lifetime>)?);)+) => {
        /// Any method.
        #[derive(Clone, Copy, Debug, PartialEq)]
        // why: a variant is its struct and says no more; their documentation is there.
        #[allow(missing_docs)]
        pub enum Method<'a> {
            $($variant($class::$method $(<$life>)?),)+
        }

        impl<'a> Method<'a> {
            /// Decodes a method frame's payload, to its last octet.
            #[inline]
            pub fn decode(payload: &'a [u8]) -> Result<Self, MethodError<'a>> {
                let mut ids = (wire::short, wire::short);
                let Ok((arguments, (class_id, method_id))) = ids.parse(payload) else {
                    return Err(MethodError::Short);
                };
                match (class_id, method_id) {
                    $(($class::$method::CLASS_ID, $class::$method::METHOD_ID) => {
                        $class::$method::decode(arguments).map(Self::$variant)
                    })+
                    _ => Err(MethodError::Unknown { class_id, method_id }),
                }
            }

            /// The class id.
            pub const fn class_id(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $class::$method::CLASS_ID,)+
                }
            }

            /// The method id, unique in its class.
            pub const fn method_id(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $class::$method::METHOD_ID,)+
                }
            }

            /// The specification's name, with its class: `queue.declare`.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $class::$method::NAME,)+
                }
            }

            /// The name of the method with these ids, if there is one.
            pub const fn name_of(class_id: u16, method_id: u16) -> Option<&'static str> {
                match (class_id, method_id) {
                    $(($class::$method::CLASS_ID, $class::$method::METHOD_ID) => {
                        Some($class::$method::NAME)
                    })+
                    _ => None,
                }
            }

            /// Whether a content header and a body follow.
            pub const fn has_content(&self) -> bool {
                match self {
                    $(Self::$variant(_) => $class::$method::HAS_CONTENT,)+
                }
            }

            /// Appends ids and fields: the payload of a frame, and not the frame.
            pub fn encode(&self, out: &mut Vec<u8>) {
                put_short(out, self.class_id());
                put_short(out, self.method_id());
                self.encode_fields(out);
            }

            /// Appends the fields, without the ids.
            pub fn encode_fields(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(method) => method.encode_fields(out),)+
                }
            }
        }

        $(impl<'a> From<$class::$method $(<$life>)?> for Method<'a> {
            #[inline]
            fn from(method: $class::$method $(<$life>)?) -> Self {
                Self::$variant(method)
            }
        })+
    };
}

any_method! {
    ConnectionStart(connection::Start<'a>);
    ConnectionStartOk(connection::StartOk<'a>);
    ConnectionSecure(connection::Secure<'a>);
    ConnectionSecureOk(connection::SecureOk<'a>);
    ConnectionTune(connection::Tune);
    ConnectionTuneOk(connection::TuneOk);
    ConnectionOpen(connection::Open<'a>);
    ConnectionOpenOk(connection::OpenOk<'a>);
    ConnectionClose(connection::Close<'a>);
    ConnectionCloseOk(connection::CloseOk);
    ConnectionBlocked(connection::Blocked<'a>);
    ConnectionUnblocked(connection::Unblocked);
    ConnectionUpdateSecret(connection::UpdateSecret<'a>);
    ConnectionUpdateSecretOk(connection::UpdateSecretOk);
    ChannelOpen(channel::Open<'a>);
    ChannelOpenOk(channel::OpenOk<'a>);
    ChannelFlow(channel::Flow);
    ChannelFlowOk(channel::FlowOk);
    ChannelClose(channel::Close<'a>);
    ChannelCloseOk(channel::CloseOk);
    AccessRequest(access::Request<'a>);
    AccessRequestOk(access::RequestOk);
    ExchangeDeclare(exchange::Declare<'a>);
    ExchangeDeclareOk(exchange::DeclareOk);
    ExchangeDelete(exchange::Delete<'a>);
    ExchangeDeleteOk(exchange::DeleteOk);
    ExchangeBind(exchange::Bind<'a>);
    ExchangeBindOk(exchange::BindOk);
    ExchangeUnbind(exchange::Unbind<'a>);
    ExchangeUnbindOk(exchange::UnbindOk);
    QueueDeclare(queue::Declare<'a>);
    QueueDeclareOk(queue::DeclareOk<'a>);
    QueueBind(queue::Bind<'a>);
    QueueBindOk(queue::BindOk);
    QueuePurge(queue::Purge<'a>);
    QueuePurgeOk(queue::PurgeOk);
    QueueDelete(queue::Delete<'a>);
    QueueDeleteOk(queue::DeleteOk);
    QueueUnbind(queue::Unbind<'a>);
    QueueUnbindOk(queue::UnbindOk);
    BasicQos(basic::Qos);
    BasicQosOk(basic::QosOk);
    BasicConsume(basic::Consume<'a>);
    BasicConsumeOk(basic::ConsumeOk<'a>);
    BasicCancel(basic::Cancel<'a>);
    BasicCancelOk(basic::CancelOk<'a>);
    BasicPublish(basic::Publish<'a>);
    BasicReturn(basic::Return<'a>);
    BasicDeliver(basic::Deliver<'a>);
    BasicGet(basic::Get<'a>);
    BasicGetOk(basic::GetOk<'a>);
    BasicGetEmpty(basic::GetEmpty<'a>);
    BasicAck(basic::Ack);
    BasicReject(basic::Reject);
    BasicRecoverAsync(basic::RecoverAsync);
    BasicRecover(basic::Recover);
    BasicRecoverOk(basic::RecoverOk);
    BasicNack(basic::Nack);
    ConfirmSelect(confirm::Select);
    ConfirmSelectOk(confirm::SelectOk);
    TxSelect(tx::Select);
    TxSelectOk(tx::SelectOk);
    TxCommit(tx::Commit);
    TxCommitOk(tx::CommitOk);
    TxRollback(tx::Rollback);
    TxRollbackOk(tx::RollbackOk);
}
