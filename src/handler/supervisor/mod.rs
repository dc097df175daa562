//! One handler over time: started, ready, given events, replaced when it fails, ended.
//!
//! The supervisor waits for the next `Event`, of which there is a closed set, and deals with it without waiting again. So
//! between two events nothing is half done, and every race is a matter of the order in which events are looked at
//! (`Supervisor::next`). Where one event overtakes another it makes up for it: an exit and a deadline first read what is in the
//! pipes, so a reply that was written before them is believed.
//!
//! What differs from mode to mode is the [conversation](crate::protocol::conversation)'s to know.

mod hearing;
mod time;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::Readiness;
use crate::document::ErrorDocument;
use crate::fault::Fault;
use crate::handler::in_flight::{Conclusion, InFlight};
use crate::handler::pool::{Pool, Room};
use crate::handler::process::Exit;
use crate::handler::running::{Running, Tail};
use crate::handler::{Phase, Pipe};
use crate::log::{self, Level, Logs};
use crate::protocol::conversation::{Conversation, Ending, Mode, Owed as _};
use crate::protocol::message::Delivery;
use crate::timer::Timer;

/// How often a starting handler's stdin is looked at, beside being told of its first read.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// How long a handler that has closed its channels has to be seen to end. It does so at once as a rule, but the kernel closes a
/// process's descriptors before it tells of its end.
const LINGER: Duration = Duration::from_secs(1);

/// The longest that a stderr that takes nothing keeps a handler waiting.
const LONGEST_STALL: Duration = Duration::from_secs(5);

/// How long the last processes have to go after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// What the pool asks for.
#[derive(Debug)]
pub enum Request {
    /// An event.
    Invoke(Box<InFlight>),
    /// The shutdown phase begins.
    Stop,
}

/// What happens.
#[derive(Debug)]
enum Event {
    Request(Request),
    /// A channel was read, or its end was.
    Read(Pipe),
    Exited(Exit),
    /// An instant that [`Supervisor::alarm`] named has come.
    Alarm,
    /// The starting handler has begun to read its stdin.
    Drained,
    /// Stdin or stderr has made progress, or a stream toward the Runtime API.
    Progress,
    /// In the shutdown phase: no process is left, or the grace period is over.
    Over,
}

/// The rest of a reply that is too large is being read; `/next` waits for it.
#[derive(Debug)]
struct Settling {
    request_id: Rc<str>,
    done: oneshot::Sender<()>,
    pipe: Pipe,
    due: Instant,
}

/// Keeps a handler running in one place and hands it events.
#[derive(Debug)]
pub struct Supervisor {
    pool: Rc<Pool>,
    /// The number of its place.
    place: usize,
    room: Rc<Room>,
    logs: Logs,
    requests: mpsc::UnboundedReceiver<Request>,
    handler: Option<Running>,
    /// The events that no process was given yet.
    waiting: VecDeque<InFlight>,
    settling: Vec<Settling>,
    /// The request id that log lines belong to, where it is known.
    logging_for: Option<Rc<str>>,
    /// When the starting handler's stdin is looked at next.
    probe_due: Option<Instant>,
    /// Until the handler is ready or this has come, `/next` is not called.
    init_due: Option<Instant>,
    /// When a handler that has closed something is taken for one that lives on.
    linger: Option<Instant>,
    /// In the shutdown phase: when the grace period is over.
    stop_due: Option<Instant>,
    /// Whether all that was logged before the replies that were read last has been read too.
    has_read_logs: bool,
    /// Told when a stream's chunks are no longer too many.
    relief: Rc<Notify>,
    timer: Timer,
}

impl Supervisor {
    /// A supervisor of a place of this pool. [`Self::run`] starts it.
    pub fn new(pool: Rc<Pool>, place: usize, room: Rc<Room>, requests: mpsc::UnboundedReceiver<Request>) -> Self {
        Self {
            logs: pool.logs.clone(),
            pool,
            place,
            room,
            requests,
            handler: None,
            waiting: VecDeque::new(),
            settling: Vec::new(),
            logging_for: None,
            probe_due: None,
            init_due: None,
            linger: None,
            stop_due: None,
            has_read_logs: false,
            relief: Rc::default(),
            timer: Timer::default(),
        }
    }

