//! One run of a function's runtime, with its own Runtime API: from its start through its invocations to its end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{Answer, Part};
use super::api::{Delivery, Identity, Offer, RuntimeApi};
use super::environment::{Invocation, Invoked};
use super::function::Function;
use super::journal::Journal;
use super::logs::Logs;
use super::process::Process;
use super::tree;

/// What the runtime needs beyond its grace period to end: its handler gets all of that.
const BEYOND_GRACE: Duration = Duration::from_secs(2);

/// How long a dead runtime's sockets and log pipe are waited for. They close with it, unless somebody else holds them.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A runtime that runs or has ended. Several invocations may be in flight in it.
#[derive(Debug)]
pub struct Runtime {
    api: RuntimeApi,
    process: Process,
    logs: Logs,
    started: Instant,
    init: Init,
    prospects: Mutex<Prospects>,
}

/// What is still to be expected of it.
#[derive(Debug)]
struct Prospects {
    /// The end of the init phase, or of the time that its latest invocation was given: the next `/next` has come by then.
    next_due_by: Instant,
    /// It takes no further event.
    spent: bool,
    /// It has said that it can't start, and exits by itself.
    exits: bool,
    /// It has been offered an event.
    used: bool,
    /// Its processes have been stopped.
    frozen: bool,
    /// Its init phase was too long, and it is to be begun again.
    overran: bool,
}

/// In whose time a runtime starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// In an init phase, which has a limit of its own.
    Phase,
    /// In the invocation's, since the init phase before was too long: Lambda's suppressed init.
    Suppressed,
}

/// What ends the wait for an answer.
enum Event {
    Answered(Answer),
    InitError(Bytes),
    Exited(String),
    TimedOut,
    /// No call has taken the event.
    NoPlace,
}

impl Runtime {
    /// Starts it.
    ///
    /// # Errors
    /// When this machine gives no process, socket or pipe.
    pub async fn start(function: &Function, journal: &Journal, init: Init) -> anyhow::Result<Self> {
        let identity = Identity {
            function_name: function.name.clone(),
            function_version: function.variable("AWS_LAMBDA_FUNCTION_VERSION").to_owned(),
            handler: function.variable("_HANDLER").to_owned(),
        };
        let api = RuntimeApi::start(identity, function.concurrency).await.context("can't listen on 127.0.0.1 for the runtime")?;
        let (log, log_end) = std::io::pipe().context("can't make a pipe for the logs")?;
        let logs = Logs::start(log.into(), journal.clone()).context("can't read the logs")?;
        let process = Process::start(function, &api.address().to_string(), log_end.into()).context("can't start the runtime")?;
        let started = Instant::now();
        let next_due_by = if init == Init::Phase { started + function.init_limit } else { started };
        let prospects = Prospects { next_due_by, spent: false, exits: false, used: false, frozen: false, overran: false };
        Ok(Runtime { api, process, logs, started, init, prospects: Mutex::new(prospects) })
    }

    /// Whether it takes no further event.
    pub fn is_spent(&self) -> bool {
        self.prospects().spent || self.process.has_ended()
    }

    /// Whether its init phase was too long, so that the next one starts in the invocation's time.
    pub fn has_overrun(&self) -> bool {
        self.prospects().overran
    }

    /// Its process id, as long as it runs.
    pub fn process_id(&self) -> Option<i32> {
        self.process.pid().map(|pid| i32::from(pid.as_raw_nonzero()))
    }

    /// Waits until what it has logged by now is on its way to the console.
    pub async fn drain_logs(&self) {
        self.logs.drain().await;
    }

    /// The most memory that its processes have had, in bytes, as far as they are still there and that can be told.
    pub fn peak_memory(&self) -> Option<u64> {
        tree::peak_memory(&tree::of(self.process.pid()?))
    }

    /// Stops its processes where they stand, once it waits for the next event, as Lambda does between events. Not where it has
    /// not called by the end of the time that the latest invocation had.
    pub async fn freeze(&self) {
        let due = self.prospects().next_due_by;
        tokio::select! {
            () = self.api.idle() => {
                if let Some(pid) = self.process.pid() {
                    self.prospects().frozen = true;
                    tree::stop(pid);
                }
            }
            _ = self.process.ended() => {}
            () = sleep_until(due) => {}
        }
    }

    /// Lets its processes go on, where they were stopped.
    pub fn thaw(&self) {
        let was_frozen = std::mem::take(&mut self.prospects().frozen);
        if let Some(pid) = self.process.pid().filter(|_| was_frozen) {
            tree::go_on(pid);
        }
    }

