//! What a supervisor does with what its handler writes: replies, log lines, the ends of its channels.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{LINGER, Settling, Supervisor};
use crate::document::ErrorDocument;
use crate::fault::{Fault, LARGEST_RESPONSE};
use crate::handler::Pipe;
use crate::handler::channel::Channel;
use crate::handler::in_flight::Conclusion;
use crate::handler::running::LongLine;
use crate::log::{Level, Origin};
use crate::protocol::conversation::{Ending, Long, Mode, Owed as _, Rest};
use crate::protocol::lines::Piece;
use crate::protocol::reply::{Line, Reply, Source};

impl Supervisor {
    /// The event loop has read something of a channel, or its end.
    pub(super) fn read(&mut self, pipe: Pipe) {
        if pipe == Pipe::Stdout {
            self.read_reply_fd_first();
        }
        self.take_lines(pipe);
        self.look_at_ends(pipe);
    }

    /// What a handler has sent on descriptor 3 counts before what it has printed since. Where an id ties a reply to its event it is
    /// enough to read what the reactor knows of, at no cost where that is nothing; where stdout is a log from the first byte on
    /// descriptor 3 on, the pipe itself is asked.
    fn read_reply_fd_first(&mut self) {
        let must_know = self.mode() != Mode::JsonLines;
        let Some(handler) = self.handler.as_mut().filter(|handler| !handler.is_congested_on(Pipe::Reply)) else { return };
        if must_know {
            self.read_what_is_there(Pipe::Reply);
        } else if handler.reply.read_what_is_known() {
            self.take_lines(Pipe::Reply);
            self.look_at_ends(Pipe::Reply);
        }
    }

    pub(super) fn channel(&mut self, pipe: Pipe) -> Option<&mut Channel> {
        self.handler.as_mut().map(|handler| handler.channel(pipe))
    }

    /// Deals with every line that was read.
    fn take_lines(&mut self, pipe: Pipe) {
        if pipe != Pipe::Stderr {
            self.has_read_logs = false;
        }
        if pipe == Pipe::Reply && self.channel(pipe).is_some_and(|channel| !channel.rest().is_empty()) {
            self.heard_reply_fd();
        }
        while let Some(piece) = self.channel(pipe).and_then(Channel::next_piece) {
            self.piece(pipe, piece);
        }
    }

    /// Descriptor 3 is in use. Where stdout was held back as the answer, it is a log now.
    fn heard_reply_fd(&mut self) {
        if self.mode().answers_by_ending()
            && let Some(handler) = &mut self.handler
            && handler.conversation.heard_reply_fd()
        {
            handler.stdout.split();
            self.take_lines(Pipe::Stdout);
        }
    }

    /// Reads what is in the pipes at this instant and deals with it. With an `ending`, nothing more will come.
    pub(super) fn drain(&mut self, ending: Option<Ending>) {
        for pipe in [Pipe::Reply, Pipe::Stdout, Pipe::Stderr] {
            self.read_what_is_there(pipe);
        }
        if let Some(ending) = ending {
            // A reply comes last, so that the log is whole by then.
            for pipe in [Pipe::Stderr, Pipe::Stdout, Pipe::Reply] {
                self.finish(pipe, ending);
            }
        }
    }

    /// Reads what is in one pipe at this instant and deals with it.
    fn read_what_is_there(&mut self, pipe: Pipe) {
        if let Some(channel) = self.channel(pipe) {
            channel.read_what_is_there();
        }
        self.take_lines(pipe);
    }

    /// The same, unless its bytes would wait for the Runtime API: a handler that goes on and on would then fill the memory.
    /// Returns whether that was so.
    fn read_unless_congested(&mut self, pipe: Pipe) -> bool {
        let may_read = self.handler.as_ref().is_some_and(|handler| !handler.is_congested_on(pipe));
        if may_read {
            self.read_what_is_there(pipe);
        }
        may_read
    }

