//! One execution environment as a closed state machine: which call of the Runtime API is due when.
//!
//! An environment has as many places as its concurrency: one, or several as on Lambda Managed Instances. A place holds one
//! waiting `/next` or one invocation, and goes round on its own:
//!
//! ```text
//!     Started
//!        | /next
//!        v         deliver            /response, /error          the whole body has come
//!      Ready  ---------------> Running -----------------> Uploading ---------------> Answered
//!       ^  |                      ^                          |                          |  ^
//!       |  |                      '---- the upload broke ----'--- (it was a stream) ----|--'
//!       |  '------------------ the call that waited was given up ------------------->---|
//!       '------------------------------------- /next -----------------------------------'
//! ```
//!
//! The environment as a whole lives until `/init/error`, which is due while no place has seen a `/next`, or until its end: an
//! exit, a shutdown, or the timeout of an invocation where there is one place. After its end `/next` waits and gets nothing.
//! Where there are several places, a timeout ends nothing: the caller is told, and the invocation keeps its place until the
//! runtime has reported it, which is refused as too late (`invoke/running_invoke.go` in AWS's emulator of managed instances).
//!
//! What a state does not allow is refused, as Lambda refuses it. The statuses, types and messages are those of AWS's own
//! emulator (`internal/lambda/core/states.go` and `rapi/rendering`), and so is the order of the checks: first the request id,
//! then the state. Differences are on purpose: an upload that breaks off is no answer (the runtime may try again) unless it
//! is a stream, of which the caller may have a part; a response with an unknown mode is one (the caller has been told, so
//! `/next` is due); and with several places a `/next` beyond them is refused.
//!
//! There is no I/O and no clock here.

use super::extensions::Extensions;
use super::refusal::Refusal;

#[cfg(test)]
mod tests;

/// The largest response that Lambda takes whole, in bytes: 6 MiB and 100.
pub const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// Which invocation a report is about. A request id alone may name several attempts, so the platform adds an id of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationKey {
    /// `Lambda-Runtime-Aws-Request-Id`
    pub request_id: String,
    /// `Lambda-Runtime-Invocation-Id`
    pub invocation_id: String,
}

/// Whether the environment is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Its places say what is due.
    Runs,
    /// The runtime has reported that it can't start.
    InitError,
    /// Timed out, exited or shut down: nothing is due any more.
    Ended,
}

/// Where a place is. The names in AWS's messages are given by [`State::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No `/next` has come here yet.
    Started,
    /// A `/next` waits.
    Ready,
    /// The runtime has an event and owes its report.
    Running(Caller),
    /// A report's body is on its way.
    Uploading(Report, Caller),
    /// The event has been reported, or the call that waited for one is gone; `/next` is due.
    Answered,
}

/// Whoever has invoked the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// Waits for the answer.
    Waits,
    /// Has been told that the invocation timed out.
    Told,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Started => "Started",
            State::Ready => "Ready",
            State::Running(_) => "Running",
            State::Uploading(report, _) => report.state_name(),
            State::Answered => "RuntimeResponseSentState",
        }
    }

    /// Whether a `/next` is due here.
    fn is_free(self) -> bool {
        matches!(self, State::Started | State::Answered)
    }
}

/// The ways to report an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `/response`
    Response,
    /// `/response` with the mode `streaming`
    Stream,
    /// `/error`
    Error,
}

impl Report {
    fn state_name(self) -> &'static str {
        match self {
            Report::Response | Report::Stream => "InvocationResponse",
            Report::Error => "InvocationErrorResponse",
        }
    }
}

/// What an allowed `/next` gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits for an event.
    Wait,
    /// It waits for an event in place of the call that did: the runtime has lost that one's connection, or asks twice.
    TakeOver,
    /// It gets the event that the runtime has already: its answer may have been lost on the way.
    Again,
}

/// One of the invocations that an environment may have at once.
#[derive(Clone, Debug)]
struct Place {
    state: State,
    /// The invocation delivered here last. It stays current after its answer, until the next one is delivered here.
    current: Option<InvocationKey>,
}

