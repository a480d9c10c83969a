//! Many clients, random operations, crashes at random moments, and a naive model that says what
//! must come of it.
//!
//! A seed is a life. A life that goes wrong is cut to the shortest beginning that does, and says
//! so; `LEVERET_SEED=17 cargo test --test it simulation::` lives it again. More of them:
//! `LEVERET_SEEDS=100000`.

#![allow(
    clippy::explicit_auto_deref,
    reason = "what is picked is a reference, and the type follows from that"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

mod dice;
mod life;
mod model;
mod replay;

use life::Life;

/// How many seeds a plain test run takes.
const SEEDS: u64 = 80;
/// How many steps a life has.
const STEPS: usize = 600;
/// How many of the last steps are shown of a life that went wrong.
const SHOWN: usize = 25;

#[test]
fn a_broker_does_what_its_model_says_whatever_happens() {
    for_each_seed(SEEDS, |_| {});
}

#[test]
fn the_same_inputs_give_the_same_octets() {
    for_each_seed(SEEDS / 10, |life| life.journal.replay());
}

fn for_each_seed(seeds: u64, check: impl Fn(&mut Life)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("LEVERET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LEVERET_SEEDS").unwrap_or(seeds),
    };
    for seed in seeds {
        if let Err(Wrong { steps, .. }) = live(seed, STEPS, &check) {
            let (steps, trace) = shrink(seed, steps, &check);
            let shown = trace.len().saturating_sub(SHOWN);
            eprintln!("the last of {steps} steps:\n  {}", trace[shown..].join("\n  "));
            panic!("LEVERET_SEED={seed} goes wrong after {steps} steps, see above");
        }
    }
}

struct Wrong {
    /// How many steps there were when it went wrong.
    steps: usize,
    trace: Vec<String>,
}

/// Lives a life of so many steps and its end.
fn live(seed: u64, steps: usize, check: &impl Fn(&mut Life)) -> Result<(), Wrong> {
    let mut life = Life::new(seed);
    let mut done = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        while done < steps {
            done += 1;
            life.step();
        }
        life.finish();
        check(&mut life);
    }));
    outcome.map_err(|_| Wrong { steps: done, trace: std::mem::take(&mut life.trace) })
}

/// Looks for the shortest beginning of a life that goes wrong, here or at its end.
fn shrink(seed: u64, steps: usize, check: &impl Fn(&mut Life)) -> (usize, Vec<String>) {
    let (mut good, mut bad) = (0, steps);
    let mut trace = Vec::new();
    while let Some(middle) = (good < bad).then(|| usize::midpoint(good, bad)) {
        match live(seed, middle, check) {
            Ok(()) => good = middle + 1,
            Err(wrong) => (bad, trace) = (middle, wrong.trace),
        }
    }
    if trace.is_empty()
        && let Err(wrong) = live(seed, bad, check)
    {
        trace = wrong.trace;
    }
    (bad, trace)
}
