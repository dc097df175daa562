//! The writing end of a handler's stdin.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Seek, Write};
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

use crate::protocol::message::Message;

/// The size of a pipe for large messages, in bytes. Measured: 1 to 8 % faster than the default of 64 KiB, and more is no better.
#[cfg(target_os = "linux")]
pub const PIPE_SIZE: usize = 256 * 1024;

/// The most parts written at once; the system's own limit is 1024.
const PARTS: usize = 64;

/// The messages on their way to the handler.
#[derive(Debug)]
pub struct Stdin {
    /// `None` once it is closed, by us or, as far as a write has shown, by the handler.
    pipe: Option<Sender>,
    /// What is still to be written: the rest of the last message, and perhaps of the one before.
    queue: VecDeque<Bytes>,
    /// How many bytes were written to the pipe.
    written: u64,
    broken: bool,
}

impl Stdin {
    /// Writes to this end of a pipe.
    ///
    /// # Errors
    /// When the descriptor can't be watched.
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        let pipe = Some(Sender::from_owned_fd(pipe)?);
        Ok(Self { pipe, queue: VecDeque::new(), written: 0, broken: false })
    }

    /// Nothing is ever written: the handler has a [`file`] as its stdin.
    #[must_use]
    pub fn closed() -> Self {
        Self { pipe: None, queue: VecDeque::new(), written: 0, broken: false }
    }

    /// Whether the handler has closed its end before it read everything.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Puts a message behind what is still to be written. [`Self::write_at_once`] and [`Self::write`] write it, with others perhaps.
    ///
    /// Returns how many bytes were or will be before it, by which [`Self::is_untouched`] knows it.
    pub fn send(&mut self, message: Message) -> u64 {
        let before = self.written + self.queue.iter().map(|part| part.len() as u64).sum::<u64>();
        self.queue.extend(message.into_iter().filter(|part| !part.is_empty()));
        before
    }

    /// Puts one space, which may stand in front of the first message, into the pipe, to see it go.
    ///
    /// The pipe is made as small as can be first, which is one page: a single byte then makes it full, so that the reader's first
    /// read makes it writable again, of which the reactor tells at once. Where that is refused, looking from time to time must do.
    pub fn probe(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(pipe) = &self.pipe {
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, 4096);
        }
        self.send(vec![Bytes::from_static(b" ")]);
    }

    /// Waits until the handler has read everything that was written. Cancel safe.
    pub async fn drained(&self) {
        let Some(pipe) = self.pipe.as_ref().filter(|_| self.queue.is_empty() && !self.broken) else {
            return std::future::pending().await;
        };
        let look = || if self.is_read() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
        while let Ok(ready) = pipe.ready(Interest::WRITABLE).await {
            // "Would block" makes the reactor tell of the next change.
            if pipe.try_io(look).is_ok() {
                return;
            }
            // A handler that has closed its stdin will not read, and the reactor would tell of that without end.
            if ready.is_write_closed() {
                break;
            }
        }
        std::future::pending().await
    }

    /// Makes the pipe large enough for large messages.
    pub fn widen(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(pipe) = &self.pipe {
            // Refused where the user has too many pages in pipes; the default size serves too.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_SIZE);
        }
    }

    /// Whether the pipe has taken everything.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the handler has read everything that was written.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.queue.is_empty() && self.unread() == Some(0)
    }

    /// Whether the handler has read no byte of the message that has so many bytes before it.
    #[must_use]
    pub fn is_untouched(&self, before: u64) -> bool {
        // What is in the pipe outlives the reader's end: the kernel keeps it while this end is open.
        let since = self.written.saturating_sub(before);
        since == 0 || self.unread().is_some_and(|unread| unread >= since)
    }

    fn unread(&self) -> Option<u64> {
        rustix::io::ioctl_fionread(self.pipe.as_ref()?).ok()
    }

    /// Waits until the pipe takes more and writes it; for ever where there is nothing to write. Cancel safe.
    pub async fn write(&mut self) {
        match &self.pipe {
            Some(pipe) if !self.queue.is_empty() && !self.broken => {
                if pipe.writable().await.is_err() {
                    self.broken = true;
                    return;
                }
            }
            _ => return std::future::pending().await,
        }
        self.write_at_once();
    }

    /// Writes what the pipe takes at once: nothing as long as the reactor has not seen the pipe.
    pub fn write_at_once(&mut self) {
        while let Some(pipe) = &self.pipe
            && !self.queue.is_empty()
            && !self.broken
        {
            let parts: Vec<IoSlice<'_>> = self.queue.iter().take(PARTS).map(|part| IoSlice::new(part)).collect();
            match pipe.try_write_vectored(&parts) {
                Ok(length) => self.taken(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The handler has closed its end. That is not the story; its exit is, or its reply, or the deadline.
                Err(_) => self.broken = true,
            }
        }
    }

    fn taken(&mut self, mut length: usize) {
        self.written += length as u64;
        while let Some(part) = self.queue.front_mut() {
            if part.len() > length {
                part.advance(length);
                return;
            }
            length -= part.len();
            self.queue.pop_front();
        }
    }

    /// Ends the stream, after what the pipe takes at once; what else was not written yet is dropped.
    pub fn close(&mut self) {
        self.write_at_once();
        self.pipe = None;
        self.queue.clear();
    }
}

