//! What Lambda does to a handler: events, a freeze and a deadline, through the real runtime in an execution environment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::channels::Channels;
use super::events::Kind;
use super::seen::{Freeze, Mode, Outcome, Row, Seen, Start};
use super::tree::{self, Process};
use crate::fault::Fault;
use crate::local::answer::{Answer, Told};
use crate::local::console::Console;
use crate::local::environment::{Environment, Invocation};
use crate::local::function::Function;
use crate::local::id;
use crate::local::journal::Journal;

/// How many events come in a row.
const ROW: usize = 1000;

/// The same where each event starts a process: a thousand would tell no more.
const ROW_OF_PROCESSES: usize = 20;

/// A slow handler gets no more events in a row when this time is over.
const ROW_TIME: Duration = Duration::from_secs(10);

/// How often in a row the memory is looked at.
const MEASURES: usize = 40;

/// Fewer events than this tell nothing of a growth.
const ENOUGH: usize = 200;

/// How long a freeze lasts: longer than a heartbeat or a watchdog of a few hundred milliseconds.
const FREEZE: Duration = Duration::from_millis(400);

/// The timeout of the event that runs into its deadline.
const SHORT: Duration = Duration::from_millis(500);

/// How long to wait until processes are at rest, or gone.
const REST: Duration = Duration::from_secs(2);

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(20);

/// What the runtime says of a handler, in words of its own.
const NOT_READY: &str = "the handler is not ready after";
const DOUBTFUL: [&str; 2] = ["a reply was dropped", "wrote a line to which there is no event"];

/// Only so much is kept of what the runtime says.
const MAX_LOG: usize = 1024 * 1024;

/// A handler in an execution environment.
#[derive(Debug)]
pub struct Lambda {
    /// The function.
    function: Arc<Function>,
    /// Where it runs.
    pub environment: Environment,
    mode: Mode,
    sample: Bytes,
    log: Arc<Mutex<Log>>,
    console: Console,
}

