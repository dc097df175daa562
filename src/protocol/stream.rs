//! The values of a streamed reply: what opens the stream, and the bytes of its chunks.
//!
//! The values come as JSON text that is known to be valid, and what of it is passed on is spliced, not parsed and written again.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::protocol::text::{decoded, quoted, unescaped};

/// The `Content-Type` of a stream that names none.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// The `Content-Type` of a body that begins with a prelude.
const PRELUDE_TYPE: &str = "application/vnd.awslambda.http-integration-response";

/// What ends a prelude.
const PRELUDE_END: &str = "\0\0\0\0\0\0\0\0";

/// How the response of a streamed reply begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHead {
    /// The `Content-Type` of the POST.
    pub content_type: String,
    /// What stands before the chunks where the stream has a status, headers or cookies: a JSON object and eight NUL bytes.
    pub prelude: Option<Bytes>,
}

/// The value of `stream`, or what is wrong with a reply that has it.
pub(super) fn head(value: &str) -> Result<StreamHead, String> {
    let (mut content_type, mut status, mut headers, mut cookies) = (None, None, None, None);
    members(value, "has a \"stream\" that is not an object; with nothing to say it is {}", |name, value| {
        let name = unescaped(name);
        let member = match name.as_slice() {
            b"contentType" => &mut content_type,
            b"statusCode" => &mut status,
            b"headers" => &mut headers,
            b"cookies" => &mut cookies,
            unknown => {
                return Err(format!(
                    "has a \"stream\" with the member \"{}\"; it may have \"contentType\", \"statusCode\", \"headers\" and \"cookies\"",
                    quoted(unknown)
                ));
            }
        };
        match member.replace(value) {
            None => Ok(()),
            Some(_) => Err(format!("has a \"stream\" with the member \"{}\" twice", quoted(&name))),
        }
    })?;
    let named = content_type.map(header_value).transpose()?;
    if status.or(headers).or(cookies).is_none() {
        return Ok(StreamHead { content_type: named.unwrap_or_else(|| DEFAULT_TYPE.to_owned()), prelude: None });
    }
    let status = status.map_or(Ok("200"), checked_status)?;
    let headers = prelude_headers(headers.unwrap_or("{}"), content_type)?;
    let cookies = cookies.map_or(Ok("[]"), checked_cookies)?;
    let prelude = format!("{{\"statusCode\":{status},\"headers\":{{{headers}}},\"cookies\":{cookies}}}{PRELUDE_END}");
    Ok(StreamHead { content_type: PRELUDE_TYPE.to_owned(), prelude: Some(prelude.into()) })
}

/// The value of `chunk`, or what is wrong with a reply that has it. One without escapes is a slice of its line.
pub(super) fn chunk(line: &Bytes, value: &str) -> Result<Bytes, String> {
    match plain(value) {
        Some(plain) => Ok(line.slice_ref(plain.as_bytes())),
        None if value.starts_with('"') => serde_json::from_str::<String>(value).map(Bytes::from).map_err(|error| {
            // Valid JSON that is no text has a lone surrogate. The error counts from the value's beginning, its reader from the line's.
            let column = value.as_ptr().addr() - line.as_ptr().addr() + error.column();
            format!(
                "has a \"chunk\" with half a surrogate pair at column {column}, which has no bytes in UTF-8; a chunk holds whole \
                 characters, and bytes that are no text go as \"chunkBase64\""
            )
        }),
        None => Err("has a \"chunk\" that is not a string; JSON goes into it as text".to_owned()),
    }
}

/// The bytes of `chunkBase64`, or what is wrong with a reply that has it.
pub(super) fn chunk_base64(value: &str) -> Result<Bytes, String> {
    let decoded = match plain(value) {
        Some(plain) => STANDARD.decode(plain),
        None if value.starts_with('"') => STANDARD.decode(unescaped(value)),
        None => return Err("has a \"chunkBase64\" that is not a string".to_owned()),
    };
    decoded.map(Bytes::from).map_err(|error| {
        let error = error.to_string();
        format!(
            "has a \"chunkBase64\" that is not base64 ({}); it should be of the standard alphabet, with its padding and without \
             line breaks",
            error.trim_end_matches('.')
        )
    })
}