    /// A channel has been closed: what came after its last newline counts as a line.
    fn look_at_ends(&mut self, pipe: Pipe) {
        if !self.channel(pipe).is_some_and(|channel| channel.is_closed()) {
            return;
        }
        self.finish(pipe, Ending::Closed);
        let has_rest = self.channel(pipe).is_some_and(|channel| !channel.rest().is_empty());
        let Some(handler) = &self.handler else { return };
        // Where the end of the process is what answers, the end of a channel says nothing.
        let is_rest_odd = has_rest && !self.mode().answers_by_ending();
        if is_rest_odd || handler.has_no_reply_channel() && handler.debts.any() {
            self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }

    /// Deals with what came after the last newline, as far as it is known what becomes of it.
    pub(super) fn finish(&mut self, pipe: Pipe, ending: Ending) {
        let Some(handler) = &mut self.handler else { return };
        let answers_by_ending = self.pool.config.mode.answers_by_ending();
        let fate = match pipe.source() {
            Some(source) => {
                let channel = if source == Source::Stdout { &handler.stdout } else { &handler.reply };
                if channel.rest().is_empty() && !channel.is_in_long_line() {
                    return;
                }
                if channel.is_in_long_line() && !answers_by_ending {
                    // What it is was decided by its beginning.
                    Rest::Line
                } else {
                    let rest = || Bytes::copy_from_slice(channel.rest());
                    handler.conversation.rest(rest, source, ending, &handler.debts)
                }
            }
            None => Rest::Line,
        };
        match fate {
            Rest::Wait => {}
            Rest::Log if !handler.channel(pipe).is_in_long_line() => self.log_rest(pipe),
            Rest::Line | Rest::Log => {
                if let Some(piece) = handler.channel(pipe).finish() {
                    self.piece(pipe, piece);
                }
            }
        }
    }

    /// All that is left of a channel is log lines, whatever it looks like.
    fn log_rest(&mut self, pipe: Pipe) {
        if let Some(channel) = self.channel(pipe) {
            channel.split();
        }
        while let Some(piece) = self.channel(pipe).and_then(Channel::next_piece) {
            self.log_piece(Origin::Stdout(self.place), &piece);
        }
        if let Some(piece) = self.channel(pipe).and_then(Channel::finish) {
            self.log_piece(Origin::Stdout(self.place), &piece);
        }
    }

    fn piece(&mut self, pipe: Pipe, piece: Piece) {
        let Some(source) = pipe.source() else { return self.log_piece(Origin::Stderr(self.place), &piece) };
        match piece {
            Piece::Line(line) => self.line(&line, source),
            Piece::Start(start) => self.long_line(&start, source),
            Piece::Middle(_) | Piece::End(_) => {
                let Some(handler) = &self.handler else { return };
                let fate = if source == Source::Stdout { handler.long_on_stdout } else { handler.long_on_reply };
                if fate == LongLine::Log {
                    self.log_piece(Origin::Stdout(self.place), &piece);
                } else if matches!(piece, Piece::End(_)) {
                    self.settle(pipe);
                }
            }
        }
    }

    /// A reply that was too large has come to its end.
    fn settle(&mut self, pipe: Pipe) {
        for settling in self.settling.extract_if(.., |settling| settling.pipe == pipe).collect::<Vec<_>>() {
            self.room.release(&settling.request_id);
            // The runtime may have stopped waiting; then nobody needs to know.
            let _ = settling.done.send(());
        }
    }

    fn log(&mut self, is_printed: bool, line: &Bytes) {
        self.logs.line(self.logging_for.as_deref(), line);
        if let Some(handler) = &mut self.handler {
            handler.tail.push(is_printed, line);
        }
    }

    fn log_piece(&mut self, origin: Origin, piece: &Piece) {
        let is_printed = matches!(origin, Origin::Stdout(_));
        let (bytes, last) = match piece {
            Piece::Line(line) => return self.log(is_printed, line),
            Piece::Start(bytes) => {
                if let Some(handler) = &mut self.handler {
                    handler.tail.push(is_printed, bytes);
                }
                (bytes, false)
            }
            Piece::Middle(bytes) => (bytes, false),
            Piece::End(bytes) => (bytes, true),
        };
        self.logs.piece(origin, self.logging_for.as_deref(), bytes, last);
    }

    /// A line on a channel that may carry replies.
    fn line(&mut self, line: &Bytes, source: Source) {
        let Some(handler) = &mut self.handler else { return };
        let meaning = handler.conversation.line(line, source, &handler.debts);
        self.hear(meaning, line, source.into());
    }

    /// Does what a line means.
    pub(super) fn hear(&mut self, meaning: Line, line: &Bytes, pipe: Pipe) {
        match meaning {
            Line::Log => self.log(true, line),
            Line::Reply(id, reply) => self.reply(&id, reply, pipe),
            Line::Malformed(id, why) => self.malformed(&id, why, pipe),
            Line::Stale { id, is_last } => self.stale(&id, is_last, pipe),
            Line::Ready { concurrency, cancel } => self.ready_message(concurrency, cancel),
            Line::NotReady(document) => self.not_ready(document),
            Line::Garbage(why) if self.handler.as_ref().is_some_and(|handler| handler.debts.any()) => {
                self.failed(&Fault::InvalidReply(why));
            }
            Line::Garbage(why) => self.logs.warn(None, &format!("{why}; dropped, since no invocation is in flight")),
            Line::Surplus => {
                self.log(true, line);
                self.surplus();
            }
        }
    }

    fn reply(&mut self, id: &str, reply: Reply, pipe: Pipe) {
        match reply {
            Reply::Response(response) if response.len() > LARGEST_RESPONSE => {
                let conclusion = self.too_large(id, Some(response.len()));
                self.answered(id, conclusion, false, pipe);
            }
            Reply::Response(response) => self.answered(id, Conclusion::Response(response), false, pipe),
            Reply::Error(document) => self.answered(id, Conclusion::Error(document), false, pipe),
            Reply::End => self.answered(id, Conclusion::StreamEnd, false, pipe),
            Reply::Stream(head) => {
                self.read_logs_before(pipe);
                self.logs.write();
                let relief = self.relief.clone();
                if let Some(in_flight) = self.handler.as_mut().and_then(|handler| handler.debts.get_mut(id)) {
                    in_flight.open(head, pipe, relief);
                }
            }
            Reply::Chunk(chunk) => {
                if let Some(in_flight) = self.handler.as_mut().and_then(|handler| handler.debts.get_mut(id)) {
                    in_flight.chunk(chunk);
                }
            }
        }
    }

    /// The handler has answered, or ended its answer.
    fn answered(&mut self, id: &str, conclusion: Conclusion, is_settling: bool, pipe: Pipe) {
        let Some(handler) = &mut self.handler else { return };
        let Some(in_flight) = handler.debts.take(id) else { return };
        handler.answers += 1;
        self.show_life();
        let Some(handler) = &mut self.handler else { return };
        let owes_more = handler.debts.any();
        self.pool.answered();
        if !owes_more {
            self.linger = None;
        }
        self.read_logs_before(pipe);
        if !is_settling {
            return self.conclude(in_flight, conclusion);
        }
        let (done, settled) = oneshot::channel();
        self.settling.push(Settling { request_id: in_flight.request_id.clone(), done, pipe, due: in_flight.settles_until() });
        self.conclude_and_hold(in_flight, conclusion, Some(settled));
    }

    /// What was printed before a reply on stdout has been read with it; before one on descriptor 3 it may not have been, and what
    /// was written to stderr is somewhere else in any case.
    ///
    /// Replies that were read together have been written by then, and what was logged before them too: the first one's log is all's.
    fn read_logs_before(&mut self, pipe: Pipe) {
        if self.has_read_logs {
            return;
        }
        let is_stdout_read = pipe == Pipe::Stdout || self.read_unless_congested(Pipe::Stdout);
        self.read_what_is_there(Pipe::Stderr);
        self.has_read_logs = is_stdout_read;
    }

    /// A malformed reply ends its invocation. A handler that owes others too may still answer these.
    fn malformed(&mut self, id: &str, why: String, pipe: Pipe) {
        let fault = Fault::InvalidReply(why);
        let owes_others = self.handler.as_ref().is_some_and(|handler| handler.debts.in_flight.len() > 1);
        if !owes_others {
            return self.failed(&fault);
        }
        self.read_logs_before(pipe);
        let Some(handler) = &mut self.handler else { return };
        let Some(in_flight) = handler.debts.take(id) else { return };
        let document = fault.document(handler.tail.lines(in_flight.lines_before));
        self.conclude(in_flight, Conclusion::Error(document));
        self.retire();
    }

    fn stale(&mut self, id: &str, is_last: bool, pipe: Pipe) {
        self.logs.warn(Some(id), "a reply was dropped: its invocation is over (the reply is late or repeated)");
        if is_last {
            self.came_late(id, pipe);
        }
    }

    /// Nothing more of the answer to this invocation will come. Where its place was still taken, it is free.
    fn came_late(&mut self, id: &str, pipe: Pipe) {
        // What was logged before it may be about it.
        self.read_logs_before(pipe);
        if self.handler.as_mut().is_some_and(|handler| handler.debts.has_come_late(id)) {
            self.room.release(id);
            self.show_life();
            self.tell_log();
        }
    }

    /// The handler has answered something, so it is not stuck.
    fn show_life(&mut self) {
        if let Some(handler) = self.handler.as_mut().filter(|handler| handler.is_stuck) {
            handler.is_stuck = false;
            self.room.is_closed.set(handler.is_closed());
        }
    }

    /// A filter has written a line to which there is no event. It might do so again, and that would be taken for an answer.
    fn surplus(&mut self) {
        if self.handler.as_ref().is_some_and(|handler| !handler.is_ending) {
            self.replace(Level::Warn, "wrote a line to which there is no event (in mode filter it is exactly one line an event)");
        }
    }

    /// The first 8 MiB of a longer line.
    fn long_line(&mut self, start: &Bytes, source: Source) {
        let Some(handler) = &mut self.handler else { return };
        let meaning = handler.conversation.long_line(start, source, &handler.debts);
        let fate = if matches!(meaning, Long::Log | Long::Surplus) { LongLine::Log } else { LongLine::Discard };
        match source {
            Source::Stdout => handler.long_on_stdout = fate,
            Source::ReplyFd => handler.long_on_reply = fate,
        }
        match meaning {
            Long::Log => self.log_piece(Origin::Stdout(self.place), &Piece::Start(start.clone())),
            Long::Answer(id) => {
                let conclusion = self.too_large(&id, None);
                self.answered(&id, conclusion, true, source.into());
            }
            Long::Stale(id) => {
                self.logs.warn(id.as_deref(), "a reply of more than 8 MiB was dropped: its invocation is over");
                if let Some(id) = id {
                    self.came_late(&id, source.into());
                }
            }
            Long::Garbage => {
                let why = "a line on descriptor 3 has more than 8 MiB and answers none of the invocations in flight".to_owned();
                self.failed(&Fault::InvalidReply(why));
            }
            Long::Surplus => {
                self.log_piece(Origin::Stdout(self.place), &Piece::Start(start.clone()));
                self.surplus();
            }
        }
    }

    fn too_large(&self, id: &str, size: Option<usize>) -> Conclusion {
        let lines = self.handler.as_ref().map(|handler| {
            let in_flight = handler.debts.in_flight.iter().find(|in_flight| *in_flight.request_id == *id);
            handler.tail.lines(in_flight.map_or(0, |in_flight| in_flight.lines_before))
        });
        Conclusion::Error(Fault::ResponseSizeTooLarge { size }.document(lines.unwrap_or_default()))
    }

    fn ready_message(&mut self, concurrency: u32, cancel: bool) {
        let Some(handler) = &mut self.handler else { return };
        handler.wants_cancel = cancel;
        let is_ready = handler.is_ready;
        if self.mode() == Mode::JsonLines {
            self.pool.offer(concurrency as usize);
            self.room.capacity.set(concurrency as usize);
        }
        if !is_ready {
            self.became_ready();
        }
    }

    fn not_ready(&mut self, document: ErrorDocument) {
        if self.stop_due.is_some() || self.handler.as_ref().is_none_or(|handler| handler.is_ending) {
            return;
        }
        if self.pool.is_serving() {
            return self.failed(&Fault::Unready(Box::new(document)));
        }
        // An init error of the handler's own, in its own words.
        self.end(Vec::new(), |_| document.clone());
    }
}