/// The state of one execution environment, from its runtime's start to its end.
#[derive(Clone, Debug)]
pub struct Machine {
    life: Life,
    places: Vec<Place>,
    extensions: Extensions,
}

impl Machine {
    /// The environment at the start of its init phase, with so many places; none counts as one.
    pub fn new(concurrency: u16) -> Self {
        let place = Place { state: State::Started, current: None };
        Machine { life: Life::Runs, places: vec![place; usize::from(concurrency.max(1))], extensions: Extensions::default() }
    }

    /// Whether this is one of Lambda Managed Instances' environments, which are the only ones with several places.
    fn is_managed(&self) -> bool {
        self.places.len() > 1
    }

    /// Whether the init phase goes on: the runtime has not called yet.
    pub fn initializes(&self) -> bool {
        self.life == Life::Runs && self.places.iter().all(|place| place.state == State::Started)
    }

    /// Whether nothing is due any more.
    pub fn has_ended(&self) -> bool {
        self.life == Life::Ended
    }

    /// Whether an event can be delivered: the runtime and every extension wait for one.
    pub fn is_idle(&self) -> bool {
        self.life == Life::Runs && self.extensions.all_wait() && self.places.iter().any(|place| place.state == State::Ready)
    }

    /// `GET /runtime/invocation/next`
    ///
    /// # Errors
    /// A refusal: after an init error, in the middle of a report, or where all of several places are taken.
    pub fn next_event(&mut self) -> Result<Next, Refusal> {
        match self.life {
            Life::Runs => {}
            Life::InitError => return Err(self.not_due("Ready")),
            // Too late to be told anything: the runtime is about to get its signal.
            Life::Ended => return Ok(Next::Wait),
        }
        if let Some(free) = self.places.iter_mut().find(|place| place.state.is_free()) {
            free.state = State::Ready;
            return Ok(Next::Wait);
        }
        // The call names no invocation, so that it is a repeated one is known only where there is one place.
        match self.places[..] {
            [Place { state: State::Ready, .. }] => Ok(Next::TakeOver),
            [Place { state: State::Running(_), .. }] => Ok(Next::Again),
            _ => Err(self.not_due("Ready")),
        }
    }

    /// A `/next` that waited is gone, with its connection.
    pub fn give_up(&mut self) {
        if let Some(ready) = self.places.iter_mut().find(|place| place.state == State::Ready) {
            ready.state = State::Answered;
        }
    }

    /// The platform's side of `/next`: the event goes to a call that waits.
    ///
    /// Returns whether it could; it can where [`is_idle`](Self::is_idle).
    pub fn deliver(&mut self, key: InvocationKey) -> bool {
        let idle = self.is_idle();
        if idle && let Some(ready) = self.places.iter_mut().find(|place| place.state == State::Ready) {
            *ready = Place { state: State::Running(Caller::Waits), current: Some(key) };
        }
        idle
    }

    /// `POST /runtime/invocation/{request_id}/response` or `…/error`, when its head has come.
    ///
    /// `invocation_id` is the header that newer runtimes send back; without it the request id has to do.
    ///
    /// # Errors
    /// A refusal: another id, another attempt's, or no report is due.
    pub fn begin(&mut self, report: Report, request_id: &str, invocation_id: Option<&str>) -> Result<(), Refusal> {
        let ended = self.has_ended();
        let Some((place, key)) = self.place(request_id) else { return Err(Refusal::InvalidRequestId) };
        if ended || invocation_id.is_some_and(|id| id != key.invocation_id) {
            return Err(Refusal::InvokeTimeout);
        }
        match *place {
            State::Running(caller) => {
                *place = State::Uploading(report, caller);
                Ok(())
            }
            from => Err(Refusal::InvalidStateTransition { from: from.name(), to: report.state_name() }),
        }
    }

