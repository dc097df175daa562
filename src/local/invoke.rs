//! `bootstrap invoke`: runs the handler on events here and prints the responses.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::console::{Console, Failure, Progress};
use super::environment::Environment;
use super::events::{self, Events};
use super::function::Function;
use super::id;
use super::journal::Journal;
use super::session::Session;
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
    let inherited = std::env::vars_os();
    let now = SystemTime::now();
    let function = Function::new(&options.function, None, options.concurrency, inherited, directory.as_os_str(), now, &stream)?;
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
    let environment = Arc::new(Environment::new(Arc::new(function), Journal::plain(console.clone())));
    let mut session = Session::new(options, &console, &environment);

    let ended = tokio::select! {
        status = session.run(events) => Ended::Done(status),
        stop = stop => Ended::Stopped(stop),
        failure = console.stdout_failed() => Ended::StdoutFailed(failure),
    };
    let summary = session.into_summary();
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
pub fn status_of(stop: Stop) -> u8 {
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
