//! The half of a socket that a connection reads from.

use futures::FutureExt;
use tokio::io::{AsyncRead, Interest, ReadHalf};
use tokio::net::tcp::OwnedReadHalf;

/// What bytes come from.
pub(super) trait Incoming: AsyncRead + Unpin {
    /// Whether the other end is known to be gone, though there may be bytes to read before its end.
    ///
    /// why: a client that an alarm blocks is not read from, and what it holds would stay for as long
    /// as the alarm if its end were not noticed; the alarm could be about just its messages.
    fn is_hung_up(&self) -> bool;
}

impl Incoming for OwnedReadHalf {
    fn is_hung_up(&self) -> bool {
        let ready = self.ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(tokio::io::Ready::is_read_closed))
    }
}

/// One that is secured by TLS, or in a test: there the end is behind bytes that cannot be seen
/// through.
impl<T: AsyncRead + Unpin> Incoming for ReadHalf<T> {
    fn is_hung_up(&self) -> bool {
        false
    }
}
