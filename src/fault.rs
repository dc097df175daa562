//! Every way a handler can fail us: its errorType, its message, and what becomes of the process.

use std::time::Duration;

use thiserror::Error;

use crate::document::ErrorDocument;
use crate::handler::process::Exit;

/// A handler's failure. The messages are read by people in a hurry: what happened, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// A setting has an invalid value. The text names it, its value and what is allowed.
    #[error("{0}")]
    InvalidConfiguration(String),
    /// No command is set, or none is found. The text lists where it was looked for.
    #[error("{0}")]
    HandlerNotFound(String),
    /// The command is there but does not run. The text says why and how to mend it.
    #[error("{0}")]
    InvalidEntrypoint(String),
    /// Under SnapStart: not ready in time.
    #[error(
        "the handler was not ready within {} ms; it is ready when it begins to read stdin or sends {{\"ready\":true}}; \
         raise BOOTSTRAP_INIT_TIMEOUT_MS or make it start faster",
        .0.as_millis()
    )]
    InitTimeout(Duration),
    /// The process ended before it was ready.
    #[error("the handler ended with {exit} before it was ready{}", hint(*.exit, true))]
    ExitBeforeReady {
        /// How it ended.
        exit: Exit,
    },
    /// The process ended before it replied.
    #[error("the handler ended with {exit} before it replied{}", hint(*.exit, false))]
    ExitBeforeReply {
        /// How it ended.
        exit: Exit,
    },
    /// In `oneshot`: the program did not end in success.
    #[error("the program ended with {exit}, and only status 0 is success{}", hint(*.exit, false))]
    ProgramFailed {
        /// How it ended.
        exit: Exit,
    },
    /// Another reply of the same handler has led to its end.
    #[error("the handler was ended before it replied: it did not end the line of another reply, which is too large, in time")]
    EndedForAnother,
    /// The handler closed its stdin without having read the event, and lives on.
    #[error("the handler closed its stdin before it read the event; a handler reads one event a line until its stdin ends")]
    StdinClosed,
    /// The handler said `{"ready":false}` after it had counted as ready.
    #[error("the handler said that it is not ready: {}: {}", .0.error_type, .0.error_message)]
    Unready(Box<ErrorDocument>),
    /// The deadline, less the margin.
    #[error(
        "the handler did not {} within {} ms (the invocation had {} ms, less a margin of {} ms to report this){}{}; {}",
        if *.was_streaming { "end its stream" } else { "reply" },
        .had.saturating_sub(*.margin).as_millis(), .had.as_millis(), .margin.as_millis(),
        if *.has_read { "" } else { ", and did not read its event from stdin" },
        if *.has_printed { ", and no line that it printed is a reply, as in {\"id\":\"...\",\"response\":...}" } else { "" },
        if *.goes_on { "it goes on with its other invocations" } else { "its process group was ended" }
    )]
    Timeout {
        /// From the event's arrival to Lambda's deadline.
        had: Duration,
        /// How much earlier bootstrap answered.
        margin: Duration,
        /// Whether the handler has read any of the event.
        has_read: bool,
        /// Whether it has printed lines where a reply was to come, and none was one.
        has_printed: bool,
        /// Whether it had begun to answer.
        was_streaming: bool,
        /// Whether it is kept, for the sake of others that it has in flight or has answered.
        goes_on: bool,
    },
    /// A malformed reply. The text says what is wrong with it, where, and quotes it.
    #[error("{0}")]
    InvalidReply(String),
    /// The handler closed every reply channel but lives on.
    #[error("the handler closed its stdout and descriptor 3, so it can't reply, but it lives on; keep one of them open")]
    ReplyChannelClosed,
    /// In `filter`: the payload is not one JSON value, so no line can carry it.
    #[error(
        "the payload ({size} bytes) is not one JSON value in UTF-8, and in mode filter the handler gets nothing but JSON lines; \
         modes jsonl and oneshot take any payload"
    )]
    InvalidEvent {
        /// In bytes.
        size: usize,
    },
    /// A response over the platform's limit.
    #[error(
        "the response has {} bytes, and a function may return at most {} (6 MiB + 100); return less, \
         or put the data somewhere and return a link to it",
        .size.map_or("more than 8388608".to_owned(), |size| size.to_string()), LARGEST_RESPONSE
    )]
    ResponseSizeTooLarge {
        /// In bytes; unknown where its line was not read to its end.
        size: Option<usize>,
    },
}

/// The platform's limit for a buffered response, in bytes: 6 MiB + 100. RIE answers 413 beyond it.
pub const LARGEST_RESPONSE: usize = 6 * 1024 * 1024 + 100;

impl Fault {
    /// Every `errorType` there is, as the README lists them.
    pub const ERROR_TYPES: [&str; 10] = [
        "Runtime.InvalidConfiguration",
        "Runtime.HandlerNotFound",
        "Runtime.InvalidEntrypoint",
        "Runtime.InitTimeout",
        "Runtime.ExitError",
        "Function.Timeout",
        "Runtime.InvalidReply",
        "Function.InvalidEvent",
        "Runtime.ReplyChannelClosed",
        "Function.ResponseSizeTooLarge",
    ];