/// The text of a JSON string without escapes. `None` where it is another value, or has some.
fn plain(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    memchr::memchr(b'\\', text.as_bytes()).is_none().then_some(text)
}

/// `contentType`, as the value of an HTTP header.
fn header_value(value: &str) -> Result<String, String> {
    if !value.starts_with('"') {
        return Err("has a \"stream\" whose \"contentType\" is no string".to_owned());
    }
    let text = decoded(value);
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Ok(text);
    }
    Err("has a \"stream\" whose \"contentType\" can't be an HTTP header's value; it should be visible ASCII and spaces".to_owned())
}

fn checked_status(value: &str) -> Result<&str, String> {
    match value.parse() {
        Ok(100..=599_u16) => Ok(value),
        _ => Err("has a \"stream\" whose \"statusCode\" is no integer from 100 to 599".to_owned()),
    }
}

fn checked_cookies(value: &str) -> Result<&str, String> {
    struct Cookies;
    impl<'de> Visitor<'de> for Cookies {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
            let mut all_strings = true;
            while let Some(cookie) = list.next_element::<&RawValue>()? {
                all_strings &= cookie.get().starts_with('"');
            }
            Ok(all_strings)
        }
    }
    match serde_json::Deserializer::from_str(value).deserialize_seq(Cookies) {
        Ok(true) => Ok(value),
        _ => Err("has a \"stream\" whose \"cookies\" is no list of strings".to_owned()),
    }
}

/// The headers of the prelude, without the braces: those of the handler as it wrote them, and the content type.
///
/// `content_type` is the JSON string of `contentType`, which is stronger than a header of that name.
fn prelude_headers(value: &str, content_type: Option<&str>) -> Result<String, String> {
    const NAME: &str = "content-type";
    let mut text = String::new();
    let mut push = |name: &str, value: &str| {
        let comma = if text.is_empty() { "" } else { "," };
        text.extend([comma, name, ":", value]);
    };
    let mut names = HashSet::new();
    let mut has_type = false;
    let not_an_object = "has a \"stream\" whose \"headers\" is not an object of strings";
    members(value, not_an_object, |name, value| {
        let plain = unescaped(name);
        if !value.starts_with('"') {
            return Err(format!("{not_an_object}: \"{}\" is no string", quoted(&plain)));
        }
        if names.contains(&plain) {
            return Err(format!("has a \"stream\" with the header \"{}\" twice", quoted(&plain)));
        }
        let is_type = plain.eq_ignore_ascii_case(NAME.as_bytes());
        names.insert(plain);
        has_type |= is_type;
        if !is_type || content_type.is_none() {
            push(name, value);
        }
        Ok(())
    })?;
    match content_type {
        Some(content_type) => push(&format!("\"{NAME}\""), content_type),
        None if has_type => {}
        None => push(&format!("\"{NAME}\""), &format!("\"{DEFAULT_TYPE}\"")),
    }
    Ok(text)
}

