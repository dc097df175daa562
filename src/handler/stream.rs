//! An open stream between the handler and the runtime: its chunks wait here for the Runtime API.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, oneshot};

use crate::document::ErrorDocument;

/// How many bytes of chunks may wait before the handler's reply channel is left unread (protocol, section 2).
const ENOUGH: usize = 1024 * 1024;

/// Chunks shorter than this, in bytes, are put together while they wait, so that what is kept for each costs no more than they do.
const SMALL: usize = 4096;

/// What comes of a stream.
#[derive(Debug)]
pub enum Part {
    /// Some of its body.
    Chunk(Bytes),
    /// Its end; nothing comes after it.
    End(End),
}

/// How a stream ends.
#[derive(Debug)]
pub struct End {
    /// What went wrong, where something did.
    pub error: Option<ErrorDocument>,
    /// How long the end may wait for the log lines before it.
    pub log_until: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    /// The chunks at the end of the queue that are short.
    small: BytesMut,
    /// How many bytes wait.
    waiting: usize,
    end: Option<End>,
    /// As in [`Answer`](crate::handler::Answer).
    settled: Option<oneshot::Receiver<()>>,
    /// The handler's end was let go of.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: RefCell<Queue>,
    /// Something was put in.
    filled: Notify,
    /// Nothing more will be.
    over: Notify,
}

/// The end where chunks are put in. Where it is dropped without [`Self::end`], the stream has broken off.
#[derive(Debug)]
pub struct Outlet(Rc<Shared>);

/// The end where they are taken out.
#[derive(Debug)]
pub struct Parts {
    shared: Rc<Shared>,
    /// Told when the queue is no longer too long.
    relief: Rc<Notify>,
}

/// Opens a stream. `relief` is told each time when its chunks have been too many and are no more.
#[must_use]
pub fn open(relief: Rc<Notify>) -> (Outlet, Parts) {
    let shared = Rc::new(Shared::default());
    (Outlet(shared.clone()), Parts { shared, relief })
}

impl Outlet {
    /// Puts a chunk in. One without bytes is nothing.
    pub fn chunk(&self, chunk: Bytes) {
        let queue = &mut *self.0.queue.borrow_mut();
        queue.waiting += chunk.len();
        if chunk.len() < SMALL {
            queue.small.extend_from_slice(&chunk);
        } else {
            queue.flush();
            queue.chunks.push_back(chunk);
        }
        self.0.filled.notify_one();
    }

    /// Ends the stream. `settled` is what `/next` must wait for.
    pub fn end(self, end: End, settled: Option<oneshot::Receiver<()>>) {
        let queue = &mut *self.0.queue.borrow_mut();
        queue.end = Some(end);
        queue.settled = settled;
    }

    /// Whether so much waits that no more should be read.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.0.queue.borrow().waiting > ENOUGH
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.queue.borrow_mut().is_over = true;
        self.0.filled.notify_one();
        self.0.over.notify_one();
    }
}

impl Queue {
    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
    }

    fn take(&mut self) -> Option<Option<Part>> {
        self.flush();
        if let Some(chunk) = self.chunks.pop_front() {
            self.waiting -= chunk.len();
            return Some(Some(Part::Chunk(chunk)));
        }
        self.is_over.then(|| self.end.take().map(Part::End))
    }
}

impl Parts {
    /// Waits for the next part. `None` is a stream that has broken off. Cancel safe.
    pub async fn next(&self) -> Option<Part> {
        loop {
            let taken = {
                let queue = &mut *self.shared.queue.borrow_mut();
                let was_congested = queue.waiting > ENOUGH;
                let taken = queue.take();
                if was_congested && queue.waiting <= ENOUGH {
                    self.relief.notify_one();
                }
                taken
            };
            match taken {
                Some(part) => return part,
                None => self.shared.filled.notified().await,
            }
        }
    }

    /// What `/next` must wait for, once the stream has ended.
    pub fn settled(&self) -> Option<oneshot::Receiver<()>> {
        self.shared.queue.borrow_mut().settled.take()
    }

    /// Waits until the handler's side is over, whatever still waits here. Cancel safe.
    pub async fn over(&self) {
        while !self.shared.queue.borrow().is_over {
            self.shared.over.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> End {
        End { error: None, log_until: Instant::now() }
    }

    #[tokio::test]
    async fn chunks_come_in_order_and_small_ones_together() {
        let (outlet, parts) = open(Rc::default());
        let large = Bytes::from(vec![b'x'; SMALL]);
        for chunk in [Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"b"), large.clone(), Bytes::from_static(b"c")] {
            outlet.chunk(chunk);
        }
        outlet.end(end(), None);
        assert!(matches!(parts.next().await, Some(Part::Chunk(chunk)) if chunk == "ab"));
        assert!(matches!(parts.next().await, Some(Part::Chunk(chunk)) if chunk == large));
        assert!(matches!(parts.next().await, Some(Part::Chunk(chunk)) if chunk == "c"));
        assert!(matches!(parts.next().await, Some(Part::End(_))));
        parts.over().await;
    }

    #[tokio::test]
    async fn a_stream_that_is_let_go_of_has_broken_off() {
        let (outlet, parts) = open(Rc::default());
        outlet.chunk(Bytes::from_static(b"a"));
        drop(outlet);
        parts.over().await;
        assert!(matches!(parts.next().await, Some(Part::Chunk(_))));
        assert!(parts.next().await.is_none());
    }

    #[tokio::test]
    async fn too_much_is_congestion_and_its_relief_is_told() {
        let relief = Rc::new(Notify::new());
        let (outlet, parts) = open(relief.clone());
        outlet.chunk(vec![0; ENOUGH].into());
        assert!(!outlet.is_congested());
        outlet.chunk(Bytes::from_static(b"a"));
        assert!(outlet.is_congested());
        let _ = parts.next().await;
        assert!(!outlet.is_congested());
        relief.notified().await;
    }
}
