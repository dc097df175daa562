//! What a caller of the function gets.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A part of a streamed response, on its way to a caller that takes one as it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The runtime has begun to stream what is of this content type. What the caller gets from now on is the stream's, and an error
    /// comes beside it.
    Opened(String),
    /// The next bytes; never none.
    Chunk(Bytes),
}

/// The answer to one event. Where [parts](Part) have come before it, it tells how the stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The function's response, as it was posted.
    Response(Bytes),
    /// The function's response has come whole, in parts.
    Streamed,
    /// The error document that the runtime posted for the invocation, or sent at the end of a stream.
    Error(Bytes),
    /// The error document that the runtime posted in its init phase.
    InitError(Bytes),
    /// An error that the platform tells: the runtime said nothing, or something that can't be passed on.
    PlatformError(Bytes),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    error_type: &'a str,
    error_message: &'a str,
}

/// What people want to know of an error document.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// The kind of error; empty where the document has none.
    pub error_type: String,
    /// What happened; empty where the document has none.
    pub error_message: String,
}

impl Answer {
    /// An error document in Lambda's form.
    pub fn document(error_type: &str, error_message: &str) -> Bytes {
        // Two strings can't fail to serialise.
        serde_json::to_vec(&Document { error_type, error_message }).unwrap_or_default().into()
    }

    /// An error of the platform's.
    pub fn platform_error(error_type: &str, error_message: &str) -> Self {
        Answer::PlatformError(Answer::document(error_type, error_message))
    }

    /// Whether the function has answered with a response.
    pub fn is_response(&self) -> bool {
        matches!(self, Answer::Response(_) | Answer::Streamed)
    }

    /// The bytes for the caller, whatever they are; none where they have come in parts.
    pub fn body(&self) -> Bytes {
        match self {
            Answer::Response(body) | Answer::Error(body) | Answer::InitError(body) | Answer::PlatformError(body) => body.clone(),
            Answer::Streamed => Bytes::new(),
        }
    }

    /// Reads an error document; one that is none gives empty texts.
    pub fn told(document: &[u8]) -> Told {
        serde_json::from_slice(document).unwrap_or_default()
    }
}
