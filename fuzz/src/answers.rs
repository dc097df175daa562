//! HTTP answers from what a handler says, buffered or after a prelude: what is no answer is refused, and what is one can be sent.
//!
//! The first byte says which it is. Whether the head can be sent, the target `requests` shows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::local::url::{self, Beginning, Head};
use bytes::Bytes;

use crate::rfc8259::{self, Node, Value, squeezed, string};
use crate::text::{cut, is_shallow};

/// Makes an answer, and holds it against payload format 2.0.
pub fn check(data: &[u8]) {
    let Some((first, response)) = data.split_first() else { return };
    if !is_shallow(response) {
        return;
    }
    if *first == b'p' { prelude(response) } else { buffered(response) }
}

fn buffered(response: &[u8]) {
    let answer = url::answer(&Bytes::copy_from_slice(response));
    let Some(node) = rfc8259::parse(response) else {
        assert!(answer.is_err(), "it is no JSON");
        return;
    };
    let Some(status) = node.get("statusCode") else {
        let answer = answer.expect("any JSON is an answer");
        assert_eq!(answer.head.status.as_u16(), 200);
        match node.text() {
            Some(text) => assert_eq!(squeezed(&String::from_utf8_lossy(&answer.body)), squeezed(&string(text))),
            None => assert_eq!(answer.body, response),
        }
        return;
    };
    let body = body(&node);
    match (answer, body, head_fits(&node, Some(status))) {
        (Ok(answer), Some(body), true) => {
            compare(&answer.head, &node, Some(status));
            assert_eq!(squeezed(&String::from_utf8_lossy(&answer.body)), squeezed(&String::from_utf8_lossy(&body)));
        }
        (Err(_), None, _) | (Err(_), _, false) => {}
        (answer, body, fits) => panic!("{answer:?} with {body:?} and a head that fits: {fits}"),
    }
}

/// A member that is there and not `null`.
fn member<'a>(node: &'a Node<'_>, name: &str) -> Option<&'a Node<'a>> {
    node.get(name).filter(|node| node.value != Value::Null)
}

/// The body; `None` where it is not of its type.
fn body(node: &Node<'_>) -> Option<Vec<u8>> {
    let is_base64 = match member(node, "isBase64Encoded").map(|node| &node.value) {
        None => false,
        Some(Value::Bool(is_base64)) => *is_base64,
        Some(_) => return None,
    };
    let Some(body) = member(node, "body") else { return Some(Vec::new()) };
    let text = string(body.text()?);
    if is_base64 { STANDARD.decode(text).ok() } else { Some(text.into_bytes()) }
}

fn status_of(node: &Node<'_>) -> Option<u16> {
    let digits = match &node.value {
        Value::Text(text) => string(text),
        Value::Number => String::from_utf8_lossy(node.raw).into_owned(),
        _ => return None,
    };
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|status| (200..=599).contains(status))
}

fn head_fits(node: &Node<'_>, status: Option<&Node<'_>>) -> bool {
    let is_header = |node: &Node<'_>| !matches!(node.value, Value::List(_) | Value::Object(_));
    status.is_none_or(|status| status_of(status).is_some())
        && member(node, "headers")
            .is_none_or(|headers| headers.members().is_some_and(|members| members.iter().all(|(_, value)| is_header(value))))
        && member(node, "cookies")
            .is_none_or(|cookies| matches!(&cookies.value, Value::List(list) if list.iter().all(|cookie| cookie.text().is_some())))
}

fn compare(head: &Head, node: &Node<'_>, status: Option<&Node<'_>>) {
    assert_eq!(Some(head.status.as_u16()), status.map_or(Some(200), status_of));
    for of_the_server in ["connection", "content-length", "transfer-encoding", "keep-alive", "trailer", "upgrade"] {
        assert!(!head.headers.contains_key(of_the_server), "{of_the_server}");
    }
    for (name, value) in &head.headers {
        assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)), "{name}: {value:?}");
    }
    // A header that is sent is one that was said, or the default type.
    let said = member(node, "headers").and_then(Node::members).unwrap_or_default();
    for name in head.headers.keys().filter(|name| *name != "content-type" && *name != "set-cookie") {
        assert!(said.iter().any(|(found, _)| string(found).eq_ignore_ascii_case(name.as_str())), "{name}");
    }
}

fn prelude(bytes: &[u8]) {
    let found = feed(&[Bytes::copy_from_slice(bytes)]);
    assert_eq!(feed(&cut(bytes)), found, "cut anyhow");
    let end = bytes.windows(8).position(|window| window == [0; 8]);
    let node = end.and_then(|end| rfc8259::parse(&bytes[..end]));
    let fits = node.as_ref().is_some_and(|node| node.members().is_some() && head_fits(node, node.get("statusCode")));
    match (found, end, node) {
        (Ok((head, body)), Some(end), Some(node)) => {
            assert!(fits);
            compare(&head, &node, node.get("statusCode"));
            assert_eq!(body, bytes[end + 8..]);
        }
        (Err(_), ..) => assert!(!fits),
        (found, ..) => panic!("{found:?}"),
    }
}

fn feed(chunks: &[Bytes]) -> Result<(Head, Vec<u8>), String> {
    let Beginning::Prelude(mut prelude) = url::beginning("application/vnd.awslambda.http-integration-response") else {
        panic!("there is a prelude")
    };
    for (place, chunk) in chunks.iter().enumerate() {
        if let Some((head, body)) = prelude.feed(chunk).map_err(|why| why.to_string())? {
            return Ok((head, [&body[..], &chunks[place + 1..].concat()].concat()));
        }
    }
    Err(prelude.cut_short().to_string())
}
