//! A handler's process while it runs, with its channels and what bootstrap knows of it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::config::{PROTOCOL_VERSION, REPLY_FD};
use crate::document::shorten;
use crate::handler::channel::Channel;
use crate::handler::command::Command;
use crate::handler::process::{ChildEnds, Children, Process, Spawn};
use crate::handler::stdin::Stdin;
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
    /// Whether it was given an event.
    pub has_been_sent: bool,
    /// Whether it counts as started.
    pub is_ready: bool,
    /// Whether it is being ended: what it says of its readiness no longer counts.
    pub is_ending: bool,
    /// Whether it has answered an invocation.
    pub has_answered: bool,
    /// The rest of the long line on stdout and on the reply channel.
    pub long_on_stdout: LongLine,
    /// The same on descriptor 3.
    pub long_on_reply: LongLine,
    /// Its last log lines, of the current invocation or of its start.
    pub tail: Tail,
    past: VecDeque<String>,
}

impl Running {
    /// Starts the command with fresh channels.
    ///
    /// # Errors
    /// Those of `pipe`, `fork`, `chdir` and `execve`.
    pub fn start(command: &Command, children: &Children) -> io::Result<Self> {
        let (child_stdin, stdin) = pipe(false)?;
        let (stdout, child_stdout) = pipe(true)?;
        let (reply, child_reply) = pipe(true)?;
        let (stderr, child_stderr) = pipe(false)?;
        let spawn = Spawn {
            program: &command.program,
            arg0: &command.arg0,
            args: &command.args,
            directory: &command.directory,
            // A runtime client inside the handler would steal events; the telemetry descriptor is not passed on.
            without: &["AWS_LAMBDA_RUNTIME_API", "_LAMBDA_TELEMETRY_LOG_FD"],
            with: &[(PROTOCOL_VERSION, OsStr::new("1")), (REPLY_FD, OsStr::new("3"))],
        };
        let ends = ChildEnds { stdin: child_stdin, stdout: child_stdout, stderr: child_stderr, reply: Some(child_reply) };
        let (stdin, stdout, reply, stderr) =
            (Stdin::new(stdin)?, Channel::new(stdout)?, Channel::new(reply)?, Channel::new(stderr)?);
        Ok(Self {
            process: children.spawn(&spawn, ends)?,
            stdin,
            stdout,
            reply,
            stderr,
            has_been_sent: false,
            is_ready: false,
            is_ending: false,
            has_answered: false,
            long_on_stdout: LongLine::Log,
            long_on_reply: LongLine::Discard,
            tail: Tail::default(),
            past: VecDeque::new(),
        })
    }

    /// Notes that the handler owes no answer to this invocation any more.
    pub fn remember(&mut self, request_id: String) {
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(request_id);
    }

    /// What is known of a request id, of which `in_flight` is the one in flight.
    #[must_use]
    pub fn standing(&self, id: &str, in_flight: Option<&str>) -> Standing {
        if in_flight == Some(id) {
            Standing::InFlight { streaming: false }
        } else if self.past.iter().any(|past| past == id) {
            Standing::Past
        } else {
            Standing::Unknown
        }
    }

    /// It can't be given another event.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.stdin.is_broken() || self.has_no_reply_channel()
    }

    /// It closed every channel on which it could reply.
    #[must_use]
    pub fn has_no_reply_channel(&self) -> bool {
        self.stdout.is_closed() && self.reply.is_closed()
    }
}

/// A pipe: its reading end, its writing end.
fn pipe(large: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
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
    lines: VecDeque<Bytes>,
}

impl Tail {
    /// Notes a log line. Only its beginning is held.
    pub fn push(&mut self, line: &Bytes) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        // A copy, since a slice would hold the whole buffer that the line was read into.
        self.lines.push_back(Bytes::copy_from_slice(&line[..line.len().min(TAIL_BYTES)]));
    }

    /// Forgets them: they belong to an invocation that was answered, and the next one's caller must not see them.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// The lines as an error tells them. The last ones have the room.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut left = TAIL_BYTES;
        let mut lines = Vec::new();
        for line in self.lines.iter().rev() {
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
            tail.push(&Bytes::from(format!("line {number}")));
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 30", "line 49"));
        tail.push(&Bytes::from("☃".repeat(100_000)));
        tail.push(&Bytes::from_static(b"the \xff end"));
        let lines = tail.lines();
        assert!(lines.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
        assert_eq!(lines.last().unwrap(), "the \u{fffd} end");
        tail.clear();
        assert!(tail.lines().is_empty());
    }
}