    /// Keeps a handler until the shutdown phase is over. The `first` of all starts before there is an event, where the mode has
    /// such handlers, and the init phase waits for it.
    pub async fn run(mut self, first: bool) {
        if first {
            self.init();
        }
        loop {
            match self.next().await {
                Event::Request(request) => self.requests(request),
                Event::Read(pipe) => self.read(pipe),
                Event::Exited(exit) => self.exited(exit),
                Event::Alarm => self.alarms(),
                Event::Drained => self.drained(),
                Event::Progress => {}
                Event::Over => break,
            }
            self.look_at_retirement();
            self.write_messages();
            self.logs.write();
        }
        // That no process is left may be seen before its exit is told, and its exit may be what answers.
        if let Some(exit) = self.handler.as_mut().and_then(|handler| handler.process.try_exited()) {
            self.exited(exit);
        }
        self.drain(Some(Ending::Killed));
        self.pool.children.kill_all(KILL_LIMIT).await;
        self.drain(None);
        let owed = self.handler.as_mut().map(|handler| handler.debts.take_all()).unwrap_or_default();
        for in_flight in owed.into_iter().chain(std::mem::take(&mut self.waiting)) {
            self.conclude(in_flight, Conclusion::Abandoned);
        }
        self.logs.write();
    }

    fn init(&mut self) {
        self.init_due = Some(Instant::now() + self.pool.config.init_timeout);
        if !self.mode().starts_ahead() {
            self.became_ready();
        } else if let Err(fault) = self.start() {
            self.fail_init(&fault.document(Vec::new()));
        }
    }

    fn mode(&self) -> Mode {
        self.pool.config.mode
    }

    /// Waits for what happens next. Cancel safe.
    ///
    /// The channels come last, since a handler that writes without end would otherwise keep everything else waiting; among
    /// themselves they take turns.
    async fn next(&mut self) -> Event {
        let alarm = self.alarm();
        let is_probing = self.is_probing();
        let has_room = self.logs.has_room();
        let stop_due = self.stop_due;
        let children = self.pool.children.clone();
        let over = async {
            match stop_due {
                Some(due) => children.gone(due).await,
                None => std::future::pending().await,
            }
        };
        let timer = &mut self.timer;
        let wait = async {
            match alarm {
                Some(due) => timer.until(due).await,
                None => std::future::pending().await,
            }
        };
        let Some(handler) = &mut self.handler else {
            return tokio::select! {
                biased;
                request = self.requests.recv() => Event::Request(request.unwrap_or(Request::Stop)),
                () = wait => Event::Alarm,
                _ = over => Event::Over,
                () = self.logs.progress(), if self.logs.is_waiting() => Event::Progress,
            };
        };
        let (stdout_congested, reply_congested) = (handler.is_congested_on(Pipe::Stdout), handler.is_congested_on(Pipe::Reply));
        tokio::select! {
            biased;
            request = self.requests.recv() => Event::Request(request.unwrap_or(Request::Stop)),
            exit = handler.process.exited() => Event::Exited(exit),
            () = wait => Event::Alarm,
            _ = over => Event::Over,
            event = async {
                if is_probing && handler.stdin.is_written() {
                    handler.stdin.drained().await;
                    Event::Drained
                } else {
                    handler.stdin.write().await;
                    Event::Progress
                }
            } => event,
            pipe = async {
                tokio::select! {
                    () = handler.reply.read(), if !reply_congested => Pipe::Reply,
                    () = handler.stdout.read(), if has_room && !stdout_congested => Pipe::Stdout,
                    () = handler.stderr.read(), if has_room => Pipe::Stderr,
                    else => std::future::pending().await,
                }
            } => Event::Read(pipe),
            () = self.relief.notified(), if stdout_congested || reply_congested => Event::Progress,
            () = self.logs.progress(), if self.logs.is_waiting() => Event::Progress,
        }
    }

    // Life and death.

    /// Starts a handler's process: for the events to come, or for the one that waits.
    fn start(&mut self) -> Result<(), Fault> {
        self.linger = None;
        let (mode, readiness) = (self.mode(), self.pool.config.readiness);
        let conversation = Conversation::new(mode, readiness == Readiness::Message);
        let delivery = self.waiting.front().filter(|_| !mode.starts_ahead()).map(|waiting| &waiting.delivery);
        let command = &self.pool.command;
        let started = Running::start(command, &self.pool.children, mode, conversation, delivery);
        let mut handler = started.map_err(|error| command.diagnose(&error))?;
        // Before the invoke phase the handler's own start-up is waited for. Later an event may as well wait in its stdin, unless what
        // it writes while it starts would be taken for the answer.
        let is_waited_for = !self.pool.is_serving() || mode.goes_by_order();
        match readiness {
            Readiness::Auto if is_waited_for => {
                handler.stdin.probe();
                self.probe_due = Some(Instant::now() + PROBE_PAUSE);
            }
            Readiness::Message => {}
            Readiness::Auto | Readiness::None => handler.is_ready = true,
        }
        let is_ready = handler.is_ready;
        self.handler = Some(handler);
        self.room.is_live.set(true);
        if is_ready {
            self.became_ready();
        }
        Ok(())
    }

