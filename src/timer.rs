//! A timer that is cheap to use again and again.

use std::pin::Pin;
use std::time::Instant;

use tokio::time::Sleep;

/// Waits for instants of which each is later than the last, as a rule.
///
/// To arm a timer that goes off earlier than all others costs a system call. So one that is armed for an earlier instant than is
/// asked for is left as it is, and armed anew only once it has gone off: not for each invocation, but once in a deadline's time.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits until the instant has come. Cancel safe: the timer stays armed.
    pub async fn until(&mut self, due: Instant) {
        loop {
            let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if timer.deadline() > due.into() || timer.is_elapsed() {
                timer.as_mut().reset(due.into());
            }
            timer.as_mut().await;
            if Instant::now() >= due {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_instant_is_missed_or_told_early() {
        let mut timer = Timer::default();
        let start = Instant::now();
        // A later one is given up for an earlier one, and the other way round.
        for milliseconds in [60, 5, 40, 20, 1] {
            let due = start + Duration::from_millis(milliseconds);
            let waited = tokio::time::timeout(Duration::from_millis(2), timer.until(due)).await;
            assert!(waited.is_err() || Instant::now() >= due);
        }
        for milliseconds in [10, 70, 30] {
            let due = start + Duration::from_millis(milliseconds);
            timer.until(due).await;
            assert!(Instant::now() >= due);
        }
    }
}
