//! The execution environments of a served function: which one takes an event, who waits, and how all of them end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::exception::Exception;
use crate::local::answer::Part;
use crate::local::console::Console;
use crate::local::environment::{Environment, Invocation, Invoked};
use crate::local::function::Function;
use crate::local::journal::Journal;
use crate::signal;

/// How many callers may wait for an environment. Lambda lets none wait; it has more environments.
const MAX_WAITING: usize = 100;

/// The environments of one function.
#[derive(Debug)]
pub struct Fleet {
    all: Vec<Arc<Environment>>,
    /// Those that have no event, the one that had one last at the end: it has started most likely.
    idle: Mutex<Vec<Arc<Environment>>>,
    /// One permit for each idle environment. Who waits for one gets it in turn.
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Whether environments are stopped between events.
    freezes: bool,
    stopping: watch::Sender<bool>,
}

/// The answer to come. Where there is none, the fleet has been stopped.
pub type Running = oneshot::Receiver<anyhow::Result<Invoked>>;

/// An environment for one event.
#[derive(Debug)]
pub struct Lease {
    fleet: Arc<Fleet>,
    environment: Arc<Environment>,
    // Given back after the environment: fields are dropped after their value.
    _place: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.fleet.idle().push(Arc::clone(&self.environment));
    }
}

impl Fleet {
    /// So many environments of this function, of which none has started. Where it `freezes`, their processes are stopped between
    /// events.
    pub fn new(function: &Arc<Function>, console: &Console, environments: u16, freezes: bool) -> Self {
        let environment = |_| {
            let journal = Journal::with_platform(console.clone(), function);
            Arc::new(Environment::new(Arc::clone(function), journal))
        };
        let all: Vec<_> = (0..environments).map(environment).collect();
        Fleet {
            idle: Mutex::new(all.clone()),
            all,
            places: Arc::new(Semaphore::new(environments.into())),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            freezes,
            stopping: watch::Sender::new(false),
        }
    }

    /// An environment for a caller, who waits in turn where all are busy.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, Exception> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(self.take(place));
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Exception::TooManyRequests)?;
        Ok(self.patient_lease().await)
    }

    /// An environment for somebody who waits in turn, however many do.
    pub async fn patient_lease(self: &Arc<Self>) -> Lease {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => self.take(place),
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    fn take(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Lease {
        // There is an idle environment for each permit.
        let environment = self.idle().pop().unwrap_or_else(|| Arc::clone(&self.all[0]));
        Lease { fleet: Arc::clone(self), environment, _place: place }
    }

    /// Each environment gets a fresh runtime for its next event. Those that have no event now end theirs at once.
    pub async fn renew(&self) {
        for environment in &self.all {
            environment.outdate();
        }
        let idle = self.idle().clone();
        for environment in idle {
            // One that has got an event meanwhile has begun it with a fresh runtime, and is not outdated any more.
            environment.clear().await;
        }
    }

    /// Ends all environments, and waits for that. Invocations in flight are given up.
    ///
    /// # Errors
    /// When signals can't be listened to: one that comes now ends the environments at once.
    pub async fn stop(self: Arc<Self>) -> anyhow::Result<()> {
        self.stopping.send_replace(true);
        let mut ends = JoinSet::new();
        for environment in &self.all {
            let environment = Arc::clone(environment);
            let hurry = signal::stop().context("can't listen to signals")?;
            ends.spawn(async move { environment.stop(hurry).await });
        }
        ends.join_all().await;
        Ok(())
    }

    /// Waits until the fleet is to be stopped.
    async fn stopped(&self) {
        // The sender is ours, so there is no error.
        let _ = self.stopping.subscribe().wait_for(|&stopping| stopping).await;
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Environment>>> {
        // Nothing panics while it holds the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Runs the function on one event, in a task of its own: a caller that goes away ends nothing, as in Lambda. There is no
    /// answer to wait for where the fleet is stopped.
    pub fn invoke(self, invocation: Invocation, stream: Option<mpsc::Sender<Part>>) -> Running {
        let (answer, running) = oneshot::channel();
        tokio::spawn(async move {
            let invoke_and_freeze = async {
                let invoked = self.environment.invoke(invocation, stream).await;
                // A caller that has gone wants no answer.
                let _ = answer.send(invoked);
                if self.fleet.freezes {
                    self.environment.freeze().await;
                }
            };
            tokio::select! {
                biased;
                () = self.fleet.stopped() => {}
                () = invoke_and_freeze => {}
            }
        });
        running
    }
}
