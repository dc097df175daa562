//! An invocation that an answer is owed to.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::deadline::Budget;
use crate::document::ErrorDocument;
use crate::handler::stream::{self, End, Outlet};
use crate::handler::{Answer, Outcome, Pipe, Streamed};
use crate::protocol::message::Delivery;
use crate::protocol::stream::StreamHead;

/// How long a report or a rest is waited for where the invocation has no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(10);

/// From the event's arrival to its one answer. Every way to give that consumes this.
#[derive(Debug)]
pub struct InFlight {
    /// The invocation's request id.
    pub request_id: Rc<str>,
    /// What the handler gets.
    pub delivery: Delivery,
    /// The time it was given; `None` where there is no deadline to enforce.
    pub budget: Option<Budget>,
    /// When the handler's time is over.
    pub due: Option<Instant>,
    /// How many bytes its handler's stdin was given before it.
    pub starts_at: u64,
    /// How many log lines its handler had written before it.
    pub lines_before: u64,
    /// How many answers its handler had given before it.
    pub answers_before: u64,
    owed: Owed,
}

#[derive(Debug)]
enum Owed {
    Answer(oneshot::Sender<Answer>),
    /// The rest of an answer that has begun.
    Stream(Outlet, Pipe),
}

/// How an invocation ends.
#[derive(Debug)]
pub enum Conclusion {
    /// A response in one piece.
    Response(Bytes),
    /// The handler's error, or its fault.
    Error(ErrorDocument),
    /// The end of a stream.
    StreamEnd,
    /// The shutdown phase has overtaken it.
    Abandoned,
}

impl InFlight {
    /// An invocation that has arrived now.
    pub fn new(request_id: Rc<str>, delivery: Delivery, budget: Option<Budget>, answer: oneshot::Sender<Answer>) -> Self {
        let due = budget.map(|budget| Instant::now() + budget.for_handler());
        let owed = Owed::Answer(answer);
        Self { request_id, delivery, budget, due, starts_at: 0, lines_before: 0, answers_before: 0, owed }
    }

    /// Whether the answer has begun.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        matches!(self.owed, Owed::Stream(..))
    }

    /// Whether so much of its stream waits that this channel should not be read.
    #[must_use]
    pub fn is_congested_on(&self, pipe: Pipe) -> bool {
        matches!(&self.owed, Owed::Stream(outlet, on) if *on == pipe && outlet.is_congested())
    }

    /// Begins to answer.
    pub fn open(&mut self, head: StreamHead, pipe: Pipe, relief: Rc<Notify>) {
        let (outlet, parts) = stream::open(relief);
        let log_until = self.log_until();
        if let Owed::Answer(answer) = std::mem::replace(&mut self.owed, Owed::Stream(outlet, pipe)) {
            let outcome = Outcome::Stream(Streamed { head, parts });
            // Refused where the loop has ended: nobody waits for the answer.
            let _ = answer.send(Answer { outcome, log_until, settled: None });
        }
    }

    /// Goes on to answer.
    pub fn chunk(&self, chunk: Bytes) {
        // The protocol has made sure that the stream is open.
        if let Owed::Stream(outlet, _) = &self.owed {
            outlet.chunk(chunk);
        }
    }

    /// Gives the answer, or ends it. `settled` is what the runtime must wait for.
    pub fn conclude(self, conclusion: Conclusion, settled: Option<oneshot::Receiver<()>>) {
        let log_until = self.log_until();
        match self.owed {
            Owed::Answer(answer) => {
                let outcome = match conclusion {
                    Conclusion::Response(response) => Outcome::Response(response),
                    Conclusion::Error(document) => Outcome::Error(document),
                    // There is no end of a stream that was not opened: the protocol calls it malformed.
                    Conclusion::StreamEnd | Conclusion::Abandoned => Outcome::Abandoned,
                };
                let _ = answer.send(Answer { outcome, log_until, settled });
            }
            Owed::Stream(outlet, _) => match conclusion {
                Conclusion::Error(document) => outlet.end(End { error: Some(document), log_until }, settled),
                // A response in an open stream is malformed too.
                Conclusion::StreamEnd | Conclusion::Response(_) => outlet.end(End { error: None, log_until }, settled),
                // To end it would make what was sent look like the whole.
                Conclusion::Abandoned => drop(outlet),
            },
        }
    }

    /// How long a report may wait for the log lines before it: half of the margin is for the log, half for the report.
    fn log_until(&self) -> Instant {
        match (self.due, self.budget) {
            (Some(due), Some(budget)) => due + budget.margin.min(budget.left) / 2,
            _ => Instant::now() + NO_DEADLINE,
        }
    }

    /// How long the rest of a reply that is too large is waited for.
    #[must_use]
    pub fn settles_until(&self) -> Instant {
        self.due.unwrap_or_else(|| Instant::now() + NO_DEADLINE)
    }
}
