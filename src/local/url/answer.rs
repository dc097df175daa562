//! The HTTP answer that a buffered response becomes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::value::RawValue;

use super::Malformed;
use super::head::{Head, quoted};
use super::members::{Members, text};

/// The type of an answer that names none. Lambda gives it to texts that are no JSON, too.
const JSON: &str = "application/json";

/// An HTTP answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status and headers.
    pub head: Head,
    /// Its body. The server leaves it out where the status or the method wants none.
    pub body: Bytes,
}

impl Answer {
    /// What Lambda answers where the function has failed, or has said what is no answer: status 502, in its own words.
    pub fn bad_gateway() -> Self {
        let head = Head { status: StatusCode::BAD_GATEWAY, ..Head::ok(JSON) };
        // The words alone, as AWS has been seen to send them (LocalStack's tests, which it checks against AWS).
        Answer { head, body: Bytes::from_static(b"Internal Server Error") }
    }
}

/// The answer that a response means: what an object with a `statusCode` says, else status 200 with the response itself.
///
/// A string is its text. Any other value is passed on byte for byte; Lambda takes white space between its tokens out. AWS's
/// documentation shows a string with its quotes, but AWS sends it without (LocalStack's tests, recorded there in November 2025).
///
/// # Errors
/// When it is not JSON, or an object whose members are not of their types.
pub fn answer(response: &Bytes) -> Result<Answer, Malformed> {
    let not_json = |error: &dyn std::fmt::Display| Malformed(format!("it is not JSON: {error}"));
    let json = std::str::from_utf8(response).map_err(|error| not_json(&error))?;
    let plain = |body| Ok(Answer { head: Head::ok(JSON), body });
    if json.trim_ascii_start().starts_with('{') {
        let members = Members::of(json).map_err(|error| not_json(&error))?;
        return match members.status_code {
            Some(_) => Ok(Answer { head: Head::of(&members, JSON)?, body: body(&members)? }),
            None => plain(response.clone()),
        };
    }
    let value: &RawValue = serde_json::from_str(json).map_err(|error| not_json(&error))?;
    plain(text(value).map_or_else(|| response.clone(), Bytes::from))
}

