//! `bootstrap invoke`: runs the handler on events here and prints the responses.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;

use super::answer::{Answer, Told};
use super::console::{Console, Failure, Progress};
use super::environment::{Environment, Invocation, Invoked};
use super::events::{self, Event, Events, Line, Lines, MAX_EVENT_BYTES};
use super::function::Function;
use super::id;
use super::summary::Summary;
use crate::cli;
use crate::signal::{self, Stop};

/// How long the last lines may take to come out where a signal has ended us and nobody may be reading.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the command. The exit status: 0 when all events were answered, 1 when an invocation ended in an error, 2 when a line
/// of the events is none, 128 and its number after a signal.
///
/// # Errors
/// A [`cli::UsageError`], or a fault of this machine's.
pub fn run(options: &cli::Invoke) -> anyhow::Result<ExitCode> {
    let directory = std::env::current_dir().context("can't tell the current directory")?;
    let stream = id::hex().context("no random bytes")?;
    let function = Function::new(&options.function, std::env::vars_os(), directory.as_os_str(), SystemTime::now(), &stream)?;
    let events = events::open(&options.source)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start an event loop")?;
    let status = runtime.block_on(invoke(options, function, events));
    // A thread may still be blocked in a write or a read.
    runtime.shutdown_background();
    status.map(ExitCode::from)
}

async fn invoke(options: &cli::Invoke, function: Function, events: Events) -> anyhow::Result<u8> {
    let stop = signal::stop().context("can't listen to signals")?;
    let progress = match &events {
        Events::One(..) => Progress::Off,
        Events::Many(lines) => Progress::On(lines.size),
    };
    let console = Console::start(progress).context("can't start a thread")?;
    let mut environment = Environment::new(Arc::new(function), console.clone());
    let mut session =
        Session { options, console: &console, environment: &mut environment, summary: Summary::default(), never_started: false };

    let ended = tokio::select! {
        status = session.run(events) => Ended::Done(status),
        stop = stop => Ended::Stopped(stop),
        failure = console.stdout_failed() => Ended::StdoutFailed(failure),
    };
    let summary = session.summary;
    // A second signal is impatience.
    let again = signal::stop().context("can't listen to signals")?;
    environment.stop(again).await;
    if options.source.events.is_some() {
        console.note(format!("bootstrap: {summary}")).await;
    }
    match ended {
        Ended::Done(status) => {
            console.done().await;
            let status = status?;
            console.stdout_failure().map_or(Ok(status), |failure| stdout_failed(failure, status))
        }
        Ended::Stopped(stop) => {
            console.note(format!("bootstrap: stopped by {}", stop.name())).await;
            let _ = tokio::time::timeout(LAST_WORDS, console.done()).await;
            Ok(match stop {
                Stop::HangUp => 129,
                Stop::Interrupt => 130,
                Stop::Terminate => 143,
            })
        }
        Ended::StdoutFailed(failure) => {
            console.done().await;
            stdout_failed(failure, u8::from(summary.errors() > 0))
        }
    }
}

/// Why there are no more events.
enum Ended {
    Done(anyhow::Result<u8>),
    Stopped(Stop),
    StdoutFailed(Failure),
}

/// A reader that has seen enough is no error; a full disk is.
fn stdout_failed(failure: Failure, status: u8) -> anyhow::Result<u8> {
    if failure.closed { Ok(status) } else { Err(failure.into()) }
}

/// The events of one command, one after the other.
struct Session<'a> {
    options: &'a cli::Invoke,
    console: &'a Console,
    environment: &'a mut Environment,
    summary: Summary,
    /// The first event already found no handler that starts.
    never_started: bool,
}

