//! Counts and latencies of many events, in a few kilobytes however many they are.

use std::fmt;
use std::time::Duration;

/// Each power of two of microseconds is divided into so many buckets, so a quantile is at most 1 part in 128 off.
const STEPS: usize = 128;

/// What became of the events so far.
#[derive(Clone, Debug)]
pub struct Summary {
    ok: u64,
    errors: u64,
    min: Duration,
    max: Duration,
    buckets: Vec<u64>,
}

impl Default for Summary {
    fn default() -> Self {
        Summary { ok: 0, errors: 0, min: Duration::MAX, max: Duration::ZERO, buckets: Vec::new() }
    }
}

impl Summary {
    /// An event was answered, after this time.
    pub fn add(&mut self, ok: bool, latency: Duration) {
        if ok {
            self.ok += 1;
        } else {
            self.errors += 1;
        }
        self.min = self.min.min(latency);
        self.max = self.max.max(latency);
        let bucket = bucket(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
    }

    /// An event got no further than us.
    pub fn add_refused(&mut self) {
        self.errors += 1;
    }

    /// How many events ended in an error.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.ok + self.errors
    }

    /// The latency that the part `q` of the events did not exceed.
    fn quantile(&self, q: f64) -> Duration {
        let timed: u64 = self.buckets.iter().sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of events"
        )]
        let rank = ((timed as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper(bucket)).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

/// `3 events: 2 ok, 1 error; latency in ms: min 0.21, p50 0.30, p99 1.20, max 1.20`
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let (events, ok, errors) = (self.events(), self.ok, self.errors);
        write!(f, "{events} event{}: {ok} ok, {errors} error{}", plural(events), plural(errors))?;
        if self.buckets.is_empty() {
            return Ok(());
        }
        let ms = |duration: Duration| format!("{:.2}", duration.as_secs_f64() * 1e3);
        write!(
            f,
            "; latency in ms: min {}, p50 {}, p99 {}, max {}",
            ms(self.min),
            ms(self.quantile(0.5)),
            ms(self.quantile(0.99)),
            ms(self.max)
        )
    }
}

/// Values below 2 × `STEPS` have a bucket each, larger ones share buckets.
fn bucket(value: u64) -> usize {
    let value = usize::try_from(value).unwrap_or(usize::MAX);
    let shift = (usize::BITS - (value / STEPS).leading_zeros()).saturating_sub(1) as usize;
    shift * STEPS + (value >> shift)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let first = (bucket - shift * STEPS) as u64;
    (first << shift) + ((1_u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_a_bucket_that_ends_at_most_one_part_in_128_above_it() {
        let mut values: Vec<u64> = (0..2000).collect();
        values.extend((11..50).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 12345]));
        let mut last = 0;
        for value in values {
            let bucket = bucket(value);
            let upper = upper(bucket);
            assert!(upper >= value && upper - value <= value / 128, "{value} in {bucket} up to {upper}");
            if value < 2000 {
                assert!(bucket >= last, "buckets rise");
                last = bucket;
            }
        }
    }

    #[test]
    fn the_line_gives_counts_and_latencies() {
        let mut summary = Summary::default();
        assert_eq!(summary.to_string(), "0 events: 0 ok, 0 errors");
        summary.add(true, Duration::from_micros(100));
        assert_eq!(summary.to_string(), "1 event: 1 ok, 0 errors; latency in ms: min 0.10, p50 0.10, p99 0.10, max 0.10");
        for n in 2..=99 {
            summary.add(true, Duration::from_micros(n * 100));
        }
        summary.add(false, Duration::from_secs(2));
        summary.add_refused();
        // p50 is the 50th of 100, 5.00 ms, up to the end of its bucket; p99 the 99th.
        assert_eq!(summary.to_string(), "101 events: 99 ok, 2 errors; latency in ms: min 0.10, p50 5.02, p99 9.92, max 2000.00");
    }
}
