//! What a run came to, for people and for programs.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::Counts;

/// What a run came to.
///
/// Rates and latencies are those of the measured window; totals are those of the whole run, from
/// the first message to the last one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Messages a second that producers wrote to their connections.
    pub published_per_s: f64,
    /// Messages a second that the broker confirmed.
    pub confirmed_per_s: f64,
    /// Messages a second that consumers got.
    pub delivered_per_s: f64,
    /// Messages a second that consumers acknowledged.
    pub acked_per_s: f64,
    /// All that were published.
    pub published: u64,
    /// All that were confirmed.
    pub confirmed: u64,
    /// All that the broker refused with basic.nack.
    pub nacked: u64,
    /// All that came back with basic.return.
    pub returned: u64,
    /// All that were delivered.
    pub delivered: u64,
    /// All that were acknowledged.
    pub acked: u64,
    /// How long the window was.
    pub seconds: f64,
    /// From publishing to delivery; none when no stamped message of this run was delivered.
    pub delivery_latency_us: Option<Latency>,
    /// From publishing to the confirm; none without confirms.
    pub confirm_latency_us: Option<Latency>,
    /// Whether the run came to its end: the time passed, or all was published and delivered.
    pub complete: bool,
    /// Why the run ended early, if it failed.
    pub error: Option<String>,
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many messages they are of.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1,000 took no longer.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// None took longer.
    pub max: f64,
}

/// What happened in about a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Seconds since the first message.
    pub elapsed_secs: f64,
    /// Whether this is before the measured window.
    pub is_warm_up: bool,
    /// Messages a second of each kind; what does not occur in the run is none.
    pub rates: Vec<(&'static str, f64)>,
    /// From publishing to delivery.
    pub delivery_latency_us: Option<Latency>,
    /// From publishing to the confirm.
    pub confirm_latency_us: Option<Latency>,
    /// Producers that the broker has blocked.
    pub blocked: usize,
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds; none when it is empty.
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Some(Latency {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
        })
    }
}

impl Summary {
    /// From what was done in a window and in the whole run.
    pub(super) fn of(window: Counts, total: Counts, window_ns: u64) -> Self {
        let seconds = window_ns as f64 / 1e9;
        Summary {
            published_per_s: per_second(window.published, seconds),
            confirmed_per_s: per_second(window.confirmed, seconds),
            delivered_per_s: per_second(window.delivered, seconds),
            acked_per_s: per_second(window.acknowledged, seconds),
            published: total.published,
            confirmed: total.confirmed,
            nacked: total.nacked,
            returned: total.returned,
            delivered: total.delivered,
            acked: total.acknowledged,
            seconds: (seconds * 1e6).round() / 1e6,
            delivery_latency_us: None,
            confirm_latency_us: None,
            complete: false,
            error: None,
        }
    }

    /// One JSON object, in one line.
    pub fn to_json(&self) -> String {
        // invariant: there are numbers, texts and nothing that could not be written.
        serde_json::to_string(self).expect("a summary is JSON")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("published", self.published, Some(self.published_per_s)),
            ("confirmed", self.confirmed, Some(self.confirmed_per_s)),
            ("refused", self.nacked, None),
            ("returned", self.returned, None),
            ("delivered", self.delivered, Some(self.delivered_per_s)),
            ("acknowledged", self.acked, Some(self.acked_per_s)),
        ];
        writeln!(f, "{:<13} {:>12}   {:>15}", "", "per second", "in all")?;
        for (name, total, rate) in kinds.into_iter().filter(|(_, total, _)| *total > 0) {
            let rate = rate.map(thousands).unwrap_or_default();
            writeln!(f, "{name:<13} {rate:>12}   {:>15}", thousands(total as f64))?;
        }
        for (name, latency) in [
            ("publish to delivery", &self.delivery_latency_us),
            ("publish to confirm", &self.confirm_latency_us),
        ] {
            if let Some(latency) = latency {
                writeln!(f, "{name}: {latency}")?;
            }
        }
        write!(f, "measured for {:.3} s", self.seconds)?;
        if !self.complete {
            write!(f, "; ended early")?;
        }
        Ok(())
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p90, p99, p999, max, .. } = self;
        write!(f, "p50 {p50} µs, p90 {p90} µs, p99 {p99} µs, p99.9 {p999} µs, max {max} µs")
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4.0} s:", self.elapsed_secs)?;
        for (number, (name, rate)) in self.rates.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma} {} {name}/s", thousands(*rate))?;
        }
        for (name, latency) in
            [("delivery", &self.delivery_latency_us), ("confirm", &self.confirm_latency_us)]
        {
            if let Some(Latency { p50, p99, .. }) = latency {
                write!(f, "; {name} p50 {p50} µs, p99 {p99} µs")?;
            }
        }
        if self.blocked > 0 {
            write!(f, "; {} blocked by the broker", self.blocked)?;
        }
        if self.is_warm_up {
            write!(f, " (warming up)")?;
        }
        Ok(())
    }
}

