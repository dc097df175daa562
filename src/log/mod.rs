//! Log lines on stderr: the handler's and bootstrap's own, text or JSON, whole lines at a time.
//!
//! Stderr is written to only when it would not block, since a log reader that has stopped must not stop the runtime. What it
//! does not take waits here, in bounded memory. While stderr is slow, what finds no room makes the handler wait, as a pipe would;
//! once stderr has taken nothing at all for a while it is dropped and counted.

mod output;
mod settings;
mod sink;

use std::cell::{Cell, RefCell, RefMut};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::document::ErrorDocument;
use crate::log::output::Output;
use crate::log::sink::{ENOUGH, Sink};

pub use settings::{Level, Settings};

/// How long to leave a stderr that takes nothing before it is asked again.
const RETRY: Duration = Duration::from_millis(1);

/// How long to wait before saying again how many lines are missing.
const CONFESS_AGAIN: Duration = Duration::from_millis(100);

/// How long a stderr that takes nothing at all may keep the handler's channels unread between invocations.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Which channel a long line comes from, of the handler in which place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Descriptor 1.
    Stdout(usize),
    /// Descriptor 2.
    Stderr(usize),
}

/// The log; all clones write to the same stderr, each with a patience of its own.
#[derive(Debug, Clone)]
pub struct Logs {
    sink: Rc<RefCell<Sink>>,
    patience: Cell<Duration>,
}

impl Logs {
    /// A log on this process's stderr.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::on(settings, Output::of_stderr())
    }

    /// A log on another descriptor, whose writes never block.
    #[must_use]
    pub fn to(settings: Settings, output: OwnedFd) -> Self {
        Self::on(settings, Output::Own(output))
    }

    fn on(settings: Settings, output: Output) -> Self {
        Self { sink: Rc::new(RefCell::new(Sink::new(settings, output))), patience: Cell::new(PATIENCE) }
    }

    /// What waits for stderr, to be looked at or spoken to with this one's patience.
    fn sink(&self) -> RefMut<'_, Sink> {
        let mut sink = self.sink.borrow_mut();
        sink.patience = self.patience.get();
        sink
    }

    /// A line of bootstrap's own.
    pub fn tell(&self, level: Level, request_id: Option<&str>, message: &str) {
        self.sink().own(level, request_id, None, message);
    }

    /// Worth knowing: something is odd, and work goes on.
    pub fn warn(&self, request_id: Option<&str>, message: &str) {
        self.tell(Level::Warn, request_id, message);
    }

    /// The one ERROR line of an error that is reported, or of an init error.
    pub fn error(&self, request_id: Option<&str>, document: &ErrorDocument) {
        self.sink().own(Level::Error, request_id, Some(&document.error_type), &document.error_message);
    }

    /// A line of the handler's, without its newline.
    pub fn line(&self, request_id: Option<&str>, line: &[u8]) {
        self.sink().line(request_id, line);
    }

    /// A piece of a line too long to be held as a whole; the last one ends it.
    pub fn piece(&self, origin: Origin, request_id: Option<&str>, piece: &[u8], last: bool) {
        self.sink().piece(origin, request_id, piece, last);
    }

    /// Whether more can be taken from the handler's channels.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let sink = self.sink();
        sink.waiting() < ENOUGH || sink.is_stuck()
    }

    /// Whether there is something to go on with.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let sink = self.sink.borrow();
        sink.waiting() > 0 || sink.dropped > 0
    }

    /// How long a stderr that takes nothing at all may keep the handler's channels unread, from now on.
    pub fn set_patience(&self, patience: Duration) {
        self.patience.set(patience);
    }

    /// Writes what stderr takes at once.
    pub fn write(&self) {
        self.sink().write();
    }

    /// Waits a moment and goes on with what is waiting. Cancel safe.
    pub async fn progress(&self) {
        let is_waiting = self.sink.borrow().waiting() > 0;
        tokio::time::sleep(if is_waiting { RETRY } else { CONFESS_AGAIN }).await;
        self.write();
    }

    /// Waits until everything that was logged by now is written, at most until `latest`. What a stderr that takes nothing has not
    /// got by then is dropped; where it is only slow, with the lines of several handlers perhaps, they go on waiting, and the report
    /// does not. A stderr that takes nothing delays one report, not every one: until it takes something again nothing is waited for.
    pub async fn flush(&self, latest: Instant) {
        let mark = self.sink.borrow().queued;
        loop {
            {
                let mut sink = self.sink();
                sink.write();
                if sink.gone() >= mark || sink.given_up {
                    return;
                }
                if Instant::now() >= latest {
                    return sink.overdue();
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
