//! Black-box tests: the real binary between a scripted Runtime API and handlers that each do one thing.
//!
//! A test says what the Runtime API answers and which handler runs, and looks at what was reported, logged and left
//! behind. `support` is the harness; `tests/fixtures/handlers/` holds the handlers.
//!
//! `TEST_PATIENCE_MS` is how long a single wait may last before it fails (30000). `BOOTSTRAP_TEST_BINARY` is another
//! binary to test in the place of the one just built. `SOAK_EVENTS` is how many events a soak has (10000); what `model` knows beside
//! that stands there.

// A test that can't go on panics; that is what unwrap says.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod it {
    /// The harness. No tests.
    pub(crate) mod support;

    /// `bootstrap check`: the examples pass, and what breaks a rule is caught.
    mod check;
    /// Section 1: which process runs, with which arguments, environment and working directory.
    mod command;
    /// Several invocations in flight: in several processes, and in one.
    mod concurrency;
    /// The message's context: what comes from headers and what from the environment.
    mod context;
    /// The deadline: what happens when a handler is too late, and which margins hold.
    mod deadline;
    /// What is linked, against the list of it.
    mod dependencies;
    /// The examples, as they stand, by what they answer.
    mod examples;
    /// The fault table in the invoke phase, restarts, and the crash-loop limit.
    mod faults;
    /// Mode `filter`: the bare event in, the bare response out.
    mod filter;
    /// A freeze of everything, longer than every limit of time, at each point of an invocation.
    mod frozen;
    /// The fault table in the init phase: what can't be started, and settings that can't be.
    mod init_errors;
    /// `bootstrap invoke`: the command line, and the execution environment behind it.
    mod invoke;
    /// What the handler logs and what bootstrap logs: format, order, length, bytes.
    mod logs;
    /// Replies that break a rule, late and repeated replies, and what fd 3 allows.
    mod malformed;
    /// The message to the handler, byte for byte.
    mod messages;
    /// Random scripts of handler and Runtime API, against what bootstrap promises.
    mod model;
    /// Mode `oneshot`: one process per event.
    mod oneshot;
    /// When a handler counts as started.
    mod readiness;
    /// The README: its tables against the code, its commands against what they print.
    mod readme;
    /// The harness's own referee: what it sees and what it refuses.
    mod referee;
    /// Faults that were found once.
    mod regressions;
    /// Replies that keep the rules, and what is posted for them.
    mod replies;
    /// Section 7: requests, retries, refusals, addresses, headers.
    mod runtime_api;
    /// What docs/security.md says of logs and secrets.
    mod security;
    /// `bootstrap serve`: the Invoke API, and who gets which answer.
    mod serve;
    /// Signals, grace, and what is left of the handler's processes.
    mod shutdown;
    /// Ten thousand events in each mode, and what is left of them.
    mod soak;
    /// Out of descriptors, processes or memory; without /proc, /tmp or standard streams; killed or stopped at any instant.
    mod starved;
    /// Streamed replies: what arrives when, how a stream ends, and a Runtime API that does not keep up.
    mod streams;
    /// What docs/trust.md says of the sources.
    mod trust;
}