    /// The report's body has come whole: `size` bytes, of which the caller takes at most `limit`. However large it is, it is
    /// the answer: one over the limit is refused, and the caller is told instead of it.
    ///
    /// # Errors
    /// A refusal: too large, or too late.
    pub fn receive(&mut self, request_id: &str, size: usize, limit: usize) -> Result<(), Refusal> {
        match self.finish(request_id) {
            Some(Caller::Waits) if size > limit => Err(Refusal::RequestEntityTooLarge { limit }),
            Some(Caller::Waits) => Ok(()),
            // The invocation timed out, or its environment ended, before or while its report was on its way.
            Some(Caller::Told) | None => Err(Refusal::InvokeTimeout),
        }
    }

    /// The report's mode is none that Lambda knows: the report is refused, and the caller is told.
    pub fn unknown_mode(&mut self, request_id: &str) -> Refusal {
        match self.finish(request_id) {
            Some(Caller::Waits) => Refusal::InvalidFunctionResponseMode,
            Some(Caller::Told) | None => Refusal::InvokeTimeout,
        }
    }

    /// The report's body broke off. Returns whether that is the end of it, as it is for a stream; any other report is still
    /// owed.
    pub fn break_off(&mut self, request_id: &str) -> bool {
        if self.has_ended() {
            return false;
        }
        match self.place(request_id) {
            Some((place @ State::Uploading(Report::Stream, _), _)) => {
                *place = State::Answered;
                true
            }
            Some((place, _)) => {
                if let State::Uploading(_, caller) = *place {
                    *place = State::Running(caller);
                }
                false
            }
            None => false,
        }
    }

    /// The invocation's time is over. Where it is the only one, so is the environment.
    pub fn time_out(&mut self, request_id: &str) {
        if !self.is_managed() {
            self.end();
        } else if let Some((State::Running(caller) | State::Uploading(_, caller), _)) = self.place(request_id) {
            *caller = Caller::Told;
        }
    }

    /// `POST /runtime/init/error`
    ///
    /// # Errors
    /// A refusal: the init phase is over.
    pub fn init_error(&mut self) -> Result<(), Refusal> {
        if !self.initializes() {
            return Err(self.not_due("InitError"));
        }
        self.life = Life::InitError;
        Ok(())
    }

    /// `GET /runtime/restore/next`: never due here, where no environment is made from a snapshot.
    pub fn restore_next(&self) -> Refusal {
        self.not_due("RestoreReady")
    }

    /// `POST /extension/register`, in the init phase only. `id` becomes the extension's identifier.
    ///
    /// Managed instances take no internal extensions (Lambda's documentation of managed instances), so there registration is
    /// never open.
    ///
    /// # Errors
    /// See [`Extensions::register`].
    pub fn register_extension(&mut self, name: &str, id: String) -> Result<(), Refusal> {
        let open = self.initializes() && !self.is_managed();
        self.extensions.register(name, id, open)
    }

    /// `GET /extension/event/next`: it waits, for as long as the environment lives.
    ///
    /// # Errors
    /// See [`Extensions::next`].
    pub fn extension_next(&mut self, id: Option<&str>) -> Result<(), Refusal> {
        let lives = !self.has_ended();
        self.extensions.next(id, lives)
    }

    /// The environment is over: a timeout, the runtime's exit, or a shutdown.
    pub fn end(&mut self) {
        self.life = Life::Ended;
    }

    /// The place where the invocation is current.
    fn place(&mut self, request_id: &str) -> Option<(&mut State, &InvocationKey)> {
        self.places.iter_mut().find_map(|place| match &place.current {
            Some(key) if key.request_id == request_id => Some((&mut place.state, key)),
            _ => None,
        })
    }

    /// Ends the upload of a report, if there is one and somebody to hear of it: who is it?
    fn finish(&mut self, request_id: &str) -> Option<Caller> {
        if self.has_ended() {
            return None;
        }
        let (place, _) = self.place(request_id)?;
        let State::Uploading(_, caller) = *place else { return None };
        *place = State::Answered;
        Some(caller)
    }

    /// The first place speaks for all: it is the first to be taken.
    fn not_due(&self, to: &'static str) -> Refusal {
        let from = match self.life {
            Life::Runs => self.places.first().map_or(State::Started, |place| place.state).name(),
            Life::InitError => "InitError",
            Life::Ended => "Ended",
        };
        Refusal::InvalidStateTransition { from, to }
    }
}
