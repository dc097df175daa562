//! Toward Lambda: the loop.
//!
//! [`main`] is the whole life of the runtime: init, then next, invoke, report, until something ends it; then the shutdown phase.
//! The loop knows nothing of processes or JSON lines, and nothing past this room knows HTTP.

pub mod api;
pub mod cause;
pub mod invocation;
pub mod report;
pub mod wrapper;

use std::ffi::OsString;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::runtime::LocalOptions;

use crate::config::{self, Config, ProcessEnvironment};
use crate::document::ErrorDocument;
use crate::fault::Fault;
use crate::handler::process::Children;
use crate::handler::supervisor::Supervisor;
use crate::handler::{Handlers, Outcome, Phase};
use crate::log::{Level, Logs, Settings};
use crate::runtime::api::{Api, Gone};
use crate::runtime::report::{ErrorBody, Report, Target};
use crate::signal;

/// The variable that makes this process a runtime.
pub const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// How long a report that is on its way may take once the handlers are gone.
const LAST_REPORT: Duration = Duration::from_millis(250);

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_millis(250);

/// Why the loop ends.
#[derive(Debug)]
enum End {
    /// The shutdown phase was asked for.
    Stopped,
    /// The handler can't run, or ended before it was ready.
    InitFailed(ErrorDocument),
    /// So many handlers in a row have ended without an answered invocation.
    Exhausted(u32),
    /// The Runtime API can't be used any more.
    Gone(Gone),
}

/// Runs the runtime until it ends, and tells its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let wrapped = wrapper::run_through();
    let (settings, warnings) = Settings::from_environment(|name| std::env::var(name).ok());
    let logs = Logs::new(settings);
    for warning in warnings {
        logs.warn(None, &warning);
    }
    // One thread: measured faster and smaller. The parent-death signal of a handler follows the thread that started it, which
    // must therefore be the main one.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            logs.tell(Level::Error, None, &format!("the event loop can't be set up: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // In a task of its own, since the future that `block_on` polls itself is woken through a system call.
    let life = runtime.spawn_local(async move {
        let status = run(wrapped, &logs).await;
        logs.flush(Instant::now() + LAST_LINES).await;
        status
    });
    // An error would be a panic in the task, which has ended the process by then.
    runtime.block_on(life).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// From here on errors can be posted.
async fn run(wrapped: Result<(), Fault>, logs: &Logs) -> u8 {
    let address = std::env::var_os(RUNTIME_API).unwrap_or_default();
    let api = match Api::new(&address.to_string_lossy(), logs.clone()) {
        Ok(api) => api,
        Err(gone) => {
            logs.tell(Level::Error, None, &gone.to_string());
            return 1;
        }
    };
    let environment = ProcessEnvironment;
    for warning in config::near_misses(&environment) {
        logs.warn(None, &warning);
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let prepared = wrapped.and_then(|()| {
        let config = Rc::new(Config::new(&environment, &arguments)?);
        let children = Children::adopt().map_err(|error| setup_failed("the process can't be made a subreaper", &error))?;
        let (handlers, supervisor) = Handlers::new(config.clone(), children.clone(), logs.clone())?;
        Ok((config, children, handlers, supervisor))
    });
    match prepared {
        Ok((config, children, handlers, supervisor)) => {
            let ended = phases(&api, &config, &children, &handlers, supervisor, logs).await;
            ended.unwrap_or_else(|error| {
                logs.tell(Level::Error, None, &format!("signals can't be listened to: {error}"));
                1
            })
        }
        Err(fault) => {
            let directory = std::env::current_dir().unwrap_or_default();
            report_init_error(&api, &fault.document(Vec::new()), &directory.to_string_lossy(), logs).await;
            1
        }
    }
}

fn setup_failed(what: &str, error: &std::io::Error) -> Fault {
    Fault::InvalidEntrypoint(format!("{what}: {error}"))
}

/// Runs everything side by side until the shutdown phase is over, and tells the exit status.
async fn phases(
    api: &Api,
    config: &Config,
    children: &Children,
    handlers: &Handlers,
    supervisor: Supervisor,
    logs: &Logs,
) -> std::io::Result<u8> {
    // Tasks of their own, so that what wakes one does not make the others look: for each event that would be some thousand
    // instructions. They end with the runtime; the supervisor is waited for.
    let mut stop = tokio::task::spawn_local(signal::stop()?);
    tokio::task::spawn_local(children.watch()?);
    let mut supervise = tokio::task::spawn_local(supervisor.run());
    let mut life = std::pin::pin!(life(api, config, handlers, logs));
    let mut status = None;
    let (mut is_stopping, mut life_is_over, mut handlers_are_gone) = (false, false, false);
    let mut last_report = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    while !(life_is_over && handlers_are_gone) {
        tokio::select! {
            biased;
            signal = &mut stop, if !is_stopping => {
                // An error would be a panic, which has ended the process by then.
                let signal = signal.unwrap_or(signal::Stop::Terminate);
                logs.tell(Level::Debug, None, &format!("{} came: the shutdown phase begins", signal.name()));
                is_stopping = true;
                status.get_or_insert(signal.status());
                handlers.stop();
            }
            end = &mut life, if !life_is_over => {
                life_is_over = true;
                if !matches!(end, End::Stopped) {
                    status.get_or_insert(1);
                }
                tell(&end, logs);
                handlers.stop();
            }
            _ = &mut supervise, if !handlers_are_gone => {
                handlers_are_gone = true;
                last_report.as_mut().reset(tokio::time::Instant::now() + LAST_REPORT);
            }
            // Nothing more will be answered; a report that does not get through is left to Lambda.
            () = &mut last_report, if handlers_are_gone => break,
        }
    }
    Ok(status.unwrap_or(1))
}

fn tell(end: &End, logs: &Logs) {
    match end {
        // An init error has been told in its own line.
        End::Stopped | End::InitFailed(_) => {}
        End::Exhausted(handlers) => logs.tell(
            Level::Error,
            None,
            &format!(
                "{handlers} handlers in a row have ended without an answered invocation (BOOTSTRAP_MAX_RESTARTS); \
                 exiting, so that the platform replaces the execution environment"
            ),
        ),
        End::Gone(gone) => logs.tell(Level::Error, None, &format!("{gone}; exiting")),
    }
}

impl From<Phase> for End {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::InitFailed(document) => Self::InitFailed(document),
            Phase::Exhausted(handlers) => Self::Exhausted(handlers),
            Phase::Starting | Phase::Ready | Phase::Stopping => Self::Stopped,
        }
    }
}