    /// The handler counts as started: the init phase can end, and an event that waits goes to it.
    fn became_ready(&mut self) {
        if let Some(handler) = &mut self.handler {
            handler.is_ready = true;
        }
        if self.init_due.take().is_some() {
            self.pool.enter(Phase::Ready);
        }
        self.send();
    }

    fn fail_init(&mut self, document: &ErrorDocument) {
        self.init_due = None;
        self.pool.enter(Phase::InitFailed(document.clone()));
    }

    /// Ends the handler's process, reads its last words, and lets go of it. What it owed has been taken from it by then. Returns its
    /// last log lines.
    fn bury(&mut self) -> Tail {
        if let Some(handler) = &mut self.handler {
            handler.is_ending = true;
            handler.process.kill();
        }
        self.drain(Some(Ending::Killed));
        self.linger = None;
        // Nothing more will come of a reply that was too large, or of one that was late.
        for settling in self.settling.drain(..) {
            self.room.release(&settling.request_id);
        }
        self.room.is_live.set(false);
        self.room.is_closed.set(false);
        self.room.capacity.set(self.pool.offered());
        let Some(handler) = self.handler.take() else { return Tail::default() };
        for late in &handler.debts.late {
            self.room.release(late);
        }
        handler.tail
    }

    /// The handler has failed: all that it owes ends with the fault, its process is ended, and a fresh one starts. Where it was
    /// given nothing yet, that is what waits for it.
    fn failed(&mut self, fault: &Fault) {
        let mut owed = self.handler.as_mut().map(|handler| handler.debts.take_all()).unwrap_or_default();
        if owed.is_empty() {
            owed.extend(std::mem::take(&mut self.waiting));
        }
        self.end(owed, |last_lines| fault.document(last_lines));
    }

    /// Ends the handler's process, and these invocations with the document made of its last log lines.
    fn end(&mut self, owed: Vec<InFlight>, document: impl Fn(Vec<String>) -> ErrorDocument) {
        let has_answered = self.handler.as_ref().is_some_and(Running::has_answered);
        let tail = self.bury();
        let document_of = |before| document(tail.lines(before));
        if !self.pool.is_serving() {
            return self.fail_init(&document_of(0));
        }
        let is_exhausted = !has_answered && self.count_failure();
        if owed.is_empty() {
            self.logs.error(None, &document_of(0));
        }
        for in_flight in owed {
            let document = document_of(in_flight.lines_before);
            self.conclude(in_flight, Conclusion::Error(document));
        }
        // From the second failure in a row on, the next handler starts only when an event needs it.
        let is_needed = !self.waiting.is_empty() || self.pool.failures() <= 1 && self.pool.needs(&self.room);
        if is_needed && !is_exhausted {
            self.restart();
        }
    }

    /// Starts the next handler, unless the mode starts one only for an event and none waits. Where that fails, what waits ends with
    /// it.
    fn restart(&mut self) {
        if self.stop_due.is_none()
            && (self.mode().starts_ahead() || !self.waiting.is_empty())
            && let Err(fault) = self.start()
        {
            // That counts as a failure too, and only the first in a row starts another.
            self.failed(&fault);
        }
    }

