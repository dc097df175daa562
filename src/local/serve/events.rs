//! Events whose callers don't wait: queued, run when an environment is idle, and tried again as Lambda does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::exception::Exception;
use super::fleet::Fleet;
use crate::local::answer::Answer;
use crate::local::console::Console;
use crate::local::environment::Invocation;

/// How many events may be queued, those that wait for another attempt included.
const MAX_QUEUED: usize = 1000;

/// The pauses before the second and the third attempt. Lambda has minutes where there are seconds here.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The queue. It ends with this value.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    worker: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// An event, and what it holds as long as it is queued: a place here, and the memory of its body.
#[derive(Debug)]
struct Queued {
    invocation: Invocation,
    attempts: usize,
    _held: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Events {
    /// A queue in front of the fleet, which tells the console what becomes of events that fail.
    pub fn new(fleet: Arc<Fleet>, console: Console) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        let worker = tokio::spawn(work(fleet, console, queue.clone(), queued));
        Events { queue, room: Arc::new(Semaphore::new(MAX_QUEUED)), worker }
    }

    /// Queues an event, which holds the memory of its body.
    ///
    /// # Errors
    /// Too many are queued already.
    pub fn queue(&self, invocation: Invocation, body: Option<OwnedSemaphorePermit>) -> Result<(), Exception> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Exception::TooManyRequests)?;
        // The worker receives for as long as this value is there.
        let _ = self.queue.send(Queued { invocation, attempts: 0, _held: (place, body) });
        Ok(())
    }

    /// How many events have not been run to their end.
    pub fn left(&self) -> usize {
        MAX_QUEUED - self.room.available_permits()
    }
}

/// Waits for one environment at a time, in turn with callers who wait for their answers: a long queue doesn't shut them out.
async fn work(
    fleet: Arc<Fleet>,
    console: Console,
    queue: mpsc::UnboundedSender<Queued>,
    mut queued: mpsc::UnboundedReceiver<Queued>,
) {
    while let Some(event) = queued.recv().await {
        let running = fleet.patient_lease().await.invoke(event.invocation.clone(), None);
        let (console, queue) = (console.clone(), queue.clone());
        tokio::spawn(async move {
            let failure = match running.await {
                Ok(Ok(invoked)) if invoked.answer.is_response() => return,
                Ok(Ok(invoked)) => failure(&invoked.answer),
                Ok(Err(error)) => format!("{error:#}"),
                // The server is stopped.
                Err(_) => return,
            };
            again(event, &failure, &console, &queue).await;
        });
    }
}

async fn again(event: Queued, failure: &str, console: &Console, queue: &mpsc::UnboundedSender<Queued>) {
    let request_id = &event.invocation.request_id;
    let Some(&pause) = PAUSES.get(event.attempts) else {
        let attempts = event.attempts + 1;
        console.note(format!("bootstrap: event {request_id} is dropped after {attempts} attempts: {failure}")).await;
        return;
    };
    let seconds = pause.as_secs();
    console
        .note(format!("bootstrap: event {request_id} is tried again in {seconds} s (in Lambda after {seconds} min): {failure}"))
        .await;
    sleep(pause).await;
    // Where the queue has ended, so has everything.
    let _ = queue.send(Queued { attempts: event.attempts + 1, ..event });
}

fn failure(answer: &Answer) -> String {
    let told = Answer::told(&answer.body());
    if told.error_type.is_empty() { "the function has answered with an error".to_owned() } else { told.error_type }
}
