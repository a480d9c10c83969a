//! All tests of the codec from outside, in one program. A module is a part that can be run alone:
//! `cargo test -p leveret-codec --test codec captured::`.

mod captured;
mod cut_points;
mod facts;
mod round_trip;
mod specification;