    /// Kills it at once, with all that it and its handler have started.
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// Runs the function on one event. `placed` is called when the runtime has taken it.
    ///
    /// There is an answer whatever the function does, unless the runtime, which had called for events before, has ended or is
    /// stuck without taking this one: then there is none, and another runtime may have the event.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub async fn invoke(
        &self,
        function: &Function,
        invocation: &Invocation,
        stream: Option<mpsc::Sender<Part>>,
        placed: impl FnOnce(),
    ) -> std::io::Result<Option<Invoked>> {
        let mut offer = self.api.offer(delivery(function, invocation), stream)?;
        let offered = Instant::now();
        let is_first = !std::mem::replace(&mut self.prospects().used, true);
        let mut placed = Some(placed);
        let before = tokio::select! {
            biased;
            is_placed = offer.placed() => {
                if !is_placed {
                    return Ok(None);
                }
                if let Some(placed) = placed.take() {
                    placed();
                }
                None
            }
            end = self.process.ended() => {
                if !self.api.initializes() {
                    return Ok(None);
                }
                Some(Event::Exited(end))
            }
            document = self.api.init_error() => Some(Event::InitError(document)),
            () = self.next_is_overdue(function, offered) => {
                if self.api.initializes() && self.init == Init::Phase && function.concurrency == 1 {
                    self.prospects().overran = true;
                    self.kill().await;
                    return Ok(None);
                }
                if self.api.initializes() {
                    // It goes on in the invocation's own time.
                    offer.start_clock();
                    None
                } else if function.concurrency == 1 {
                    return Ok(None);
                } else {
                    Some(Event::NoPlace)
                }
            }
        };

        let clock = Instant::now();
        let init = (is_first && !self.api.initializes()).then(|| clock - self.started);
        let event = match before {
            Some(event) => event,
            None => self.answered(&mut offer, clock + function.timeout, placed).await,
        };
        let event = match event {
            Event::Exited(end) => self.before_exit(&mut offer, end).await,
            event => event,
        };
        let duration = clock.elapsed();
        let answer = self.conclude(event, function, &invocation.request_id);
        Ok(Some(Invoked { answer, duration, init, peak_memory: None, log: Bytes::new() }))
    }

    /// Waits for the answer, or for what comes in its place. Where no call has taken the event yet, `placed` is called when one has.
    async fn answered(&self, offer: &mut Offer, deadline: Instant, placed: Option<impl FnOnce()>) -> Event {
        self.prospects().next_due_by = deadline;
        if let Some(placed) = placed {
            tokio::select! {
                biased;
                is_placed = offer.placed() => if is_placed {
                    placed();
                },
                document = self.api.init_error() => return Event::InitError(document),
                end = self.process.ended() => return Event::Exited(end),
                () = sleep_until(deadline) => return Event::TimedOut,
            }
        }
        tokio::select! {
            biased;
            Some(answer) = offer.answered() => Event::Answered(answer),
            document = self.api.init_error() => Event::InitError(document),
            end = self.process.ended() => Event::Exited(end),
            () = sleep_until(deadline) => Event::TimedOut,
        }
    }

    /// A report that was sent before the exit is believed; it may still be in a socket.
    async fn before_exit(&self, offer: &mut Offer, end: String) -> Event {
        // Past this time somebody else holds the sockets, and sends nothing.
        let _ = timeout(AFTERMATH, self.api.drained()).await;
        match (offer.answer_so_far(), self.api.init_error_so_far()) {
            (Some(answer), _) => Event::Answered(answer),
            (None, Some(document)) => Event::InitError(document),
            (None, None) => Event::Exited(end),
        }
    }

    /// What the caller is told, and what it means for the runtime.
    fn conclude(&self, event: Event, function: &Function, request_id: &str) -> Answer {
        let seconds = function.timeout.as_secs_f64();
        let (error_type, what) = match event {
            Event::Answered(answer) => return answer,
            Event::InitError(document) => {
                self.spend(true);
                return Answer::InitError(document);
            }
            Event::Exited(end) => {
                self.spend(false);
                ("Runtime.ExitError", end)
            }
            Event::TimedOut => {
                // One that has never called is no environment to keep.
                if self.api.initializes() || !self.api.time_out(request_id) {
                    self.spend(false);
                }
                ("Sandbox.Timedout", format!("Task timed out after {seconds:.2} seconds"))
            }
            Event::NoPlace => {
                let places = function.concurrency;
                let what = format!(
                    "the runtime has not asked for an event in {seconds:.2} seconds; \
                     invocations that timed out may take all its {places} places"
                );
                ("Runtime.Unavailable", what)
            }
        };
        Answer::platform_error(error_type, &format!("RequestId: {request_id} Error: {what}"))
    }

    /// Ends the runtime: as Lambda's shutdown phase does where an extension is registered, SIGTERM, a while, SIGKILL.
    pub async fn stop(&self, grace: Duration) {
        // Stopped, it would take no signal but the last.
        self.thaw();
        if self.process.has_ended() {
            // Those whose reports are still in the sockets look for them there.
            let _ = timeout(AFTERMATH, self.api.drained()).await;
        }
        self.api.end();
        let exits = self.prospects().exits;
        if exits {
            // It is clearing up; a signal would only cut that short.
            let _ = timeout(grace + AFTERMATH, self.process.ended()).await;
        }
        self.process.signal(Signal::TERM);
        if timeout(grace + BEYOND_GRACE, self.process.ended()).await.is_err() {
            self.process.kill().await;
            let _ = self.process.ended().await;
        }
        // What it said at the end comes out, unless somebody else keeps the pipe open.
        let _ = timeout(AFTERMATH, self.logs.finish()).await;
    }

    /// Waits until there is no more to be expected of a runtime that has not called `/next`.
    ///
    /// Where it has several places, other events take theirs in the meantime, and each event waits for at least as long as an
    /// invocation may take, since one of those that timed out may be reported after all.
    async fn next_is_overdue(&self, function: &Function, offered: Instant) {
        loop {
            let next_due_by = self.prospects().next_due_by;
            let due = if function.concurrency == 1 || self.api.initializes() {
                next_due_by
            } else {
                next_due_by.max(offered + function.timeout)
            };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// It takes no further event; where it has said so itself, it also `exits`.
    fn spend(&self, exits: bool) {
        {
            let mut prospects = self.prospects();
            prospects.spent = true;
            prospects.exits |= exits;
        }
        self.api.end();
    }

    fn prospects(&self) -> MutexGuard<'_, Prospects> {
        // Nothing panics while it holds the lock.
        self.prospects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delivery(function: &Function, invocation: &Invocation) -> Delivery {
    Delivery {
        request_id: invocation.request_id.clone(),
        timeout: function.timeout,
        arn: function.arn.clone(),
        trace_id: invocation.trace_id.clone(),
        client_context: invocation.client_context.clone(),
        tenant_id: invocation.tenant_id.clone(),
        event: invocation.event.clone(),
    }
}
