//! What a call of the Invoke API asks for, from its headers.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::HeaderMap;

use super::exception::Exception;
use crate::local::json;

/// Base64 with or without its padding, as clients write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Lambda's limit for a client context, in base64.
const MAX_CLIENT_CONTEXT: usize = 3583;

/// Lambda's limit for a tenant id.
const MAX_TENANT_ID: usize = 256;

/// How the function is to be invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller waits for the answer.
    RequestResponse,
    /// The caller doesn't.
    Event,
    /// It isn't.
    DryRun,
}

/// A call, as its headers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `X-Amz-Invocation-Type`
    pub kind: Kind,
    /// `X-Amz-Log-Type: Tail`
    pub wants_log: bool,
    /// `X-Amz-Client-Context`, decoded: a JSON object that fits into a header.
    pub client_context: Option<String>,
    /// `X-Amz-Tenant-Id`
    pub tenant_id: Option<String>,
    /// `X-Amzn-Trace-Id`
    pub trace_id: Option<String>,
}

impl Call {
    /// Reads the headers.
    ///
    /// # Errors
    /// A header has a value that Lambda refuses.
    pub fn new(headers: &HeaderMap) -> Result<Self, Exception> {
        let kind = match value(headers, "x-amz-invocation-type")? {
            None | Some("RequestResponse") => Kind::RequestResponse,
            Some("Event") => Kind::Event,
            Some("DryRun") => Kind::DryRun,
            Some(other) => return Err(unsatisfied(other, "invocationType", "enum value set: [Event, DryRun, RequestResponse]")),
        };
        let wants_log = match value(headers, "x-amz-log-type")? {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => return Err(unsatisfied(other, "logType", "enum value set: [None, Tail]")),
        };
        Ok(Call {
            kind,
            wants_log,
            client_context: value(headers, "x-amz-client-context")?.map(client_context).transpose()?,
            tenant_id: value(headers, "x-amz-tenant-id")?.map(tenant_id).transpose()?,
            trace_id: trace_id(headers),
        })
    }
}

/// `X-Amzn-Trace-Id`. One that can't be read is replaced, as Lambda does.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    value(headers, "x-amzn-trace-id").ok().flatten().map(str::to_owned)
}

/// A header's value, if it has one.
fn value<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Exception> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(value) => Ok(Some(value.trim()).filter(|value| !value.is_empty())),
        Err(_) => Err(Exception::InvalidParameterValue(format!("The header {name} must be printable ASCII."))),
    }
}

/// A member whose value does not satisfy this.
pub fn unsatisfied(value: &str, member: &'static str, constraint: &'static str) -> Exception {
    Exception::Validation { value: value.to_owned(), member, constraint }
}

fn client_context(encoded: &str) -> Result<String, Exception> {
    if encoded.len() > MAX_CLIENT_CONTEXT {
        let message = format!("Client context must be no more than {MAX_CLIENT_CONTEXT} bytes in base64.");
        return Err(Exception::InvalidRequestContent(message));
    }
    let decoded = BASE64.decode(encoded).ok().filter(|decoded| json::check(decoded).is_ok());
    match decoded.and_then(|decoded| String::from_utf8(decoded).ok()).filter(|text| text.trim_start().starts_with('{')) {
        // It travels on in a header. Of the characters that none can hold, DEL is the one that JSON's strings need not escape; the
        // others stand between tokens only.
        Some(text) => Ok(text.replace('\u{7f}', "\\u007f").replace(|c: char| c.is_ascii_control(), " ")),
        None => Err(Exception::InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.".to_owned())),
    }
}

fn tenant_id(text: &str) -> Result<String, Exception> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/=+-@ ".contains(&byte);
    if text.len() > MAX_TENANT_ID || !text.bytes().all(allowed) {
        let constraint = "regular expression pattern: [a-zA-Z0-9\\._:\\/=+\\-@ ]+";
        return Err(unsatisfied(text, "tenantId", constraint));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn call(headers: &[(&'static str, &str)]) -> Result<Call, Exception> {
        let headers = headers.iter().map(|&(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("it is a header's value"))
        });
        Call::new(&headers.collect())
    }

    #[test]
    fn without_headers_the_caller_waits_and_wants_no_more() {
        let plain = Call { kind: Kind::RequestResponse, wants_log: false, client_context: None, tenant_id: None, trace_id: None };
        assert_eq!(call(&[]), Ok(plain.clone()));
        assert_eq!(call(&[("x-amz-invocation-type", "RequestResponse"), ("x-amz-log-type", "None")]), Ok(plain));
    }

    #[test]
    fn each_header_says_what_it_says() {
        let all = call(&[
            ("x-amz-invocation-type", "Event"),
            ("x-amz-log-type", "Tail"),
            ("x-amz-client-context", "eyJhIjoKMX0"),
            ("x-amz-tenant-id", "blue/1"),
            ("x-amzn-trace-id", "Root=1"),
        ]);
        let expected = Call {
            kind: Kind::Event,
            wants_log: true,
            client_context: Some("{\"a\": 1}".to_owned()),
            tenant_id: Some("blue/1".to_owned()),
            trace_id: Some("Root=1".to_owned()),
        };
        assert_eq!(all, Ok(expected));
        // {"a":"\x7f"}
        assert_eq!(
            call(&[("x-amz-client-context", "eyJhIjoifyJ9")]).map(|call| call.client_context),
            Ok(Some("{\"a\":\"\\u007f\"}".to_owned())),
            "DEL, which needs no escape in JSON, and which no header holds"
        );
        assert_eq!(call(&[("x-amz-invocation-type", "DryRun")]).map(|call| call.kind), Ok(Kind::DryRun));
        assert_eq!(call(&[("x-amzn-trace-id", "é")]).map(|call| call.trace_id), Ok(None));
    }

    #[test]
    fn what_lambda_refuses_is_refused() {
        for (name, value, error_type) in [
            ("x-amz-invocation-type", "event", "ValidationException"),
            ("x-amz-invocation-type", "é", "InvalidParameterValueException"),
            ("x-amz-log-type", "All", "ValidationException"),
            ("x-amz-tenant-id", "a,b", "ValidationException"),
            ("x-amz-client-context", "{}", "InvalidRequestContentException"),
            ("x-amz-client-context", "WzFd", "InvalidRequestContentException"),
            ("x-amz-client-context", "e30K4A==", "InvalidRequestContentException"),
        ] {
            assert_eq!(call(&[(name, value)]).map_err(|error| error.error_type()), Err(error_type), "{name}: {value}");
        }
        let long = "A".repeat(MAX_CLIENT_CONTEXT + 1);
        assert!(call(&[("x-amz-client-context", &long)]).is_err());
        let long = "a".repeat(MAX_TENANT_ID + 1);
        assert!(call(&[("x-amz-tenant-id", &long)]).is_err());
    }
}
