//! Why a call of the Invoke API is refused, with what Lambda answers.

use std::fmt;

use serde::Serialize;

/// A refused call. Statuses, types and messages are Lambda's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// There is no such function; its ARN.
    ResourceNotFound(String),
    /// There is no such call.
    UnknownOperation,
    /// The event is too large.
    RequestTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body or the client context is not what it has to be.
    InvalidRequestContent(String),
    /// A header or a parameter does not satisfy the constraints of Lambda's model. Lambda answers so before it looks any further.
    Validation {
        /// What is there.
        value: String,
        /// What it is, as the model calls it.
        member: &'static str,
        /// What it must satisfy.
        constraint: &'static str,
    },
    /// A parameter contradicts another.
    InvalidParameterValue(String),
    /// Every environment is busy, and so many callers wait already that this one can't.
    TooManyRequests,
    /// The body did not come in time.
    RequestTimeout,
    /// The caller is a page of another site, or looks like one.
    AccessDenied(String),
    /// This machine does not give what it takes.
    Service(String),
}

impl Exception {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Exception::InvalidRequestContent(_) | Exception::Validation { .. } | Exception::InvalidParameterValue(_) => 400,
            Exception::AccessDenied(_) => 403,
            Exception::ResourceNotFound(_) | Exception::UnknownOperation => 404,
            Exception::RequestTimeout => 408,
            Exception::RequestTooLarge { .. } => 413,
            Exception::TooManyRequests => 429,
            Exception::Service(_) => 500,
        }
    }

    /// The type, which clients know the exception by: `x-amzn-ErrorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Exception::ResourceNotFound(_) => "ResourceNotFoundException",
            Exception::UnknownOperation => "UnknownOperationException",
            Exception::RequestTooLarge { .. } => "RequestTooLargeException",
            Exception::InvalidRequestContent(_) => "InvalidRequestContentException",
            Exception::Validation { .. } => "ValidationException",
            Exception::InvalidParameterValue(_) => "InvalidParameterValueException",
            Exception::TooManyRequests => "TooManyRequestsException",
            Exception::RequestTimeout => "RequestTimeoutException",
            Exception::AccessDenied(_) => "AccessDeniedException",
            Exception::Service(_) => "ServiceException",
        }
    }

    /// The document that goes with it.
    pub fn document(&self) -> Vec<u8> {
        let message = self.to_string();
        let r#type = match self {
            // It is no exception of the model's, and has a message only.
            Exception::Validation { .. } => None,
            Exception::Service(_) => Some("Service"),
            _ => Some("User"),
        };
        let (upper, lower) = match self {
            Exception::ResourceNotFound(_) | Exception::Service(_) => (Some(message), None),
            _ => (None, Some(message)),
        };
        let document = Document {
            reason: (*self == Exception::TooManyRequests).then_some("ConcurrentInvocationLimitExceeded"),
            r#type,
            upper,
            lower,
        };
        // Strings can't fail to serialise.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// In Lambda's model some exceptions have a `Message` and others a `message`.
#[derive(Serialize)]
struct Document {
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
    upper: Option<String>,
    #[serde(rename = "message", skip_serializing_if = "Option::is_none")]
    lower: Option<String>,
}

/// The message, in Lambda's words.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exception::ResourceNotFound(arn) => write!(f, "Function not found: {arn}"),
            Exception::UnknownOperation => {
                f.write_str("There is no such call here: POST /2015-03-31/functions/function/invocations invokes the function.")
            }
            Exception::RequestTooLarge { limit } => {
                write!(f, "Request must be smaller than {limit} bytes for the InvokeFunction operation")
            }
            Exception::Validation { value, member, constraint } => write!(
                f,
                "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy {constraint}"
            ),
            Exception::TooManyRequests => f.write_str("Rate Exceeded."),
            Exception::RequestTimeout => f.write_str("The request's body did not come in time."),
            Exception::InvalidRequestContent(message)
            | Exception::InvalidParameterValue(message)
            | Exception::AccessDenied(message)
            | Exception::Service(message) => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_speak_as_lambda_does() {
        for (exception, status, error_type, document) in [
            (
                Exception::ResourceNotFound("arn:aws:lambda:us-east-1:123456789012:function:x".to_owned()),
                404,
                "ResourceNotFoundException",
                r#"{"Type":"User","Message":"Function not found: arn:aws:lambda:us-east-1:123456789012:function:x"}"#,
            ),
            (
                Exception::RequestTooLarge { limit: 6_291_456 },
                413,
                "RequestTooLargeException",
                r#"{"Type":"User","message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}"#,
            ),
            (
                Exception::TooManyRequests,
                429,
                "TooManyRequestsException",
                r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
            ),
            (
                Exception::Validation { value: "All".to_owned(), member: "logType", constraint: "enum value set: [None, Tail]" },
                400,
                "ValidationException",
                concat!(
                    r#"{"message":"1 validation error detected: Value 'All' at 'logType' failed to satisfy constraint: "#,
                    r#"Member must satisfy enum value set: [None, Tail]"}"#
                ),
            ),
            (Exception::Service("no process".to_owned()), 500, "ServiceException", r#"{"Type":"Service","Message":"no process"}"#),
        ] {
            assert_eq!((exception.status(), exception.error_type()), (status, error_type));
            assert_eq!(String::from_utf8_lossy(&exception.document()), document);
        }
    }
}
