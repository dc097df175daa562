//! Toward the user's process: an [`Invocation`] in, an [`Outcome`] out.
//!
//! [`Handlers`] is what the runtime holds. Behind it a supervisor keeps a process running and hands it events; the two talk over a
//! channel, and each is a task of its own. Invoking never fails: whatever can happen to an invocation is an [`Outcome`].

pub mod channel;
pub mod command;
pub mod process;
pub mod running;
pub mod stdin;
pub mod supervisor;

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::document::ErrorDocument;
use crate::fault::Fault;
use crate::handler::command::Command;
use crate::handler::process::Children;
use crate::handler::supervisor::{Request, Supervisor};
use crate::log::Logs;
use crate::runtime::invocation::Invocation;

/// What became of an invocation.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handler's response, at most as large as the platform takes.
    Response(Bytes),
    /// The handler's error, or the fault that it committed.
    Error(ErrorDocument),
    /// The shutdown phase overtook it; it is left to Lambda.
    Abandoned,
}

/// An outcome, and what the runtime must mind before it goes on.
#[derive(Debug)]
pub struct Answer {
    /// What became of the invocation.
    pub outcome: Outcome,
    /// How long the report may wait for the log lines before it.
    pub log_until: Instant,
    /// `/next` waits for this, if there is one: the rest of a reply that is too large is on its way. An error means that it will
    /// not come.
    pub settled: Option<oneshot::Receiver<()>>,
}

/// Where the handlers are in their life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The first one starts.
    Starting,
    /// `/next` may be called: it is ready, or it has had its time.
    Ready,
    /// It can't run, or ended before it was ready.
    InitFailed(ErrorDocument),
    /// So many in a row have ended without an answered invocation that bootstrap gives up.
    Exhausted(u32),
    /// The shutdown phase.
    Stopping,
}

/// The user's process, whichever it is at the moment.
#[derive(Debug)]
pub struct Handlers {
    requests: mpsc::UnboundedSender<Request>,
    phase: watch::Receiver<Phase>,
}

impl Handlers {
    /// The handlers of this command, and the supervisor that must run beside their use.
    ///
    /// # Errors
    /// The init error of a command that can't be found or run.
    pub fn new(config: Rc<Config>, children: Children, logs: Logs) -> Result<(Self, Supervisor), Fault> {
        let command = Command::resolve(&config)?;
        let (requests, received) = mpsc::unbounded_channel();
        let (entered, phase) = watch::channel(Phase::Starting);
        let supervisor = Supervisor::new(config, command, children, logs, received, entered);
        Ok((Self { requests, phase }, supervisor))
    }

    /// Waits until the phase is one that matters to the caller.
    async fn phase(&self, matters: impl Fn(&Phase) -> bool) -> Phase {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matters(phase)).await {
            Ok(phase) => phase.clone(),
            // The supervisor is gone, and with it every phase but the last.
            Err(_) => Phase::Stopping,
        }
    }

    /// Waits until the init phase can end, with the phase that ends it.
    pub async fn started(&self) -> Phase {
        self.phase(|phase| *phase != Phase::Starting).await
    }

    /// Waits until there is a reason to call `/next` no more.
    pub async fn over(&self) -> Phase {
        self.phase(|phase| !matches!(phase, Phase::Starting | Phase::Ready)).await
    }

    /// Waits until the shutdown phase begins.
    pub async fn stopping(&self) {
        self.phase(|phase| *phase == Phase::Stopping).await;
    }

    /// The invoke phase begins: from now on the end of a handler is no init error.
    pub fn serve(&self) {
        self.request(Request::Serve);
    }

    /// The shutdown phase begins.
    pub fn stop(&self) {
        self.request(Request::Stop);
    }

    /// Hands an event to a handler and waits for what becomes of it.
    pub async fn invoke(&self, invocation: Invocation) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.request(Request::Invoke(Box::new(invocation), answer));
        // The supervisor answers every invocation before it ends; if it is gone already, so is the chance to answer this one.
        answered.await.unwrap_or(Answer { outcome: Outcome::Abandoned, log_until: Instant::now(), settled: None })
    }

    fn request(&self, request: Request) {
        // Refused only once the supervisor has ended, that is in the shutdown phase.
        let _ = self.requests.send(request);
    }
}
