//! What bootstrap reports about an invocation, or about its init.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::http::Request;
use super::show;

const MODE: &str = "lambda-runtime-function-response-mode";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";

/// Which of the three it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Response,
    Error,
    InitError,
}

/// A report as it was posted.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    /// The request id in the path; empty for an init error.
    pub(crate) id: String,
    pub(crate) invocation_id: Option<String>,
    pub(crate) request: Request,
}

impl Report {
    pub(super) fn of(request: &Request) -> Report {
        let words: Vec<&str> = request.path.rsplit('/').take(2).collect();
        let (kind, id) = match words[..] {
            ["response", id] => (Kind::Response, id),
            ["error", "init"] => (Kind::InitError, ""),
            ["error", id] => (Kind::Error, id),
            _ => panic!("no report: {request}"),
        };
        let invocation_id = request.header("lambda-runtime-invocation-id").map(str::to_owned);
        Report { kind, id: id.to_owned(), invocation_id, request: request.clone() }
    }

    /// What an invocation in flight is known by.
    pub(super) fn key(&self) -> (String, Option<String>) {
        (self.id.clone(), self.invocation_id.clone())
    }

    /// Its body is sent while it is made.
    pub(super) fn is_streamed(&self) -> bool {
        self.request.header(MODE).is_some()
    }

    /// What holds for each report, whatever the test is about.
    pub(super) fn check(&self) -> Result<(), String> {
        let request = &self.request;
        if self.is_streamed() {
            return self.check_streamed();
        }
        if request.is_chunked() || !request.trailers.is_empty() {
            return Err("a report in chunks that is not streamed".to_owned());
        }
        if self.kind == Kind::Response {
            return match request.header("content-type") {
                Some("application/json") => Ok(()),
                other => Err(format!("a response with the content type {other:?}")),
            };
        }
        check_document(&request.body)?;
        check_error_type(request.header(ERROR_TYPE))?;
        let cause = request.header("lambda-runtime-function-xray-error-cause").ok_or("no X-Ray cause")?;
        if cause.len() > 64 * 1024 || !cause.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err("the X-Ray cause is not one ASCII line of at most 64 KiB".to_owned());
        }
        let cause: Value = serde_json::from_str(cause).map_err(|e| format!("the X-Ray cause is no JSON, {e}"))?;
        if cause["exceptions"].as_array().is_none_or(Vec::is_empty) {
            return Err("the X-Ray cause has no exceptions".to_owned());
        }
        Ok(())
    }

    fn check_streamed(&self) -> Result<(), String> {
        let request = &self.request;
        if self.kind != Kind::Response {
            return Err("an error that is streamed".to_owned());
        }
        if request.header(MODE) != Some("streaming") {
            return Err("the response mode is not streaming".to_owned());
        }
        if request.header("transfer-encoding") != Some("chunked") {
            return Err("a streamed response that is not in chunks".to_owned());
        }
        if request.header("content-type").is_none_or(str::is_empty) {
            return Err("a streamed response without a content type".to_owned());
        }
        let declared = request.header("trailer").unwrap_or_default().to_ascii_lowercase();
        let declared: Vec<&str> = declared.split(',').map(str::trim).collect();
        if ![ERROR_TYPE, ERROR_BODY].iter().all(|name| declared.contains(name)) {
            return Err(format!("the header Trailer names {declared:?}"));
        }
        if request.trailers.is_empty() {
            return Ok(());
        }
        check_error_type(request.trailer(ERROR_TYPE))?;
        let body = request.trailer(ERROR_BODY).ok_or("no error document in the trailers")?;
        let body = BASE64_STANDARD.decode(body).map_err(|e| format!("the trailers' error document is no base64, {e}"))?;
        check_document(&body)
    }

    /// The body of a streamed response that has ended well; panics where anything else came.
    #[track_caller]
    pub(crate) fn streamed(&self) -> String {
        assert!(self.kind == Kind::Response && self.is_streamed(), "{}", self.request);
        assert!(self.request.trailers.is_empty(), "{}", self.request);
        String::from_utf8(self.request.body.clone()).unwrap()
    }

    /// Asserts that this is a streamed response that ends with an error of this type; gives the document.
    #[track_caller]
    pub(crate) fn breaks_off(&self, error_type: &str, in_message: &[&str]) -> Value {
        assert!(self.kind == Kind::Response && self.is_streamed(), "{}", self.request);
        let body = self.request.trailer(ERROR_BODY).unwrap_or_else(|| panic!("no error in the trailers: {}", self.request));
        let document = BASE64_STANDARD.decode(body).unwrap();
        has(&document, error_type, in_message)
    }

    /// The response's body; panics where an error came.
    #[track_caller]
    pub(crate) fn response(&self) -> String {
        assert!(self.kind == Kind::Response && !self.is_streamed(), "{}", self.request);
        String::from_utf8(self.request.body.clone()).unwrap()
    }

    /// The error document; panics where a response came.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        assert_ne!(self.kind, Kind::Response, "{}", self.request);
        serde_json::from_slice(&self.request.body).unwrap()
    }

    /// Asserts that this is an error of this type whose message holds all of these; gives the document.
    #[track_caller]
    pub(crate) fn is_error(&self, error_type: &str, in_message: &[&str]) -> Value {
        assert_ne!(self.kind, Kind::Response, "{}", self.request);
        has(&self.request.body, error_type, in_message)
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.header(name)
    }
}

/// An error document is one of this type, and its message holds all of these.
#[track_caller]
fn has(document: &[u8], error_type: &str, in_message: &[&str]) -> Value {
    let text = show(document);
    let document: Value = serde_json::from_slice(document).unwrap();
    assert_eq!(document["errorType"], error_type, "{text}");
    let message = document["errorMessage"].as_str().unwrap();
    for part in in_message {
        assert!(message.contains(part), "no {part:?} in the message {:?}", show(message.as_bytes()));
    }
    document
}

fn check_document(document: &[u8]) -> Result<(), String> {
    if document.len() > 256 * 1024 {
        return Err(format!("an error document of {} bytes", document.len()));
    }
    let document: Value = serde_json::from_slice(document).map_err(|e| format!("no error document, {e}"))?;
    if !document["errorType"].is_string() || !document["errorMessage"].is_string() {
        return Err("an error document without errorType and errorMessage".to_owned());
    }
    if let Some(stack) = document.get("stackTrace")
        && !stack.as_array().is_some_and(|lines| lines.iter().all(Value::is_string))
    {
        return Err("a stackTrace that is no list of strings".to_owned());
    }
    Ok(())
}

fn check_error_type(header: Option<&str>) -> Result<(), String> {
    let kind = header.unwrap_or_default();
    let (class, name) = kind.split_once('.').unwrap_or_default();
    if !["Runtime", "Function"].contains(&class)
        || name.len() < 2
        || kind.len() > 137
        || !name.starts_with(|c: char| c.is_ascii_uppercase())
        || !name.chars().all(|c| c.is_ascii_alphabetic())
    {
        return Err(format!("the error type header is {kind:?}"));
    }
    Ok(())
}

/// The lines of an error document's `stackTrace`.
pub(crate) fn stack_of(document: &Value) -> Vec<String> {
    let stack = document["stackTrace"].as_array().cloned().unwrap_or_default();
    stack.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}