impl Session<'_> {
    async fn run(&mut self, events: Events) -> anyhow::Result<u8> {
        match events {
            Events::One(event, odd) => {
                if let Some(odd) = odd {
                    self.console.note(format!("bootstrap: {odd}")).await;
                }
                self.event(event, None).await?;
            }
            Events::Many(lines) => {
                if !self.lines(lines).await? {
                    return Ok(2);
                }
            }
        }
        Ok(u8::from(self.summary.errors() > 0))
    }

    /// Returns whether all lines were events.
    async fn lines(&mut self, lines: Lines) -> anyhow::Result<bool> {
        let name = lines.name.clone();
        let mut lines = lines.read().context("can't start a thread")?;
        while let Some(Line { number, end, event }) = lines.recv().await {
            let place = format!("{name}, line {number}: ");
            match event {
                Event::NotJson(wrong, excerpt) => {
                    let message =
                        format!("bootstrap: {place}not JSON: {}\n\n{excerpt}\nThe lines after it were not run.", wrong.message);
                    self.console.note(message).await;
                    return Ok(false);
                }
                Event::Unreadable(error) => anyhow::bail!("{place}{error}"),
                event => self.event(event, Some(&place)).await?,
            }
            self.console.progress(end).await;
            if self.never_started {
                self.console.note(format!("bootstrap: {name}: the lines after line {number} were not run")).await;
                break;
            }
        }
        Ok(true)
    }

    /// Runs one event and prints its answer. `place` is where it is one of many.
    async fn event(&mut self, event: Event, place: Option<&str>) -> anyhow::Result<()> {
        let event = match event {
            Event::Whole(event) => event,
            Event::TooLarge(size) => {
                let message = format!("Request must be smaller than {MAX_EVENT_BYTES} bytes for the InvokeFunction operation");
                let size = size.map_or(String::new(), |size| format!("; this one has {size}"));
                let told = format!("the event was not run: Lambda takes events of up to {MAX_EVENT_BYTES} bytes (6 MiB){size}");
                self.summary.add_refused();
                self.print(Answer::document("RequestTooLargeException", &message), place).await;
                self.explain(&told, place).await;
                return Ok(());
            }
            Event::NotJson(..) | Event::Unreadable(_) => unreachable!("only lines are checked, and a single event is read before"),
        };
        let invocation = Invocation {
            request_id: id::uuid().context("no random bytes")?,
            trace_id: match &self.options.trace_id {
                Some(trace_id) => trace_id.clone(),
                None => id::trace_id().context("no random bytes")?,
            },
            client_context: self.options.client_context.clone(),
            tenant_id: self.options.tenant_id.clone(),
            event,
        };
        let Invoked { answer, duration } = self.environment.invoke(invocation).await?;
        self.never_started = self.summary.events() == 0 && matches!(answer, Answer::InitError(_));
        self.summary.add(matches!(answer, Answer::Response(_)), duration);
        self.print(answer.body().clone(), place).await;
        if let Some(told) = explanation(&answer) {
            self.explain(&told, place).await;
        }
        Ok(())
    }

    /// Prints a response or an error document: as it is, or, where it is one of many, on one line.
    async fn print(&self, body: Bytes, place: Option<&str>) {
        let several_lines = place.is_some() && memchr::memchr2(b'\n', b'\r', &body).is_some();
        let body = if several_lines {
            // In JSON these stand between tokens only.
            body.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
        } else {
            body
        };
        self.console.response(body).await;
    }

    async fn explain(&self, told: &str, place: Option<&str>) {
        self.console.note(format!("bootstrap: {}{told}", place.unwrap_or_default())).await;
    }
}

/// A line for people about an error. What the runtime has logged by itself is not said again: it logs every fault of the
/// handler, but not the errors that the handler answers with.
fn explanation(answer: &Answer) -> Option<String> {
    let told = Answer::told(answer.body());
    let Told { error_type, error_message } = &told;
    Some(match answer {
        Answer::Response(_) => return None,
        Answer::InitError(_) => format!("the handler did not start ({error_type}), so the event was not run"),
        Answer::Error(_) if error_type == "Function.Timeout" => {
            "the invocation timed out (Function.Timeout); --timeout SECONDS gives it longer".to_owned()
        }
        Answer::Error(_) if error_type.starts_with("Runtime.") || error_type.starts_with("Function.") => {
            format!("the invocation ended in an error ({error_type})")
        }
        Answer::Error(_) if told == Told::default() => "the handler answered with an error".to_owned(),
        Answer::Error(_) => format!("the handler answered with an error: {error_type}: {error_message}"),
        Answer::PlatformError(_) if error_type == "Sandbox.Timedout" => {
            format!("{error_message} (Sandbox.Timedout); --timeout SECONDS gives it longer")
        }
        Answer::PlatformError(_) => format!("{error_message} ({error_type})"),
    })
}
