//! Tells whether an event can travel inside the envelope: it is UTF-8 and, by its structure, one JSON value.
//!
//! Lambda has parsed the event before. What matters here is that no event breaks or forges the envelope around it: strings are
//! closed, brackets match in kind, nothing stands before or after the value (protocol, section 3). One pass, at any depth, over
//! the chunks as they came from the socket, 64 bytes at a time.

use bytes::Bytes;

use crate::protocol::scanner::Scanner;

/// The checks take turns on pieces of this size, a multiple of a block's: what one has read, the next finds in the cache.
const PIECE: usize = 16 * 1024;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// One JSON value on one line.
    Line,
    /// One JSON value with raw newlines between its tokens.
    Pretty,
    /// Something else.
    NotJson,
}

/// Examines a payload given as its chunks in order.
#[must_use]
pub fn examine(chunks: &[Bytes]) -> Structure {
    let first = chunks.iter().flat_map(|chunk| chunk.iter()).find(|byte| !is_space(**byte));
    match first {
        Some(b'{' | b'[') => container(chunks),
        // A scalar is short as a rule, and checked in full. A byte order mark ends here too.
        Some(_) if is_scalar(chunks) => lines(chunks.iter().any(|chunk| has_newline(chunk))),
        _ => Structure::NotJson,
    }
}

fn lines(several: bool) -> Structure {
    if several { Structure::Pretty } else { Structure::Line }
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn has_newline(bytes: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', bytes).is_some()
}

fn is_scalar(chunks: &[Bytes]) -> bool {
    let valid = |bytes: &[u8]| serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok();
    match chunks {
        [one] => valid(one),
        several => valid(&several.concat()),
    }
}

/// Examines a payload whose first byte other than white space is an opening bracket.
fn container(chunks: &[Bytes]) -> Structure {
    let mut scanner = Scanner::default();
    let mut utf8 = Utf8::default();
    let mut pretty = false;
    for piece in chunks.iter().flat_map(|chunk| chunk.chunks(PIECE)) {
        let newlines = has_newline(piece);
        pretty |= newlines;
        if !(scanner.scan(piece, newlines) && utf8.check(piece)) {
            return Structure::NotJson;
        }
    }
    if scanner.is_complete() && utf8.is_complete() { lines(pretty) } else { Structure::NotJson }
}

/// Checks UTF-8 across pieces: a character may begin in one and end in the next.
#[derive(Debug, Default)]
struct Utf8 {
    /// The bytes of a character that the last piece began: at most three.
    begun: Vec<u8>,
}

impl Utf8 {
    /// Goes on with a piece. Returns whether all is well so far.
    fn check(&mut self, mut rest: &[u8]) -> bool {
        while !self.begun.is_empty() && !rest.is_empty() {
            self.begun.push(rest[0]);
            rest = &rest[1..];
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            self.begun.extend_from_slice(&rest[error.valid_up_to()..]);
            return error.error_len().is_none();
        }
        true
    }

    fn is_complete(&self) -> bool {
        self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Structure {
        let whole = examine(&[Bytes::copy_from_slice(text)]);
        // The same, wherever the socket cut it.
        for cut in 0..if text.len() > 10_000 { 0 } else { text.len() } {
            let chunks = [Bytes::copy_from_slice(&text[..cut]), Bytes::copy_from_slice(&text[cut..])];
            assert_eq!(examine(&chunks), whole, "{:?} cut at {cut}", String::from_utf8_lossy(text));
        }
        if text.len() <= 10_000 {
            let bytes: Vec<Bytes> = text.chunks(1).map(Bytes::copy_from_slice).collect();
            assert_eq!(examine(&bytes), whole);
        }
        whole
    }

    #[test]
    fn one_json_value_travels_as_it_is() {
        for text in [
            r#"{}"#,
            r#"[]"#,
            r#" {"a":[1,{"b":"}"}]} "#,
            "null",
            "true",
            "false",
            "0",
            "-1.5e+300",
            r#""""#,
            r#""a\"b\\""#,
            r#"{"a":"\\","b":"\"{["}"#,
            r#"{"a":1,"a":2}"#,
            r#"["\ud800"]"#,
            r#""\ud800""#,
            "{\"grüße\":\"☃𝄞\"}",
            "\t[1]\t",
            "123456789012345678901234567890",
            "1.10",
        ] {
            assert_eq!(of(text.as_bytes()), Structure::Line, "{text}");
        }
    }

    #[test]
    fn newlines_between_tokens_are_told() {
        for text in ["{\n \"a\": 1\r\n}\n", "\n1", "[1]\r", "\"a\"\n", "[\n]"] {
            assert_eq!(of(text.as_bytes()), Structure::Pretty, "{text:?}");
        }
    }

    #[test]
    fn whatever_could_break_or_forge_the_envelope_is_not_json() {
        for text in [
            "",
            " ",
            "\n",
            "{",
            "}",
            "[}",
            "{]",
            "[[]",
            "[]]",
            "{}{}",
            "{},{}",
            "{} 1",
            "1 {}",
            "1 2",
            "tru",
            "nul",
            "01",
            "1.",
            "+1",
            "NaN",
            r#"""#,
            r#""a"#,
            r#"{"a}"#,
            r#"{"a\"}"#,
            r#""a""b""#,
            r#"{}"a""#,
            r#"{},"id":"x""#,
            r#"1,"id":"x""#,
            "hello",
            "'a'",
            "\u{feff}{}",
            "{\"a\":\"line\nbreak\"}",
            "[\"\r\"]",
            "[\"\\\n\"]",
            "\"\n\"",
            "]",
            ",",
            "[]x",
            "x[]",
            "<xml/>",
        ] {
            assert_eq!(of(text.as_bytes()), Structure::NotJson, "{text:?}");
        }
        assert_eq!(of(b"[\"\xff\"]"), Structure::NotJson);
        assert_eq!(of(b"[\"\xe2\x98\"]"), Structure::NotJson);
        assert_eq!(of(b"\"\xc0\xaf\""), Structure::NotJson);
        assert_eq!(of(b"\x00"), Structure::NotJson);
    }

    #[test]
    fn depth_has_no_limit() {
        let deep = 3_000_000;
        let mut text = "[".repeat(deep);
        text.push_str(&"]".repeat(deep));
        assert_eq!(of(text.as_bytes()), Structure::Line);
        let mixed = format!("{}{}", "[{\"a\":".repeat(1000), "}]".repeat(1000));
        assert_eq!(of(mixed.as_bytes()), Structure::Line);
        let crossed = format!("{}{}", "[{\"a\":".repeat(100), "]}".repeat(100));
        assert_eq!(of(crossed.as_bytes()), Structure::NotJson);
    }

    proptest::proptest! {
        #[test]
        fn what_serde_accepts_is_accepted_and_what_is_accepted_has_one_line(text in r#"[\[\]{}",:\\a1 \n]{0,24}"#) {
            let structure = of(text.as_bytes());
            if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
                proptest::prop_assert!(structure != Structure::NotJson);
            }
            if structure == Structure::Line {
                proptest::prop_assert!(!text.contains(['\n', '\r']));
            }
        }
    }
}
