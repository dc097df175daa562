//! A connection to a client that has to take what it is sent: one that reads nothing does not keep its place for ever.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection whose writes fail once one has waited for so long and the client has taken nothing.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// When it is over. There is one while a write waits.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// This connection, with that patience.
    pub fn new(stream: S, patience: Duration) -> Self {
        Patient { stream, patience, end: None }
    }

    /// What a write came to, unless it has waited for too long.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let due = Instant::now() + self.patience;
        let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        match end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = pin!(&mut this.stream).poll_write(context, bytes);
        this.bounded(written, context)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = pin!(&mut this.stream).poll_write_vectored(context, pieces);
        this.bounded(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = pin!(&mut this.stream).poll_flush(context);
        this.bounded(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = pin!(&mut this.stream).poll_shutdown(context);
        this.bounded(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("an event loop").block_on(future)
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up() {
        run(async {
            let (server, _client) = duplex(10);
            let written = Patient::new(server, PATIENCE).write_all(&[b'x'; 100]).await;
            assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        });
    }

    #[test]
    fn a_slow_client_gets_all_of_it() {
        run(async {
            let (server, mut client) = duplex(10);
            let mut server = Patient::new(server, Duration::from_secs(60));
            let write = async {
                server.write_all(&[b'x'; 100]).await.expect("it is taken");
                assert!(server.end.is_none(), "nothing waits any more");
                drop(server);
            };
            let read = async {
                let mut all = Vec::new();
                while let Ok(byte) = client.read_u8().await {
                    all.push(byte);
                    tokio::task::yield_now().await;
                }
                all
            };
            assert_eq!(tokio::join!(write, read).1.len(), 100);
        });
    }

    #[test]
    fn the_patience_begins_anew_with_each_piece_that_is_taken() {
        run(async {
            let (server, mut client) = duplex(10);
            let mut server = Patient::new(server, PATIENCE);
            server.write_all(&[b'x'; 10]).await.expect("there is room");
            // Nothing waits meanwhile, however long that is.
            tokio::time::sleep(PATIENCE * 2).await;
            assert!(server.end.is_none());
            let (written, ()) = tokio::join!(server.write_all(&[b'x'; 5]), async {
                client.read_exact(&mut [0; 5]).await.expect("they are there");
            });
            written.expect("it was taken");
        });
    }
}
