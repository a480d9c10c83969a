//! Answers that are written piece by piece, so that no more than a piece of a long one is in memory.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream::{self, StreamExt};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::fields::write_json;
use super::{answer, off_thread};

/// How long a piece is, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Up to how many bytes an answer is sent as a whole, which tells its length.
const WHOLE_BYTES: usize = 256 * 1024;

/// The items of an answer.
pub(super) trait Items: Send + 'static {
    /// Appends the next one as JSON. Says whether there was one.
    fn write_next(&mut self, into: &mut Vec<u8>) -> bool;
}

impl Items for std::vec::IntoIter<Value> {
    fn write_next(&mut self, into: &mut Vec<u8>) -> bool {
        self.next().inspect(|item| write_json(item, into)).is_some()
    }
}

/// What stands around the items.
pub(super) enum Envelope {
    /// Brackets: they are a list.
    List,
    /// The page that they are, with its counts.
    Page { number: usize, size: usize, total: usize, filtered: usize },
    /// An object of which they are one field, and the rest of it.
    Within { whole: Value, field: &'static str },
}

impl Envelope {
    /// Appends what is before the items.
    fn open(&self, into: &mut Vec<u8>) {
        match self {
            Envelope::List => into.push(b'['),
            Envelope::Page { .. } => into.extend_from_slice(b"{\"items\":["),
            Envelope::Within { whole, field } => {
                write_json(whole, into);
                // The object is open again.
                into.pop();
                if whole.as_object().is_some_and(|whole| !whole.is_empty()) {
                    into.push(b',');
                }
                write_json(field, into);
                into.extend_from_slice(b":[");
            }
        }
    }

    /// Appends what is behind so many items.
    fn close(&self, items: usize, into: &mut Vec<u8>) {
        match self {
            Envelope::List => into.push(b']'),
            Envelope::Page { number, size, total, filtered } => {
                into.extend_from_slice(b"],");
                let counts = serde_json::json!({
                    "filtered_count": filtered,
                    "item_count": items,
                    "page": number,
                    "page_count": filtered.div_ceil(*size),
                    "page_size": size,
                    "total_count": total,
                });
                let begin = into.len();
                write_json(&counts, into);
                into.remove(begin);
            }
            Envelope::Within { .. } => into.extend_from_slice(b"]}"),
        }
    }
}

/// JSON that is written already. The permit is free again when nearly all of it is sent.
pub(super) fn pieces(json: Bytes, permit: OwnedSemaphorePermit) -> Body {
    let pieces = stream::unfold((json, permit), |(mut rest, permit)| async {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, permit)))
    });
    Body::from_stream(pieces)
}

/// An answer that is being written.
pub(super) struct JsonStream<I> {
    items: I,
    envelope: Envelope,
    written: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Closed,
}

impl<I: Items> JsonStream<I> {
    pub(super) fn new(items: I, envelope: Envelope) -> Self {
        JsonStream { items, envelope, written: 0, state: State::New }
    }

    /// Answers with all of it. The permit is free again when the last piece is written.
    pub(super) fn answer(mut self, permit: Option<OwnedSemaphorePermit>) -> Response {
        let first = Bytes::from(self.next(WHOLE_BYTES));
        if self.state == State::Closed {
            return answer::json(first);
        }
        let rest = stream::unfold((self, permit), |(mut pieces, permit)| async {
            if pieces.state == State::Closed {
                return None;
            }
            let written = off_thread(move || {
                let piece = pieces.next(PIECE_BYTES);
                (piece, pieces)
            });
            let (piece, pieces) = written.await;
            Some((Bytes::from(piece), (pieces, permit)))
        });
        let pieces = stream::iter([first]).chain(rest).map(Ok::<_, Infallible>);
        answer::json(Body::from_stream(pieces))
    }

    /// Writes about so many bytes, or the rest.
    fn next(&mut self, bytes: usize) -> Vec<u8> {
        let mut piece = Vec::new();
        if self.state == State::New {
            self.envelope.open(&mut piece);
            self.state = State::Open;
        }
        while piece.len() < bytes && self.state == State::Open {
            let end = piece.len();
            if self.written > 0 {
                piece.push(b',');
            }
            if self.items.write_next(&mut piece) {
                self.written += 1;
            } else {
                piece.truncate(end);
                self.envelope.close(self.written, &mut piece);
                self.state = State::Closed;
            }
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The numbers up to this one.
    struct Numbers(u32, u32);

    impl Items for Numbers {
        fn write_next(&mut self, into: &mut Vec<u8>) -> bool {
            let is_there = self.0 < self.1;
            if is_there {
                write_json(&self.0, into);
                self.0 += 1;
            }
            is_there
        }
    }

    /// What is written in pieces of so many bytes, and how many there were.
    fn written(count: u32, envelope: Envelope, bytes: usize) -> (Value, usize) {
        let mut pieces = JsonStream::new(Numbers(0, count), envelope);
        let (mut whole, mut number) = (Vec::new(), 0);
        while pieces.state != State::Closed {
            let piece = pieces.next(bytes);
            // An item ends the piece that it makes too long.
            assert!(piece.len() < bytes + 100);
            whole.extend(piece);
            number += 1;
        }
        (serde_json::from_slice(&whole).unwrap(), number)
    }

    #[test]
    fn pieces_are_one_answer() {
        for (count, bytes) in [(0, 1), (1, 1), (3, 1), (3, 4), (3, 1000), (100, 50)] {
            let numbers: Vec<_> = (0..count).collect();
            assert_eq!(written(count, Envelope::List, bytes).0, json!(numbers));
            let page = || Envelope::Page { number: 2, size: 10, total: 99, filtered: 15 };
            let page = written(count, page(), bytes).0;
            assert_eq!(
                page,
                json!({
                    "items": numbers, "item_count": count, "page": 2, "page_count": 2,
                    "page_size": 10, "total_count": 99, "filtered_count": 15,
                })
            );
            for whole in [json!({}), json!({"name": "q"})] {
                let within = Envelope::Within { whole: whole.clone(), field: "list" };
                let mut expected = whole;
                expected["list"] = json!(numbers);
                assert_eq!(written(count, within, bytes).0, expected);
            }
        }
        assert_eq!(written(3, Envelope::List, 1000).1, 1);
        assert!(written(100, Envelope::List, 50).1 > 5);
    }

    #[tokio::test]
    async fn a_long_answer_is_a_stream_and_a_short_one_tells_its_length() {
        use axum::body::HttpBody as _;
        for (count, tells) in [(10, true), (100_000, false)] {
            let response = JsonStream::new(Numbers(0, count), Envelope::List).answer(None);
            let body = response.into_body();
            assert_eq!(body.size_hint().exact().is_some(), tells);
            let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let numbers: Vec<u32> = serde_json::from_slice(&whole).unwrap();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    }
}
