//! Whether bytes are JSON, for `bootstrap invoke`, for a filter's line and for what a one-shot program has written: against RFC 8259
//! read byte by byte, and against `serde_json`.

use bootstrap::local;
use bootstrap::protocol::whole;
use bytes::Bytes;

use crate::rfc8259::{self, Value};
use crate::text::is_shallow;

/// Holds all verdicts against each other.
pub fn check(data: &[u8]) {
    if !is_shallow(data) {
        return;
    }
    let node = rfc8259::parse(data);
    let by_serde = serde_json::from_slice::<Box<serde_json::value::RawValue>>(data);
    assert_eq!(node.is_some(), by_serde.is_ok(), "serde_json differs");

    let bytes = Bytes::copy_from_slice(data);
    match (local::json::check(data), &node) {
        (Ok(()), Some(_)) => {}
        (Err(place), None) => {
            assert!(place.line >= 1 && place.column >= 1 && !place.message.is_empty());
            let excerpt = place.excerpt(data);
            assert!(excerpt.ends_with("^\n") && excerpt.lines().count() == 2, "{excerpt}");
        }
        (verdict, _) => panic!("json::check says {verdict:?}"),
    }

    match (whole::line(&bytes), &node) {
        (Ok(response), Some(_)) => assert_eq!(response, data),
        (Err(why), None) => assert!(why.len() < 600, "{why}"),
        (verdict, _) => panic!("a filter's line: {verdict:?}"),
    }

    match (whole::output(&bytes), &node, std::str::from_utf8(data)) {
        (Ok(response), Some(_), _) => assert_eq!(response, data),
        (Ok(response), None, Ok(text)) => {
            let text = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
            let node = rfc8259::parse(&response).expect("the response is JSON");
            assert!(matches!(&node.value, Value::Text(found) if rfc8259::is(found, text)), "{response:?}");
        }
        (Err(_), None, Err(_)) => {}
        (verdict, ..) => panic!("what a program has written: {verdict:?}"),
    }
}
