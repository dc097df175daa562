//! A timer that is cheap to use again and again.

use std::pin::Pin;
use std::time::Instant;

use tokio::time::Sleep;

/// Waits for instants of which each is later than the last, as a rule.
///
/// To arm a timer that goes off earlier than all others costs a system call. So one that is armed for an earlier instant than is
/// asked for is left as it is, and armed anew only once it has gone off: not for each invocation, but once in a deadline's time.
#[derive(Debug, Default)]
pub struct Timer {
    clock: Option<Clock>,
    /// What the clock is armed for, unless it has gone off.
    armed_for: Option<Instant>,
}

impl Timer {
    /// Waits until the instant has come. Cancel safe: the timer stays armed.
    pub async fn until(&mut self, due: Instant) {
        loop {
            let clock = self.clock.get_or_insert_with(Clock::new);
            if self.armed_for.is_none_or(|armed_for| armed_for > due) {
                if Instant::now() >= due {
                    return;
                }
                clock.arm(due);
                self.armed_for = Some(due);
            }
            clock.gone_off().await;
            self.armed_for = None;
        }
    }
}

/// What goes off at an instant, perhaps also in between.
#[derive(Debug)]
enum Clock {
    /// The event loop is told of a descriptor's timer as of any other input. With a timer of its own it would have to read the time
    /// before each wait, and set a timer in the system for it.
    #[cfg(target_os = "linux")]
    Descriptor(descriptor::Alarm),
    /// The event loop's own.
    Sleep(Pin<Box<Sleep>>),
}

impl Clock {
    fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(alarm) = descriptor::Alarm::new() {
            return Self::Descriptor(alarm);
        }
        Self::Sleep(Box::pin(tokio::time::sleep_until(Instant::now().into())))
    }

    fn arm(&mut self, due: Instant) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Descriptor(alarm) => {
                if alarm.arm(due).is_err() {
                    *self = Self::Sleep(Box::pin(tokio::time::sleep_until(due.into())));
                }
            }
            Self::Sleep(sleep) => sleep.as_mut().reset(due.into()),
        }
    }

    async fn gone_off(&mut self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Descriptor(alarm) => alarm.gone_off().await,
            Self::Sleep(sleep) => sleep.as_mut().await,
        }
    }
}

#[cfg(target_os = "linux")]
mod descriptor {
    use std::io;
    use std::time::{Duration, Instant};

    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    use tokio::io::AsyncReadExt;
    use tokio::net::unix::pipe::Receiver;

    /// A descriptor that becomes readable at an instant. To the event loop it is like the reading end of a pipe.
    #[derive(Debug)]
    pub(super) struct Alarm(Receiver);

    impl Alarm {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Receiver::from_owned_fd_unchecked(timer).map(Self)
        }

        pub(super) fn arm(&self, due: Instant) -> io::Result<()> {
            // Nothing at all would disarm it.
            let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let it_value = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }

        pub(super) async fn gone_off(&mut self) {
            // What there is to read is how often it has gone off. There is no error but that the event loop is gone.
            if self.0.read(&mut [0; size_of::<u64>()]).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One with the clock of this system, and one with the event loop's own.
    fn both() -> [Timer; 2] {
        let sleep = Clock::Sleep(Box::pin(tokio::time::sleep(Duration::ZERO)));
        [Timer::default(), Timer { clock: Some(sleep), armed_for: None }]
    }

    #[tokio::test]
    async fn no_instant_is_missed_or_told_early() {
        for mut timer in both() {
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

    #[tokio::test]
    async fn an_earlier_instant_does_not_wait_for_a_later_one() {
        for mut timer in both() {
            let start = Instant::now();
            let later = timer.until(start + Duration::from_secs(3600));
            assert!(tokio::time::timeout(Duration::from_millis(1), later).await.is_err());
            let earlier = timer.until(start + Duration::from_millis(10));
            assert!(tokio::time::timeout(Duration::from_secs(60), earlier).await.is_ok());
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_timer_that_waits_is_not_armed_anew_for_a_later_instant() {
        let mut timer = Timer::default();
        let first = Instant::now() + Duration::from_secs(10);
        for later in [0, 1, 2] {
            let due = first + Duration::from_secs(later);
            assert!(tokio::time::timeout(Duration::ZERO, timer.until(due)).await.is_err());
            assert_eq!(timer.armed_for, Some(first));
            assert!(matches!(timer.clock, Some(Clock::Descriptor(_))));
        }
    }
}
