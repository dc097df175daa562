//! One handler over time: started, ready, given events, replaced when it fails, ended.
//!
//! The supervisor waits for the next `Event`, of which there is a closed set, and deals with it without waiting again. So
//! between two events nothing is half done, and every race is a matter of the order in which events are looked at
//! (`Supervisor::next`). Where one event overtakes another it makes up for it: an exit and a deadline first read what is in the
//! pipes, so a reply that was written before them is believed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Config, Readiness};
use crate::deadline::Budget;
use crate::document::ErrorDocument;
use crate::fault::{Fault, LARGEST_RESPONSE};
use crate::handler::channel::Channel;
use crate::handler::command::Command;
use crate::handler::process::{Children, Exit};
use crate::handler::running::{LongLine, Running};
use crate::handler::{Answer, Outcome, Phase};
use crate::log::{self, Level, Logs, Origin};
use crate::protocol::lines::Piece;
use crate::protocol::message::{Encoder, Message};
use crate::protocol::reply::{self, Line, Reply, Source, Standing};
use crate::runtime::invocation::Invocation;
use crate::timer::Timer;

/// How often a starting handler's stdin is looked at, beside being told of its first read.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// How long a handler that has closed its channels has to be seen to end. It does so at once as a rule, but the kernel closes a
/// process's descriptors before it tells of its end.
const LINGER: Duration = Duration::from_secs(1);

/// How long a report or a rest is waited for where the invocation has no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(10);

/// The longest that a stderr that takes nothing keeps a handler waiting.
const LONGEST_STALL: Duration = Duration::from_secs(5);

/// How long the last processes have to go after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// What the runtime asks for.
#[derive(Debug)]
pub enum Request {
    /// An event, and where its answer goes.
    Invoke(Box<Invocation>, oneshot::Sender<Answer>),
    /// The invoke phase begins: `/next` is about to be called.
    Serve,
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
    /// Stdin or stderr has made progress.
    Progress,
    /// In the shutdown phase: no process is left, or the grace period is over.
    Over,
}

/// Which of the handler's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Stdout,
    Stderr,
    Reply,
}

impl From<Source> for Pipe {
    fn from(source: Source) -> Self {
        match source {
            Source::Stdout => Self::Stdout,
            Source::ReplyFd => Self::Reply,
        }
    }
}

/// An invocation that an answer is owed to.
#[derive(Debug)]
struct InFlight {
    request_id: String,
    message: Message,
    /// The message has been given to the handler that runs now.
    is_sent: bool,
    answer: oneshot::Sender<Answer>,
    budget: Option<Budget>,
    /// When the handler's time is over.
    due: Option<Instant>,
}

/// The rest of a reply that is too large is being read; `/next` waits for it.
#[derive(Debug)]
struct Settling {
    done: oneshot::Sender<()>,
    pipe: Pipe,
    due: Instant,
}

/// Keeps a handler running and hands it events.
#[derive(Debug)]
pub struct Supervisor {
    config: Rc<Config>,
    command: Command,
    encoder: Encoder,
    children: Children,
    logs: Logs,
    requests: mpsc::UnboundedReceiver<Request>,
    phase: watch::Sender<Phase>,
    handler: Option<Running>,
    in_flight: Option<InFlight>,
    settling: Option<Settling>,
    /// The request id that log lines belong to.
    logging_for: Option<String>,
    /// Handlers in a row that have ended without an answered invocation.
    failures: u32,
    /// When the starting handler's stdin is looked at next.
    probe_due: Option<Instant>,
    /// Until the handler is ready or this has come, `/next` is not called.
    init_due: Option<Instant>,
    /// `/next` has been or is being called.
    serving: bool,
    /// When a handler that has closed something is taken for one that lives on.
    linger: Option<Instant>,
    /// In the shutdown phase: when the grace period is over.
    stop_due: Option<Instant>,
    timer: Timer,
}

