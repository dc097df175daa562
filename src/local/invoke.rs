//! `bootstrap invoke`: runs the handler on events here and prints the responses.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;

use super::answer::{Answer, Told};
use super::console::{Console, Failure, Progress};
use super::environment::{Environment, Invocation, Invoked};
use super::events::{self, Event, Events, Line, Lines, MAX_EVENT_BYTES, NoEvent};
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
    // A signal from now on is impatience.
    environment.stop(signal::stop().context("can't listen to signals")?).await;
    let impatience = signal::stop().context("can't listen to signals")?;
    let last_words = async {
        if options.source.events.is_some() {
            console.note(format!("bootstrap: {summary}")).await;
        }
        if let Ended::Stopped(stop) = &ended {
            console.note(format!("bootstrap: stopped by {}", stop.name())).await;
        }
        console.done().await;
    };
    let patience = async {
        match &ended {
            // Nobody may be reading.
            Ended::Stopped(stop) => {
                tokio::time::sleep(LAST_WORDS).await;
                *stop
            }
            Ended::Done(_) | Ended::StdoutFailed(_) => impatience.await,
        }
    };
    tokio::select! {
        () = last_words => {}
        stop = patience => return Ok(status_of(stop)),
    }
    let (status, failure) = match ended {
        Ended::Done(status) => (status?, console.stdout_failure()),
        Ended::StdoutFailed(failure) => (u8::from(summary.errors() > 0), Some(failure)),
        Ended::Stopped(stop) => (status_of(stop), None),
    };
    match failure {
        // A reader that has seen enough is no error; a full disk is.
        Some(failure) if !failure.closed => Err(failure.into()),
        _ => Ok(status),
    }
}

/// What a shell gives a command that such a signal has ended.
fn status_of(stop: Stop) -> u8 {
    match stop {
        Stop::HangUp => 129,
        Stop::Interrupt => 130,
        Stop::Terminate => 143,
    }
}

/// Why there are no more events.
enum Ended {
    Done(anyhow::Result<u8>),
    Stopped(Stop),
    StdoutFailed(Failure),
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
                Err(NoEvent::NotJson(wrong, excerpt)) => {
                    let message =
                        format!("bootstrap: {place}not JSON: {}\n\n{excerpt}\nThe lines after it were not run.", wrong.message);
                    self.console.note(message).await;
                    return Ok(false);
                }
                Err(NoEvent::Unreadable(error)) => anyhow::bail!("{place}{error}"),
                Ok(event) => self.event(event, Some(&place)).await?,
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

/// A line for people about an error. The runtime logs what it reports, so that is not said again.
fn explanation(answer: &Answer) -> Option<String> {
    let Told { error_type, error_message } = Answer::told(answer.body());
    let error_type = if error_type.is_empty() { "no errorType".to_owned() } else { error_type };
    Some(match answer {
        Answer::Response(_) => return None,
        Answer::InitError(_) => format!("the handler did not start ({error_type}), so the event was not run"),
        Answer::Error(_) if error_type == "Function.Timeout" => {
            format!("the invocation timed out ({error_type}); --timeout SECONDS gives it longer")
        }
        Answer::Error(_) => format!("the invocation ended in an error ({error_type})"),
        Answer::PlatformError(_) if error_type == "Sandbox.Timedout" => {
            format!("{error_message} ({error_type}); --timeout SECONDS gives it longer")
        }
        Answer::PlatformError(_) => format!("{error_message} ({error_type})"),
    })
}