/// Calls `take` with each member of an object, its name and its value as they are written, up to one that it finds wrong.
/// What is wrong with a value that is no object is `no_object`.
fn members<'a>(value: &'a str, no_object: &str, take: impl FnMut(&'a str, &'a str) -> Result<(), String>) -> Result<(), String> {
    struct Members<F>(F);
    impl<'de, F: FnMut(&'de str, &'de str) -> Result<(), String>> Visitor<'de> for Members<F> {
        type Value = Result<(), String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut outcome = Ok(());
            // The rest is read in any case: serde_json has an error of its own for an object that is left in the middle.
            while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                outcome = outcome.and_then(|()| (self.0)(name.get(), value.get()));
            }
            Ok(outcome)
        }
    }
    serde_json::Deserializer::from_str(value).deserialize_map(Members(take)).unwrap_or_else(|_| Err(no_object.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream that has a prelude: the JSON of it.
    fn prelude(value: &str) -> String {
        let head = head(value).unwrap_or_else(|what| panic!("{value}: {what}"));
        assert_eq!(head.content_type, PRELUDE_TYPE, "{value}");
        let prelude = String::from_utf8(head.prelude.unwrap().to_vec()).unwrap();
        prelude.strip_suffix(PRELUDE_END).unwrap().to_owned()
    }

    /// What a line with this value of `chunk` gives, and the line.
    fn with_line(value: &str) -> (Result<Bytes, String>, Bytes) {
        let line = Bytes::from(format!(r#"{{"chunk":{value}}}"#));
        let value = std::str::from_utf8(&line[9..line.len() - 1]).unwrap();
        (chunk(&line, value), line)
    }

    fn chunk_of(value: &str) -> Result<Bytes, String> {
        with_line(value).0
    }

    #[test]
    fn a_stream_of_a_type_alone_has_no_prelude() {
        for (value, content_type) in [
            ("{}", "application/octet-stream"),
            ("{ }", "application/octet-stream"),
            (r#"{"contentType":"text/html; charset=utf-8"}"#, "text/html; charset=utf-8"),
            (r#"{"content\u0054ype":"text\/html"}"#, "text/html"),
            (r#"{ "contentType" : "a\tb~" }"#, "a\tb~"),
        ] {
            assert_eq!(head(value), Ok(StreamHead { content_type: content_type.to_owned(), prelude: None }), "{value}");
        }
    }

    #[test]
    fn a_prelude_has_status_headers_and_cookies_in_this_order() {
        for (value, expected) in [
            (r#"{"statusCode":404}"#, r#"{"statusCode":404,"headers":{"content-type":"application/octet-stream"},"cookies":[]}"#),
            (r#"{"headers":{}}"#, r#"{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}"#),
            (
                r#"{"cookies":["a=1", "\ud800"]}"#,
                r#"{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":["a=1", "\ud800"]}"#,
            ),
            (
                r#"{"cookies":[],"headers":{},"contentType":"text\/html","statusCode":599}"#,
                r#"{"statusCode":599,"headers":{"content-type":"text\/html"},"cookies":[]}"#,
            ),
        ] {
            assert_eq!(prelude(value), expected, "{value}");
        }
    }

    #[test]
    fn headers_pass_as_they_are_written_and_one_of_them_is_the_content_type() {
        for (members, expected) in [
            (r#""headers":{"Content-Type":"a/b"}"#, r#""Content-Type":"a/b""#),
            (r#""headers":{"content-type":"a/b","CONTENT-TYPE":"c/d"}"#, r#""content-type":"a/b","CONTENT-TYPE":"c/d""#),
            (r#""contentType":"x/y","headers":{"Content-Type":"a/b"}"#, r#""content-type":"x/y""#),
            (
                r#""headers":{"b":"1","Content-TYPE":"a/b","a":"2","content-type":"c/d"},"contentType":"x/y""#,
                r#""b":"1","a":"2","content-type":"x/y""#,
            ),
            (r#""contentType":"x/y","headers":{"content\u002dtype":"a/b"}"#, r#""content-type":"x/y""#),
            (r#""headers":{"content\u002dtype":"a/b"}"#, r#""content\u002dtype":"a/b""#),
            (
                r#""headers":{ "z" : "\ud800\/" , "X-\u0041" : "☃" ,"Z":"" }"#,
                r#""z":"\ud800\/","X-\u0041":"☃","Z":"","content-type":"application/octet-stream""#,
            ),
            (r#""headers":{"\ud800":"a","\ud801":"b"},"contentType":"x/y""#, r#""\ud800":"a","\ud801":"b","content-type":"x/y""#),
        ] {
            let whole = format!(r#"{{"statusCode":200,"headers":{{{expected}}},"cookies":[]}}"#);
            assert_eq!(prelude(&format!("{{{members}}}")), whole, "{members}");
        }
    }

    #[test]
    fn whatever_breaks_the_rules_of_a_stream_is_said() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        for value in ["null", "true", "5", "\"text\"", "[]", "[{}]", &deep] {
            assert_eq!(head(value), Err("has a \"stream\" that is not an object; with nothing to say it is {}".to_owned()));
        }
        let nested = format!(r#"{{"headers":{deep}}}"#);
        let header = format!(r#"{{"headers":{{"a":{deep}}}}}"#);
        let cookie = format!(r#"{{"cookies":[{deep}]}}"#);
        for (value, why) in [
            (r#"{"content-type":"a/b"}"#, "\"stream\" with the member \"content-type\"; it may have \"contentType\","),
            (r#"{"\ud800":1}"#, "with the member \"\u{fffd}\u{fffd}\u{fffd}\""),
            (r#"{"contentType":"a","contentType":"a"}"#, "\"contentType\" twice"),
            (r#"{"statusCode":200,"status\u0043ode":200}"#, "\"statusCode\" twice"),
            (r#"{"contentType":null}"#, "\"contentType\" is no string"),
            (r#"{"contentType":["a"]}"#, "\"contentType\" is no string"),
            (r#"{"contentType":"a\r\nb: c"}"#, "\"contentType\" can't be an HTTP header's value"),
            (r#"{"contentType":"\u0000"}"#, "\"contentType\" can't be an HTTP header's value"),
            (r#"{"contentType":"\u007f"}"#, "\"contentType\" can't be an HTTP header's value"),
            (r#"{"contentType":"☃"}"#, "\"contentType\" can't be an HTTP header's value"),
            (r#"{"contentType":"\ud800"}"#, "\"contentType\" can't be an HTTP header's value"),
            (r#"{"contentType":"☃","statusCode":200}"#, "\"contentType\" can't be an HTTP header's value"),
            (r#"{"statusCode":null}"#, "\"statusCode\" is no integer from 100 to 599"),
            (r#"{"statusCode":"200"}"#, "\"statusCode\" is no integer"),
            (r#"{"statusCode":200.0}"#, "\"statusCode\" is no integer"),
            (r#"{"statusCode":2e2}"#, "\"statusCode\" is no integer"),
            (r#"{"statusCode":-200}"#, "\"statusCode\" is no integer"),
            (r#"{"statusCode":99}"#, "\"statusCode\" is no integer"),
            (r#"{"statusCode":600}"#, "\"statusCode\" is no integer"),
            (r#"{"statusCode":65736}"#, "\"statusCode\" is no integer"),
            (r#"{"headers":null}"#, "\"headers\" is not an object of strings"),
            (r#"{"headers":[["a","b"]]}"#, "\"headers\" is not an object of strings"),
            (r#"{"headers":"a: b"}"#, "\"headers\" is not an object of strings"),
            (r#"{"headers":{"a":"b","c":1}}"#, "\"headers\" is not an object of strings: \"c\" is no string"),
            (r#"{"headers":{"a":["b"]}}"#, "\"headers\" is not an object of strings: \"a\" is no string"),
            (r#"{"headers":{"a":null}}"#, "\"a\" is no string"),
            (r#"{"headers":{"content-type":1},"contentType":"a/b"}"#, "\"content-type\" is no string"),
            (r#"{"headers":{"a":"b","A":"b","\u0061":"b"}}"#, "the header \"a\" twice"),
            (r#"{"headers":{"content-type":"a","content-type":"b"},"contentType":"c"}"#, "the header \"content-type\" twice"),
            (r#"{"cookies":null}"#, "\"cookies\" is no list of strings"),
            (r#"{"cookies":"a=1"}"#, "\"cookies\" is no list of strings"),
            (r#"{"cookies":{}}"#, "\"cookies\" is no list of strings"),
            (r#"{"cookies":["a",1]}"#, "\"cookies\" is no list of strings"),
            (r#"{"cookies":[null,"a"]}"#, "\"cookies\" is no list of strings"),
            (&nested, "\"headers\" is not an object of strings"),
            (&header, "\"a\" is no string"),
            (&cookie, "\"cookies\" is no list of strings"),
        ] {
            let told = head(value).unwrap_err();
            assert!(told.contains(why), "{value}: {told}");
        }
        let told = head(&format!(r#"{{"{}":1}}"#, "x".repeat(1_000_000))).unwrap_err();
        assert!(told.len() < 350, "{told}");
    }

    #[test]
    fn a_chunk_without_escapes_is_a_slice_of_its_line() {
        let (chunk, line) = with_line("\"☃ text\"");
        let chunk = chunk.unwrap();
        assert_eq!(chunk, "☃ text");
        assert_eq!(chunk.as_ptr(), line[10..].as_ptr());
    }

    #[test]
    fn a_chunk_is_the_utf_8_of_a_string() {
        for (value, expected) in [
            (r#""""#, ""),
            (r#""text""#, "text"),
            (r#""\"\\\/\b\f\n\r\t\u0000""#, "\"\\/\u{8}\u{c}\n\r\t\0"),
            (r#""\u2603\ud83d\ude00☃""#, "☃😀☃"),
            (r#""data: {\"a\":1}\n\n""#, "data: {\"a\":1}\n\n"),
        ] {
            assert_eq!(chunk_of(value).unwrap(), expected, "{value}");
        }
        for (value, why) in [
            ("null", "has a \"chunk\" that is not a string; JSON goes into it as text"),
            ("1", "not a string"),
            ("[]", "not a string"),
            (r#"{"a":"\ud800"}"#, "not a string"),
            (r#""\ud800""#, "has a \"chunk\" with half a surrogate pair at column"),
            (r#""\ude00\ud83d""#, "half a surrogate pair"),
            (r#""\ud83d\u0041""#, "half a surrogate pair"),
            (r#""\ud83d\n""#, "half a surrogate pair"),
            (r#""\ud83dx""#, "half a surrogate pair"),
        ] {
            let told = chunk_of(value).unwrap_err();
            assert!(told.contains(why), "{value}: {told}");
        }
    }

    #[test]
    fn chunk_base64_is_of_the_standard_alphabet_and_padded() {
        for (value, expected) in [
            (r#""""#, &b""[..]),
            (r#""/+8=""#, b"\xff\xef"),
            (r#""\/+8=""#, b"\xff\xef"),
            (r#""\u0059Q\u003d=""#, b"a"),
            (r#""YWJj""#, b"abc"),
        ] {
            assert_eq!(chunk_base64(value).unwrap(), expected, "{value}");
        }
        for (value, why) in [
            ("null", "has a \"chunkBase64\" that is not a string"),
            ("[]", "not a string"),
            ("1", "not a string"),
            (r#""YQ""#, "not base64 (Invalid padding); it should be of the standard alphabet, with its padding"),
            (r#""-_8=""#, "not base64 (Invalid symbol 45, offset 0); it"),
            (r#""YWJj\nYWJj""#, "not base64"),
            (r#""YWJj YWJj""#, "not base64"),
            (r#""YR==""#, "not base64"),
            (r#""YQ==YQ==""#, "not base64"),
            (r#""=""#, "not base64"),
            (r#""☃""#, "not base64"),
            (r#""\ud800""#, "not base64"),
        ] {
            let told = chunk_base64(value).unwrap_err();
            assert!(told.contains(why), "{value}: {told}");
        }
    }

    proptest! {
        #[test]
        fn a_chunk_that_serde_json_writes_comes_as_it_was(text in any::<String>()) {
            prop_assert_eq!(chunk_of(&serde_json::to_string(&text).unwrap()).unwrap(), text);
        }

        #[test]
        fn bytes_in_base64_come_as_they_were(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(chunk_base64(&serde_json::to_string(&STANDARD.encode(&bytes)).unwrap()).unwrap(), bytes);
        }

        #[test]
        fn a_prelude_is_json_with_every_header(headers in prop::collection::hash_map(any::<String>(), any::<String>(), 0..6)) {
            let json = serde_json::to_string(&headers).unwrap();
            let prelude: serde_json::Value = serde_json::from_str(&prelude(&format!(r#"{{"headers":{json}}}"#))).unwrap();
            for (name, value) in &headers {
                prop_assert_eq!(&prelude["headers"][name], value);
            }
        }
    }
}
