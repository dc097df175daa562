//! Messages: what a handler gets for an event, read back. The input is the headers of `/next`, an empty line, and the payload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::fault::Fault;
use bootstrap::protocol::conversation::Mode;
use bootstrap::protocol::message::{Delivery, Encoder};
use bootstrap::protocol::structure::{Structure, examine};
use bootstrap::runtime::invocation::Invocation;

use crate::headers;
use crate::rfc8259::{self, Node, is};
use crate::text::{cut, head_and_body, is_shallow};

/// Encodes an invocation in each mode, and reads the result.
pub fn check(data: &[u8]) {
    if !is_shallow(data) {
        return;
    }
    let (head, event) = head_and_body(data);
    let value = |name: &str| match head.iter().find(|(found, _)| found == name) {
        Some((_, value)) => Some(*value),
        None => (name == "lambda-runtime-aws-request-id").then_some(&b"the-id"[..]),
    };
    let Ok((mut invocation, _)) = Invocation::from_headers(value) else { return };
    invocation.event = cut(event);

    // By its structure one JSON value: only such a payload stands in the envelope, and each that is JSON does.
    let is_json = rfc8259::parse(event).is_some();
    let fits = is_one_value(event);
    assert!(fits || !is_json, "the oracles differ");
    let has_newlines = event.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    let expected = match (fits, has_newlines) {
        (false, _) => Structure::NotJson,
        (true, true) => Structure::Pretty,
        (true, false) => Structure::Line,
    };
    assert_eq!(examine(&invocation.event), expected);
    let one_line = on_one_line(event);

    let function = [("functionName", "f\"\\1\u{1}".to_owned()), ("logGroupName", "g".to_owned())];
    let message = match Encoder::new(Mode::JsonLines, &function).deliver(&invocation) {
        Ok(Delivery::Line(message)) => message.concat(),
        other => panic!("{other:?}"),
    };
    let line = message.strip_suffix(b"\n").expect("it ends in a newline");
    assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "it is one line");
    let text = std::str::from_utf8(line).expect("it is UTF-8");
    let start = format!("{{\"id\":\"{}\",\"context\":", invocation.request_id);
    let rest = text.strip_prefix(&start).expect("it begins with the id");
    let context = rest.char_indices().map(|(at, _)| &rest[..at]).filter(|part| part.ends_with('}'));
    let context = context.into_iter().find_map(|part| rfc8259::parse(part.as_bytes())).expect("the context is JSON");
    compare_contexts(&context, &invocation);
    let tail = &rest[context.raw.len()..];
    if fits {
        let inside = tail.strip_prefix(",\"event\":").and_then(|tail| tail.strip_suffix('}')).expect("there is the event");
        assert_eq!(inside.as_bytes(), one_line);
    } else {
        let inside = tail.strip_prefix(",\"eventBase64\":\"").and_then(|tail| tail.strip_suffix("\"}"));
        assert_eq!(STANDARD.decode(inside.expect("there is the event in base64")).expect("base64"), event);
    }
    // And as a handler reads it, where the payload is JSON or in base64: nothing in it has forged a member.
    if is_json || !fits {
        let whole = rfc8259::parse(line).expect("the message is JSON");
        let names: Vec<String> = whole.members().unwrap_or_default().iter().map(|(name, _)| rfc8259::string(name)).collect();
        assert_eq!(names, ["id", "context", if fits { "event" } else { "eventBase64" }]);
        assert!(is(whole.get("id").and_then(Node::text).expect("there is an id"), &invocation.request_id));
        serde_json::from_slice::<&serde_json::value::RawValue>(line).expect("serde_json reads it");
    }

    match Encoder::new(Mode::Filter, &function).deliver(&invocation) {
        Ok(Delivery::Line(message)) if fits => assert_eq!(message.concat(), [&one_line[..], b"\n"].concat()),
        Err(Fault::InvalidEvent { size }) if !fits => assert_eq!(size, event.len()),
        other => panic!("a filter gets {other:?}"),
    }
    match Encoder::new(Mode::OneShot, &function).deliver(&invocation) {
        Ok(Delivery::Process { stdin, environment }) => {
            assert_eq!(stdin.concat(), event);
            let has = |name: &str| environment.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
            assert_eq!(has("AWS_LAMBDA_REQUEST_ID"), Some(invocation.request_id.as_str()));
            assert_eq!(has("AWS_LAMBDA_CLIENT_CONTEXT"), invocation.client_context.as_deref());
            assert_eq!(has("TRACEPARENT").map(str::to_owned), invocation.trace_id.as_deref().and_then(headers::traceparent));
        }
        other => panic!("a process of its own gets {other:?}"),
    }
}

fn compare_contexts(context: &Node<'_>, invocation: &Invocation) {
    let traceparent = invocation.trace_id.as_deref().and_then(headers::traceparent);
    let mut expected = 2;
    for (name, value) in [
        ("invokedFunctionArn", &invocation.function_arn),
        ("traceId", &invocation.trace_id),
        ("traceparent", &traceparent),
        ("tenantId", &invocation.tenant_id),
    ] {
        let found = context.get(name).map(|node| rfc8259::string(node.text().expect("a text")));
        assert_eq!(&found, value, "{name}");
        expected += usize::from(value.is_some());
    }
    for (name, value) in [("clientContext", &invocation.client_context), ("identity", &invocation.identity)] {
        let Some(value) = value else {
            assert_eq!(context.get(name), None);
            continue;
        };
        expected += 1;
        let found = context.get(name).expect(name);
        match rfc8259::parse(value.as_bytes()) {
            Some(json) => assert_eq!(found.raw, on_one_line(json.raw)),
            None => assert!(is(found.text().expect("a text"), value)),
        }
    }
    let deadline = context.get("deadlineMs").map(|node| String::from_utf8_lossy(node.raw).into_owned());
    assert_eq!(deadline, invocation.deadline_ms.map(|deadline| deadline.to_string()));
    expected += usize::from(deadline.is_some());
    assert!(is(context.get("functionName").and_then(Node::text).expect("a name"), "f\"\\1\u{1}"));
    assert_eq!(context.members().map(<[_]>::len), Some(expected), "no member beyond these");
}

/// Line breaks as spaces.
fn on_one_line(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// One JSON value by its structure, byte by byte: section 3.
fn is_one_value(text: &[u8]) -> bool {
    if std::str::from_utf8(text).is_err() {
        return false;
    }
    let trimmed = trim(text);
    match trimmed.first() {
        Some(b'[' | b'{') => {}
        // A scalar is valid or it is not.
        _ => return rfc8259::parse(trimmed).is_some(),
    }
    let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
    for (at, byte) in trimmed.iter().copied().enumerate() {
        match byte {
            b'\n' | b'\r' if in_string => return false,
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'\\' => return false,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => {
                if open.pop() != Some(byte) {
                    return false;
                }
                if open.is_empty() {
                    return at + 1 == trimmed.len();
                }
            }
            _ => {}
        }
    }
    false
}

fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}
