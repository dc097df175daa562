//! What was measured, as it is written to the JSON file.
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One run of one target, or the medians of several. Times in µs an invocation, memory in MiB.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The round trip: "/next answered" to "/response wholly received".
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// The same from before the first byte of the answer to `/next`.
    pub(crate) from_first_byte_p50: f64,
    /// From one event to the next.
    pub(crate) cycle: f64,
    /// Processor time of the runtime, and of its handlers; an in-process handler is part of the runtime.
    pub(crate) processor: f64,
    pub(crate) handler_processor: f64,
    /// Peak of resident memory.
    pub(crate) memory: f64,
    pub(crate) handler_memory: f64,
    /// From the start of the runtime, and of the web application where there is one, to the first response, in ms.
    pub(crate) first_response: f64,
    /// What the runtime wrote to stdout and stderr, in all.
    pub(crate) log_bytes: u64,
    /// The parts of the run that its plan tells apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) spans: Vec<Span>,
}

/// A part of a run: round trips, and the processor time of the runtime and its handlers, in µs an invocation.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span {
    pub(crate) p50: f64,
    pub(crate) mean: f64,
    pub(crate) processor: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetRuns {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) events: usize,
    pub(crate) median: Run,
    pub(crate) runs: Vec<Run>,
}

/// The targets under one condition, interleaved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) size: usize,
    pub(crate) concurrency: usize,
    pub(crate) targets: Vec<TargetRuns>,
}

impl Scenario {
    pub(crate) fn median(&self, target: &str) -> Option<&Run> {
        self.targets.iter().find(|t| t.key == target).map(|t| &t.median)
    }
}

/// A whole run of the benchmark.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Results {
    /// The command that made it.
    pub(crate) command: String,
    pub(crate) version: String,
    pub(crate) machine: String,
    pub(crate) pinned_to: usize,
    /// The load averages before and after.
    pub(crate) load: [String; 2],
    pub(crate) rounds: usize,
    pub(crate) static_bytes: u64,
    pub(crate) dynamic_bytes: u64,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Results {
    pub(crate) fn scenario(&self, key: &str) -> Option<&Scenario> {
        self.scenarios.iter().find(|scenario| scenario.key == key)
    }
}

/// By the nearest rank, of sorted times, in µs.
pub(crate) fn percentile(sorted: &[Duration], percent: f64) -> f64 {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default().as_secs_f64() * 1e6
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// The median of each figure.
pub(crate) fn medians(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Run {
        p50: of(|r| r.p50),
        p90: of(|r| r.p90),
        p99: of(|r| r.p99),
        p999: of(|r| r.p999),
        from_first_byte_p50: of(|r| r.from_first_byte_p50),
        cycle: of(|r| r.cycle),
        processor: of(|r| r.processor),
        handler_processor: of(|r| r.handler_processor),
        memory: of(|r| r.memory),
        handler_memory: of(|r| r.handler_memory),
        first_response: of(|r| r.first_response),
        log_bytes: of(|r| r.log_bytes as f64) as u64,
        spans: (0..runs.first().map_or(0, |run| run.spans.len()))
            .map(|number| {
                let of = |figure: fn(&Span) -> f64| median(runs.iter().map(|run| figure(&run.spans[number])).collect());
                Span { p50: of(|s| s.p50), mean: of(|s| s.mean), processor: of(|s| s.processor) }
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!([50.0, 99.0, 99.9, 100.0].map(|percent| percentile(&times, percent).round()), [50.0, 99.0, 100.0, 100.0]);
        assert_eq!(percentile(&times[..1], 50.0).round(), 1.0);
    }

    #[test]
    fn a_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
        assert!(median(vec![]).is_nan());
    }
}
