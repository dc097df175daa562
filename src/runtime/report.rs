//! A [`Report`]: the one answer to an invocation, as it is posted. Posting consumes it, so there can't be two.

use bytes::Bytes;

use crate::document::ErrorDocument;
use crate::runtime::cause;
use crate::runtime::invocation::Invocation;

/// The trailer that tells the kind of an error in a stream that has begun.
pub const ERROR_TYPE_TRAILER: &str = "lambda-runtime-function-error-type";
/// The trailer that has its document, in base64.
pub const ERROR_BODY_TRAILER: &str = "lambda-runtime-function-error-body";

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The invocation's request id.
    pub request_id: String,
    /// Its invocation id, sent back where there was one.
    pub invocation_id: Option<String>,
}

/// What is posted for an invocation, or for an init phase that failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// To `/response`.
    Response(Target, Bytes),
    /// To `/error`.
    Error(Target, Box<ErrorBody>),
}

/// An error document ready to be posted.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The document, at most 256 KiB.
    pub body: Bytes,
    /// `Lambda-Runtime-Function-Error-Type`.
    pub error_type: String,
    /// `Lambda-Runtime-Function-XRay-Error-Cause`.
    pub cause: String,
}

impl From<&Invocation> for Target {
    fn from(invocation: &Invocation) -> Self {
        Self { request_id: invocation.request_id.clone(), invocation_id: invocation.invocation_id.clone() }
    }
}

impl ErrorBody {
    /// Prepares a document; `working_directory` is for X-Ray.
    #[must_use]
    pub fn new(document: &ErrorDocument, working_directory: &str) -> Self {
        Self { body: document.body(), error_type: document.type_header(), cause: cause::header(document, working_directory) }
    }
}