/// The body that the members say; none is an empty one.
fn body(members: &Members<'_>) -> Result<Bytes, Malformed> {
    let is_base64 = match members.is_base64_encoded {
        None => false,
        Some(value) => serde_json::from_str(value.get())
            .map_err(|_| Malformed(format!("its \"isBase64Encoded\" is {}, neither true nor false", quoted(value))))?,
    };
    let Some(value) = members.body else {
        return Ok(Bytes::new());
    };
    let text = text(value)
        .ok_or_else(|| Malformed(format!("its \"body\" is {}, not a string; JSON goes into it as text", quoted(value))))?;
    if !is_base64 {
        return Ok(text.into());
    }
    STANDARD.decode(text).map(Bytes::from).map_err(|error| Malformed(format!("its \"body\" is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use hyper::header::CONTENT_TYPE;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Status, content type and body.
    fn of(response: &str) -> Result<(u16, String, Bytes), String> {
        let Answer { head, body } = answer(&Bytes::copy_from_slice(response.as_bytes())).map_err(|Malformed(why)| why)?;
        let content_type = head.headers.get(CONTENT_TYPE).expect("there is a content type").to_str().expect("it is ASCII");
        Ok((head.status.as_u16(), content_type.to_owned(), body))
    }

    #[test]
    fn a_response_without_a_status_is_the_body() {
        // The first six are LocalStack's, with what AWS has answered.
        for (response, body) in [
            (r#"{"hello":"world"}"#, r#"{"hello":"world"}"#),
            (r#"["hello",3,true]"#, r#"["hello",3,true]"#),
            (r#""hello""#, "hello"),
            ("3", "3"),
            ("3.1", "3.1"),
            ("true", "true"),
            ("null", "null"),
            ("\"\"", ""),
            (" \"a\\u00e9\\n\"\n", "aé\n"),
            (r#""\ud800""#, "\u{fffd}\u{fffd}\u{fffd}"),
            (r#"{"\ud800":{"statusCode":404}}"#, r#"{"\ud800":{"statusCode":404}}"#),
            (r#"{"body":"x","headers":{"content-type":"text/html"}}"#, r#"{"body":"x","headers":{"content-type":"text/html"}}"#),
            (r#"{"a":1,"a":2} "#, r#"{"a":1,"a":2} "#),
        ] {
            assert_eq!(of(response), Ok((200, JSON.to_owned(), body.into())), "{response}");
        }
    }

    #[test]
    fn an_object_with_a_status_is_an_answer() {
        for (response, status, content_type, body) in [
            // The next three are LocalStack's, with what AWS has answered.
            (r#"{"statusCode":200,"body":"body123"}"#, 200, JSON, &b"body123"[..]),
            (r#"{"statusCode":200,"body":"{\"hello\": \"world\"}"}"#, 200, JSON, br#"{"hello": "world"}"#),
            (r#"{"statusCode":"418","body":"i'm a teapot","isBase64Encoded":false}"#, 418, JSON, b"i'm a teapot"),
            (r#"{"statusCode":204}"#, 204, JSON, b""),
            (r#"{"statusCode":204,"body":null,"isBase64Encoded":null}"#, 204, JSON, b""),
            (r#"{"isBase64Encoded":true,"body":"/wA=","statusCode":200}"#, 200, JSON, b"\xff\0"),
            (r#"{"statusCode":404,"headers":{"Content-Type":"text/html"},"body":"<p>"}"#, 404, "text/html", b"<p>"),
        ] {
            assert_eq!(of(response), Ok((status, content_type.to_owned(), Bytes::from_static(body))), "{response}");
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for (response, expected) in [
            ("", "it is not JSON: EOF while parsing a value at line 1 column 0"),
            ("hello", "it is not JSON: expected value at line 1 column 1"),
            ("{}x", "it is not JSON: trailing characters at line 1 column 3"),
            (r#"{"statusCode":"#, "it is not JSON: EOF while parsing a value at line 1 column 14"),
            (r#"{"statusCode":0}"#, "its \"statusCode\" is 0, not an integer from 200 to 599"),
            (r#"{"statusCode":200,"body":{"a":1}}"#, "its \"body\" is {\"a\":1}, not a string; JSON goes into it as text"),
            (r#"{"statusCode":200,"body":1}"#, "its \"body\" is 1, not a string; JSON goes into it as text"),
            (r#"{"statusCode":200,"isBase64Encoded":"yes"}"#, "its \"isBase64Encoded\" is \"yes\", neither true nor false"),
            (
                r#"{"statusCode":200,"isBase64Encoded":true,"body":"é"}"#,
                "its \"body\" is not base64: Invalid symbol 195, offset 0.",
            ),
        ] {
            assert_eq!(of(response), Err(expected.to_owned()), "{response}");
        }
        assert!(answer(&Bytes::from_static(b"\"\xff\"")).is_err());
    }

    #[test]
    fn a_failure_is_told_in_lambdas_words() {
        let Answer { head, body } = Answer::bad_gateway();
        assert_eq!((head.status.as_u16(), &body[..]), (502, &b"Internal Server Error"[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_malformed(response in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = answer(&response.into());
        }

        #[test]
        fn any_head_and_body_can_be_sent(
            status in 0..1000_u16,
            headers in proptest::collection::btree_map("[ -~]{0,12}|content-length|\\PC{0,5}", "[ -~\r\n\t\0é]{0,12}", 0..6),
            cookies in proptest::collection::vec("[ -~\r\n;é]{0,12}", 0..4),
            body in "\\PC{0,40}",
        ) {
            let response = json!({"statusCode": status, "headers": headers, "cookies": cookies, "body": body}).to_string();
            let answer = answer(&response.into());
            prop_assert_eq!(answer.is_ok(), (200..=599).contains(&status));
            let Answer { head, body: sent } = answer.unwrap_or_else(|_| Answer::bad_gateway());
            if head.status != 502 {
                prop_assert_eq!(&sent, &body);
            }
            for (name, value) in &head.headers {
                prop_assert!(!["content-length", "connection", "transfer-encoding"].contains(&name.as_str()));
                prop_assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
            }
        }
    }
}
