//! The scenarios once more, in a broker without memory for messages: every one that can go to the
//! disk goes there before it is delivered.

#[path = "scenarios.rs"]
mod scenarios;

use scenarios::world;
