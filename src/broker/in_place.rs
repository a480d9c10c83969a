//! Making values where they are to lie.

use std::iter::once_with;

/// Puts what `make` returns at the end of a list.
///
/// why: what `Vec::push` is given is made on the stack and copied, since the list may have to grow
/// in between. A processor that copies what it has just written field by field, in larger pieces,
/// stops until all of it has left for the cache: with commands and deliveries, a tenth of what a
/// message costs. Here the list grows first.
#[inline]
pub(super) fn push_with<T>(list: &mut Vec<T>, make: impl FnOnce() -> T) {
    list.extend(once_with(make));
}
