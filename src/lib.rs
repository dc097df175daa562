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
//!  (or local)        │      ▲             handler::pool, a handler::supervisor a place   │       a handler's
//!              ◀──── │   Report ◀──── Outcome ◀── protocol::conversation ◀─ ::channel    │ ◀──── fd 1, fd 3
//!                    │                                        log ◀── handler::channel   │ ◀──── fd 2 (and fd 1)
//!  CloudWatch  ◀──── │ ◀───────────────────────────────── stderr                         │
//!                    └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Data goes one way round: Runtime API, [`Invocation`](runtime::invocation::Invocation), message, handler, reply,
//! [`Outcome`](handler::Outcome), [`Report`](runtime::report::Report), Runtime API. With concurrency N there are N loops, and the pool
//! decides which handler gets an event; a streamed response is an outcome that goes on, [`Parts`](handler::stream::Parts) after parts.
//!
//! The loop does not know the modes, and neither does the supervisor: what goes out for an event is the
//! [`Encoder`](protocol::message::Encoder)'s to know, and what a line means the
//! [`Conversation`](protocol::conversation::Conversation)'s. To a one-shot program's conversation all that comes until the end of the
//! process is one line.
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
//! | a response that is posted bit by bit | [`runtime::stream`], and [`handler::stream`] for what waits |
//! | what the handler gets: a line, or stdin and environment | [`protocol::message`], and [`protocol::structure`] for what may travel in it |
//! | what differs between jsonl, filter and oneshot | [`protocol::conversation`] |
//! | what a handler's line means | [`protocol::reply`], [`protocol::stream`], [`protocol::whole`], and [`protocol::lines`] for what a line is |
//! | which handler gets an event | [`handler::pool`] |
//! | one handler over time: started, ready, replaced, ended | [`handler::supervisor`] |
//! | an invocation until its one answer | [`handler::in_flight`] |
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
//! | what becomes of freed memory | [`memory`] |
//! | Lambda on a laptop: `bootstrap invoke` | [`local`] |
//! | the same for AWS's clients: `bootstrap serve` | [`local::serve`] |
//! | whether a handler keeps the protocol: `bootstrap check` | [`local::check`], [`local::check::rules`] for the rules |
//!
//! # Invariants, each an absence
//!
//! - Nothing past [`runtime`] knows HTTP; nothing before [`protocol`] knows JSON lines; [`local`] and [`runtime`] meet only over a
//!   socket: the runtime that `bootstrap invoke` and `bootstrap serve` use is a process of its own, as in Lambda.
//! - [`protocol`], [`deadline`], [`trace`], [`fault`] and the local environment's state machine do no I/O and read no clock.
//! - The event and the response are never parsed into a tree and never serialised again. The event goes from the socket to the pipe,
//!   and the response from the pipe to the socket, as slices of what was read.
//! - Invoking never returns `Err`: whatever can happen to an invocation is an [`Outcome`](handler::Outcome). `Err` in the loop means
//!   that the runtime can't go on.
//! - There are no two reports for an invocation: posting consumes the [`Report`](runtime::report::Report), and concluding an
//!   [`InFlight`](handler::in_flight::InFlight) consumes that.
//! - A handler that owes as many answers as it takes at a time never sees another event. A process's handle exists only while it runs.
//! - A reply that was written before the exit, or before the deadline, is never overlooked: both read what is in the pipes first.
//! - No wait is without a bound but those for what Lambda may hold for hours: `/next`, `/restore/next` and an extension's event.
//! - No task is left running: the few there are (the loops, the supervisors, the signals, the reaper) end with the runtime, and
//!   `runtime::phases` waits for those that owe something.
//! - Nobody but [`handler::process`] waits for processes: two waiters steal each other's exits.
//!
//! # Decisions that show everywhere
//!
//! One thread: it was measured faster and smaller than several, and the parent-death signal of a handler
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
pub mod memory;
pub mod protocol;
pub mod runtime;
pub mod signal;
pub mod timer;
pub mod trace;
