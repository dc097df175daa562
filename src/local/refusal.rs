//! Why a call of the Runtime API is refused, with what Lambda answers.

use std::fmt;

/// A refused call. Statuses, types and messages are those of AWS's own emulator (`rapi/rendering/render_error.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The call is not due in this state.
    InvalidStateTransition {
        /// The state's name.
        from: &'static str,
        /// The name of the state that the call would have led to.
        to: &'static str,
    },
    /// The request id is no current one.
    InvalidRequestId,
    /// The invocation is over: it timed out, or this is an earlier attempt's report.
    InvokeTimeout,
    /// The body is larger than what Lambda passes on.
    RequestEntityTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A response mode other than `streaming`.
    InvalidFunctionResponseMode,
    /// The body broke off.
    TruncatedHttpRequest,
    /// The Extensions API's refusals: the type and the message.
    Extension(&'static str, String),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::InvalidRequestId | Refusal::InvalidFunctionResponseMode | Refusal::TruncatedHttpRequest => 400,
            Refusal::InvalidStateTransition { .. } | Refusal::Extension(..) => 403,
            Refusal::InvokeTimeout => 410,
            Refusal::RequestEntityTooLarge { .. } => 413,
        }
    }

    /// `errorType` of the body.
    pub fn error_type(&self) -> &'static str {
        match self {
            Refusal::InvalidStateTransition { .. } => "InvalidStateTransition",
            Refusal::InvalidRequestId => "InvalidRequestID",
            Refusal::InvokeTimeout => "InvokeTimeout",
            Refusal::RequestEntityTooLarge { .. } => "RequestEntityTooLarge",
            Refusal::InvalidFunctionResponseMode => "InvalidFunctionResponseMode",
            Refusal::TruncatedHttpRequest => "TruncatedHTTPRequest",
            Refusal::Extension(error_type, _) => error_type,
        }
    }
}

/// `errorMessage` of the body, in Lambda's words.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::InvalidStateTransition { from, to } => {
                write!(f, "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed")
            }
            Refusal::InvalidRequestId => f.write_str("Invalid request ID"),
            Refusal::InvokeTimeout => f.write_str("Invoke timeout"),
            Refusal::RequestEntityTooLarge { limit } => write!(f, "Exceeded maximum allowed payload size ({limit} bytes)."),
            Refusal::InvalidFunctionResponseMode => f.write_str("Invalid function response mode"),
            Refusal::TruncatedHttpRequest => f.write_str("HTTP request detected as truncated"),
            Refusal::Extension(_, message) => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_speak_as_lambda_does() {
        for (refusal, status, error_type, message) in [
            (
                Refusal::InvalidStateTransition { from: "Ready", to: "InitError" },
                403,
                "InvalidStateTransition",
                "State transition from Ready to InitError failed for runtime. Error: State transition is not allowed",
            ),
            (Refusal::InvokeTimeout, 410, "InvokeTimeout", "Invoke timeout"),
            (
                Refusal::RequestEntityTooLarge { limit: 6_291_556 },
                413,
                "RequestEntityTooLarge",
                "Exceeded maximum allowed payload size (6291556 bytes).",
            ),
        ] {
            assert_eq!((refusal.status(), refusal.error_type(), refusal.to_string().as_str()), (status, error_type, message));
        }
    }
}
