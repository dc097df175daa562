//! From an [`Invocation`] to what its handler gets: a line, or a process's stdin and environment.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use crate::fault::Fault;
use crate::protocol::conversation::Mode;
use crate::protocol::structure::{self, Structure};
use crate::runtime::invocation::Invocation;
use crate::trace;

/// A message as it goes to the handler: the parts of one line, the event's chunks among them uncopied.
pub type Message = Vec<Bytes>;

/// What a handler gets for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A line on its stdin.
    Line(Message),
    /// A process of its own.
    Process {
        /// The payload, byte for byte: a file that the process has as its stdin.
        stdin: Vec<Bytes>,
        /// The context, as far as it is known.
        environment: Vec<(&'static str, String)>,
    },
}

/// The variables that a process of its own has its context in (protocol, section 5). What an outer environment says is not known
/// of this invocation, so they are taken out where they have no value.
pub const CONTEXT_VARIABLES: [&str; 8] = [
    "AWS_LAMBDA_REQUEST_ID",
    "AWS_LAMBDA_DEADLINE_MS",
    "AWS_LAMBDA_INVOKED_FUNCTION_ARN",
    "_X_AMZN_TRACE_ID",
    "TRACEPARENT",
    "AWS_LAMBDA_TENANT_ID",
    "AWS_LAMBDA_CLIENT_CONTEXT",
    "AWS_LAMBDA_COGNITO_IDENTITY",
];

/// The message that an answer is no longer waited for (protocol, section 3).
#[must_use]
pub fn cancel(request_id: &str, reason: &str) -> Message {
    vec![format!("{{\"cancel\":\"{request_id}\",\"reason\":\"{reason}\"}}\n").into()]
}

/// Makes deliveries. What is the same in each is made once.
#[derive(Debug)]
pub struct Encoder {
    mode: Mode,
    /// The context members from the environment, as JSON, each with a comma before it.
    function: String,
}

impl Encoder {
    /// An encoder for a mode, whose messages have these members at the end of their context.
    #[must_use]
    pub fn new(mode: Mode, function: &[(&str, String)]) -> Self {
        let mut text = String::new();
        for (name, value) in function {
            member(&mut text, name, |text| string(text, value));
        }
        Self { mode, function: text }
    }

    /// What the handler gets for an invocation.
    ///
    /// # Errors
    /// `Function.InvalidEvent` in `filter`, where there is no envelope to put base64 in.
    pub fn deliver(&self, invocation: &Invocation) -> Result<Delivery, Fault> {
        match self.mode {
            Mode::JsonLines => Ok(Delivery::Line(self.encode(invocation))),
            Mode::Filter => bare(&invocation.event).map(Delivery::Line),
            Mode::OneShot => Ok(Delivery::Process { stdin: invocation.event.clone(), environment: context_variables(invocation) }),
        }
    }

    /// The message of an invocation (protocol, section 3). The event passes byte for byte, except that raw newlines, which valid
    /// JSON allows only between tokens, become spaces; what is not JSON goes as base64.
    #[must_use]
    fn encode(&self, invocation: &Invocation) -> Message {
        let mut prefix = String::with_capacity(512);
        prefix.push_str("{\"id\":\"");
        prefix.push_str(&invocation.request_id);
        prefix.push_str("\",\"context\":{");
        let context = prefix.len();
        self.context(&mut prefix, invocation);
        // Every member came with a comma before it.
        if prefix.as_bytes().get(context) == Some(&b',') {
            prefix.remove(context);
        }
        prefix.push_str("},");
        let mut message = Vec::with_capacity(invocation.event.len() + 2);
        match structure::examine(&invocation.event) {
            Structure::Line => {
                prefix.push_str("\"event\":");
                message.push(prefix.into());
                message.extend(invocation.event.iter().cloned());
                message.push(Bytes::from_static(b"}\n"));
            }
            Structure::Pretty => {
                prefix.push_str("\"event\":");
                message.push(prefix.into());
                message.extend(invocation.event.iter().map(on_one_line));
                message.push(Bytes::from_static(b"}\n"));
            }
            Structure::NotJson => {
                prefix.push_str("\"eventBase64\":\"");
                STANDARD.encode_string(invocation.event.concat(), &mut prefix);
                prefix.push_str("\"}\n");
                message.push(prefix.into());
            }
        }
        message
    }