    /// The handler's process has ended. What it wrote before counts first.
    fn exited(&mut self, exit: Exit) {
        let ended = self.handler.as_ref().map(|handler| handler.process.id());
        let ending = match exit {
            Exit::Status(status) => Ending::Exited(status),
            Exit::Signal(_) => Ending::Killed,
        };
        self.drain(Some(ending));
        if exit == Exit::Status(0)
            && let Some(handler) = self.handler.as_ref().filter(|handler| Some(handler.process.id()) == ended)
            && let Some(silence) = handler.conversation.silence(&handler.debts)
        {
            self.hear(silence, &bytes::Bytes::new(), Pipe::Stdout);
        }
        let is_serving = self.pool.is_serving();
        let Some(handler) = self.handler.as_mut().filter(|handler| Some(handler.process.id()) == ended) else {
            // Its last words have led to its replacement.
            return;
        };
        if self.stop_due.is_some() {
            // What has not been answered by now is left to Lambda, unless another of the group still answers.
            return;
        }
        if !is_serving {
            return self.failed(&Fault::ExitBeforeReady { exit });
        }
        let has_answered = handler.has_answered();
        // One that has answered all that it has read has done no wrong: what it did not read goes to the next one. The pipe is looked
        // at once, since another process may still read it.
        self.take_back_unread();
        if self.handler.as_ref().is_some_and(|handler| handler.debts.any()) {
            let fault =
                if self.mode().answers_by_ending() { Fault::ProgramFailed { exit } } else { Fault::ExitBeforeReply { exit } };
            self.failed(&fault);
        } else if !has_answered {
            let is_early = !self.waiting.is_empty();
            self.failed(&if is_early { Fault::ExitBeforeReady { exit } } else { Fault::ExitBeforeReply { exit } });
        } else {
            let level = if exit == Exit::Status(0) { Level::Debug } else { Level::Warn };
            self.replace(level, &format!("ended with {exit} after its last reply"));
        }
    }

    /// The messages that the handler was given and has not read wait again, for the next one.
    fn take_back_unread(&mut self) {
        let Some(handler) = &mut self.handler else { return };
        if !handler.has_answered() {
            return;
        }
        let stdin = &handler.stdin;
        let unread = handler.debts.in_flight.extract_if(.., |in_flight| stdin.is_untouched(in_flight.starts_at));
        for in_flight in unread.collect::<Vec<_>>().into_iter().rev() {
            self.waiting.push_front(in_flight);
        }
    }

    /// The handler can't go on but has done no wrong: a fresh one takes its place, and the events that it has not read.
    fn replace(&mut self, level: Level, why: &str) {
        if self.mode().starts_ahead() {
            self.logs.tell(level, None, &format!("the handler {why}; a fresh one takes its place"));
        }
        self.take_back_unread();
        let has_answered = self.handler.as_ref().is_some_and(Running::has_answered);
        self.bury();
        let is_exhausted = !has_answered && self.count_failure();
        if !is_exhausted && (!self.waiting.is_empty() || self.pool.needs(&self.room)) {
            self.restart();
        }
    }

    /// A handler has ended without an answered invocation. Returns whether so many have in a row that bootstrap gives up.
    fn count_failure(&self) -> bool {
        let failures = self.pool.failed();
        let is_exhausted = failures >= self.pool.config.max_restarts;
        if is_exhausted {
            self.pool.enter(Phase::Exhausted(failures));
        }
        is_exhausted
    }

    /// The handler gets no new event, and ends when it owes nothing any more.
    fn retire(&mut self) {
        if let Some(handler) = &mut self.handler {
            handler.is_retiring = true;
            self.room.is_closed.set(true);
        }
        self.send_away();
    }

    /// What waits here finds another place.
    fn send_away(&mut self) {
        for in_flight in std::mem::take(&mut self.waiting) {
            self.room.release(&in_flight.request_id);
            self.pool.place(in_flight);
        }
    }

    /// A handler that retires ends with its last invocation.
    fn look_at_retirement(&mut self) {
        let Some(handler) = &self.handler else { return };
        if !handler.is_retiring || handler.debts.any() || !self.settling.is_empty() || self.stop_due.is_some() {
            return;
        }
        self.replace(Level::Warn, "owes no answer any more after its malformed reply");
    }

    /// The shutdown phase begins.
    fn stop(&mut self) {
        if self.stop_due.is_some() {
            return;
        }
        self.stop_due = Some(Instant::now() + self.pool.config.stop_grace);
        self.init_due = None;
        self.linger = None;
        self.settling.clear();
        if let Some(handler) = &mut self.handler {
            handler.stdin.close();
            handler.process.terminate();
        }
    }

    // Invocations.

