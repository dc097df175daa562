//! The places in which handlers run, and which of them gets an event.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::deadline::Budget;
use crate::handler::command::Command;
use crate::handler::in_flight::{Conclusion, InFlight};
use crate::handler::process::Children;
use crate::handler::supervisor::{Request, Supervisor};
use crate::handler::{Answer, Outcome, Phase};
use crate::log::Logs;
use crate::protocol::message::Encoder;
use crate::runtime::invocation::Invocation;

/// Everything that the places have in common.
#[derive(Debug)]
pub struct Pool {
    /// The settings.
    pub config: Rc<Config>,
    /// What runs in each place.
    pub command: Command,
    /// Every process.
    pub children: Children,
    /// The log.
    pub logs: Logs,
    encoder: Encoder,
    phase: watch::Sender<Phase>,
    /// How many supervisors run.
    supervisors: watch::Sender<usize>,
    places: RefCell<Vec<Place>>,
    is_serving: Cell<bool>,
    is_stopping: Cell<bool>,
    /// Handlers in a row that have ended without an answered invocation.
    failures: Cell<u32>,
    /// How many invocations at a time the last ready message has offered.
    offered: Cell<usize>,
}

#[derive(Debug)]
struct Place {
    requests: mpsc::UnboundedSender<Request>,
    room: Rc<Room>,
}

/// How much of a place is free. Its supervisor and the pool both look at it.
#[derive(Debug)]
pub struct Room {
    /// How many invocations at a time its handler takes, or would.
    pub capacity: Cell<usize>,
    /// A process runs in it.
    pub is_live: Cell<bool>,
    /// Its handler gets no new event.
    pub is_closed: Cell<bool>,
    /// The request ids that take its places: in flight, on their way to it, or waited for though they are over.
    taken: RefCell<Vec<Rc<str>>>,
}

impl Room {
    /// Another attempt at the same request can't be told from it by its id, so it needs another handler.
    fn takes(&self, request_id: &str) -> bool {
        let taken = self.taken.borrow();
        !self.is_closed.get() && taken.len() < self.capacity.get() && !taken.iter().any(|taken| **taken == *request_id)
    }

    /// An invocation takes no place in it any more.
    pub fn release(&self, request_id: &str) {
        let mut taken = self.taken.borrow_mut();
        if let Some(at) = taken.iter().position(|taken| **taken == *request_id) {
            taken.swap_remove(at);
        }
    }
}

impl Pool {
    /// A pool without places.
    #[must_use]
    pub fn new(config: Rc<Config>, command: Command, children: Children, logs: Logs, phase: watch::Sender<Phase>) -> Self {
        Self {
            encoder: Encoder::new(config.mode, &config.function),
            config,
            command,
            children,
            logs,
            phase,
            supervisors: watch::Sender::new(0),
            places: RefCell::default(),
            is_serving: Cell::new(false),
            is_stopping: Cell::new(false),
            failures: Cell::new(0),
            offered: Cell::new(1),
        }
    }

    /// The init phase begins.
    pub fn start(self: &Rc<Self>) {
        self.add_place(true);
    }

    /// The invoke phase begins.
    pub fn serve(&self) {
        self.is_serving.set(true);
    }

    /// Whether `/next` has been or is being called.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.is_serving.get()
    }

    /// The shutdown phase begins.
    pub fn stop(&self) {
        if self.is_stopping.replace(true) {
            return;
        }
        self.children.spare_groups();
        self.enter(Phase::Stopping);
        for place in self.places.borrow().iter() {
            let _ = place.requests.send(Request::Stop);
        }
    }

    /// Waits until every supervisor has ended, which they do in the shutdown phase.
    pub async fn gone(&self) {
        let mut supervisors = self.supervisors.subscribe();
        // The sender is here, so there is no error.
        let _ = supervisors.wait_for(|running| *running == 0 && self.is_stopping.get()).await;
    }

    /// Begins a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// A handler has answered an invocation.
    pub fn answered(&self) {
        self.failures.set(0);
    }

    /// A handler has ended without an answered invocation. Returns how many have in a row.
    pub fn failed(&self) -> u32 {
        self.failures.set(self.failures.get() + 1);
        self.failures.get()
    }

    /// How many handlers in a row have ended without an answered invocation.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.get()
    }

    /// How many invocations at a time a handler counts for that has not said it.
    #[must_use]
    pub fn offered(&self) -> usize {
        self.offered.get()
    }

    /// A handler has said how many invocations at a time it takes.
    pub fn offer(&self, invocations: usize) {
        self.offered.set(invocations);
    }

    /// Whether the handlers in the other places take fewer invocations than can be in flight, so that one here is needed.
    #[must_use]
    pub fn needs(&self, here: &Rc<Room>) -> bool {
        let places = self.places.borrow();
        let others = places.iter().map(|place| &place.room).filter(|room| !Rc::ptr_eq(room, here));
        let serving = others.filter(|room| room.is_live.get() && !room.is_closed.get());
        serving.map(|room| room.capacity.get()).sum::<usize>() < self.config.concurrency as usize
    }

    /// Gives an event to a handler that has room for it, and starts one where none has.
    pub fn invoke(self: &Rc<Self>, invocation: &Invocation, answer: oneshot::Sender<Answer>) {
        let budget = invocation.deadline_ms.and_then(|deadline| Budget::new(deadline, epoch_ms(), self.config.deadline_margin));
        match self.encoder.deliver(invocation) {
            Ok(delivery) => self.place(InFlight::new(invocation.request_id.as_str().into(), delivery, budget, answer)),
            // No handler is the wiser.
            Err(fault) => drop(answer.send(Answer::at_once(Outcome::Error(fault.document(Vec::new()))))),
        }
    }

    /// Finds a place for an invocation: one whose handler runs and has room, else one without a process, else a new one.
    pub fn place(self: &Rc<Self>, in_flight: InFlight) {
        if self.is_stopping.get() {
            return in_flight.conclude(Conclusion::Abandoned, None);
        }
        let found = {
            let places = self.places.borrow();
            let with_room = || places.iter().enumerate().filter(|(_, place)| place.room.takes(&in_flight.request_id));
            with_room().find(|(_, place)| place.room.is_live.get()).or_else(|| with_room().next()).map(|(at, _)| at)
        };
        let at = found.unwrap_or_else(|| self.add_place(false));
        let place = &self.places.borrow()[at];
        place.room.taken.borrow_mut().push(in_flight.request_id.clone());
        // Refused only once the supervisor has ended, that is in the shutdown phase; the invocation is left to Lambda.
        let _ = place.requests.send(Request::Invoke(Box::new(in_flight)));
    }

    /// A place more, with a supervisor in it. Returns its number.
    fn add_place(self: &Rc<Self>, first: bool) -> usize {
        let (requests, received) = mpsc::unbounded_channel();
        let room = Rc::new(Room {
            capacity: Cell::new(self.offered()),
            is_live: Cell::new(false),
            is_closed: Cell::new(false),
            taken: RefCell::default(),
        });
        let number = self.places.borrow().len();
        let supervisor = Supervisor::new(self.clone(), number, room.clone(), received);
        self.supervisors.send_modify(|running| *running += 1);
        let pool = self.clone();
        // Not one for all: what wakes one handler's supervisor would make it look at every other's channels.
        tokio::task::spawn_local(async move {
            supervisor.run(first).await;
            pool.supervisors.send_modify(|running| *running -= 1);
        });
        self.places.borrow_mut().push(Place { requests, room });
        number
    }
}

/// The wall clock, in milliseconds since the epoch.
fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
