//! A request's body, read in bounded memory and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// How much all bodies together may take, in KiB: those that are being read, that wait, and whose events are being run.
const ROOM: usize = 256 * 1024;

/// The memory for all bodies.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

/// A body that has come whole, and the memory that it takes.
#[derive(Debug)]
pub struct Held {
    /// The body.
    pub bytes: Bytes,
    /// Its part of the room, given back when this is dropped.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// It has more bytes than the limit.
    TooLarge,
    /// Other bodies take all the memory.
    NoRoom,
    /// It did not come in time.
    TooSlow,
    /// It broke off.
    Broken,
}

impl Room {
    /// Room for the bodies of one server.
    pub fn new() -> Self {
        Room(Arc::new(Semaphore::new(ROOM)))
    }

    /// Reads a body of at most `limit` bytes, for at most `patience`. One that is refused is read to its end all the same,
    /// and thrown away: a client that is still writing would not see the answer.
    ///
    /// # Errors
    /// See [`NoBody`].
    pub async fn read<B: Body<Data = Bytes> + Unpin>(&self, mut body: B, limit: usize, patience: Duration) -> Result<Held, NoBody> {
        let deadline = Instant::now() + patience;
        let mut bytes = BytesMut::new();
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let mut refused = (body.size_hint().lower() > limit as u64).then_some(NoBody::TooLarge);
        loop {
            // A body that comes and comes is over in time, too: its next frame is there before any timer is asked.
            if Instant::now() >= deadline {
                return Err(refused.unwrap_or(NoBody::TooSlow));
            }
            let frame = match timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(refused.unwrap_or(NoBody::TooSlow)),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(NoBody::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            let (Ok(data), None) = (frame.into_data(), refused) else { continue };
            let size = bytes.len() + data.len();
            let held = permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            // The sizes are those of a body within the limit, which a u32 holds.
            let more = u32::try_from(size.div_ceil(1024).saturating_sub(held)).unwrap_or(u32::MAX);
            if size > limit {
                refused = Some(NoBody::TooLarge);
            } else {
                match Arc::clone(&self.0).try_acquire_many_owned(more) {
                    Ok(more) => match &mut permit {
                        Some(permit) => permit.merge(more),
                        None => permit = Some(more),
                    },
                    Err(_) => refused = Some(NoBody::NoRoom),
                }
            }
            if refused.is_some() {
                bytes = BytesMut::new();
                permit = None;
            } else {
                bytes.extend_from_slice(&data);
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None => Ok(Held { bytes: bytes.freeze(), permit }),
        }
    }
}

/// Reads what is left of the body of a refused request, until `due`, and throws it away: where a connection is closed with
/// something unread in it, a client that is still writing is told of a broken pipe and does not see why it was refused.
pub async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B, due: Instant) {
    while Instant::now() < due
        && let Ok(Some(Ok(_))) = timeout_at(due, body.frame()).await
    {}
}

impl Default for Room {
    fn default() -> Self {
        Room::new()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{Channel, Full};
    use hyper::body::Frame;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("an event loop").block_on(future)
    }

    fn full(size: usize) -> Full<Bytes> {
        Full::new(vec![b'x'; size].into())
    }

    #[test]
    fn a_body_of_the_limit_is_read_and_a_larger_one_is_refused() {
        run(async {
            let room = Room::new();
            assert_eq!(room.read(full(2000), 2000, LONG).await.map(|held| held.bytes.len()), Ok(2000));
            assert_eq!(room.read(full(2001), 2000, LONG).await.map(drop), Err(NoBody::TooLarge));
            // One that does not say its size before.
            let (mut sender, channel) = Channel::<Bytes>::new(4);
            sender.send_data(Bytes::from_static(&[b'x'; 1500])).await.expect("there is room");
            sender.send_data(Bytes::from_static(&[b'x'; 1500])).await.expect("there is room");
            drop(sender);
            assert_eq!(room.read(channel, 2000, LONG).await.map(drop), Err(NoBody::TooLarge));
        });
    }

    #[test]
    fn a_body_that_does_not_come_is_given_up() {
        run(async {
            let (mut sender, channel) = Channel::<Bytes>::new(4);
            sender.send_data(Bytes::from_static(b"{")).await.expect("there is room");
            let read = Room::new().read(channel, 2000, Duration::from_millis(1)).await;
            assert_eq!(read.map(drop), Err(NoBody::TooSlow));
            drop(sender);
        });
    }

    /// It always has something more, at once.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[test]
    fn a_body_without_end_is_given_up() {
        run(async {
            let read = Room::new().read(Endless, 2000, Duration::from_millis(5)).await;
            assert_eq!(read.map(drop), Err(NoBody::TooLarge));
            let read = Room::new().read(Endless, usize::MAX, Duration::from_millis(5)).await;
            assert_eq!(read.map(drop), Err(NoBody::TooSlow));
            discard(&mut Endless, Instant::now() + Duration::from_millis(5)).await;
        });
    }

    #[test]
    fn all_bodies_together_have_bounded_memory_and_give_it_back() {
        run(async {
            let room = Room(Arc::new(Semaphore::new(4)));
            let first = room.read(full(3000), 5000, LONG).await.expect("there is room");
            assert_eq!(room.read(full(2000), 5000, LONG).await.map(drop), Err(NoBody::NoRoom));
            drop(first);
            assert!(room.read(full(4096), 5000, LONG).await.is_ok());
        });
    }
}
