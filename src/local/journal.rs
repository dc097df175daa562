//! Where an environment's log goes: to the console, and where the platform speaks, with its own lines and a tail for the caller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::console::Console;
use super::environment::Invoked;
use super::function::Function;
use super::platform::{self, Conclusion, Format, Status};

/// How much of an invocation's log its caller may have: Lambda's 4 KB.
const TAIL: usize = 4096;

/// The log of one environment; all clones are the same one.
#[derive(Clone, Debug)]
pub struct Journal {
    console: Console,
    platform: Option<Arc<Platform>>,
}

/// What the platform writes, and keeps.
#[derive(Debug)]
struct Platform {
    format: Format,
    version: String,
    memory_size: u64,
    current: Mutex<Current>,
}

/// The log since the end of the last invocation.
#[derive(Debug, Default)]
struct Current {
    tail: VecDeque<u8>,
    /// Whether the invocation's first line has been written.
    begun: bool,
    /// A line of the platform's that the console had no room for.
    unsaid: Option<String>,
}

impl Journal {
    /// What the runtime logs, and nothing else.
    pub fn plain(console: Console) -> Self {
        Journal { console, platform: None }
    }

    /// What the runtime logs, between the platform's lines. It is for an environment that has one event at a time.
    pub fn with_platform(console: Console, function: &Function) -> Self {
        let is_json = function.variable("AWS_LAMBDA_LOG_FORMAT").eq_ignore_ascii_case("json");
        let platform = Platform {
            format: if is_json { Format::Json } else { Format::Text },
            version: function.variable("AWS_LAMBDA_FUNCTION_VERSION").to_owned(),
            memory_size: function.variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").parse().unwrap_or_default(),
            current: Mutex::default(),
        };
        Journal { console, platform: Some(Arc::new(platform)) }
    }

    /// Whether the platform's lines are written, for which there is something to measure.
    pub fn has_platform(&self) -> bool {
        self.platform.is_some()
    }

    /// Passes the runtime's log output on.
    pub async fn log(&self, bytes: Bytes) {
        if let Some(own) = &self.platform {
            let unsaid = {
                let mut current = own.lock();
                current.keep(&bytes);
                current.unsaid.take()
            };
            if let Some(line) = unsaid {
                self.console.note(line).await;
            }
        }
        self.console.log(bytes).await;
    }

    /// The init phase was too long, and its processes were killed.
    pub async fn init_overran(&self, limit: Duration) {
        if let Some(own) = &self.platform {
            self.console.note(platform::init_overran(own.format, SystemTime::now(), limit)).await;
        }
    }

    /// The function gets an event. This waits for nobody: the invocation's clock runs.
    pub fn begin(&self, request_id: &str) {
        let Some(own) = &self.platform else { return };
        let line = platform::start(own.format, SystemTime::now(), request_id, &own.version);
        let mut current = own.lock();
        current.keep(line.as_bytes());
        current.keep(b"\n");
        current.begun = true;
        current.unsaid = self.console.try_note(line).err();
    }

    /// The invocation is over, and all of its log has come. Gives the end of that.
    pub async fn end(&self, request_id: &str, invoked: &Invoked) -> Bytes {
        let Some(own) = &self.platform else { return Bytes::new() };
        if !own.lock().begun {
            // No runtime has taken the event.
            self.begin(request_id);
        }
        let conclusion = Conclusion {
            duration: invoked.duration,
            init: invoked.init,
            memory_size: own.memory_size,
            peak_memory: invoked.peak_memory,
            status: Status::of(&invoked.answer),
        };
        let line = platform::end(own.format, SystemTime::now(), request_id, &conclusion);
        let current = {
            let mut current = own.lock();
            current.keep(line.as_bytes());
            current.keep(b"\n");
            std::mem::take(&mut *current)
        };
        if let Some(line) = current.unsaid {
            self.console.note(line).await;
        }
        self.console.note(line).await;
        Vec::from(current.tail).into()
    }
}

impl Platform {
    fn lock(&self) -> MutexGuard<'_, Current> {
        // Nothing panics while it holds the lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus);
        self.tail.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_four_kilobytes_are_kept() {
        let mut current = Current::default();
        for n in 0..100 {
            current.keep(format!("{n:0100}").as_bytes());
        }
        let tail = String::from_utf8(Vec::from(current.tail.clone())).expect("it is text");
        assert_eq!(tail.len(), TAIL);
        assert!(tail.ends_with(&format!("{:0100}{:0100}", 98, 99)), "{tail}");
        current.keep(&[b'x'; 5000]);
        assert_eq!(Vec::from(current.tail), [b'x'; TAIL]);
    }
}
