//! Execution environments: the Runtime API's server, and the runtime as a child process that knows nothing but its address.
//!
//! The runtime is this same binary, started with Lambda's variables. An environment enforces the timeout as Lambda does, and
//! replaces its runtime after a timeout, an exit or an init error. What its runtime says on stdout and stderr are logs.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::Answer;
use super::api::{Delivery, Identity, RuntimeApi};
use super::console::Console;
use super::function::Function;
use super::logs::Logs;

/// Lambda's limit for the init phase. After it the invocation's own time runs.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// What the runtime needs beyond its grace period to end: its handler gets all of that.
const BEYOND_GRACE: Duration = Duration::from_secs(2);

/// How long a dead runtime's sockets and log pipe are waited for. They close with it, unless somebody else holds them.
const AFTERMATH: Duration = Duration::from_secs(1);

/// One event and what comes with it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The request id, unique.
    pub request_id: String,
    /// The X-Ray tracing header.
    pub trace_id: String,
    /// The caller's context, raw JSON.
    pub client_context: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// The event.
    pub event: Bytes,
}

/// An answer and how long it took.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// The answer.
    pub answer: Answer,
    /// From the delivery of the event to the answer, the init phase left out; zero where there was no delivery.
    pub duration: Duration,
}

/// An execution environment. It starts its runtime when an event needs one.
#[derive(Debug)]
pub struct Environment {
    function: Arc<Function>,
    console: Console,
    /// The runtime that takes the next event. A spent one is never left here.
    runtime: Option<Runtime>,
    /// The end of the runtime before it.
    retiring: Option<JoinHandle<()>>,
}

impl Environment {
    /// An environment for this function, which logs to the console.
    pub fn new(function: Arc<Function>, console: Console) -> Self {
        Environment { function, console, runtime: None, retiring: None }
    }

    /// Runs the function on one event. There is an answer whatever the function does.
    ///
    /// A caller that drops the future has given up; then [`stop`](Self::stop) is all that is left.
    ///
    /// # Errors
    /// When this machine gives no process, socket or random bytes.
    pub async fn invoke(&mut self, invocation: Invocation) -> anyhow::Result<Invoked> {
        self.retired().await;
        let ready = match &mut self.runtime {
            Some(runtime) => runtime.next_is_due().await,
            None => false,
        };
        if !ready {
            self.retire();
            self.retired().await;
            self.runtime = Some(Runtime::start(&self.function, &self.console).await?);
        }
        let Some(runtime) = &mut self.runtime else {
            anyhow::bail!("no runtime was started");
        };
        let invoked = runtime.invoke(&self.function, invocation).await?;
        runtime.logs.drain().await;
        if runtime.spent {
            self.retire();
        }
        Ok(invoked)
    }

    /// Ends the runtime, and waits for its end. Once `hurry` resolves it is killed at once.
    pub async fn stop<T>(mut self, hurry: impl Future<Output = T>) {
        self.retire();
        if let Some(mut retiring) = self.retiring.take() {
            tokio::select! {
                _ = &mut retiring => {}
                _ = hurry => {
                    // Dropping a child kills it.
                    retiring.abort();
                    let _ = retiring.await;
                }
            }
        }
    }

    /// Begins to end the runtime, if there is one. It goes on by itself.
    fn retire(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.retiring = Some(tokio::spawn(runtime.stop(self.function.grace)));
        }
    }

    /// Waits for the end of the runtime before: what it holds, a port for one, must be free for the next.
    async fn retired(&mut self) {
        if let Some(retiring) = &mut self.retiring {
            // It doesn't panic, and only `stop` aborts it.
            let _ = retiring.await;
            self.retiring = None;
        }
    }
}

/// One run of the runtime, with its own Runtime API.
#[derive(Debug)]
struct Runtime {
    api: RuntimeApi,
    process: Child,
    logs: Logs,
    /// The end of the init phase, or of the time that the invocation before was given: the next `/next` has come by then.
    next_due_by: Instant,
    /// It takes no further event.
    spent: bool,
    /// It has said that it can't start, and exits by itself.
    exits: bool,
}

/// What ends the wait for an answer.
enum Event {
    Answered(Answer),
    InitError(Bytes),
    Exited(io::Result<ExitStatus>),
    TimedOut,
}

impl Runtime {
    async fn start(function: &Function, console: &Console) -> anyhow::Result<Self> {
        let identity = Identity {
            function_name: function.name.clone(),
            function_version: function.variable("AWS_LAMBDA_FUNCTION_VERSION").to_owned(),
            handler: function.variable("_HANDLER").to_owned(),
        };
        let api = RuntimeApi::start(identity).await.context("can't listen on 127.0.0.1 for the runtime")?;
        let (log, log_end) = pipe_with(PipeFlags::CLOEXEC).context("can't make a pipe for the logs")?;
        let logs = Logs::start(log, console.clone()).context("can't read the logs")?;
        let process = spawn(function, &api, log_end).context("can't start the runtime")?;
        Ok(Runtime { api, process, logs, next_due_by: Instant::now() + INIT_LIMIT, spent: false, exits: false })
    }

