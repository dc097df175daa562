//! `bootstrap check`: tells a handler's author whether the handler keeps the protocol.
//!
//! ```text
//!     lambda    through the real runtime ---.
//!                                            >---> seen ---> rules ---> report
//!     talk      on the handler's channels --'      data      data
//! ```
//!
//! Of the protocol's rooms this uses what is pure: how a line is read.

pub mod channels;
pub mod events;
pub mod lambda;
pub mod report;
pub mod rules;
pub mod seen;
pub mod talk;
pub mod tree;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::time::Instant;

use self::lambda::Lambda;
use self::report::Report;
use self::rules::RULES;
use self::seen::{Mode, Seen};
use super::function::Function;
use super::id;
use crate::cli::{self, CheckFormat};
use crate::signal::{self, Stop};

/// Runs the command. The exit status: 0 when every rule holds, 1 when one is broken, 128 and its number after a signal.
///
/// # Errors
/// A [`cli::UsageError`], or a fault of this machine's.
pub fn run(options: &cli::Check) -> anyhow::Result<ExitCode> {
    let directory = std::env::current_dir().context("can't tell the current directory")?;
    let stream = id::hex().context("no random bytes")?;
    let inherited = std::env::vars_os();
    let mut function = Function::new(&options.function, None, 1, inherited, directory.as_os_str(), SystemTime::now(), &stream)?;
    // The runtime's warnings are a part of what is looked at.
    if ["ERROR", "FATAL"].iter().any(|level| function.variable("AWS_LAMBDA_LOG_LEVEL").eq_ignore_ascii_case(level)) {
        function.environment.insert("AWS_LAMBDA_LOG_LEVEL".into(), "WARN".into());
    }
    // What a handler leaves behind becomes ours, so that it can be seen, and ended.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("can't adopt processes")?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start an event loop")?;
    let status = runtime.block_on(check(options, Arc::new(function)));
    runtime.shutdown_background();
    status.map(ExitCode::from)
}

async fn check(options: &cli::Check, function: Arc<Function>) -> anyhow::Result<u8> {
    let stop = signal::stop().context("can't listen to signals")?;
    // Whoever became this process by exec may have had children: they are none of the handler's.
    let bystanders: Vec<i32> = tree::ours_but(&[]).unwrap_or_default().iter().map(|process| process.id).collect();
    let mode = match function.variable("BOOTSTRAP_MODE") {
        "filter" => Mode::Filter,
        "oneshot" => Mode::OneShot,
        _ => Mode::JsonLines,
    };
    let lambda = Lambda::new(Arc::clone(&function), mode, Bytes::from(options.event.clone()));
    let observed = tokio::select! {
        seen = observe(&lambda, &function, mode, &options.event, &bystanders) => Ok(seen?),
        stop = stop => Err(stop),
    };
    match observed {
        Ok(seen) => {
            let report = Report { verdicts: RULES.into_iter().map(|rule| (rule, (rule.judge)(&seen))).collect() };
            let (_, broken, _) = report.counts();
            let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
            let text = match options.format {
                CheckFormat::Text => report.text(colours),
                CheckFormat::Json => report.json(),
            };
            let mut stdout = io::stdout();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("writing to stdout")?;
            Ok(u8::from(broken > 0))
        }
        Err(stop) => {
            lambda.environment.stop(signal::stop().context("can't listen to signals")?).await;
            end_the_rest(&bystanders).await;
            Ok(match stop {
                Stop::HangUp => 129,
                Stop::Interrupt => 130,
                Stop::Terminate => 143,
            })
        }
    }
}

/// All that is to be seen of the handler. What it left behind has ended by then.
async fn observe(lambda: &Lambda, function: &Function, mode: Mode, sample: &str, bystanders: &[i32]) -> anyhow::Result<Seen> {
    let mut seen = lambda.observe().await?;
    lambda.environment.stop(std::future::pending::<()>()).await;
    if seen.start.error.is_none() {
        let talk = talk::observe(function, mode, sample, bystanders).await?;
        let (answered, concurrency, response) = (talk.answered, talk.concurrency, talk.response.clone());
        seen.talk = Some(talk);
        end_the_rest(bystanders).await;
        seen.afterwards = match mode {
            _ if !answered => None,
            Mode::OneShot => None,
            Mode::Filter if response.is_none() => Some(talk::terminated(function, sample).await?),
            _ => Some(talk::afterwards(function, mode, sample, response).await?),
        };
        end_the_rest(bystanders).await;
        if mode == Mode::JsonLines && concurrency > 1 {
            seen.crowd = Some(talk::crowd(function, sample, concurrency).await?);
            end_the_rest(bystanders).await;
        }
    }
    Ok(seen)
}

/// How long what was killed may take to be gone: it needs the processor for that.
const GONE: Duration = Duration::from_secs(10);

/// Ends what a handler has started and not ended itself, and what that starts meanwhile, and waits for their end.
async fn end_the_rest(bystanders: &[i32]) {
    let end = Instant::now() + GONE;
    while let Some(mut processes) = tree::ours_but(bystanders) {
        processes.retain(|process| !process.is_zombie);
        if processes.is_empty() || Instant::now() > end {
            return;
        }
        tree::signal(&processes, rustix::process::Signal::KILL);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