    /// The `errorType` that Lambda and the caller see.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidConfiguration(_) => "Runtime.InvalidConfiguration",
            Self::HandlerNotFound(_) => "Runtime.HandlerNotFound",
            Self::InvalidEntrypoint(_) => "Runtime.InvalidEntrypoint",
            Self::InitTimeout(_) => "Runtime.InitTimeout",
            Self::ExitBeforeReady { .. }
            | Self::ExitBeforeReply { .. }
            | Self::ProgramFailed { .. }
            | Self::EndedForAnother
            | Self::StdinClosed
            | Self::Unready(_) => "Runtime.ExitError",
            Self::Timeout { .. } => "Function.Timeout",
            Self::InvalidReply(_) => "Runtime.InvalidReply",
            Self::InvalidEvent { .. } => "Function.InvalidEvent",
            Self::ReplyChannelClosed => "Runtime.ReplyChannelClosed",
            Self::ResponseSizeTooLarge { .. } => "Function.ResponseSizeTooLarge",
        }
    }

    /// The error document, with the handler's last log lines.
    #[must_use]
    pub fn document(&self, last_lines: Vec<String>) -> ErrorDocument {
        ErrorDocument::new(self.error_type(), self.to_string(), last_lines)
    }
}

/// What an exit usually means.
fn hint(exit: Exit, starting: bool) -> &'static str {
    match exit {
        Exit::Status(0) if starting => {
            "; a handler reads one event a line from stdin, replies to each, and ends when its stdin ends"
        }
        Exit::Status(126) => "; status 126 from a shell or env means that a command could not be executed",
        Exit::Status(127) => "; status 127 from a shell or env means that a command was not found",
        Exit::Signal(9) => "; bootstrap did not send it: the usual sender is the kernel, when memory runs out",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_happened_and_what_to_do() {
        for (fault, text) in [
            (Fault::ExitBeforeReply { exit: Exit::Status(7) }, "the handler ended with exit status 7 before it replied"),
            (
                Fault::ProgramFailed { exit: Exit::Status(127) },
                "the program ended with exit status 127, and only status 0 is success; \
                 status 127 from a shell or env means that a command was not found",
            ),
            (
                Fault::ExitBeforeReply { exit: Exit::Signal(9) },
                "the handler ended with signal SIGKILL before it replied; bootstrap did not send it: the usual sender is the kernel, \
                 when memory runs out",
            ),
            (
                Fault::ExitBeforeReady { exit: Exit::Status(0) },
                "the handler ended with exit status 0 before it was ready; a handler reads one event a line from stdin, replies to each, \
                 and ends when its stdin ends",
            ),
            (
                Fault::Timeout {
                    had: Duration::from_millis(3000),
                    margin: Duration::from_millis(150),
                    has_read: true,
                    has_printed: false,
                    was_streaming: false,
                    goes_on: false,
                },
                "the handler did not reply within 2850 ms (the invocation had 3000 ms, less a margin of 150 ms to report this); \
                 its process group was ended",
            ),
            (
                Fault::Timeout {
                    had: Duration::from_millis(1000),
                    margin: Duration::from_millis(100),
                    has_read: false,
                    has_printed: false,
                    was_streaming: false,
                    goes_on: false,
                },
                "the handler did not reply within 900 ms (the invocation had 1000 ms, less a margin of 100 ms to report this), \
                 and did not read its event from stdin; its process group was ended",
            ),
            (
                Fault::Timeout {
                    had: Duration::from_millis(3000),
                    margin: Duration::from_millis(150),
                    has_read: true,
                    has_printed: false,
                    was_streaming: true,
                    goes_on: true,
                },
                "the handler did not end its stream within 2850 ms (the invocation had 3000 ms, less a margin of 150 ms to report this); \
                 it goes on with its other invocations",
            ),
            (
                Fault::Timeout {
                    had: Duration::from_millis(1000),
                    margin: Duration::from_millis(100),
                    has_read: true,
                    has_printed: true,
                    was_streaming: false,
                    goes_on: false,
                },
                "the handler did not reply within 900 ms (the invocation had 1000 ms, less a margin of 100 ms to report this), \
                 and no line that it printed is a reply, as in {\"id\":\"...\",\"response\":...}; its process group was ended",
            ),
            (
                Fault::InvalidEvent { size: 4 },
                "the payload (4 bytes) is not one JSON value in UTF-8, and in mode filter the handler gets nothing but JSON lines; \
                 modes jsonl and oneshot take any payload",
            ),
            (
                Fault::ResponseSizeTooLarge { size: Some(6_291_557) },
                "the response has 6291557 bytes, and a function may return at most 6291556 (6 MiB + 100); return less, \
                 or put the data somewhere and return a link to it",
            ),
            (
                Fault::InitTimeout(Duration::from_millis(9000)),
                "the handler was not ready within 9000 ms; it is ready when it begins to read stdin or sends {\"ready\":true}; \
                 raise BOOTSTRAP_INIT_TIMEOUT_MS or make it start faster",
            ),
        ] {
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn every_error_type_is_listed_and_is_one_that_lambda_keeps() {
        let exit = Exit::Status(1);
        let text = String::new;
        let time = Duration::ZERO;
        let faults = [
            Fault::InvalidConfiguration(text()),
            Fault::HandlerNotFound(text()),
            Fault::InvalidEntrypoint(text()),
            Fault::InitTimeout(time),
            Fault::ExitBeforeReady { exit },
            Fault::ExitBeforeReply { exit },
            Fault::ProgramFailed { exit },
            Fault::EndedForAnother,
            Fault::StdinClosed,
            Fault::Unready(Box::new(ErrorDocument::new("A", "b", Vec::new()))),
            Fault::Timeout { had: time, margin: time, has_read: true, has_printed: false, was_streaming: false, goes_on: false },
            Fault::InvalidReply(text()),
            Fault::InvalidEvent { size: 0 },
            Fault::ReplyChannelClosed,
            Fault::ResponseSizeTooLarge { size: None },
        ];
        let mut told: Vec<&str> = faults.iter().map(Fault::error_type).collect();
        told.dedup();
        assert_eq!(told, Fault::ERROR_TYPES);
        for fault in faults {
            assert_eq!(fault.document(Vec::new()).type_header(), fault.error_type());
        }
    }
}
