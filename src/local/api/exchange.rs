//! Events that wait for a `/next`, calls that wait for an event, and what is in flight: brought together by the state machine.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::sync::{mpsc, oneshot};

use super::super::answer::{Answer, Part};
use super::super::refusal::Refusal;
use super::super::state::{InvocationKey, Machine, Next};
use super::wire;

/// What one environment's calls and its platform's side have in common.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) machine: Machine,
    /// Events that no call has taken, oldest first.
    offered: VecDeque<Offered>,
    /// Calls that wait, oldest first: as many as the machine has places in which one waits.
    waiting: VecDeque<Waiting>,
    /// Invocations whose callers wait, by request id.
    in_flight: HashMap<String, InFlight>,
    tickets: u64,
}

/// An event that waits for a `/next`.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) key: InvocationKey,
    /// Its headers, except the deadline.
    pub(super) head: HeaderMap,
    pub(super) event: Bytes,
    /// How long it may take once its clock runs.
    pub(super) timeout: Duration,
    /// Its deadline, in milliseconds since 1970, where its clock runs already.
    pub(super) deadline_ms: Option<u64>,
    /// Told when a call has taken it.
    pub(super) placed: oneshot::Sender<()>,
    pub(super) caller: Caller,
}

/// Where the answer goes.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) answer: oneshot::Sender<Answer>,
    /// A caller that takes a streamed response as it comes. Any other gets it whole.
    pub(super) stream: Option<mpsc::Sender<Part>>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    event: oneshot::Sender<Event>,
}

#[derive(Debug)]
struct InFlight {
    event: Event,
    caller: Caller,
}

/// What goes to the runtime with one `/next`.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) head: HeaderMap,
    pub(super) body: Bytes,
}

/// What a `/next` gets.
#[derive(Debug)]
pub(super) enum NextCall {
    /// The event that the runtime has already.
    Again(Event),
    /// An event, when there is one. The ticket is for [`Exchange::give_up`].
    Waits(u64, oneshot::Receiver<Event>),
}

impl Exchange {
    pub(super) fn new(concurrency: u16) -> Self {
        Exchange {
            machine: Machine::new(concurrency),
            offered: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: HashMap::new(),
            tickets: 0,
        }
    }

    /// A `/next`.
    pub(super) fn next(&mut self) -> Result<NextCall, Refusal> {
        let next = self.machine.next_event()?;
        // Only where there is one place is anything said again, and one invocation in flight.
        if next == Next::Again
            && let Some(in_flight) = self.in_flight.values().next()
        {
            return Ok(NextCall::Again(in_flight.event.clone()));
        }
        if next == Next::TakeOver {
            // The call that it takes over from is left waiting, like one whose connection is lost.
            self.waiting.pop_front();
        }
        let (event, waits) = oneshot::channel();
        self.tickets += 1;
        self.waiting.push_back(Waiting { ticket: self.tickets, event });
        self.pair();
        Ok(NextCall::Waits(self.tickets, waits))
    }

    /// A `/next` that waited is gone. One that has got an event, or was taken over from, is not missed.
    pub(super) fn give_up(&mut self, ticket: u64) {
        if let Some(n) = self.waiting.iter().position(|waiting| waiting.ticket == ticket) {
            self.waiting.remove(n);
            self.machine.give_up();
        }
    }

    /// An event for the next call that waits. Where the environment has ended, whoever offers it is told by its dropped end.
    pub(super) fn offer(&mut self, offered: Offered) {
        if !self.machine.has_ended() {
            self.offered.push_back(offered);
            self.pair();
        }
    }

    /// The clock of an event runs, though no call has taken it.
    pub(super) fn start_clock(&mut self, request_id: &str) {
        if let Some(offered) = self.offered.iter_mut().find(|offered| offered.key.request_id == request_id) {
            offered.deadline_ms = Some(deadline_ms(offered.timeout));
        }
    }

    /// Takes back an event that no call has taken.
    pub(super) fn withdraw(&mut self, request_id: &str) {
        self.offered.retain(|offered| offered.key.request_id != request_id);
    }

    /// Hands events to calls for as long as there are both and the machine allows it.
    pub(super) fn pair(&mut self) {
        while !self.offered.is_empty() && !self.waiting.is_empty() && self.machine.is_idle() {
            let (Some(offered), Some(waiting)) = (self.offered.pop_front(), self.waiting.pop_front()) else { return };
            let Offered { key, mut head, event, timeout, deadline_ms: deadline, placed, caller } = offered;
            wire::set_deadline(&mut head, deadline.unwrap_or_else(|| deadline_ms(timeout)));
            let request_id = key.request_id.clone();
            self.machine.deliver(key);
            let event = Event { head, body: event };
            // Whoever offered it may have given up, and the call's connection may be lost; then the invocation times out.
            let _ = placed.send(());
            let _ = waiting.event.send(event.clone());
            self.in_flight.insert(request_id, InFlight { event, caller });
        }
    }

    /// Whether the caller takes a stream as it comes: the way to it.
    pub(super) fn stream(&self, request_id: &str) -> Option<mpsc::Sender<Part>> {
        self.in_flight.get(request_id)?.caller.stream.clone()
    }

    /// The caller gets its answer.
    pub(super) fn answer(&mut self, request_id: &str, answer: Answer) {
        if let Some(in_flight) = self.in_flight.remove(request_id) {
            // A caller that has gone wants no answer.
            let _ = in_flight.caller.answer.send(answer);
        }
    }

    /// The invocation's time is over, and the caller waits no more.
    pub(super) fn time_out(&mut self, request_id: &str) {
        self.withdraw(request_id);
        self.in_flight.remove(request_id);
        self.machine.time_out(request_id);
        if self.machine.has_ended() {
            self.end();
        }
    }

    /// The environment is over: callers and whoever offers events are told by their dropped ends.
    pub(super) fn end(&mut self) {
        self.machine.end();
        self.offered.clear();
        self.in_flight.clear();
    }
}

/// The instant so long after now, in milliseconds since 1970.
fn deadline_ms(timeout: Duration) -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + timeout;
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
