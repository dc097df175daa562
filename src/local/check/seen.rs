//! What was seen of a handler: plain data, which the rules judge.

use std::time::Duration;

use bytes::Bytes;

use super::events::Kind;

/// The handler's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages in, replies out.
    JsonLines,
    /// Bare events in, bare responses out.
    Filter,
    /// A process for each event.
    OneShot,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response.
    Response,
    /// An error of the handler's own making: its type. The handler may refuse an event.
    Refused(String),
    /// The handler has failed: the error's type and message.
    Fault(String, String),
}

/// All that was seen. What is `None` was not tried.
#[derive(Debug)]
pub struct Seen {
    /// The mode.
    pub mode: Mode,
    /// The start.
    pub start: Start,
    /// The answer to the sample event.
    pub sample: Outcome,
    /// The answer to the same event again, with the same content.
    pub twin: Option<Outcome>,
    /// The answers to the awkward events.
    pub awkward: Vec<(Kind, Outcome)>,
    /// The sample event over and over.
    pub row: Option<Row>,
    /// A freeze between two events.
    pub freeze: Option<Freeze>,
    /// An event that ran into its deadline, and the one after it.
    pub deadline: Option<Outcome>,
    /// What the runtime logged that is a warning about the handler's replies.
    pub warnings: Vec<String>,
    /// What was seen on the handler's own channels, without a runtime between.
    pub talk: Option<Talk>,
    /// What came after the replies, in the order in which it was written.
    pub afterwards: Option<Afterwards>,
    /// Several events at a time.
    pub crowd: Option<Crowd>,
}

/// The start of the handler.
#[derive(Debug)]
pub struct Start {
    /// Until the runtime asked for the first event.
    pub took: Duration,
    /// How long it may take.
    pub limit: Duration,
    /// The runtime has said that the handler was not ready in its time.
    pub warning: Option<String>,
    /// The init error.
    pub error: Option<String>,
}

/// The sample event over and over.
#[derive(Debug)]
pub struct Row {
    /// How many events there were to be.
    pub wanted: usize,
    /// How many were answered before time was up, or one was not.
    pub answered: usize,
    /// The first that was not answered.
    pub fault: Option<Outcome>,
    /// One process has answered them all, and is there.
    pub lasts: bool,
    /// The memory of the handler's processes after a quarter, a half and all, in KiB, where one process has lived all the while.
    pub memory: Option<[u64; 3]>,
    /// The handler's processes that have ended and that it has not waited for; `None` where it can't be known.
    pub zombies: Option<usize>,
}

/// A freeze between two events.
#[derive(Debug)]
pub enum Freeze {
    /// The processes can't be found here.
    Unseen,
    /// Whether the same process has answered afterwards, and how.
    Thawed {
        /// The process from before is there.
        is_same: bool,
        /// The answer to the next event.
        outcome: Outcome,
    },
}

/// What a handler said on its own channels.
#[derive(Debug, Default)]
pub struct Talk {
    /// The sample event was answered.
    pub answered: bool,
    /// A filter's response to the sample event, where it is always the same.
    pub response: Option<Bytes>,
    /// The message with unknown members was answered; `None` where there was none.
    pub unknown_answered: Option<bool>,
    /// Lines that came for messages which ask for nothing; `None` where there were none.
    pub to_nothing: Option<Vec<String>>,
    /// Replies with the id of no message.
    pub foreign: Vec<String>,
    /// Lines that look like replies or control messages, and are neither.
    pub stray: Vec<String>,
    /// Replies to what was answered before.
    pub repeated: Vec<String>,
    /// What stood on stderr or stdout without a newline when the handler was at rest.
    pub unfinished: Option<String>,
    /// How many events it says that it takes at a time.
    pub concurrency: u32,
    /// Its end after the end of stdin: how long that was waited for, and whether it came.
    pub end: Option<End>,
    /// The processes that were there after its end; `None` where it can't be known.
    pub left: Option<String>,
}

/// How a handler ended when it was to.
#[derive(Debug)]
pub struct End {
    /// How long that was waited for.
    pub waited: Duration,
    /// Whether it ended in that time.
    pub ended: bool,
}

/// What came after replies.
#[derive(Debug)]
pub struct Afterwards {
    /// What was written after a reply and before the next message.
    pub lines: Vec<String>,
    /// Replies to what was answered before.
    pub repeated: Vec<String>,
    /// Its end at SIGTERM.
    pub end: Option<End>,
}

/// Several events at a time.
#[derive(Debug)]
pub struct Crowd {
    /// How many events there were.
    pub events: usize,
    /// How many were answered.
    pub answered: usize,
    /// Replies with the id of no message, or of one that had been answered.
    pub odd: Vec<String>,
    /// An event got the response that another's content has alone: which response, and which was due.
    pub swapped: Option<(String, String)>,
}
