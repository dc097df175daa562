//! The reading end of one of a handler's channels.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::protocol::lines::{Lines, Piece};

/// How much of a long wait is read at a time, in bytes.
const READ: usize = 256 * 1024;

/// A pipe that the handler writes to, as lines.
#[derive(Debug)]
pub struct Channel {
    pipe: Receiver,
    lines: Lines,
    closed: bool,
}

impl Channel {
    /// Reads from this end of a pipe; where it `is_whole`, all that comes is one line until it is told to [`Self::split`].
    ///
    /// # Errors
    /// When the descriptor can't be watched.
    pub fn new(pipe: OwnedFd, is_whole: bool) -> io::Result<Self> {
        let lines = if is_whole { Lines::whole() } else { Lines::default() };
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, lines, closed: false })
    }

    /// From now on, and in what has come already, a newline ends a line.
    pub fn split(&mut self) {
        self.lines.split();
    }

    /// Whether the other end has been closed by all who had it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits for more and reads it. At the end of the stream it marks the channel closed. Cancel safe.
    pub async fn read(&mut self) {
        if self.closed {
            return std::future::pending().await;
        }
        match self.pipe.read_buf(self.lines.room()).await {
            Ok(0) => self.closed = true,
            Ok(length) => self.lines.appended(length),
            // A pipe has no errors of its own; a channel that can't be read is as good as closed.
            Err(_) => self.closed = true,
        }
    }

    /// Reads what the reactor knows to be there, at no cost where that is nothing. Returns whether there was anything, its end
    /// included.
    pub fn read_what_is_known(&mut self) -> bool {
        if self.closed {
            return false;
        }
        match self.pipe.try_read_buf(self.lines.room()) {
            Ok(0) => self.closed = true,
            Ok(length) => self.lines.appended(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => self.closed = true,
        }
        true
    }

    /// Reads what is in the pipe at this instant, without waiting, and no more: a handler that writes without end can't hold
    /// this up.
    ///
    /// The pipe itself is asked, not what the reactor last heard of it: that would miss what was written since.
    pub fn read_what_is_there(&mut self) {
        let mut left = match rustix::io::ioctl_fionread(&self.pipe) {
            Ok(waiting) if !self.closed => usize::try_from(waiting).unwrap_or(0),
            _ => 0,
        };
        while left > 0 {
            let room = self.lines.room();
            let before = room.len();
            room.resize(before + left.min(READ), 0);
            let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.pipe, &mut room[before..])).unwrap_or(0);
            room.truncate(before + length);
            if length == 0 {
                return;
            }
            left = left.saturating_sub(length);
        }
    }

    /// The next line, or piece of a long one, of what was read.
    pub fn next_piece(&mut self) -> Option<Piece> {
        self.lines.next_piece()
    }

    /// What came after the last newline, once nothing more will come.
    pub fn finish(&mut self) -> Option<Piece> {
        self.lines.finish()
    }

    /// Whether the beginning of the current line was given out, since it is too long to be held.
    #[must_use]
    pub fn is_in_long_line(&self) -> bool {
        self.lines.is_in_long_line()
    }

    /// What came after the last newline so far.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.lines.rest()
    }
}