    fn context(&self, text: &mut String, invocation: &Invocation) {
        if let Some(deadline) = invocation.deadline_ms {
            // Writing to a string can't fail.
            member(text, "deadlineMs", |text| _ = write!(text, "{deadline}"));
        }
        let traceparent = invocation.trace_id.as_deref().and_then(trace::traceparent);
        for (name, value) in [
            ("invokedFunctionArn", &invocation.function_arn),
            ("traceId", &invocation.trace_id),
            ("traceparent", &traceparent),
            ("tenantId", &invocation.tenant_id),
        ] {
            if let Some(value) = value {
                member(text, name, |text| string(text, value));
            }
        }
        for (name, value) in [("clientContext", &invocation.client_context), ("identity", &invocation.identity)] {
            let Some(value) = value else { continue };
            match serde_json::from_str::<&serde_json::value::RawValue>(value) {
                // No header holds a newline. That a message is one line does not hang on that.
                Ok(json) => member(text, name, |text| text.push_str(&json.get().replace(['\r', '\n'], " "))),
                Err(_) => member(text, name, |text| string(text, value)),
            }
        }
        text.push_str(&self.function);
    }
}

/// The event alone, on one line.
fn bare(event: &[Bytes]) -> Result<Message, Fault> {
    let mut message: Message = match structure::examine(event) {
        Structure::Line => event.to_vec(),
        Structure::Pretty => event.iter().map(on_one_line).collect(),
        Structure::NotJson => return Err(Fault::InvalidEvent { size: event.iter().map(Bytes::len).sum() }),
    };
    message.push(Bytes::from_static(b"\n"));
    Ok(message)
}

fn context_variables(invocation: &Invocation) -> Vec<(&'static str, String)> {
    let values = [
        Some(invocation.request_id.clone()),
        invocation.deadline_ms.map(|deadline| deadline.to_string()),
        invocation.function_arn.clone(),
        invocation.trace_id.clone(),
        invocation.trace_id.as_deref().and_then(trace::traceparent),
        invocation.tenant_id.clone(),
        invocation.client_context.clone(),
        invocation.identity.clone(),
    ];
    CONTEXT_VARIABLES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Appends `,"name":` and the value. The name needs no escapes.
fn member(text: &mut String, name: &str, value: impl FnOnce(&mut String)) {
    text.push_str(",\"");
    text.push_str(name);
    text.push_str("\":");
    value(text);
}

/// Appends a JSON string.
fn string(text: &mut String, value: &str) {
    // Every byte is looked at, so that several can be at once.
    if value.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\')) {
        // A string can always be serialised.
        text.push_str(&serde_json::to_string(value).unwrap_or_default());
    } else {
        text.push('"');
        text.push_str(value);
        text.push('"');
    }
}

