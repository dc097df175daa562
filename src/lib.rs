//! `bootstrap` turns any executable into an AWS Lambda function.
//!
//! It owns the Lambda Runtime API loop and hands each event to the user's process, the handler, as a JSON line; tracing, deadlines,
//! errors, logs and clean-up are its work, not the handler's.
//!
//! # The picture
//!
//! ```text
//!                    ┌──────────────────────────── bootstrap ────────────────────────────┐
//!  Runtime API ────▶ │ runtime::api ─▶ Invocation ─▶ protocol::message ─▶ handler::stdin │ ────▶ fd 0
//!  (or local)        │      ▲                            handler::supervisor             │       the handler's
//!              ◀──── │   Report ◀──── Outcome ◀───── protocol::reply ◀── handler::channel│ ◀──── fd 1, fd 3
//!                    │                                        log ◀── handler::channel   │ ◀──── fd 2 (and fd 1)
//!  CloudWatch  ◀──── │ ◀───────────────────────────────── stderr                         │
//!                    └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Data goes one way round: Runtime API, [`Invocation`](runtime::invocation::Invocation), message, handler, reply,
//! [`Outcome`](handler::Outcome), [`Report`](runtime::report::Report), Runtime API.
//!
//! # The rooms
//!
//! | to find | look at |
//! |---|---|
//! | what the process does first, and the exit status | `main.rs` |
//! | the command line and its help | [`cli`] |
//! | the settings, validated | [`config`] |
//! | the loop: init, next, invoke, report; the shutdown phase | [`runtime`] |
//! | HTTP toward Lambda: retries, refusals, headers | [`runtime::api`] |
//! | headers and body of an event | [`runtime::invocation`] |
//! | what is posted, and the X-Ray cause | [`runtime::report`], [`runtime::cause`] |
//! | the line that the handler gets | [`protocol::message`], and [`protocol::structure`] for what may travel in it |
//! | what a handler's line means | [`protocol::reply`], and [`protocol::lines`] for what a line is |
//! | one handler over time: started, ready, replaced, ended | [`handler::supervisor`] |
//! | its process with its channels | [`handler::running`], [`handler::channel`], [`handler::stdin`] |
//! | the command, and why it can't run | [`handler::command`] |
//! | fork, exec, signals, reaping, what is left behind | [`handler::process`] |
//! | every way a handler can fail, with its message | [`fault`] |
//! | the error document that the caller sees | [`document`] |
//! | how long a handler has | [`deadline`] |
//! | the X-Ray header and `traceparent` | [`trace`] |
//! | log lines, and a stderr that takes none | [`log`] |
//! | who asks us to stop | [`signal`] |
//! | waiting for a deadline, cheaply | [`timer`] |
//! | Lambda on a laptop: `bootstrap invoke` | [`local`] |
//!
//! # Invariants, each an absence
//!
//! - Nothing past [`runtime`] knows HTTP; nothing before [`protocol`] knows JSON lines; [`local`] and [`runtime`] meet only over a
//!   socket: the runtime that `bootstrap invoke` uses is a process of its own, as in Lambda.
//! - [`protocol`], [`deadline`], [`trace`], [`fault`] and the local environment's state machine do no I/O and read no clock.
//! - The event and the response are never parsed into a tree and never serialised again. The event goes from the socket to the pipe,
//!   and the response from the pipe to the socket, as slices of what was read.
//! - Invoking never returns `Err`: whatever can happen to an invocation is an [`Outcome`](handler::Outcome). `Err` in the loop means
//!   that the runtime can't go on.
//! - There are no two reports for an invocation: posting consumes the [`Report`](runtime::report::Report), and the
//!   [`Supervisor`](handler::supervisor::Supervisor) gives up its end of an invocation when it answers.
//! - A handler that owes an answer never sees another event: it is ended first. A process's handle exists only while it runs.
//! - A reply that was written before the exit, or before the deadline, is never overlooked: both read what is in the pipes first.
//! - No wait is without a bound but those for what Lambda may hold for hours: `/next`, `/restore/next` and an extension's event.
//! - No task is left running: the few there are (the supervisor, the signals, the reaper) begin in `runtime::phases`, which waits for
//!   the supervisor, and end with the runtime.
//! - Nobody but [`handler::process`] waits for processes: two waiters steal each other's exits.
//!
//! # Decisions that show everywhere
//!
//! One thread: for one event at a time it was measured faster and smaller than several, and the parent-death signal of a handler
//! follows the thread that started it. The supervisor waits for the next of a closed set of events and deals with it without waiting
//! again, so nothing is ever half done when the next one comes. Errors by which code decides are closed enums; at the edges they are
//! one line that says what happened, where, and what to do.

pub mod cli;
pub mod config;
pub mod deadline;
pub mod document;
pub mod fault;
pub mod handler;
pub mod local;
pub mod log;
pub mod protocol;
pub mod runtime;
pub mod signal;
pub mod timer;
pub mod trace;