impl Lambda {
    /// An environment that has started nothing.
    pub fn new(function: Arc<Function>, mode: Mode, sample: Bytes) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let kept = Arc::clone(&log);
        let console = Console::silent(move |bytes| kept.lock().unwrap_or_else(PoisonError::into_inner).take(bytes));
        let environment = Environment::new(Arc::clone(&function), Journal::plain(console.clone()));
        Lambda { function, environment, mode, sample, log, console }
    }

    /// Tries everything, as far as the handler answers.
    ///
    /// # Errors
    /// When this machine gives no process, socket or random bytes.
    pub async fn observe(&self) -> anyhow::Result<Seen> {
        let begun = Instant::now();
        let (mut answering, mut opened) = (Box::pin(self.answer(self.sample.clone())), Box::pin(self.environment.opened()));
        let mut took = None;
        let answer = loop {
            tokio::select! {
                biased;
                () = &mut opened, if took.is_none() => took = Some(begun.elapsed()),
                answer = &mut answering => break answer?,
            }
        };
        // A handler that does not start never takes an event.
        let took = took.unwrap_or_else(|| begun.elapsed());
        let error = match &answer {
            Answer::InitError(document) => Some(told(document)),
            _ => None,
        };
        let sample = outcome(&answer, self.mode, false);
        let warning = self.log().await.into_iter().find(|line| line.contains(NOT_READY));
        let start = Start { took, limit: self.function.init_limit, warning, error };
        let mut seen = Seen {
            mode: self.mode,
            start,
            sample,
            twin: None,
            awkward: Vec::new(),
            row: None,
            freeze: None,
            deadline: None,
            warnings: Vec::new(),
            talk: None,
            afterwards: None,
            crowd: None,
        };
        if !matches!(seen.sample, Outcome::Fault(..)) {
            seen.twin = Some(self.sample().await?);
            for kind in Kind::ALL {
                seen.awkward.push((kind, self.outcome(kind.event(), true).await?));
            }
            seen.row = Some(self.row().await?);
            if self.mode != Mode::OneShot {
                let lasts = seen.row.as_ref().is_some_and(|row| row.lasts);
                seen.freeze = self.freeze(lasts).await?;
            }
            seen.deadline = if self.mode == Mode::OneShot { Some(self.cut_short().await?) } else { self.deadline().await? };
        }
        seen.warnings = self.log().await;
        seen.warnings.retain(|line| !line.contains(NOT_READY));
        Ok(seen)
    }

    /// The sample event over and over.
    async fn row(&self) -> anyhow::Result<Row> {
        let wanted = if self.mode == Mode::OneShot { ROW_OF_PROCESSES } else { ROW };
        let mut row = Row { wanted, answered: 0, fault: None, lasts: false, memory: None, zombies: None };
        let mut leader = None;
        let mut memory = Vec::new();
        let end = Instant::now() + ROW_TIME;
        while row.answered < wanted && Instant::now() < end {
            let outcome = self.sample().await?;
            if matches!(outcome, Outcome::Fault(..)) {
                row.fault = Some(outcome);
                break;
            }
            row.answered += 1;
            if row.answered == 1 {
                leader = self.leader().await;
            }
            if row.answered.is_multiple_of(wanted.div_ceil(MEASURES))
                && let Some(processes) = self.handlers().await
            {
                memory.push(tree::memory(&processes));
            }
        }
        row.lasts = leader.is_some() && leader == self.leader().await;
        let after = |share: usize| memory.get((memory.len() / share).checked_sub(1)?).copied();
        if row.lasts && row.answered >= ENOUGH {
            row.memory = after(4).zip(after(2)).zip(after(1)).map(|((quarter, half), all)| [quarter, half, all]);
        }
        row.zombies = self.zombies().await?;
        Ok(row)
    }

    /// How many processes the handler leaves to itself as zombies. Those that it waits for in the next event are no such: a shell
    /// without job control does.
    async fn zombies(&self) -> anyhow::Result<Option<usize>> {
        self.rest().await;
        let Some(mut zombies) = self.zombies_now().await else { return Ok(None) };
        if !zombies.is_empty() {
            self.sample().await?;
            self.rest().await;
            let Some(after) = self.zombies_now().await else { return Ok(None) };
            zombies.retain(|zombie| after.contains(zombie));
        }
        Ok(Some(zombies.len()))
    }

    async fn zombies_now(&self) -> Option<Vec<i32>> {
        let runtime = self.environment.process_id().await?;
        // The runtime waits for its own children.
        let is_left = |process: &Process| process.is_zombie && process.parent != runtime;
        Some(self.handlers().await?.into_iter().filter(is_left).map(|process| process.id).collect())
    }

    /// Stops the whole environment for a while, as Lambda does between events; `None` where no process waits for one.
    /// One that `lasts` has to be there after the next event, too.
    async fn freeze(&self, lasts: bool) -> anyhow::Result<Option<Freeze>> {
        if self.handlers().await.is_none() {
            return Ok(Some(Freeze::Unseen));
        }
        if !self.is_awake().await? {
            return Ok(None);
        }
        let (Some(runtime), Some(leader)) = (self.environment.process_id().await, self.leader().await) else { return Ok(None) };
        let Some(frozen) = tree::below(runtime) else { return Ok(None) };
        tree::signal(&frozen, Signal::STOP);
        sleep(FREEZE).await;
        tree::signal(&frozen, Signal::CONT);
        // What it does at the thaw it does before the next event.
        self.rest().await;
        let survived = self.leader().await == Some(leader);
        let outcome = self.sample().await?;
        let is_same = survived && (!lasts || self.leader().await == Some(leader));
        Ok(Some(Freeze::Thawed { is_same, outcome }))
    }

    /// Lets an event run into its deadline, with a handler that is stopped all the while. The answer to the next event; `None`
    /// where no process can be stopped here.
    async fn deadline(&self) -> anyhow::Result<Option<Outcome>> {
        if !self.is_awake().await? {
            return Ok(None);
        }
        let (Some(leader), Some(handlers)) = (self.leader().await, self.handlers().await) else { return Ok(None) };
        tree::signal(&handlers, Signal::STOP);
        let short = Function { timeout: SHORT, ..(*self.function).clone() };
        let late = self.environment.invoke_as(&short, self.invocation(self.sample.clone())?, None).await;
        // Those that were killed don't mind.
        tree::signal(&handlers, Signal::CONT);
        late?;
        let end = Instant::now() + REST;
        while self.leader().await.is_none_or(|now| now == leader) && Instant::now() < end {
            sleep(LOOK).await;
        }
        self.rest().await;
        // The process may still start; that it does in the time of an event is not the question.
        let patient = Function { timeout: self.function.timeout + self.function.init_limit, ..(*self.function).clone() };
        let next = self.environment.invoke_as(&patient, self.invocation(self.sample.clone())?, None).await?;
        Ok(Some(outcome(&next.answer, self.mode, false)))
    }

    /// Whether a process of the handler's waits for an event, after one more event where there was none.
    async fn is_awake(&self) -> anyhow::Result<bool> {
        self.rest().await;
        if self.leader().await.is_none() {
            self.sample().await?;
            self.rest().await;
        }
        Ok(self.leader().await.is_some())
    }

    /// The answer to the event after one whose process was killed, as at its deadline, when it had done all but read to the end.
    async fn cut_short(&self) -> anyhow::Result<Outcome> {
        let mut channels = Channels::start(&self.function, false).context("can't start the handler")?;
        channels.write(&self.sample, self.function.timeout).await;
        channels.rest().await;
        channels.signal(Signal::KILL);
        channels.ends(REST).await;
        self.sample().await
    }

    /// Waits until the handler's processes do nothing.
    async fn rest(&self) {
        let end = Instant::now() + REST;
        let mut before = self.handlers().await;
        while Instant::now() < end {
            sleep(LOOK).await;
            let after = self.handlers().await;
            match (&before, &after) {
                (Some(before), Some(after)) if !after.is_empty() && tree::were_idle(before, after) => return,
                (_, None) => return,
                _ => before = after,
            }
        }
    }

    /// The handler's processes; none where there is no runtime, `None` where there is no telling.
    async fn handlers(&self) -> Option<Vec<Process>> {
        match self.environment.process_id().await {
            Some(runtime) => tree::below(runtime),
            None => tree::below(i32::MAX),
        }
    }

    /// The handler's first process.
    async fn leader(&self) -> Option<i32> {
        let runtime = self.environment.process_id().await?;
        let processes = self.handlers().await?;
        processes.iter().find(|process| process.parent == runtime && !process.is_zombie).map(|process| process.id)
    }

    async fn sample(&self) -> anyhow::Result<Outcome> {
        self.outcome(self.sample.clone(), false).await
    }

    /// What becomes of an event. Where the handler fails, the next event gets a fresh environment: the time that another process
    /// takes to start is then the init phase's, and no fault is told twice.
    async fn outcome(&self, event: Bytes, awkward: bool) -> anyhow::Result<Outcome> {
        let outcome = outcome(&self.answer(event).await?, self.mode, awkward);
        if matches!(outcome, Outcome::Fault(..)) {
            self.environment.outdate();
        }
        Ok(outcome)
    }

    async fn answer(&self, event: Bytes) -> anyhow::Result<Answer> {
        Ok(self.environment.invoke(self.invocation(event)?, None).await?.answer)
    }

    fn invocation(&self, event: Bytes) -> anyhow::Result<Invocation> {
        Ok(Invocation {
            request_id: id::uuid().context("no random bytes")?,
            trace_id: id::trace_id().context("no random bytes")?,
            client_context: None,
            tenant_id: None,
            event,
        })
    }

    /// What the runtime has said of the handler so far.
    async fn log(&self) -> Vec<String> {
        self.console.done().await;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).kept.clone()
    }
}