/// A rate with one digit behind the point; nothing was done in no time.
pub(super) fn per_second(messages: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (messages as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

fn micros(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tally::histogram;
    use super::*;

    fn summary() -> Summary {
        let total = Counts { published: 3_000, delivered: 2_999, ..Counts::default() };
        let window = Counts { published: 2_000, delivered: 1_999, ..Counts::default() };
        Summary::of(window, total, 500_000_000)
    }

    #[test]
    fn percentiles_are_of_the_values_recorded() {
        assert_eq!(Latency::of(&histogram()), None);
        let mut latencies = histogram();
        for micros in 1..=1000 {
            latencies.record(micros * 1000).expect("it resizes");
        }
        latencies.record_n(60_000_000_000, 1).expect("it resizes");
        let latency = Latency::of(&latencies).expect("it is not empty");
        assert_eq!(latency.count, 1001);
        for (value, right) in [
            (latency.p50, 501.0),
            (latency.p90, 901.0),
            (latency.p99, 991.0),
            (latency.p999, 1000.0),
            (latency.max, 60_000_000.0),
        ] {
            assert!((value - right).abs() / right < 0.002, "{value} for {right}");
        }
    }

    #[test]
    fn a_program_finds_every_field() {
        let json: serde_json::Value =
            serde_json::from_str(&summary().to_json()).expect("it is JSON");
        assert_eq!(json["published"], 3_000);
        assert_eq!(json["published_per_s"], 4_000.0);
        assert_eq!(json["seconds"], 0.5);
        assert!(json["delivery_latency_us"].is_null() && json["error"].is_null());
        let latency = Latency { count: 1, p50: 1.5, p90: 2.0, p99: 3.0, p999: 4.0, max: 5.0 };
        let timed = Summary { confirm_latency_us: Some(latency), ..summary() };
        assert!(timed.to_json().contains(
            r#""confirm_latency_us":{"count":1,"p50":1.5,"p90":2.0,"p99":3.0,"p99.9":4.0,"max":5.0}"#
        ));
    }

    #[test]
    fn people_see_what_there_was() {
        let text = summary().to_string();
        assert!(text.contains("delivered            3,998             2,999"), "{text}");
        assert!(!text.contains("refused") && text.ends_with("measured for 0.500 s; ended early"));
        let progress = Progress {
            elapsed_secs: 3.0,
            is_warm_up: true,
            rates: vec![("published", 1_234_567.0), ("delivered", 12.0)],
            delivery_latency_us: None,
            confirm_latency_us: None,
            blocked: 2,
        };
        assert_eq!(
            progress.to_string(),
            "   3 s: 1,234,567 published/s, 12 delivered/s; 2 blocked by the broker (warming up)"
        );
    }

    #[test]
    fn numbers_have_commas() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1e6, "1,000,000")] {
            assert_eq!(thousands(number), text);
        }
    }
}