    /// Deals with all requests that have come, so that their messages go out in one piece. There are no more of them than
    /// invocations can be in flight.
    fn requests(&mut self, first: Request) {
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Invoke(in_flight) => self.invoke(*in_flight),
                Request::Stop => self.stop(),
            }
            next = self.requests.try_recv().ok();
            if next.is_some() {
                self.look_at_retirement();
            }
        }
    }

    fn invoke(&mut self, in_flight: InFlight) {
        // What had come when this event did is no answer to it and no part of its log: a repeated reply, perhaps to the attempt
        // before with the same request id, or the last words on the event before, which are not for this one's caller.
        for pipe in [Pipe::Reply, Pipe::Stdout, Pipe::Stderr] {
            let is_congested = self.handler.as_ref().is_some_and(|handler| handler.is_congested_on(pipe));
            if !is_congested && self.channel(pipe).is_some_and(|channel| channel.read_what_is_known()) {
                self.read(pipe);
            }
        }
        self.waiting.push_back(in_flight);
        self.tell_log();
        if self.stop_due.is_some() {
            return;
        }
        match &self.handler {
            None => self.restart(),
            Some(handler) if handler.is_closed() => self.send_away(),
            Some(handler) if handler.is_spent() && handler.has_answered() && handler.debts.any() => self.retire(),
            Some(handler) if handler.is_spent() && handler.has_answered() => {
                self.replace(Level::Warn, "closed a channel that it needs")
            }
            Some(_) => self.send(),
        }
    }

    /// Gives the events that wait to the handler, if it is there and takes them. Those for which it has no place find another.
    fn send(&mut self) {
        // A handler whose start is only watched may find its event in stdin when it begins to read, unless what it writes until then
        // would be taken for the answer.
        let may_find = self.pool.config.readiness == Readiness::Auto && !self.mode().goes_by_order();
        while !self.waiting.is_empty() {
            if self.mode().goes_by_order() {
                // A line that waits in the pipe would be taken for the answer. Where it leads to a fresh handler, that one has been
                // given the event by now.
                self.drain(None);
            }
            let Some(handler) = &mut self.handler else { return };
            let takes = handler.is_ready || may_find;
            if !takes || handler.is_closed() {
                return;
            }
            if handler.taken() >= self.room.capacity.get() {
                // It takes fewer than were on their way to it, or than the one before it did.
                return self.send_away();
            }
            let Some(mut in_flight) = self.waiting.pop_front() else { return };
            let is_first = handler.conversation.begin();
            if is_first {
                handler.stdin.widen();
            }
            handler.is_ready = true;
            in_flight.answers_before = handler.answers;
            // What it logged while it started belongs to its first event.
            in_flight.lines_before = if is_first { 0 } else { handler.tail.count() };
            if let Delivery::Line(message) = &in_flight.delivery {
                in_flight.starts_at = handler.stdin.send(message.clone());
            }
            handler.debts.in_flight.push(in_flight);
            if self.handler.as_ref().is_some_and(Running::has_no_reply_channel) {
                self.linger.get_or_insert_with(|| Instant::now() + LINGER);
            }
        }
    }

    /// Writes what the handler's stdin takes at once, and notices that the handler has closed it.
    fn write_messages(&mut self) {
        let Some(handler) = &mut self.handler else { return };
        handler.stdin.write_at_once();
        if handler.stdin.is_broken() && handler.debts.any() {
            self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }

    /// Whose the log lines are from now on, and how long stderr may hold them up: they name no id where the handler works on several
    /// invocations, late ones among them, and the one with the least time says how long.
    fn tell_log(&mut self) {
        let owed = || self.handler.iter().flat_map(|handler| &handler.debts.in_flight).chain(&self.waiting);
        let any_late = self.handler.iter().any(|handler| !handler.debts.late.is_empty());
        let mut first = owed();
        let logging_for = match (first.next(), first.next()) {
            (Some(only), None) if !any_late => Some(only.request_id.clone()),
            _ => None,
        };
        // A stderr that takes nothing leaves the handler the other half of its time.
        let patience_for = |in_flight: &InFlight| in_flight.budget.map_or(LONGEST_STALL, |budget| budget.for_handler() / 2);
        let patience = owed().map(|in_flight| patience_for(in_flight).min(LONGEST_STALL)).min();
        self.logs.set_patience(patience.unwrap_or(log::PATIENCE));
        self.logging_for = logging_for;
    }

    /// Ends an invocation; its place is free.
    fn conclude(&mut self, in_flight: InFlight, conclusion: Conclusion) {
        self.room.release(&in_flight.request_id);
        self.conclude_and_hold(in_flight, conclusion, None);
    }

    /// Ends an invocation whose place stays taken. As a rule all log lines that were written before are out by then.
    fn conclude_and_hold(&mut self, in_flight: InFlight, conclusion: Conclusion, settled: Option<oneshot::Receiver<()>>) {
        self.tell_log();
        self.logs.write();
        in_flight.conclude(conclusion, settled);
    }
}
