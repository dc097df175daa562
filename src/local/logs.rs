//! The runtime's log output on its way to the journal.

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::journal::Journal;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A line longer than this is passed on in pieces.
const MAX_HELD: usize = 256 * 1024;

/// The reader of one runtime's log pipe. It ends with the pipe, or with this value.
#[derive(Debug)]
pub struct Logs {
    drains: mpsc::Sender<oneshot::Sender<()>>,
    reader: JoinHandle<()>,
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Logs {
    /// Starts to read.
    ///
    /// # Errors
    /// When the pipe can't be made non-blocking or be polled.
    pub fn start(pipe: OwnedFd, journal: Journal) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let (drains, requested) = mpsc::channel(1);
        let reader = tokio::spawn(relay(pipe, journal, requested));
        Ok(Logs { drains, reader })
    }

    /// Waits until what is in the pipe now has been passed on: what was logged before a report comes out before its answer.
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        if self.drains.send(done).await.is_ok() {
            // An error is a reader that has come to the pipe's end.
            let _ = drained.await;
        }
    }

    /// Waits for the pipe's end.
    pub async fn finish(&self) {
        // The reader has the other end of this for as long as it reads.
        self.drains.closed().await;
    }
}

async fn relay(pipe: pipe::Receiver, journal: Journal, mut drains: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut held = BytesMut::new();
    loop {
        let done = tokio::select! {
            ready = pipe.readable() => match ready {
                Ok(()) => None,
                Err(_) => break,
            },
            Some(done) = drains.recv() => Some(done),
        };
        let ended = loop {
            let read = read(&mut held, |buffer| match done {
                None => pipe.try_read(buffer),
                // What the event loop knows of the pipe may be older than what is in it: the kernel is asked.
                Some(_) => rustix::io::read(&pipe, buffer).map_err(io::Error::from),
            });
            match read {
                Ok(0) => break true,
                Ok(_) => {
                    let whole_lines = memchr::memrchr(b'\n', &held).map(|newline| newline + 1);
                    let passed = if held.len() > MAX_HELD { Some(held.len()) } else { whole_lines };
                    if let Some(length) = passed {
                        journal.log(held.split_to(length).freeze()).await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        if let Some(done) = done {
            // Whoever asked may have been cancelled.
            let _ = done.send(());
        }
        if ended {
            break;
        }
    }
    if !held.is_empty() {
        journal.log(Bytes::from(held)).await;
    }
}

/// Appends to what is held.
fn read(held: &mut BytesMut, from_pipe: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    let before = held.len();
    held.resize(before + CHUNK, 0);
    let result = from_pipe(&mut held[before..]);
    held.truncate(before + *result.as_ref().unwrap_or(&0));
    result
}