/// What the runtime says of the handler, picked out of what the handler says, which may be any amount.
#[derive(Debug, Default)]
struct Log {
    kept: Vec<String>,
    length: usize,
    /// The beginning of the line that has not ended.
    line: Vec<u8>,
}

impl Log {
    /// Longer than any line of the runtime's.
    const MAX_LINE: usize = 16 * 1024;

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = Self::MAX_LINE.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                let is_kept = line.contains(NOT_READY) || DOUBTFUL.iter().any(|words| line.contains(words));
                if is_kept && self.length + line.len() <= MAX_LOG {
                    self.length += line.len();
                    self.kept.push(line.to_owned());
                }
            }
        }
    }
}

/// What an answer says of the handler. An `awkward` event may be refused, and where a program's only way to refuse one is to
/// end, that is what it does.
fn outcome(answer: &Answer, mode: Mode, awkward: bool) -> Outcome {
    let document = match answer {
        Answer::Response(_) | Answer::Streamed => return Outcome::Response,
        Answer::Error(document) => document,
        Answer::InitError(document) | Answer::PlatformError(document) => {
            let Told { error_type, error_message } = Answer::told(document);
            return Outcome::Fault(error_type, error_message);
        }
    };
    let Told { error_type, error_message } = Answer::told(document);
    let ends_to_refuse =
        awkward && mode != Mode::JsonLines && error_type == "Runtime.ExitError" && error_message.contains("exit status");
    // The last two leave the handler alone: the event never reached it, or its response is too large for Lambda.
    let is_refusal = matches!(error_type.as_str(), "Function.InvalidEvent" | "Function.ResponseSizeTooLarge");
    if !ends_to_refuse && !is_refusal && Fault::ERROR_TYPES.contains(&error_type.as_str()) {
        Outcome::Fault(error_type, error_message)
    } else {
        Outcome::Refused(error_type)
    }
}

fn told(document: &[u8]) -> String {
    let Told { error_type, error_message } = Answer::told(document);
    format!("{error_type}: {error_message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_a_fault_is_none() {
        let of = |error_type: &str, message: &str, mode, awkward| {
            outcome(&Answer::Error(Answer::document(error_type, message)), mode, awkward)
        };
        let refused = |error_type: &str| Outcome::Refused(error_type.to_owned());
        let fault = |error_type: &str, message: &str| Outcome::Fault(error_type.to_owned(), message.to_owned());
        let exit = "the handler ended with exit status 5";
        for mode in [Mode::JsonLines, Mode::Filter, Mode::OneShot] {
            assert_eq!(of("KeyError", "'name'", mode, true), refused("KeyError"));
            assert_eq!(of("Function.Timeout", "x", mode, true), fault("Function.Timeout", "x"));
            assert_eq!(of("Runtime.ExitError", "SIGSEGV", mode, true), fault("Runtime.ExitError", "SIGSEGV"));
            assert_eq!(of("Runtime.ExitError", exit, mode, false), fault("Runtime.ExitError", exit));
        }
        assert_eq!(of("Runtime.ExitError", exit, Mode::JsonLines, true), fault("Runtime.ExitError", exit));
        assert_eq!(of("Runtime.ExitError", exit, Mode::Filter, true), refused("Runtime.ExitError"));
        assert_eq!(of("Function.InvalidEvent", "x", Mode::Filter, true), refused("Function.InvalidEvent"));
    }
}
