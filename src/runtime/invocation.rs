//! From the answer to `/next` to an [`Invocation`].

use bytes::Bytes;

/// One request, from `/next` to its report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// `Lambda-Runtime-Aws-Request-Id`: 1 to 128 of `A-Za-z0-9._-`, so it can stand in a URL and in JSON as it is.
    pub request_id: String,
    /// `Lambda-Runtime-Invocation-Id`, to be sent back: one request id can have several attempts.
    pub invocation_id: Option<String>,
    /// `Lambda-Runtime-Deadline-Ms`, milliseconds since the epoch.
    pub deadline_ms: Option<u64>,
    /// `Lambda-Runtime-Invoked-Function-Arn`.
    pub function_arn: Option<String>,
    /// `Lambda-Runtime-Trace-Id`, the whole X-Ray header.
    pub trace_id: Option<String>,
    /// `Lambda-Runtime-Aws-Tenant-Id`.
    pub tenant_id: Option<String>,
    /// `Lambda-Runtime-Client-Context`, JSON as a rule.
    pub client_context: Option<String>,
    /// `Lambda-Runtime-Cognito-Identity`, JSON as a rule.
    pub identity: Option<String>,
    /// The payload, in the chunks in which it came.
    pub event: Vec<Bytes>,
}

impl Invocation {
    /// Reads the headers of an answer to `/next`, each looked up by its name in lower case.
    ///
    /// Only the request id is indispensable. The second value has a warning for each header that is malformed and therefore
    /// treated as missing; an empty one is missing, since the emulator for managed instances sends empty ones.
    ///
    /// # Errors
    /// What is wrong with the request id.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<(Self, Vec<String>), String> {
        const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
        let request_id = match header(REQUEST_ID) {
            None => return Err(format!("the answer to /next has no {REQUEST_ID} header")),
            Some(value) if is_request_id(value) => String::from_utf8_lossy(value).into_owned(),
            Some(value) => {
                let value = value.escape_ascii().to_string();
                return Err(format!(
                    "the answer to /next has the {REQUEST_ID} \"{value}\", which is not 1 to 128 of A-Z a-z 0-9 . _ -"
                ));
            }
        };
        let mut warnings = Vec::new();
        let mut text = |name: &str| {
            let value = header(name).filter(|value| !value.is_empty())?;
            let text = std::str::from_utf8(value).ok();
            if text.is_none() {
                warnings.push(format!("the {name} header is not UTF-8; treated as missing"));
            }
            text.map(str::to_owned)
        };
        let invocation_id = text("lambda-runtime-invocation-id");
        let function_arn = text("lambda-runtime-invoked-function-arn");
        let trace_id = text("lambda-runtime-trace-id");
        let tenant_id = text("lambda-runtime-aws-tenant-id");
        let client_context = text("lambda-runtime-client-context");
        let identity = text("lambda-runtime-cognito-identity");
        let deadline_ms = text("lambda-runtime-deadline-ms").and_then(|value| match value.parse() {
            Ok(deadline) if value.bytes().all(|byte| byte.is_ascii_digit()) => Some(deadline),
            _ => {
                warnings.push(format!(
                    "the lambda-runtime-deadline-ms header is {value:?}, no number of milliseconds; no deadline is enforced"
                ));
                None
            }
        });
        let event = Vec::new();
        let invocation =
            Self { request_id, invocation_id, deadline_ms, function_arn, trace_id, tenant_id, client_context, identity, event };
        Ok((invocation, warnings))
    }
}

/// A dot or two would be taken for a path's own by every URL parser.
fn is_request_id(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&value.len()) && value.iter().all(allowed) && value != b"." && value != b".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &'static [u8])]) -> Result<(Invocation, Vec<String>), String> {
        Invocation::from_headers(|name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    #[test]
    fn only_the_request_id_is_indispensable() {
        let (invocation, warnings) = of(&[("lambda-runtime-aws-request-id", b"a.B_1-")]).unwrap();
        assert_eq!(invocation.request_id, "a.B_1-");
        assert_eq!(invocation.deadline_ms, None);
        assert!(warnings.is_empty());
        for bad in [&b""[..], b"a b", b"a/b", b"..", b".", b"\xff", &[b'x'; 129]] {
            let bad: &'static [u8] = Box::leak(bad.to_vec().into_boxed_slice());
            assert!(of(&[("lambda-runtime-aws-request-id", bad)]).unwrap_err().contains("request-id"));
        }
        assert!(of(&[]).unwrap_err().contains("no lambda-runtime-aws-request-id"));
    }

    #[test]
    fn what_is_empty_is_missing_and_what_is_malformed_is_missing_with_a_warning() {
        let (invocation, warnings) = of(&[
            ("lambda-runtime-aws-request-id", b"id"),
            ("lambda-runtime-deadline-ms", b"soon"),
            ("lambda-runtime-client-context", b""),
            ("lambda-runtime-trace-id", b"\xff\xfe"),
            ("lambda-runtime-cognito-identity", "{\"a\":\"ü\"}".as_bytes()),
        ])
        .unwrap();
        assert_eq!((invocation.deadline_ms, invocation.client_context, invocation.trace_id), (None, None, None));
        assert_eq!(invocation.identity.as_deref(), Some("{\"a\":\"ü\"}"));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for malformed in [&b"-1"[..], b"+1", b"1.5", b"99999999999999999999999"] {
            let (invocation, warnings) =
                of(&[("lambda-runtime-aws-request-id", b"id"), ("lambda-runtime-deadline-ms", malformed)]).unwrap();
            assert_eq!((invocation.deadline_ms, warnings.len()), (None, 1));
        }
    }
}
