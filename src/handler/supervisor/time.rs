//! What a supervisor does when an instant has come: readiness, deadlines, and what has taken too long.

use std::time::Instant;

use super::{PROBE_PAUSE, Supervisor};
use crate::config::Readiness;
use crate::fault::Fault;
use crate::handler::in_flight::{Conclusion, InFlight};
use crate::handler::{Phase, Pipe};
use crate::log::Level;
use crate::protocol::conversation::{Ending, Mode, Owed as _};
use crate::protocol::message::{self, Delivery};

impl Supervisor {
    /// The next instant at which something is due.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let probe = self.probe_due.filter(|_| self.is_probing());
        let sent = self.handler.iter().flat_map(|handler| &handler.debts.in_flight);
        let deadlines = sent.chain(&self.waiting).filter(|_| self.stop_due.is_none()).filter_map(|in_flight| in_flight.due);
        let settling = self.settling.iter().map(|settling| settling.due);
        let dues = [self.linger, self.init_due, probe];
        deadlines.chain(settling).chain(dues.into_iter().flatten()).min()
    }

    /// The starting handler has begun to read. What has come on the reply channels is read before that is believed: it may say that
    /// the handler is not ready.
    pub(super) fn drained(&mut self) {
        self.drain(None);
        if self.is_probing() {
            self.became_ready();
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.pool.config.readiness == Readiness::Auto
            && (self.init_due.is_some() || self.mode().goes_by_order())
            && self.handler.as_ref().is_some_and(|handler| !handler.is_ready && !handler.stdin.is_broken())
    }

    /// Deals with whatever is due.
    pub(super) fn alarms(&mut self) {
        let now = Instant::now();
        self.probe_due = Some(now + PROBE_PAUSE);
        if self.is_probing() && self.handler.as_ref().is_some_and(|handler| handler.stdin.is_read()) {
            self.drained();
        }
        if self.init_due.is_some_and(|due| due <= now) {
            self.init_overrun();
        }
        if self.linger.is_some_and(|due| due <= now) {
            self.lingered();
        }
        if self.settling.iter().any(|settling| settling.due <= now) {
            self.unsettled();
        }
        if self.stop_due.is_none() {
            self.deadlines(now);
        }
    }

    /// The handler is not ready in time.
    fn init_overrun(&mut self) {
        self.init_due = None;
        let limit = self.pool.config.init_timeout;
        if self.pool.config.snap_start {
            return self.failed(&Fault::InitTimeout(limit));
        }
        self.logs.warn(
            None,
            &format!(
                "the handler is not ready after {} ms (BOOTSTRAP_INIT_TIMEOUT_MS); /next is called all the same, \
                 and the first invocation waits for it",
                limit.as_millis()
            ),
        );
        self.pool.enter(Phase::Ready);
    }

    /// A handler that has closed channels has not been seen to end.
    fn lingered(&mut self) {
        self.linger = None;
        let Some(handler) = &mut self.handler else { return };
        if let Some(exit) = handler.process.try_exited() {
            return self.exited(exit);
        }
        let lingering = handler.process.id();
        for pipe in [Pipe::Stdout, Pipe::Reply] {
            if self.channel(pipe).is_some_and(|channel| channel.is_closed()) {
                self.finish(pipe, Ending::LivesOn);
            }
        }
        let Some(handler) = self.handler.as_ref().filter(|handler| handler.process.id() == lingering && handler.debts.any()) else {
            return;
        };
        let is_unread = |in_flight: &InFlight| handler.stdin.is_broken() && handler.stdin.is_untouched(in_flight.starts_at);
        let all_unread = handler.debts.in_flight.iter().all(is_unread);
        if all_unread && handler.has_answered() {
            self.replace(Level::Warn, "closed its stdin");
        } else if all_unread {
            self.failed(&Fault::StdinClosed);
        } else if handler.has_no_reply_channel() {
            self.failed(&Fault::ReplyChannelClosed);
        } else if handler.stdin.is_broken() {
            // It has read some, which it may still answer; the others go to another.
            self.take_back_unread();
            self.retire();
        }
    }

    /// A reply that is too large has not come to its end.
    fn unsettled(&mut self) {
        let owes_others = self.handler.as_ref().is_some_and(|handler| handler.debts.any());
        if owes_others {
            self.failed(&Fault::EndedForAnother);
        } else {
            self.replace(Level::Warn, "did not end the line of a reply that is too large in time");
        }
    }

    /// The time of some invocations is over.
    fn deadlines(&mut self, now: Instant) {
        let is_due = |in_flight: &InFlight| in_flight.due.is_some_and(|due| due <= now);
        let any_due = |supervisor: &Self| {
            let sent = supervisor.handler.iter().flat_map(|handler| &handler.debts.in_flight);
            sent.chain(&supervisor.waiting).any(is_due)
        };
        if !any_due(self) {
            return;
        }
        // A reply that is in the pipe was in time.
        self.drain(None);
        while let Some(at) = self.waiting.iter().position(is_due) {
            let Some(in_flight) = self.waiting.remove(at) else { return };
            self.overdue_unsent(in_flight);
        }
        while let Some(due) = self.handler.as_ref().and_then(|handler| handler.debts.in_flight.iter().find(|sent| is_due(sent))) {
            let request_id = due.request_id.clone();
            self.overdue(&request_id);
        }
    }

    /// The time of an invocation is over that no process has been given.
    fn overdue_unsent(&mut self, in_flight: InFlight) {
        let owes_others = !self.waiting.is_empty() || self.handler.as_ref().is_some_and(|handler| handler.debts.any());
        let fault = timeout(&in_flight, false, false, owes_others);
        if owes_others {
            let lines = self.handler.as_ref().map(|handler| handler.tail.lines(in_flight.lines_before)).unwrap_or_default();
            self.conclude(in_flight, Conclusion::Error(fault.document(lines)));
        } else {
            self.end(vec![in_flight], |last_lines| fault.document(last_lines));
        }
    }

    /// The time of an invocation is over that the handler works on, or should. Where it shows a sign of life and has a place left, it
    /// is kept; the place of this one stays taken until its late reply has come.
    fn overdue(&mut self, request_id: &str) {
        let Some(handler) = &mut self.handler else { return };
        let Some(in_flight) = handler.debts.take(request_id) else { return };
        // A process of its own has its event in a file.
        let has_read = matches!(in_flight.delivery, Delivery::Process { .. }) || !handler.stdin.is_untouched(in_flight.starts_at);
        let has_answered_since = handler.answers > in_flight.answers_before;
        let has_place = handler.debts.late.len() + 1 < self.room.capacity.get();
        let goes_on = handler.debts.any() || has_answered_since && has_place;
        // What it prints may be a log, but to print the bare response is the first mistake that people make.
        let is_hint = self.pool.config.mode == Mode::JsonLines && !goes_on && !in_flight.is_streaming();
        let has_printed = is_hint && handler.tail.has_printed(in_flight.lines_before);
        let fault = timeout(&in_flight, has_read, has_printed, goes_on);
        if !goes_on {
            return self.end(vec![in_flight], |last_lines| fault.document(last_lines));
        }
        if handler.wants_cancel {
            handler.stdin.send(message::cancel(request_id, "deadline"));
        }
        handler.debts.late.push(in_flight.request_id.clone());
        if !has_answered_since {
            // It may answer the others still, or do nothing any more: then each new event would only wait for its own deadline.
            handler.is_stuck = true;
            self.room.is_closed.set(true);
        }
        let document = fault.document(handler.tail.lines(in_flight.lines_before));
        self.conclude_and_hold(in_flight, Conclusion::Error(document), None);
    }
}

fn timeout(in_flight: &InFlight, has_read: bool, has_printed: bool, goes_on: bool) -> Fault {
    let (had, margin) = in_flight.budget.map(|budget| (budget.left, budget.margin)).unwrap_or_default();
    Fault::Timeout { had, margin, has_read, has_printed, was_streaming: in_flight.is_streaming(), goes_on }
}
