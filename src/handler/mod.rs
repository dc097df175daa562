//! Toward the user's process: an [`Invocation`] in, an [`Outcome`] out.
//!
//! [`Handlers`] is what the runtime holds. Behind it a [pool](pool::Pool) has places, and in each a supervisor keeps a process
//! running and hands it events; they talk over channels, and each supervisor is a task of its own. Invoking never fails: whatever can
//! happen to an invocation is an [`Outcome`].

pub mod channel;
pub mod command;
pub mod in_flight;
pub mod pool;
pub mod process;
pub mod running;
pub mod stdin;
pub mod stream;
pub mod supervisor;

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::config::Config;
use crate::document::ErrorDocument;
use crate::fault::Fault;
use crate::handler::command::Command;
use crate::handler::pool::Pool;
use crate::handler::process::Children;
use crate::handler::stream::Parts;
use crate::log::Logs;
use crate::protocol::reply::Source;
use crate::protocol::stream::StreamHead;
use crate::runtime::invocation::Invocation;

/// What became of an invocation.
#[derive(Debug)]
pub enum Outcome {
    /// The handler's response, at most as large as the platform takes.
    Response(Bytes),
    /// The handler has begun to answer.
    Stream(Streamed),
    /// The handler's error, or the fault that it committed.
    Error(ErrorDocument),
    /// The shutdown phase overtook it; it is left to Lambda.
    Abandoned,
}

/// A response that comes bit by bit.
#[derive(Debug)]
pub struct Streamed {
    /// What is known of it.
    pub head: StreamHead,
    /// The rest.
    pub parts: Parts,
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

impl Answer {
    fn at_once(outcome: Outcome) -> Self {
        Self { outcome, log_until: Instant::now(), settled: None }
    }
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

/// Which of a handler's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
    /// Descriptor 3.
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

impl Pipe {
    /// As a channel that replies may come on.
    #[must_use]
    pub fn source(self) -> Option<Source> {
        match self {
            Self::Stdout => Some(Source::Stdout),
            Self::Reply => Some(Source::ReplyFd),
            Self::Stderr => None,
        }
    }
}

/// The user's processes, whichever they are at the moment. A cheap handle.
#[derive(Debug, Clone)]
pub struct Handlers {
    pool: Rc<Pool>,
    phase: watch::Receiver<Phase>,
}

impl Handlers {
    /// The handlers of this command. None runs before [`Self::start`].
    ///
    /// # Errors
    /// The init error of a command that can't be found or run.
    pub fn new(config: Rc<Config>, children: Children, logs: Logs) -> Result<Self, Fault> {
        let command = Command::resolve(&config)?;
        let (entered, phase) = watch::channel(Phase::Starting);
        Ok(Self { pool: Rc::new(Pool::new(config, command, children, logs, entered)), phase })
    }

    /// The init phase begins: the first handler starts, where the mode has handlers before there are events.
    pub fn start(&self) {
        self.pool.start();
    }

    /// Waits until the phase is one that matters to the caller.
    async fn phase(&self, matters: impl Fn(&Phase) -> bool) -> Phase {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matters(phase)).await {
            Ok(phase) => phase.clone(),
            // Nobody is left to tell of a phase.
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
        self.pool.serve();
    }

    /// The shutdown phase begins.
    pub fn stop(&self) {
        self.pool.stop();
    }

    /// Waits until the shutdown phase is over.
    pub async fn gone(&self) {
        self.pool.gone().await;
    }

    /// Hands an event to a handler and waits for what becomes of it.
    pub async fn invoke(&self, invocation: Invocation) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.pool.invoke(&invocation, answer);
        // A supervisor answers every invocation before it ends; if it is gone already, so is the chance to answer this one.
        answered.await.unwrap_or(Answer::at_once(Outcome::Abandoned))
    }
}