/// A file with this content, to be read from its beginning: a shell reads a pipe byte by byte, and a file in blocks.
///
/// # Errors
/// Those of `memfd_create` and of writing, out of memory among them.
#[cfg(target_os = "linux")]
pub fn file(content: &[Bytes]) -> io::Result<OwnedFd> {
    // In memory and without a name: nothing is left where the process or bootstrap is killed.
    let file = rustix::fs::memfd_create(c"event", rustix::fs::MemfdFlags::CLOEXEC)?;
    fill(file.into(), content)
}

/// The same where there are no files in memory: an unlinked one.
///
/// # Errors
/// Those of making and writing a temporary file.
#[cfg(not(target_os = "linux"))]
pub fn file(content: &[Bytes]) -> io::Result<OwnedFd> {
    fill(tempfile::tempfile()?, content)
}

fn fill(mut file: std::fs::File, content: &[Bytes]) -> io::Result<OwnedFd> {
    for part in content {
        file.write_all(part)?;
    }
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdin() -> (Stdin, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        (Stdin::new(writer).unwrap(), reader)
    }

    /// Sends what the pipe surely takes, and waits until it has.
    async fn send(stdin: &mut Stdin, message: &'static str) -> u64 {
        let before = stdin.send(vec![Bytes::new(), Bytes::from_static(message.as_bytes())]);
        while !stdin.queue.is_empty() && !stdin.broken {
            stdin.write().await;
        }
        before
    }

    fn take(reader: &OwnedFd, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        let length = rustix::io::read(reader, &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    #[tokio::test]
    async fn a_message_is_untouched_until_its_own_first_byte_is_read() {
        let (mut stdin, reader) = stdin();
        let one = send(&mut stdin, "one1\n").await;
        assert!(stdin.is_untouched(one));
        assert_eq!(take(&reader, 3), b"one");
        assert!(!stdin.is_untouched(one));
        let two = send(&mut stdin, "two\n").await;
        assert_eq!(take(&reader, 2), b"1\n");
        assert!(stdin.is_untouched(two) && !stdin.is_untouched(one) && !stdin.is_read(), "only the message before was read");
        take(&reader, 1);
        assert!(!stdin.is_untouched(two));
        take(&reader, 10);
        assert!(stdin.is_read());
    }

    #[tokio::test]
    async fn messages_that_are_sent_together_are_written_together() {
        let (mut stdin, reader) = stdin();
        send(&mut stdin, "one\n").await;
        take(&reader, 4);
        let befores = ["two\n", "three\n"].map(|message| stdin.send(vec![Bytes::from_static(message.as_bytes())]));
        assert_eq!(befores, [4, 8]);
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), 0, "nothing is written yet");
        assert!(stdin.is_untouched(4) && stdin.is_untouched(8) && !stdin.is_read());
        stdin.write_at_once();
        assert!(stdin.is_written());
        assert_eq!(take(&reader, 100), b"two\nthree\n");
    }

    #[tokio::test]
    async fn what_was_sent_is_written_before_the_end() {
        let (mut stdin, reader) = stdin();
        send(&mut stdin, "one\n").await;
        stdin.send(vec![Bytes::from_static(b"two\n")]);
        stdin.close();
        assert_eq!(take(&reader, 100), b"one\ntwo\n");
        assert_eq!(take(&reader, 100), b"");
    }

    #[tokio::test]
    async fn a_probe_is_told_of_when_it_is_read_and_not_before() {
        let (mut stdin, reader) = stdin();
        stdin.probe();
        while !stdin.queue.is_empty() {
            stdin.write().await;
        }
        // Twenty turns of the reactor tell of nothing.
        for _ in 0..20 {
            tokio::select! {
                biased;
                () = stdin.drained() => panic!("nobody has read"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(take(&reader, 10), b" ");
        stdin.drained().await;
        let (mut unread, gone) = self::stdin();
        unread.probe();
        while !unread.queue.is_empty() {
            unread.write().await;
        }
        drop(gone);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), unread.drained()).await.is_err(), "nobody has read");
        stdin.widen();
        send(&mut stdin, "a\n").await;
        assert!(!stdin.is_read());
    }

    #[test]
    fn a_file_is_read_from_its_beginning() {
        let file = file(&[Bytes::from_static(b"a\n"), Bytes::new(), Bytes::from_static(b"b")]).unwrap();
        assert_eq!(take(&file, 10), b"a\nb");
        assert_eq!(take(&file, 10), b"");
    }

    #[tokio::test]
    async fn a_closed_reader_is_found_broken_and_leaves_its_message_untouched() {
        let (mut stdin, reader) = stdin();
        send(&mut stdin, "one\n").await;
        take(&reader, 4);
        let two = send(&mut stdin, "two\n").await;
        drop(reader);
        assert!(stdin.is_untouched(two));
        let three = send(&mut stdin, "three\n").await;
        assert!(stdin.is_broken() && stdin.is_untouched(three));
    }
}
