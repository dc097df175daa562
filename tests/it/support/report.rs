//! What bootstrap reports about an invocation, or about its init.

use serde_json::Value;

use super::http::Request;
use super::show;

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

    /// What holds for each report, whatever the test is about.
    pub(super) fn check(&self) -> Result<(), String> {
        let request = &self.request;
        if self.kind == Kind::Response {
            return match request.header("content-type") {
                Some("application/json") => Ok(()),
                other => Err(format!("a response with the content type {other:?}")),
            };
        }
        if request.body.len() > 256 * 1024 {
            return Err(format!("an error document of {} bytes", request.body.len()));
        }
        let document: Value = serde_json::from_slice(&request.body).map_err(|e| format!("no error document, {e}"))?;
        if !document["errorType"].is_string() || !document["errorMessage"].is_string() {
            return Err("an error document without errorType and errorMessage".to_owned());
        }
        if let Some(stack) = document.get("stackTrace")
            && !stack.as_array().is_some_and(|lines| lines.iter().all(Value::is_string))
        {
            return Err("a stackTrace that is no list of strings".to_owned());
        }
        let kind = request.header("lambda-runtime-function-error-type").unwrap_or_default();
        let (class, name) = kind.split_once('.').unwrap_or_default();
        if !["Runtime", "Function"].contains(&class)
            || name.len() < 2
            || kind.len() > 137
            || !name.starts_with(|c: char| c.is_ascii_uppercase())
            || !name.chars().all(|c| c.is_ascii_alphabetic())
        {
            return Err(format!("the error type header is {kind:?}"));
        }
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

    /// The response's body; panics where an error came.
    #[track_caller]
    pub(crate) fn response(&self) -> String {
        assert_eq!(self.kind, Kind::Response, "{}", self.request);
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
        let document = self.error();
        assert_eq!(document["errorType"], error_type, "{}", show(&self.request.body));
        let message = document["errorMessage"].as_str().unwrap();
        for part in in_message {
            assert!(message.contains(part), "no {part:?} in the message {:?}", show(message.as_bytes()));
        }
        document
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.header(name)
    }
}

/// The lines of an error document's `stackTrace`.
pub(crate) fn stack_of(document: &Value) -> Vec<String> {
    let stack = document["stackTrace"].as_array().cloned().unwrap_or_default();
    stack.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}
