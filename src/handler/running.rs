//! A handler's process while it runs, with its channels and what bootstrap knows of it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;

use crate::config::{PROTOCOL_VERSION, REPLY_FD};
use crate::document::shorten;
use crate::handler::Pipe;
use crate::handler::channel::Channel;
use crate::handler::command::Command;
use crate::handler::in_flight::InFlight;
use crate::handler::process::{ChildEnds, Children, Process, Spawn};
use crate::handler::stdin::{self, Stdin};
use crate::protocol::conversation::{Conversation, Mode, Owed};
use crate::protocol::message::{CONTEXT_VARIABLES, Delivery};
use crate::protocol::reply::Standing;

/// How many of its invocations a handler's late replies are known by.
const REMEMBERED: usize = 1000;

/// The most log lines, and bytes of them, that an error tells.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: usize = 4096;

/// What becomes of the rest of a line too long to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongLine {
    /// It is a log line.
    Log,
    /// It is a reply that is too large.
    Discard,
}

/// A process that was started and has not been seen to end.
#[derive(Debug)]
pub struct Running {
    /// The process and its group.
    pub process: Process,
    /// Descriptor 0.
    pub stdin: Stdin,
    /// Descriptor 1.
    pub stdout: Channel,
    /// Descriptor 3.
    pub reply: Channel,
    /// Descriptor 2.
    pub stderr: Channel,
    /// What it has said, as far as that changes what comes next.
    pub conversation: Conversation,
    /// What it owes.
    pub debts: Debts,
    /// Whether it counts as started.
    pub is_ready: bool,
    /// Whether it is being ended: what it says of its readiness no longer counts.
    pub is_ending: bool,
    /// Whether it gets no new event, and ends when it owes nothing any more.
    pub is_retiring: bool,
    /// Whether it gets no new event before it answers one: an invocation has timed out in which it answered none.
    pub is_stuck: bool,
    /// Whether it wants to be told of invocations that it need not answer any more.
    pub wants_cancel: bool,
    /// How many invocations it has answered.
    pub answers: u64,
    /// The rest of the long line on stdout and on the reply channel.
    pub long_on_stdout: LongLine,
    /// The same on descriptor 3.
    pub long_on_reply: LongLine,
    /// Its last log lines.
    pub tail: Tail,
}

/// The invocations that a handler has to answer, had to, or has answered.
#[derive(Debug, Default)]
pub struct Debts {
    /// It was given them, and an answer is owed.
    pub in_flight: Vec<InFlight>,
    /// Nobody waits for their answers any more, but it still works on them.
    pub late: Vec<Rc<str>>,
    past: VecDeque<Rc<str>>,
}

impl Debts {
    /// The invocation of this id.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut InFlight> {
        self.in_flight.iter_mut().find(|in_flight| *in_flight.request_id == *id)
    }

    /// Takes the invocation of this id out: it is about to be answered, and late replies to it are known.
    pub fn take(&mut self, id: &str) -> Option<InFlight> {
        let at = self.in_flight.iter().position(|in_flight| *in_flight.request_id == *id)?;
        let in_flight = self.in_flight.swap_remove(at);
        self.remember(in_flight.request_id.clone());
        Some(in_flight)
    }

    /// Takes all of them out.
    pub fn take_all(&mut self) -> Vec<InFlight> {
        let all = std::mem::take(&mut self.in_flight);
        for in_flight in &all {
            self.remember(in_flight.request_id.clone());
        }
        all
    }

    /// Its late reply has come. Returns whether it was waited for.
    pub fn has_come_late(&mut self, id: &str) -> bool {
        let at = self.late.iter().position(|late| **late == *id);
        at.map(|at| self.late.swap_remove(at)).is_some()
    }

    /// Notes that the handler owes no answer to this invocation any more.
    fn remember(&mut self, request_id: Rc<str>) {
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(request_id);
    }
}

impl Owed for Debts {
    fn standing(&self, id: &str) -> Standing {
        match self.in_flight.iter().find(|in_flight| *in_flight.request_id == *id) {
            Some(in_flight) => Standing::InFlight { streaming: in_flight.is_streaming() },
            // The latest are the likeliest.
            None if self.late.iter().any(|late| **late == *id) => Standing::Past,
            None if self.past.iter().rev().any(|past| **past == *id) => Standing::Past,
            None => Standing::Unknown,
        }
    }

    fn only(&self) -> Option<&str> {
        match &self.in_flight[..] {
            [only] => Some(&only.request_id),
            _ => None,
        }
    }

    fn any(&self) -> bool {
        !self.in_flight.is_empty()
    }
}