fn on_one_line(chunk: &Bytes) -> Bytes {
    let mut line = BytesMut::from(&chunk[..]);
    let mut rest = &mut line[..];
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(event: &[&str]) -> Invocation {
        let (mut invocation, _) =
            Invocation::from_headers(|name| (name == "lambda-runtime-aws-request-id").then_some(&b"the-id"[..])).unwrap();
        invocation.event = event.iter().map(|chunk| Bytes::copy_from_slice(chunk.as_bytes())).collect();
        invocation
    }

    fn encoded(encoder: &Encoder, invocation: &Invocation) -> String {
        String::from_utf8(encoder.encode(invocation).concat()).unwrap()
    }

    #[test]
    fn the_event_passes_byte_for_byte() {
        let encoder = Encoder::new(Mode::JsonLines, &[]);
        let event = r#"{"n":123456789012345678901234567890,"n":1.10, "s":"\ud800"}"#;
        let expected = format!("{{\"id\":\"the-id\",\"context\":{{}},\"event\":{event}}}\n");
        assert_eq!(encoded(&encoder, &invocation(&[event])), expected);
        assert_eq!(encoded(&encoder, &invocation(&[&event[..9], &event[9..]])), expected);
        assert_eq!(
            encoded(&encoder, &invocation(&["{\n \"a\":\r\n1 }\n"])),
            "{\"id\":\"the-id\",\"context\":{},\"event\":{  \"a\":  1 } }\n"
        );
        assert_eq!(
            encoded(&encoder, &invocation(&["1,\"id\":", "\"x\""])),
            "{\"id\":\"the-id\",\"context\":{},\"eventBase64\":\"MSwiaWQiOiJ4Ig==\"}\n"
        );
        assert_eq!(encoded(&encoder, &invocation(&[])), "{\"id\":\"the-id\",\"context\":{},\"eventBase64\":\"\"}\n");
    }

    #[test]
    fn the_context_has_what_is_known() {
        let encoder = Encoder::new(Mode::JsonLines, &[("functionName", "f\"1".to_owned()), ("memoryLimitInMB", "128".to_owned())]);
        let mut invocation = invocation(&["null"]);
        assert_eq!(
            encoded(&encoder, &invocation),
            "{\"id\":\"the-id\",\"context\":{\"functionName\":\"f\\\"1\",\"memoryLimitInMB\":\"128\"},\"event\":null}\n"
        );
        invocation.deadline_ms = Some(1_700_000_000_000);
        invocation.function_arn = Some("arn".to_owned());
        invocation.trace_id = Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1".to_owned());
        invocation.tenant_id = Some("t\u{1}".to_owned());
        invocation.client_context = Some(" {\"a\": 1.10} ".to_owned());
        invocation.identity = Some("{broken".to_owned());
        assert_eq!(
            encoded(&encoder, &invocation),
            concat!(
                r#"{"id":"the-id","context":{"deadlineMs":1700000000000,"invokedFunctionArn":"arn","#,
                r#""traceId":"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1","#,
                r#""traceparent":"00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01","tenantId":"t\u0001","#,
                r#""clientContext":{"a": 1.10},"identity":"{broken","functionName":"f\"1","memoryLimitInMB":"128"},"event":null}"#,
                "\n"
            )
        );
    }

    /// Found by the fuzz target `messages`.
    #[test]
    fn a_client_context_of_several_lines_is_one_line() {
        let mut invocation = invocation(&["null"]);
        invocation.client_context = Some("{\r\n\"a\":\n1}".to_owned());
        invocation.identity = Some("{\n".to_owned());
        assert_eq!(
            encoded(&Encoder::new(Mode::JsonLines, &[]), &invocation),
            "{\"id\":\"the-id\",\"context\":{\"clientContext\":{  \"a\": 1},\"identity\":\"{\\n\"},\"event\":null}\n"
        );
    }

    #[test]
    fn a_filter_gets_the_bare_event_on_one_line_or_none() {
        let encoder = Encoder::new(Mode::Filter, &[("functionName", "f".to_owned())]);
        let bare = |event: &[&str]| match encoder.deliver(&invocation(event)) {
            Ok(Delivery::Line(message)) => Ok(String::from_utf8(message.concat()).unwrap()),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(fault),
        };
        assert_eq!(bare(&["{\"n\": 1.", "10}"]).unwrap(), "{\"n\": 1.10}\n");
        assert_eq!(bare(&["{\r\n \"a\": 1\n}\n"]).unwrap(), "{   \"a\": 1 } \n");
        assert_eq!(bare(&["{}", "{}"]), Err(Fault::InvalidEvent { size: 4 }));
        assert_eq!(bare(&[]), Err(Fault::InvalidEvent { size: 0 }));
    }

    #[test]
    fn a_process_of_its_own_has_the_payload_as_it_is_and_the_context_that_is_known() {
        let encoder = Encoder::new(Mode::OneShot, &[("functionName", "f".to_owned())]);
        let mut invocation = invocation(&["{\n", "no JSON"]);
        let Ok(Delivery::Process { stdin, environment }) = encoder.deliver(&invocation) else { panic!() };
        assert_eq!(stdin.concat(), b"{\nno JSON");
        assert_eq!(environment, [("AWS_LAMBDA_REQUEST_ID", "the-id".to_owned())]);
        invocation.deadline_ms = Some(7);
        invocation.function_arn = Some("arn".to_owned());
        invocation.trace_id = Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8".to_owned());
        invocation.tenant_id = Some("t".to_owned());
        invocation.client_context = Some("{\"a\":1}".to_owned());
        invocation.identity = Some("me".to_owned());
        let Ok(Delivery::Process { environment, .. }) = encoder.deliver(&invocation) else { panic!() };
        let of = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!(environment.len(), CONTEXT_VARIABLES.len());
        assert_eq!(of("AWS_LAMBDA_DEADLINE_MS"), Some("7"));
        assert_eq!(of("AWS_LAMBDA_INVOKED_FUNCTION_ARN"), Some("arn"));
        assert_eq!(of("TRACEPARENT"), Some("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"));
        assert_eq!(of("_X_AMZN_TRACE_ID"), invocation.trace_id.as_deref());
        assert_eq!(of("AWS_LAMBDA_TENANT_ID"), Some("t"));
        assert_eq!(of("AWS_LAMBDA_CLIENT_CONTEXT"), Some("{\"a\":1}"));
        assert_eq!(of("AWS_LAMBDA_COGNITO_IDENTITY"), Some("me"));
    }

    proptest::proptest! {
        #[test]
        fn strings_are_as_serde_json_writes_them(value in r#"[ -~\PC\x00-\x1f]{0,6}"#) {
            let mut text = String::new();
            string(&mut text, &value);
            proptest::prop_assert_eq!(text, serde_json::to_string(&value).unwrap());
        }
    }
}