    /// Waits until a runtime that has served an event waits for the next one. It may have ended instead, or be stuck.
    async fn next_is_due(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.process.wait() => false,
            () = self.api.idle() => true,
            () = sleep_until(self.next_due_by) => false,
        }
    }

    async fn invoke(&mut self, function: &Function, invocation: Invocation) -> anyhow::Result<Invoked> {
        // The init phase. For a runtime that has served an event it is long over.
        let before = tokio::select! {
            () = self.api.idle() => None,
            document = self.api.init_error() => Some(Event::InitError(document)),
            exit = self.process.wait() => Some(Event::Exited(exit)),
            () = sleep_until(self.next_due_by) => None,
        };
        let request_id = invocation.request_id.clone();
        let delivered = Instant::now();
        let deadline = delivered + function.timeout;
        let epoch_deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + function.timeout;
        let mut answered = self.api.deliver(Delivery {
            request_id: invocation.request_id,
            deadline_ms: u64::try_from(epoch_deadline.as_millis()).unwrap_or(u64::MAX),
            arn: function.arn.clone(),
            trace_id: invocation.trace_id,
            client_context: invocation.client_context,
            tenant_id: invocation.tenant_id,
            event: invocation.event,
        })?;
        self.next_due_by = deadline;

        let event = match before {
            Some(before) => before,
            None => tokio::select! {
                biased;
                Ok(answer) = &mut answered => Event::Answered(answer),
                document = self.api.init_error() => Event::InitError(document),
                exit = self.process.wait() => Event::Exited(exit),
                () = sleep_until(deadline) => Event::TimedOut,
            },
        };
        // A report that was sent before the exit is believed; it may still be in a socket.
        let event = match event {
            Event::Exited(exit) => {
                self.spent = true;
                // Past this time somebody else holds the sockets, and sends nothing.
                let _ = timeout(AFTERMATH, self.api.drained()).await;
                match (answered.try_recv(), self.api.take_init_error()) {
                    (Ok(answer), _) => Event::Answered(answer),
                    (Err(_), Some(document)) => Event::InitError(document),
                    (Err(_), None) => Event::Exited(exit),
                }
            }
            event => event,
        };
        let duration = delivered.elapsed();
        let answer = match event {
            Event::Answered(answer) => answer,
            Event::InitError(document) => {
                self.spent = true;
                self.exits = true;
                Answer::InitError(document)
            }
            Event::Exited(exit) => {
                let what = match exit {
                    Ok(status) => exit_message(status),
                    Err(error) => format!("Runtime exited: {error}"),
                };
                Answer::platform_error("Runtime.ExitError", &format!("RequestId: {request_id} Error: {what}"))
            }
            Event::TimedOut => {
                self.spent = true;
                let seconds = function.timeout.as_secs_f64();
                let message = format!("RequestId: {request_id} Error: Task timed out after {seconds:.2} seconds");
                Answer::platform_error("Sandbox.Timedout", &message)
            }
        };
        if self.spent {
            self.api.end();
        }
        Ok(Invoked { answer, duration })
    }

    /// Ends the runtime: as Lambda's shutdown phase does where an extension is registered, SIGTERM, a while, SIGKILL.
    async fn stop(mut self, grace: Duration) {
        self.api.end();
        if self.exits {
            // It is clearing up; a signal would only cut that short.
            let _ = timeout(grace + AFTERMATH, self.process.wait()).await;
        }
        self.signal(Signal::TERM);
        if timeout(grace + BEYOND_GRACE, self.process.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // Its status is of no interest any more.
            let _ = self.process.wait().await;
        }
        // What it said at the end comes out, unless somebody else keeps the pipe open.
        let _ = timeout(AFTERMATH, pin!(self.logs.finish())).await;
    }

    /// Signals the runtime's process group, if the runtime has not ended.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may be ending this moment.
            let _ = kill_process_group(pid, signal);
        }
    }
}

/// Lambda's words for the end of a runtime; they are Go's for the end of a process.
fn exit_message(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                1 => "hangup",
                2 => "interrupt",
                3 => "quit",
                4 => "illegal instruction",
                6 => "aborted",
                8 => "floating point exception",
                9 => "killed",
                11 => "segmentation fault",
                13 => "broken pipe",
                15 => "terminated",
                _ => return format!("Runtime exited with error: signal {signal}"),
            };
            format!("Runtime exited with error: signal: {name}")
        }
        (None, None) => "Runtime exited".to_owned(),
    }
}

/// Starts the runtime: this binary, with the address of its Runtime API.
///
/// It leads a process group of its own, so that a terminal's Ctrl-C reaches it through us and only once, and it gets SIGTERM
/// where we are killed, so that it ends its handler and nothing stays.
fn spawn(function: &Function, api: &RuntimeApi, log: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env_clear()
        .envs(&function.environment)
        .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .process_group(0)
        .kill_on_drop(true);
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getpid();
        let die_with_parent = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            // The parent may have died before that.
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two system calls, which allocate
        // nothing and take no lock. (An `io::Error` of an `ErrorKind` is no allocation either.)
        #[expect(unsafe_code, reason = "the parent-death signal can be set by the child only")]
        unsafe {
            command.pre_exec(die_with_parent);
        }
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtimes_end_is_told_in_lambdas_words() {
        for (wait_status, message) in [
            (0, "Runtime exited without providing a reason"),
            (1 << 8, "Runtime exited with error: exit status 1"),
            (9, "Runtime exited with error: signal: killed"),
            (11 | 0x80, "Runtime exited with error: signal: segmentation fault"),
            (64, "Runtime exited with error: signal 64"),
        ] {
            assert_eq!(exit_message(ExitStatus::from_raw(wait_status)), message);
        }
    }
}
