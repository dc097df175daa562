//! Tells whether an event can travel inside the envelope: it is UTF-8 and, by its structure, one JSON value.
//!
//! Lambda has parsed the event before. What matters here is that no event breaks or forges the envelope around it: strings are
//! closed, brackets match in kind, nothing stands before or after the value (protocol, section 3). One pass, at any depth, over
//! the chunks as they came from the socket.

use bytes::Bytes;

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
    let pretty = chunks.iter().any(|chunk| memchr::memchr2(b'\n', b'\r', chunk).is_some());
    let first = chunks.iter().flat_map(|chunk| chunk.iter()).find(|byte| !is_space(**byte));
    let fits = match first {
        Some(b'{' | b'[') => {
            let mut scanner = Scanner::default();
            chunks.iter().all(|chunk| scanner.scan(chunk, pretty)) && scanner.is_complete() && is_utf8(chunks)
        }
        // A scalar is short as a rule, and checked in full. A byte order mark ends here too.
        Some(_) => is_scalar(chunks),
        None => false,
    };
    match (fits, pretty) {
        (false, _) => Structure::NotJson,
        (true, false) => Structure::Line,
        (true, true) => Structure::Pretty,
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_scalar(chunks: &[Bytes]) -> bool {
    let valid = |bytes: &[u8]| serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok();
    match chunks {
        [one] => valid(one),
        several => valid(&several.concat()),
    }
}

/// Checks UTF-8 across chunks: a character may begin in one and end in the next.
fn is_utf8(chunks: &[Bytes]) -> bool {
    // The bytes of a character that the last chunk began: at most three.
    let mut begun: Vec<u8> = Vec::new();
    for chunk in chunks {
        let mut rest = &chunk[..];
        while !begun.is_empty() && !rest.is_empty() {
            begun.push(rest[0]);
            rest = &rest[1..];
            match std::str::from_utf8(&begun) {
                Ok(_) => begun.clear(),
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            if error.error_len().is_some() {
                return false;
            }
            begun.extend_from_slice(&rest[error.valid_up_to()..]);
        }
    }
    begun.is_empty()
}

/// The state between two bytes of an object or array.
#[derive(Debug, Default)]
struct Scanner {
    /// One bit for each open bracket: set for an object.
    open: Vec<u64>,
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
    /// The outermost bracket has been closed.
    closed: bool,
}

impl Scanner {
    /// Goes on with a chunk. Returns whether all is well so far.
    fn scan(&mut self, chunk: &[u8], pretty: bool) -> bool {
        let mut at = 0;
        while at < chunk.len() {
            if self.in_string {
                let Some(end) = self.string(&chunk[at..], pretty) else { return false };
                at += end;
                continue;
            }
            let byte = chunk[at];
            at += 1;
            let fits = match byte {
                b'"' => {
                    self.in_string = true;
                    self.depth > 0
                }
                b'{' => self.push(true),
                b'[' => self.push(false),
                b'}' => self.pop(true),
                b']' => self.pop(false),
                // Between tokens of an object or array the details are the handler's business.
                _ => self.depth > 0 || is_space(byte),
            };
            if !fits {
                return false;
            }
        }
        true
    }

    /// Goes on inside a string. Returns how many bytes were of it, or `None` where a raw newline is in it.
    fn string(&mut self, bytes: &[u8], pretty: bool) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if std::mem::take(&mut self.escaped) {
                if matches!(bytes[at], b'\n' | b'\r') {
                    return None;
                }
                at += 1;
                continue;
            }
            let special = memchr::memchr2(b'"', b'\\', &bytes[at..]).map_or(bytes.len(), |found| at + found);
            // Only between tokens can a newline become a space unnoticed.
            if pretty && memchr::memchr2(b'\n', b'\r', &bytes[at..special]).is_some() {
                return None;
            }
            at = special + 1;
            match bytes.get(special) {
                Some(b'"') => {
                    self.in_string = false;
                    return Some(at);
                }
                Some(_) => self.escaped = true,
                None => return Some(bytes.len()),
            }
        }
        Some(bytes.len())
    }

    fn push(&mut self, object: bool) -> bool {
        if self.closed {
            return false;
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.open.len() {
            self.open.push(0);
        }
        self.open[word] = (self.open[word] & !(1 << bit)) | (u64::from(object) << bit);
        self.depth += 1;
        true
    }

    fn pop(&mut self, object: bool) -> bool {
        let Some(depth) = self.depth.checked_sub(1) else { return false };
        self.depth = depth;
        self.closed = depth == 0;
        (self.open[depth / 64] >> (depth % 64)) & 1 == u64::from(object)
    }

    fn is_complete(&self) -> bool {
        self.closed && self.depth == 0 && !self.in_string
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