/// The init phase, and then the loop. What ends them is told to the Runtime API where it wants to know.
async fn life(api: &Api, config: &Config, handlers: &Handlers, logs: &Logs) -> End {
    let directory = config.task_root.to_string_lossy();
    let end = init_and_serve(api, config, &directory, handlers, logs).await;
    if let End::InitFailed(document) = &end {
        report_init_error(api, document, &directory, logs).await;
    }
    end
}

async fn init_and_serve(api: &Api, config: &Config, directory: &str, handlers: &Handlers, logs: &Logs) -> End {
    let extension = async {
        if !config.graceful_shutdown {
            return None;
        }
        let registered = api.register_extension().await;
        registered
            .map_err(|why| logs.warn(None, &format!("no internal extension could be registered, so SIGTERM will not come: {why}")))
            .ok()
    };
    // The handler starts while the extension registers; both happen before the first `/next`.
    let (_, extension) = tokio::join!(handlers.started(), extension);
    let wait_as_extension = || async {
        match &extension {
            Some(extension) => api.wait_as(extension).await,
            None => std::future::pending().await,
        }
    };
    if config.snap_start {
        tokio::select! {
            biased;
            phase = handlers.over() => return phase.into(),
            restored = api.restore_next() => {
                if let Err(gone) = restored.and_then(|()| api.reconnect()) {
                    return End::Gone(gone);
                }
            }
            never = wait_as_extension() => match never {},
        }
    }
    tokio::select! {
        end = serve(api, directory, handlers, logs) => end,
        never = wait_as_extension() => match never {},
    }
}

/// The loop: next, invoke, report.
async fn serve(api: &Api, directory: &str, handlers: &Handlers, logs: &Logs) -> End {
    handlers.serve();
    let mut over = std::pin::pin!(handlers.over());
    loop {
        let invocation = tokio::select! {
            biased;
            phase = &mut over => return phase.into(),
            next = api.next() => match next {
                Ok(invocation) => invocation,
                Err(gone) => return End::Gone(gone),
            },
        };
        let target = Target::from(&invocation);
        let answer = handlers.invoke(invocation).await;
        let report = match answer.outcome {
            Outcome::Response(body) => Report::Response(target, body),
            Outcome::Error(document) => {
                logs.error(Some(&target.request_id), &document);
                let body = ErrorBody::new(&document, directory);
                Report::Error(target, Box::new(body))
            }
            Outcome::Abandoned => return End::Stopped,
        };
        if logs.is_waiting() {
            tokio::select! {
                () = logs.flush(answer.log_until) => {}
                // What was answered is reported while there is time.
                () = handlers.stopping() => {}
            }
        }
        api.report(report).await;
        if let Some(settled) = answer.settled {
            // An error means that the handler is gone, and with it the rest of its line.
            let _ = settled.await;
        }
    }
}

async fn report_init_error(api: &Api, document: &ErrorDocument, directory: &str, logs: &Logs) {
    logs.error(None, document);
    logs.flush(Instant::now() + LAST_LINES).await;
    api.init_error(ErrorBody::new(document, directory)).await;
}
