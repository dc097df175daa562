//! From the deadline header and the clock to the time a handler has.

use std::time::Duration;

/// The bounds of the margin that is taken by default.
const SHORTEST_MARGIN: Duration = Duration::from_millis(100);
const LONGEST_MARGIN: Duration = Duration::from_millis(1000);

/// How long an invocation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// From now to Lambda's deadline.
    pub left: Duration,
    /// How much earlier bootstrap answers by itself, so that its answer comes before Lambda's.
    pub margin: Duration,
}

impl Budget {
    /// The budget of an invocation that came at `now_ms` and is due at `deadline_ms`, both in milliseconds since the epoch.
    ///
    /// `None`, that is no enforcement, for a deadline that is already past when the event comes: cargo-lambda sends one in 1970.
    #[must_use]
    pub fn new(deadline_ms: u64, now_ms: u64, margin: Option<Duration>) -> Option<Self> {
        let left = Duration::from_millis(deadline_ms.checked_sub(now_ms).filter(|left| *left > 0)?);
        let margin = margin.unwrap_or_else(|| (left / 20).clamp(SHORTEST_MARGIN, LONGEST_MARGIN));
        Some(Self { left, margin })
    }

    /// How long the handler has before its process group is ended.
    #[must_use]
    pub fn for_handler(&self) -> Duration {
        self.left.saturating_sub(self.margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_a_twentieth_within_bounds_unless_it_is_set() {
        for (left, set, handler) in [
            (3000, None, 2850),
            (1000, None, 900),
            (900_000, None, 899_000),
            (10_000, None, 9500),
            (50, None, 0),
            (3000, Some(0), 3000),
            (3000, Some(500), 2500),
            (3000, Some(60_000), 0),
        ] {
            let budget = Budget::new(1_700_000_000_000 + left, 1_700_000_000_000, set.map(Duration::from_millis)).unwrap();
            assert_eq!(budget.left, Duration::from_millis(left));
            assert_eq!(budget.for_handler(), Duration::from_millis(handler), "{left} ms left, margin {set:?}");
        }
    }

    #[test]
    fn a_deadline_in_the_past_is_none() {
        assert_eq!(Budget::new(600_000, 1_700_000_000_000, None), None);
        assert_eq!(Budget::new(1_700_000_000_000, 1_700_000_000_000, None), None);
        assert!(Budget::new(u64::MAX, 1_700_000_000_000, None).is_some());
    }
}