impl Running {
    /// Starts the command with fresh channels: for the events to come, or for the one whose delivery it is.
    ///
    /// # Errors
    /// Those of `pipe`, `memfd_create`, `fork`, `chdir` and `execve`.
    pub fn start(
        command: &Command,
        children: &Children,
        mode: Mode,
        conversation: Conversation,
        delivery: Option<&Delivery>,
    ) -> io::Result<Self> {
        let (child_stdin, stdin, environment) = match delivery {
            Some(Delivery::Process { stdin, environment }) => (stdin::file(stdin)?, Stdin::closed(), &environment[..]),
            _ => {
                let (child_stdin, stdin) = pipe(false)?;
                (child_stdin, Stdin::new(stdin)?, &[][..])
            }
        };
        let (stdout, child_stdout) = pipe(true)?;
        let (reply, child_reply) = pipe(true)?;
        let (stderr, child_stderr) = pipe(false)?;
        // A runtime client inside the handler would steal events; the telemetry descriptor is not passed on.
        let mut without = vec!["AWS_LAMBDA_RUNTIME_API", "_LAMBDA_TELEMETRY_LOG_FD"];
        let mut with = vec![(PROTOCOL_VERSION, OsStr::new("1")), (REPLY_FD, OsStr::new("3"))];
        if !mode.starts_ahead() {
            without.extend(CONTEXT_VARIABLES);
            with.extend(environment.iter().map(|(name, value)| (*name, OsStr::new(value))));
        }
        let spawn = Spawn {
            program: &command.program,
            arg0: &command.arg0,
            args: &command.args,
            directory: &command.directory,
            without: &without,
            with: &with,
        };
        let ends = ChildEnds { stdin: child_stdin, stdout: child_stdout, stderr: child_stderr, reply: Some(child_reply) };
        let answers_by_ending = mode.answers_by_ending();
        let (stdout, reply, stderr) =
            (Channel::new(stdout, answers_by_ending)?, Channel::new(reply, answers_by_ending)?, Channel::new(stderr, false)?);
        Ok(Self {
            process: children.spawn(&spawn, ends)?,
            stdin,
            stdout,
            reply,
            stderr,
            conversation,
            debts: Debts::default(),
            is_ready: false,
            is_ending: false,
            is_retiring: false,
            is_stuck: false,
            wants_cancel: false,
            answers: 0,
            long_on_stdout: LongLine::Log,
            long_on_reply: LongLine::Discard,
            tail: Tail::default(),
        })
    }

    /// One of its channels.
    pub fn channel(&mut self, pipe: Pipe) -> &mut Channel {
        match pipe {
            Pipe::Stdout => &mut self.stdout,
            Pipe::Stderr => &mut self.stderr,
            Pipe::Reply => &mut self.reply,
        }
    }

    /// Whether it gets no new event now.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_retiring || self.is_stuck
    }

    /// Whether it has answered an invocation.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.answers > 0
    }

    /// How many of its places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.debts.in_flight.len() + self.debts.late.len()
    }

    /// Whether so much of a stream waits for the Runtime API that this channel should not be read.
    #[must_use]
    pub fn is_congested_on(&self, pipe: Pipe) -> bool {
        self.debts.in_flight.iter().any(|in_flight| in_flight.is_congested_on(pipe))
    }

    /// It can't be given another event.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.stdin.is_broken() || self.has_no_reply_channel()
    }

    /// It closed every channel on which it could reply.
    #[must_use]
    pub fn has_no_reply_channel(&self) -> bool {
        self.stdout.is_closed() && self.reply.is_closed() && !self.conversation.answers_by_ending()
    }
}

/// A pipe: its reading end, its writing end.
fn pipe(large: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    #[cfg(target_os = "linux")]
    if large {
        // Refused where the user has too many pages in pipes; the default size serves too.
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, crate::handler::stdin::PIPE_SIZE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = large;
    Ok((reader, writer))
}

/// The last log lines: at most 20, and 4 KiB of them.
#[derive(Debug, Default)]
pub struct Tail {
    /// Each with whether it was printed, that is written where replies may come.
    lines: VecDeque<(bool, Bytes)>,
    /// How many there were in all.
    count: u64,
}

impl Tail {
    /// Notes a log line. Only its beginning is held.
    pub fn push(&mut self, is_printed: bool, line: &Bytes) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        // A copy, since a slice would hold the whole buffer that the line was read into.
        self.lines.push_back((is_printed, Bytes::copy_from_slice(&line[..line.len().min(TAIL_BYTES)])));
        self.count += 1;
    }

    /// How many lines there were in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether one of the last lines was printed and is no reply.
    #[must_use]
    pub fn has_printed(&self, before: u64) -> bool {
        self.since(before).any(|(is_printed, _)| *is_printed)
    }

    /// The last lines but for those `before`, the last one first.
    fn since(&self, before: u64) -> impl Iterator<Item = &(bool, Bytes)> {
        let own = usize::try_from(self.count.saturating_sub(before)).unwrap_or(usize::MAX);
        self.lines.iter().rev().take(own)
    }

    /// The lines as the error of an invocation tells them before which there were `before`: those belong to invocations that were
    /// answered, and this one's caller must not see them. The last ones have the room.
    #[must_use]
    pub fn lines(&self, before: u64) -> Vec<String> {
        let mut left = TAIL_BYTES;
        let mut lines = Vec::new();
        for (_, line) in self.since(before) {
            let mut text = String::from_utf8_lossy(line).into_owned();
            if left < text.len() && left < 16 {
                break;
            }
            shorten(&mut text, left);
            left -= text.len();
            lines.push(text);
        }
        lines.reverse();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_holds_the_last_lines_within_its_bounds() {
        let mut tail = Tail::default();
        for number in 0..50 {
            tail.push(false, &Bytes::from(format!("line {number}")));
        }
        let lines = tail.lines(0);
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 30", "line 49"));
        tail.push(false, &Bytes::from("☃".repeat(100_000)));
        tail.push(false, &Bytes::from_static(b"the \xff end"));
        let lines = tail.lines(0);
        assert!(lines.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
        assert_eq!(lines.last().unwrap(), "the \u{fffd} end");
        assert_eq!(tail.lines(tail.count() - 1), ["the \u{fffd} end"]);
        assert!(tail.lines(tail.count()).is_empty());
        assert!(!tail.has_printed(0));
        tail.push(true, &Bytes::from_static(b"printed"));
        assert!(tail.has_printed(0) && tail.has_printed(tail.count() - 1) && !tail.has_printed(tail.count()));
    }
}
