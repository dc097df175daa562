//! Toward Lambda: the loop.
//!
//! [`main`] is the whole life of the runtime: init, then next, invoke, report, until something ends it; then the shutdown phase.
//! The loop knows nothing of processes or JSON lines, and nothing past this room knows HTTP.

pub mod api;
pub mod cause;
pub mod invocation;
pub mod report;
pub mod stream;
pub mod wrapper;

use std::ffi::OsString;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::{self, Config, ProcessEnvironment};
use crate::document::ErrorDocument;
use crate::fault::Fault;
use crate::handler::process::Children;
use crate::handler::{Answer, Handlers, Outcome, Phase};
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
        let children = Children::adopt()
            .map_err(|error| setup_failed("the process can't take care of its children and descriptors", &error))?;
        let handlers = Handlers::new(config.clone(), children.clone(), logs.clone())?;
        Ok((config, children, handlers))
    });
    match prepared {
        Ok((config, children, handlers)) => {
            let runtime =
                Rc::new(Runtime { api, directory: config.task_root.to_string_lossy().into_owned(), handlers, logs: logs.clone() });
            let ended = phases(&runtime, &config, &children).await;
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

/// What the loop works with.
#[derive(Debug)]
struct Runtime {
    api: Api,
    /// The handler's working directory, for X-Ray.
    directory: String,
    handlers: Handlers,
    logs: Logs,
}

fn setup_failed(what: &str, error: &std::io::Error) -> Fault {
    Fault::InvalidEntrypoint(format!("{what}: {error}"))
}

/// Runs everything side by side until the shutdown phase is over, and tells the exit status.
async fn phases(runtime: &Rc<Runtime>, config: &Config, children: &Children) -> std::io::Result<u8> {
    let Runtime { handlers, logs, .. } = &**runtime;
    // Tasks of their own, so that what wakes one does not make the others look: for each event that would be some thousand
    // instructions. They end with the runtime; the supervisors are waited for.
    let mut stop = tokio::task::spawn_local(signal::stop()?);
    tokio::task::spawn_local(children.watch()?);
    handlers.start();
    let mut life = std::pin::pin!(life(runtime, config));
    let mut gone = std::pin::pin!(handlers.gone());
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
            () = &mut gone, if !handlers_are_gone => {
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
async fn life(runtime: &Rc<Runtime>, config: &Config) -> End {
    let end = init_and_serve(runtime, config).await;
    if let End::InitFailed(document) = &end {
        report_init_error(&runtime.api, document, &runtime.directory, &runtime.logs).await;
    }
    end
}

async fn init_and_serve(runtime: &Rc<Runtime>, config: &Config) -> End {
    let Runtime { api, handlers, logs, .. } = &**runtime;
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
        end = serve_all(runtime, config.concurrency) => end,
        never = wait_as_extension() => match never {},
    }
}

/// As many loops as invocations can be in flight, until the first one ends; then the others end too.
async fn serve_all(runtime: &Rc<Runtime>, concurrency: u32) -> End {
    runtime.handlers.serve();
    if concurrency == 1 {
        return serve(runtime).await;
    }
    let mut loops = JoinSet::new();
    for _ in 0..concurrency {
        let runtime = runtime.clone();
        loops.spawn_local(async move { serve(&runtime).await });
    }
    let mut first = None;
    // An error would be a panic, which has ended the process by then.
    while let Some(Ok(end)) = loops.join_next().await {
        first.get_or_insert(end);
        // The invocations in flight may still be answered within the grace period.
        runtime.handlers.stop();
    }
    first.unwrap_or(End::Stopped)
}

/// The loop: next, invoke, report.
async fn serve(runtime: &Runtime) -> End {
    let Runtime { api, directory, handlers, logs } = runtime;
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
        let Answer { outcome, log_until, settled } = handlers.invoke(invocation).await;
        let report = match outcome {
            Outcome::Response(body) => Some(Report::Response(target, body)),
            Outcome::Error(document) => {
                logs.error(Some(&target.request_id), &document);
                let body = ErrorBody::new(&document, directory);
                Some(Report::Error(target, Box::new(body)))
            }
            Outcome::Stream(streamed) => {
                flush(log_until, handlers, logs).await;
                wait_for(stream::post(api, target, streamed, directory, handlers, logs).await).await;
                None
            }
            Outcome::Abandoned => return End::Stopped,
        };
        if let Some(report) = report {
            flush(log_until, handlers, logs).await;
            api.report(report).await;
        }
        wait_for(settled).await;
    }
}

/// What is logged before a report is out before it, while there is time.
async fn flush(until: Instant, handlers: &Handlers, logs: &Logs) {
    if logs.is_waiting() {
        tokio::select! {
            () = logs.flush(until) => {}
            // What was answered is reported while there is time.
            () = handlers.stopping() => {}
        }
    }
}

/// Waits for the rest of a reply that is too large. An error means that the handler is gone, and with it the rest of its line.
async fn wait_for(settled: Option<oneshot::Receiver<()>>) {
    if let Some(settled) = settled {
        let _ = settled.await;
    }
}

async fn report_init_error(api: &Api, document: &ErrorDocument, directory: &str, logs: &Logs) {
    logs.error(None, document);
    logs.flush(Instant::now() + LAST_LINES).await;
    api.init_error(ErrorBody::new(document, directory)).await;
}
