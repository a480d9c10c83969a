//! The slot that a client has among the sockets of the API: clients without a login cannot use them up.
//!
//! When there are as many sockets as there may be, the one is closed that has waited longest: for its first
//! request, for the next one, or for a login. From a login until the answer is written it is not closed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::connection_slots::ConnectionSlot;

/// A client's slot, which its requests share.
pub(super) struct SocketSlot {
    slot: Mutex<ConnectionSlot>,
    leave: Arc<Notify>,
}

impl SocketSlot {
    pub(super) fn new(slot: ConnectionSlot) -> Self {
        let leave = slot.leave();
        SocketSlot { slot: Mutex::new(slot), leave }
    }

    /// A request has begun.
    pub(super) fn request(self: &Arc<Self>) -> RequestGuard {
        RequestGuard(self.clone())
    }

    /// The request is a user's: the socket is not closed for another before it is answered.
    pub(super) fn protect(&self) {
        let mut slot = self.slot.lock();
        if !slot.is_open() {
            // why: the number of open ones is not limited, so that it cannot be refused.
            let _ = slot.open();
        }
    }

    /// Waits until the socket is to be closed for another client.
    pub(super) async fn must_close(&self) {
        loop {
            self.leave.notified().await;
            // why: a login may have come in the meantime.
            if !self.slot.lock().is_open() {
                return;
            }
        }
    }
}

/// A request that is being answered, until it is dropped.
pub(super) struct RequestGuard(Arc<SocketSlot>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut slot = self.0.slot.lock();
        if slot.is_open() {
            slot.set_idle();
        }
    }
}

impl RequestGuard {
    /// The answer, with which the request ends once all of it is written.
    pub(super) fn until_written(self, answer: Response) -> Response<AnswerBody> {
        answer.map(|body| AnswerBody { body, _request: self })
    }
}

/// The body of an answer.
pub(super) struct AnswerBody {
    body: Body,
    _request: RequestGuard,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::connection_slots::ConnectionSlots;

    /// Whether a socket is to be closed when there is no room for one more client.
    async fn must_close(slots: &Arc<ConnectionSlots>, slot: &SocketSlot) -> bool {
        let mut must_close = Box::pin(slot.must_close());
        assert!(poll!(must_close.as_mut()).is_pending());
        drop(slots.take());
        poll!(must_close.as_mut()).is_ready()
    }

    #[tokio::test]
    async fn a_socket_stays_from_the_login_until_the_answer_is_written() {
        let slots = Arc::new(ConnectionSlots::of(1, None));
        let slot = Arc::new(SocketSlot::new(slots.take().unwrap()));
        let request = slot.request();
        slot.protect();
        slot.protect();
        assert!(!must_close(&slots, &slot).await);
        let answer = request.until_written(Response::new(Body::from("x")));
        assert!(!must_close(&slots, &slot).await);
        drop(answer);
        assert!(must_close(&slots, &slot).await);
    }

    #[tokio::test]
    async fn a_request_without_a_login_makes_room() {
        let slots = Arc::new(ConnectionSlots::of(1, None));
        let slot = Arc::new(SocketSlot::new(slots.take().unwrap()));
        let _request = slot.request();
        assert!(must_close(&slots, &slot).await);
    }

    #[tokio::test]
    async fn a_login_that_comes_just_in_time_keeps_the_socket() {
        let slots = Arc::new(ConnectionSlots::of(1, None));
        let slot = Arc::new(SocketSlot::new(slots.take().unwrap()));
        let mut must_close = Box::pin(slot.must_close());
        assert!(poll!(must_close.as_mut()).is_pending());
        drop(slots.take());
        slot.protect();
        assert!(poll!(must_close.as_mut()).is_pending());
    }
}
