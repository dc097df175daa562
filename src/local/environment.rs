//! Execution environments: the Runtime API's server, and the runtime as a child process that knows nothing but its address.
//!
//! The runtime is this same binary, started with Lambda's variables. An environment enforces the timeout as Lambda does, and
//! replaces its runtime after an exit or an init error, and after a timeout where it has one event at a time. What its runtime
//! says on stdout and stderr are logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::answer::{Answer, Part};
use super::function::Function;
use super::journal::Journal;
use super::runtime::{Init, Runtime};

/// One event and what comes with it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The request id, unique.
    pub request_id: String,
    /// The X-Ray tracing header.
    pub trace_id: String,
    /// The caller's context, raw JSON.
    pub client_context: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// The event.
    pub event: Bytes,
}

/// An answer and how long it took.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// The answer.
    pub answer: Answer,
    /// From the delivery of the event to the answer, the init phase left out; next to nothing where there was no delivery.
    pub duration: Duration,
    /// How long the runtime took to start, where this was its first event and it was ready for that in time.
    pub init: Option<Duration>,
    /// The most memory that the runtime's processes have had, in bytes, where that is measured and can be told.
    pub peak_memory: Option<u64>,
    /// The end of what was logged, where that is kept.
    pub log: Bytes,
}

/// An execution environment. It starts its runtime when an event needs one.
#[derive(Debug)]
pub struct Environment {
    function: Arc<Function>,
    journal: Journal,
    runtimes: Mutex<Runtimes>,
    /// Whether the current runtime is to take no further event.
    outdated: AtomicBool,
    /// Whether a runtime has taken an event.
    opened: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Runtimes {
    /// The runtime that takes the next event.
    current: Option<Arc<Runtime>>,
    /// The end of the runtime before it.
    retiring: Option<Retiring>,
}

#[derive(Debug)]
struct Retiring {
    runtime: Arc<Runtime>,
    end: JoinHandle<()>,
}

impl Environment {
    /// An environment for this function, which logs to the journal.
    pub fn new(function: Arc<Function>, journal: Journal) -> Self {
        Environment {
            function,
            journal,
            runtimes: Mutex::default(),
            outdated: AtomicBool::new(false),
            opened: watch::Sender::new(false),
        }
    }

    /// Runs the function on one event. There is an answer whatever the function does. A streamed response comes through
    /// `stream` as it comes, or whole where there is none.
    ///
    /// There may be as many of these at a time as the function's concurrency allows; more of them wait. A caller that drops
    /// the future has given up; then [`stop`](Self::stop) is all that is left.
    ///
    /// # Errors
    /// When this machine gives no process, socket or random bytes.
    pub async fn invoke(&self, invocation: Invocation, stream: Option<mpsc::Sender<Part>>) -> anyhow::Result<Invoked> {
        self.invoke_as(&self.function, invocation, stream).await
    }

    /// The same with what `function` says of this one invocation: how long it may take.
    ///
    /// # Errors
    /// When this machine gives no process, socket or random bytes.
    pub async fn invoke_as(
        &self,
        function: &Function,
        invocation: Invocation,
        stream: Option<mpsc::Sender<Part>>,
    ) -> anyhow::Result<Invoked> {
        let mut init = Init::Phase;
        loop {
            let runtime = self.runtime(init).await?;
            runtime.thaw();
            let placed = || {
                self.opened.send_replace(true);
                self.journal.begin(&invocation.request_id);
            };
            let mut invoked = runtime.invoke(function, &invocation, stream.clone(), placed).await?;
            if let Some(invoked) = &mut invoked {
                invoked.peak_memory = if self.journal.has_platform() { runtime.peak_memory() } else { None };
                runtime.drain_logs().await;
                invoked.log = self.journal.end(&invocation.request_id, invoked).await;
            }
            if invoked.is_none() || runtime.is_spent() {
                self.runtimes.lock().await.retire(&runtime, self.function.grace);
            }
            if let Some(invoked) = invoked {
                return Ok(invoked);
            }
            if runtime.has_overrun() {
                // Lambda kills what it is and begins again, in the time of the invocation.
                self.journal.init_overran(self.function.init_limit).await;
                init = Init::Suppressed;
            }
        }
    }

    /// Waits until a runtime has taken an event, which is when the handler has been found to start.
    pub async fn opened(&self) {
        // The sender is ours, so there is no error.
        let _ = self.opened.subscribe().wait_for(|&opened| opened).await;
    }

    /// The next event gets a fresh runtime: what the function is made of has changed.
    pub fn outdate(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }

    /// Ends an outdated runtime now. It must have no event.
    pub async fn clear(&self) {
        let mut runtimes = self.runtimes.lock().await;
        if let Some(runtime) = runtimes.current.clone()
            && self.outdated.swap(false, Ordering::Relaxed)
        {
            runtimes.retire(&runtime, self.function.grace);
        }
    }

    /// Stops the runtime's processes until the next event comes, once the runtime waits for that.
    pub async fn freeze(&self) {
        let runtime = self.runtimes.lock().await.current.clone();
        if let Some(runtime) = runtime {
            runtime.freeze().await;
        }
    }

    /// The process of the runtime that takes the next event, if there is one.
    pub async fn process_id(&self) -> Option<i32> {
        self.runtimes.lock().await.current.as_ref().and_then(|runtime| runtime.process_id())
    }

    /// Ends the runtime, and waits for its end. Once `hurry` resolves it is killed at once.
    pub async fn stop<T>(&self, hurry: impl Future<Output = T>) {
        let mut runtimes = self.runtimes.lock().await;
        if let Some(runtime) = runtimes.current.clone() {
            runtimes.retire(&runtime, self.function.grace);
        }
        if let Some(Retiring { runtime, mut end }) = runtimes.retiring.take() {
            tokio::select! {
                _ = &mut end => {}
                _ = hurry => {
                    runtime.kill().await;
                    end.abort();
                    let _ = end.await;
                }
            }
        }
    }

    /// The runtime that takes the next event: a fresh one where the one before takes no more.
    async fn runtime(&self, init: Init) -> anyhow::Result<Arc<Runtime>> {
        let mut runtimes = self.runtimes.lock().await;
        if let Some(runtime) = runtimes.current.clone() {
            if !self.outdated.swap(false, Ordering::Relaxed) && !runtime.is_spent() {
                return Ok(runtime);
            }
            runtimes.retire(&runtime, self.function.grace);
        }
        runtimes.retired().await;
        // What changes while it starts counts again.
        self.outdated.store(false, Ordering::Relaxed);
        let runtime = Arc::new(Runtime::start(&self.function, &self.journal, init).await?);
        runtimes.current = Some(Arc::clone(&runtime));
        Ok(runtime)
    }
}

impl Runtimes {
    /// Begins to end the runtime, if that has not begun. It goes on by itself.
    fn retire(&mut self, runtime: &Arc<Runtime>, grace: Duration) {
        if let Some(runtime) = self.current.take_if(|current| Arc::ptr_eq(current, runtime)) {
            let stopped = Arc::clone(&runtime);
            let end = tokio::spawn(async move { stopped.stop(grace).await });
            self.retiring = Some(Retiring { runtime, end });
        }
    }

    /// Waits for the end of the runtime before: what it holds, a port for one, must be free for the next.
    async fn retired(&mut self) {
        if let Some(retiring) = &mut self.retiring {
            // It doesn't panic, and only `stop` aborts it.
            let _ = (&mut retiring.end).await;
            self.retiring = None;
        }
    }
}