impl Supervisor {
    /// A supervisor of this command. [`Self::run`] starts it.
    pub fn new(
        config: Rc<Config>,
        command: Command,
        children: Children,
        logs: Logs,
        requests: mpsc::UnboundedReceiver<Request>,
        phase: watch::Sender<Phase>,
    ) -> Self {
        Self {
            encoder: Encoder::new(&config.function),
            config,
            command,
            children,
            logs,
            requests,
            phase,
            handler: None,
            in_flight: None,
            settling: None,
            logging_for: None,
            failures: 0,
            probe_due: None,
            init_due: None,
            serving: false,
            linger: None,
            stop_due: None,
            timer: Timer::default(),
        }
    }

    /// Starts the handler and keeps it until the shutdown phase is over.
    pub async fn run(mut self) {
        self.init_due = Some(Instant::now() + self.config.init_timeout);
        if let Err(fault) = self.start() {
            self.fail_init(&fault.document(Vec::new()));
        }
        loop {
            match self.next().await {
                Event::Request(Request::Invoke(invocation, answer)) => self.invoke(&invocation, answer),
                Event::Request(Request::Serve) => self.serving = true,
                Event::Request(Request::Stop) => self.stop(),
                Event::Read(pipe) => self.read(pipe),
                Event::Exited(exit) => self.exited(exit),
                Event::Alarm => self.alarms(),
                Event::Drained => self.drained(),
                Event::Progress => self.look_at_stdin(),
                Event::Over => break,
            }
            self.logs.write();
        }
        self.drain(true);
        self.children.kill_all(KILL_LIMIT).await;
        self.give_answer(Outcome::Abandoned);
        self.logs.write();
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
        let children = self.children.clone();
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
                    () = handler.reply.read() => Pipe::Reply,
                    () = handler.stdout.read(), if has_room => Pipe::Stdout,
                    () = handler.stderr.read(), if has_room => Pipe::Stderr,
                }
            } => Event::Read(pipe),
            () = self.logs.progress(), if self.logs.is_waiting() => Event::Progress,
        }
    }

    // Life and death.

    /// Starts a handler's process.
    fn start(&mut self) -> Result<(), Fault> {
        self.linger = None;
        let mut handler = Running::start(&self.command, &self.children).map_err(|error| self.command.diagnose(&error))?;
        // Before the invoke phase the handler's own start-up is waited for. Later an event may as well wait in its stdin.
        match (self.config.readiness, self.serving) {
            (Readiness::Auto, false) => {
                handler.stdin.probe();
                self.probe_due = Some(Instant::now() + PROBE_PAUSE);
            }
            (Readiness::Message, _) => {}
            (Readiness::Auto, true) | (Readiness::None, _) => handler.is_ready = true,
        }
        let is_ready = handler.is_ready;
        self.handler = Some(handler);
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
            self.enter(Phase::Ready);
        }
        self.send();
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    fn fail_init(&mut self, document: &ErrorDocument) {
        self.init_due = None;
        self.enter(Phase::InitFailed(document.clone()));
    }

    /// Lets go of the handler's process, and of what is left of its group.
    fn bury(&mut self) {
        if let Some(handler) = self.handler.take() {
            handler.process.kill();
        }
        self.linger = None;
        // Nothing more will come of the reply that was too large.
        self.settling = None;
    }

    /// The handler has failed: its invocation, if any, ends with the fault, its process is ended, and a fresh one starts.
    fn failed(&mut self, fault: &Fault) {
        self.end(|tail| fault.document(tail));
    }

    /// Ends the handler's process, and its invocation with the document made of its last log lines.
    fn end(&mut self, document: impl FnOnce(Vec<String>) -> ErrorDocument) {
        let has_answered = self.handler.as_ref().is_some_and(|handler| handler.has_answered);
        let in_flight = self.in_flight.take();
        if let Some(handler) = &mut self.handler {
            handler.is_ending = true;
            if let Some(in_flight) = &in_flight {
                handler.remember(in_flight.request_id.clone());
            }
            handler.process.kill();
        }
        self.drain(true);
        let tail = self.handler.as_ref().map(|handler| handler.tail.lines()).unwrap_or_default();
        self.bury();
        let document = document(tail);
        if !self.serving {
            return self.fail_init(&document);
        }
        if !has_answered {
            self.failures += 1;
        }
        let is_exhausted = self.failures >= self.config.max_restarts;
        if is_exhausted {
            self.enter(Phase::Exhausted(self.failures));
        }
        match in_flight {
            Some(in_flight) => self.answer(in_flight, Outcome::Error(document), None),
            None => self.logs.error(None, &document),
        }
        // From the second failure in a row on, the next handler starts only when an event needs it.
        if !is_exhausted && self.failures <= 1 {
            self.restart();
        }
    }

    /// Starts the next handler. Where that fails, the invocation in flight ends with it.
    fn restart(&mut self) {
        if self.stop_due.is_none()
            && let Err(fault) = self.start()
        {
            // That counts as a failure too, and only the first in a row starts another.
            self.failed(&fault);
        }
    }

    /// The handler's process has ended. What it wrote before counts first.
    fn exited(&mut self, exit: Exit) {
        let ended = self.handler.as_ref().map(|handler| handler.process.id());
        self.drain(true);
        let Some(handler) = self.handler.as_ref().filter(|handler| Some(handler.process.id()) == ended) else {
            // Its last words have led to its replacement.
            return;
        };
        let may_try_again = handler.has_answered && handler.stdin.is_message_untouched();
        let has_answered = handler.has_answered;
        if self.stop_due.is_some() {
            // What has not been answered by now is left to Lambda, unless another of the group still answers.
            return;
        }
        match &self.in_flight {
            _ if !self.serving => self.failed(&Fault::ExitBeforeReady { exit }),
            Some(in_flight) if in_flight.is_sent && !may_try_again => self.failed(&Fault::ExitBeforeReply { exit }),
            Some(in_flight) if !in_flight.is_sent => self.failed(&Fault::ExitBeforeReady { exit }),
            None if !has_answered => self.failed(&Fault::ExitBeforeReply { exit }),
            // It has done no wrong: all that it has read it has answered. The event that it did not read goes to the next one.
            _ => {
                let level = if exit == Exit::Status(0) { Level::Debug } else { Level::Warn };
                self.replace(level, &format!("ended with {exit} after its last reply"));
            }
        }
    }

    /// The handler can't go on but has done no wrong: a fresh one takes its place, and an event that it has not read.
    fn replace(&mut self, level: Level, why: &str) {
        self.logs.tell(level, None, &format!("the handler {why}; a fresh one takes its place"));
        self.bury();
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.is_sent = false;
        }
        self.restart();
    }

    /// The shutdown phase begins.
    fn stop(&mut self) {
        if self.stop_due.is_some() {
            return;
        }
        self.stop_due = Some(Instant::now() + self.config.stop_grace);
        self.init_due = None;
        self.linger = None;
        self.settling = None;
        self.children.spare_groups();
        self.enter(Phase::Stopping);
        if let Some(handler) = &mut self.handler {
            handler.stdin.close();
            handler.process.terminate();
        }
    }

    // Invocations.

    fn invoke(&mut self, invocation: &Invocation, answer: oneshot::Sender<Answer>) {
        let budget = invocation.deadline_ms.and_then(|deadline| Budget::new(deadline, epoch_ms(), self.config.deadline_margin));
        let due = budget.map(|budget| Instant::now() + budget.for_handler());
        // What had come when this event did is no answer to it and no part of its log: a repeated reply, perhaps to the attempt
        // before with the same request id, or the last words on the event before, which are not for this one's caller.
        for pipe in [Pipe::Reply, Pipe::Stdout, Pipe::Stderr] {
            if self.channel(pipe).is_some_and(Channel::read_what_is_known) {
                self.read(pipe);
            }
        }
        if let Some(handler) = self.handler.as_mut().filter(|handler| handler.has_answered) {
            handler.tail.clear();
        }
        // A stderr that takes nothing leaves the handler the other half of its time.
        self.logs.set_patience(budget.map_or(LONGEST_STALL, |budget| (budget.for_handler() / 2).min(LONGEST_STALL)));
        self.logging_for = Some(invocation.request_id.clone());
        let message = self.encoder.encode(invocation);
        let request_id = invocation.request_id.clone();
        self.in_flight = Some(InFlight { request_id, message, is_sent: false, answer, budget, due });
        if self.stop_due.is_some() {
            return;
        }
        match &self.handler {
            None => self.restart(),
            Some(handler) if handler.is_spent() && handler.has_answered => {
                self.replace(Level::Warn, "closed a channel that it needs")
            }
            Some(_) => self.send(),
        }
    }

    /// Gives the event that waits to the handler, if both are there.
    fn send(&mut self) {
        let auto = self.config.readiness == Readiness::Auto;
        let (Some(handler), Some(in_flight)) = (&mut self.handler, &mut self.in_flight) else { return };
        // A handler whose start is only watched may find its event in stdin when it begins to read; one that says when it is
        // ready is given none before.
        if in_flight.is_sent || !(handler.is_ready || auto) {
            return;
        }
        if !std::mem::replace(&mut handler.has_been_sent, true) {
            handler.stdin.widen();
        }
        handler.is_ready = true;
        in_flight.is_sent = true;
        handler.stdin.send(in_flight.message.clone());
        self.look_at_stdin();
        if self.handler.as_ref().is_some_and(Running::has_no_reply_channel) {
            self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }

    /// Notices that the handler has closed its stdin.
    fn look_at_stdin(&mut self) {
        let Some(handler) = &self.handler else { return };
        if handler.stdin.is_broken() && self.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_sent) {
            self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }

    /// Ends the invocation in flight, if there is one. All log lines that were written before are out by then.
    fn give_answer(&mut self, outcome: Outcome) {
        let Some(in_flight) = self.in_flight.take() else { return };
        self.drain(false);
        self.answer(in_flight, outcome, None);
    }

    /// The handler has answered.
    fn answered(&mut self, outcome: Outcome, settling: bool, answered_on: Pipe) {
        let Some(in_flight) = self.in_flight.take() else { return };
        self.failures = 0;
        self.linger = None;
        if let Some(handler) = &mut self.handler {
            handler.has_answered = true;
            handler.remember(in_flight.request_id.clone());
        }
        let settled = settling.then(|| {
            let (done, settled) = oneshot::channel();
            self.settling =
                Some(Settling { done, pipe: answered_on, due: in_flight.due.unwrap_or_else(|| Instant::now() + NO_DEADLINE) });
            settled
        });
        // What was printed before a reply on stdout has been read with it; before one on descriptor 3 it may not have been.
        let others: &[Pipe] = if answered_on == Pipe::Stdout { &[Pipe::Stderr] } else { &[Pipe::Stdout, Pipe::Stderr] };
        for pipe in others {
            self.read_what_is_there(*pipe);
        }
        self.answer(in_flight, outcome, settled);
    }

    fn answer(&mut self, in_flight: InFlight, outcome: Outcome, settled: Option<oneshot::Receiver<()>>) {
        self.logging_for = None;
        self.logs.set_patience(log::PATIENCE);
        let latest = match (in_flight.due, in_flight.budget) {
            // Half of the margin is for the log, half for the report.
            (Some(due), Some(budget)) => due + budget.margin.min(budget.left) / 2,
            _ => Instant::now() + NO_DEADLINE,
        };
        // As a rule this leaves nothing to wait for.
        self.logs.write();
        let _ = in_flight.answer.send(Answer { outcome, log_until: latest, settled });
    }

    // Channels.

    fn read(&mut self, pipe: Pipe) {
        if pipe == Pipe::Stdout {
            // What a handler has sent on its reply channel counts before what it has printed since.
            self.read_what_is_there(Pipe::Reply);
        }
        self.take_lines(pipe);
        self.look_at_ends(pipe);
    }

    fn channel(&mut self, pipe: Pipe) -> Option<&mut Channel> {
        let handler = self.handler.as_mut()?;
        Some(match pipe {
            Pipe::Stdout => &mut handler.stdout,
            Pipe::Stderr => &mut handler.stderr,
            Pipe::Reply => &mut handler.reply,
        })
    }

    /// Deals with every line that was read.
    fn take_lines(&mut self, pipe: Pipe) {
        while let Some(piece) = self.channel(pipe).and_then(Channel::next_piece) {
            self.piece(pipe, piece);
        }
    }

    /// Reads what is in the pipes at this instant and deals with it. With `ended`, nothing more will come.
    fn drain(&mut self, ended: bool) {
        for pipe in [Pipe::Reply, Pipe::Stdout, Pipe::Stderr] {
            self.read_what_is_there(pipe);
            if ended {
                self.finish(pipe, true);
            }
        }
    }

    /// Reads what is in one pipe at this instant and deals with it.
    fn read_what_is_there(&mut self, pipe: Pipe) {
        if let Some(channel) = self.channel(pipe) {
            channel.read_what_is_there();
        }
        self.take_lines(pipe);
    }

    /// A channel has been closed: what came after its last newline counts as a line.
    fn look_at_ends(&mut self, pipe: Pipe) {
        if !self.channel(pipe).is_some_and(|channel| channel.is_closed()) {
            return;
        }
        self.finish(pipe, false);
        let has_rest = self.channel(pipe).is_some_and(|channel| !channel.rest().is_empty());
        let Some(handler) = &self.handler else { return };
        if has_rest || handler.has_no_reply_channel() && self.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_sent) {
            self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }

    /// Deals with what came after the last newline. A whole reply is one. Half a reply is a log line where the process has
    /// `ended`, and else waits until it is known whether it has.
    fn finish(&mut self, pipe: Pipe, ended: bool) {
        let in_flight = self.sent_id().map(str::to_owned);
        let Some(handler) = &self.handler else { return };
        let rest = match pipe {
            Pipe::Stdout => handler.stdout.rest(),
            Pipe::Stderr => handler.stderr.rest(),
            Pipe::Reply => handler.reply.rest(),
        };
        let source = match pipe {
            Pipe::Stdout => Source::Stdout,
            Pipe::Reply => Source::ReplyFd,
            Pipe::Stderr => return self.finish_now(pipe, false),
        };
        let rest = Bytes::copy_from_slice(rest);
        let meaning = reply::read(&rest, source, |id| handler.standing(id, in_flight.as_deref()));
        match meaning {
            Line::Malformed(..) | Line::Garbage(_) if ended => self.finish_now(pipe, true),
            Line::Malformed(..) | Line::Garbage(_) if !rest.is_empty() => {}
            _ => self.finish_now(pipe, false),
        }
    }

    fn finish_now(&mut self, pipe: Pipe, as_log: bool) {
        let Some(piece) = self.channel(pipe).and_then(Channel::finish) else { return };
        match piece {
            Piece::Line(line) if as_log => self.log(&line),
            piece => self.piece(pipe, piece),
        }
    }

    fn piece(&mut self, pipe: Pipe, piece: Piece) {
        let source = match pipe {
            Pipe::Stdout => Source::Stdout,
            Pipe::Reply => Source::ReplyFd,
            Pipe::Stderr => return self.log_piece(Origin::Stderr, &piece),
        };
        match piece {
            Piece::Line(line) => self.line(&line, source),
            Piece::Start(start) => self.long_line(&start, source),
            Piece::Middle(_) | Piece::End(_) => {
                let Some(handler) = &self.handler else { return };
                let fate = if source == Source::Stdout { handler.long_on_stdout } else { handler.long_on_reply };
                if fate == LongLine::Log {
                    self.log_piece(Origin::Stdout, &piece);
                } else if matches!(piece, Piece::End(_))
                    && let Some(settling) = self.settling.take_if(|settling| settling.pipe == pipe)
                {
                    // The runtime may have stopped waiting; then nobody needs to know.
                    let _ = settling.done.send(());
                }
            }
        }
    }

    fn log(&mut self, line: &Bytes) {
        self.logs.line(self.logging_for.as_deref(), line);
        if let Some(handler) = &mut self.handler {
            handler.tail.push(line);
        }
    }

    fn log_piece(&mut self, origin: Origin, piece: &Piece) {
        let (bytes, last) = match piece {
            Piece::Line(line) => return self.log(line),
            Piece::Start(bytes) => {
                if let Some(handler) = &mut self.handler {
                    handler.tail.push(bytes);
                }
                (bytes, false)
            }
            Piece::Middle(bytes) => (bytes, false),
            Piece::End(bytes) => (bytes, true),
        };
        self.logs.piece(origin, self.logging_for.as_deref(), bytes, last);
    }

    /// The request id of the invocation that the handler was given.
    fn sent_id(&self) -> Option<&str> {
        self.in_flight.as_ref().filter(|in_flight| in_flight.is_sent).map(|in_flight| in_flight.request_id.as_str())
    }

    /// A line on a channel that may carry replies.
    fn line(&mut self, line: &Bytes, source: Source) {
        let pipe = Pipe::from(source);
        let Some(handler) = &self.handler else { return };
        let meaning = reply::read(line, source, |id| handler.standing(id, self.sent_id()));
        match meaning {
            Line::Log => self.log(line),
            Line::Reply(_, Reply::Response(response)) => {
                let size = response.len();
                let outcome = if size > LARGEST_RESPONSE { self.too_large(Some(size)) } else { Outcome::Response(response) };
                self.answered(outcome, false, pipe);
            }
            Line::Reply(_, Reply::Error(document)) => self.answered(Outcome::Error(document), false, pipe),
            Line::Reply(_, Reply::Stream(_) | Reply::Chunk(_) | Reply::End) => self
                .failed(&Fault::InvalidReply("the reply is streamed, which this version of bootstrap does not support yet".into())),
            Line::Malformed(_, why) => self.failed(&Fault::InvalidReply(why)),
            Line::Stale { id, .. } => {
                self.logs.warn(Some(&id), "a reply was dropped: its invocation is over (the reply is late or repeated)")
            }
            Line::Ready { .. } => self.ready_message(),
            Line::NotReady(document) => self.not_ready(document),
            Line::Garbage(why) if self.sent_id().is_some() => self.failed(&Fault::InvalidReply(why)),
            Line::Garbage(why) => self.logs.warn(None, &format!("{why}; dropped, since no invocation is in flight")),
        }
    }

    /// The first 8 MiB of a longer line.
    fn long_line(&mut self, start: &Bytes, source: Source) {
        let Some(handler) = &mut self.handler else { return };
        let sent = self.in_flight.as_ref().filter(|in_flight| in_flight.is_sent).map(|in_flight| in_flight.request_id.as_str());
        let id = reply::begins(start);
        let standing = id.as_deref().map(|id| handler.standing(id, sent));
        let (fate, is_answer) = match (standing, source) {
            (Some(Standing::InFlight { .. }), _) => (LongLine::Discard, true),
            (Some(Standing::Past), _) | (Some(Standing::Unknown), Source::ReplyFd) => (LongLine::Discard, false),
            (_, Source::Stdout) => (LongLine::Log, false),
            // Nothing but replies comes on descriptor 3, so this is one, whatever it begins with.
            (None, Source::ReplyFd) => (LongLine::Discard, sent.is_some()),
        };
        match source {
            Source::Stdout => handler.long_on_stdout = fate,
            Source::ReplyFd => handler.long_on_reply = fate,
        }
        if is_answer {
            let outcome = self.too_large(None);
            self.answered(outcome, true, source.into());
        } else if fate == LongLine::Discard {
            self.logs.warn(id.as_deref(), "a reply of more than 8 MiB was dropped: its invocation is over");
        } else {
            self.log_piece(Origin::Stdout, &Piece::Start(start.clone()));
        }
    }

    fn too_large(&self, size: Option<usize>) -> Outcome {
        let tail = self.handler.as_ref().map(|handler| handler.tail.lines()).unwrap_or_default();
        Outcome::Error(Fault::ResponseSizeTooLarge { size }.document(tail))
    }

    fn ready_message(&mut self) {
        if self.handler.as_ref().is_some_and(|handler| !handler.is_ready) {
            self.became_ready();
        }
    }

    fn not_ready(&mut self, document: ErrorDocument) {
        if self.stop_due.is_some() || self.handler.as_ref().is_none_or(|handler| handler.is_ending) {
            return;
        }
        if self.serving {
            return self.failed(&Fault::Unready(Box::new(document)));
        }
        // An init error of the handler's own, in its own words.
        self.end(|_| document);
    }

    // Time.

    /// The next instant at which something is due.
    fn alarm(&self) -> Option<Instant> {
        let probe = self.probe_due.filter(|_| self.is_probing());
        let dues = [
            self.in_flight.as_ref().filter(|_| self.stop_due.is_none()).and_then(|in_flight| in_flight.due),
            self.settling.as_ref().map(|settling| settling.due),
            self.linger,
            self.init_due,
            probe,
        ];
        dues.into_iter().flatten().min()
    }

    /// The starting handler has begun to read. What has come on the reply channels is read before that is believed: it may say that
    /// the handler is not ready.
    fn drained(&mut self) {
        self.drain(false);
        if self.is_probing() {
            self.became_ready();
        }
    }

    fn is_probing(&self) -> bool {
        self.config.readiness == Readiness::Auto
            && self.init_due.is_some()
            && self.handler.as_ref().is_some_and(|handler| !handler.is_ready && !handler.stdin.is_broken())
    }

    /// Deals with whatever is due.
    fn alarms(&mut self) {
        let now = Instant::now();
        self.probe_due = Some(now + PROBE_PAUSE);
        if self.is_probing() && self.handler.as_ref().is_some_and(|handler| handler.stdin.is_read()) {
            self.drained();
        }
        if self.init_due.is_some_and(|due| due <= now) {
            self.init_overrun();
        }
        if self.linger.is_some_and(|due| due <= now) {
            self.lingered();
        }
        if self.settling.as_ref().is_some_and(|settling| settling.due <= now) {
            self.settling = None;
            self.replace(Level::Warn, "did not end the line of a reply that is too large in time");
        }
        let due = self.in_flight.as_ref().and_then(|in_flight| in_flight.due);
        if self.stop_due.is_none() && due.is_some_and(|due| due <= now) {
            self.timed_out();
        }
    }

    /// The handler is not ready in time.
    fn init_overrun(&mut self) {
        self.init_due = None;
        let limit = self.config.init_timeout;
        if self.config.snap_start {
            return self.failed(&Fault::InitTimeout(limit));
        }
        self.logs.warn(
            None,
            &format!(
                "the handler is not ready after {} ms (BOOTSTRAP_INIT_TIMEOUT_MS); /next is called all the same, \
                 and the first invocation waits for it",
                limit.as_millis()
            ),
        );
        self.enter(Phase::Ready);
    }

    /// A handler that has closed channels has not been seen to end.
    fn lingered(&mut self) {
        self.linger = None;
        let Some(handler) = &mut self.handler else { return };
        if let Some(exit) = handler.process.try_exited() {
            return self.exited(exit);
        }
        let lingering = handler.process.id();
        let stdin_closed = handler.stdin.is_broken() && handler.stdin.is_message_untouched();
        let may_try_again = handler.has_answered;
        for pipe in [Pipe::Stdout, Pipe::Reply] {
            if self.channel(pipe).is_some_and(|channel| channel.is_closed()) {
                self.finish_now(pipe, false);
            }
        }
        let is_same = self.handler.as_ref().is_some_and(|handler| handler.process.id() == lingering);
        if !is_same || self.sent_id().is_none() {
            return;
        }
        if stdin_closed && may_try_again {
            self.replace(Level::Warn, "closed its stdin");
        } else if stdin_closed {
            self.failed(&Fault::StdinClosed);
        } else if self.handler.as_ref().is_some_and(Running::has_no_reply_channel) {
            self.failed(&Fault::ReplyChannelClosed);
        }
    }

    /// The invocation's time is over.
    fn timed_out(&mut self) {
        // A reply that is in the pipe was in time.
        self.drain(false);
        if let Some(budget) = self.in_flight.as_ref().and_then(|in_flight| in_flight.budget) {
            let has_read =
                self.sent_id().is_some() && self.handler.as_ref().is_some_and(|handler| !handler.stdin.is_message_untouched());
            self.failed(&Fault::Timeout { had: budget.left, margin: budget.margin, has_read });
        }
    }
}

/// The wall clock, in milliseconds since the epoch.
fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
