//! Answers without an envelope: a filter's line, and all that a one-shot program has written.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::text::quoted;

/// The response in a filter's line, byte for byte.
///
/// # Errors
/// What is wrong with it, where, and what it was.
pub fn line(line: &Bytes) -> Result<Bytes, String> {
    match json_problem(line) {
        None => Ok(line.clone()),
        Some(problem) => Err(format!(
            "the line that answers is not valid JSON ({problem}); a filter answers with one JSON value: {}",
            quoted(line)
        )),
    }
}

/// The response in all that a program has written: as it is where it is JSON, else as a JSON string without the final newline.
///
/// # Errors
/// That it is not UTF-8, with the beginning of it.
pub fn output(output: &Bytes) -> Result<Bytes, String> {
    let text = std::str::from_utf8(output).map_err(|error| {
        format!(
            "the output is not UTF-8 (byte {}); print JSON, or other text in UTF-8: {}",
            error.valid_up_to() + 1,
            quoted(output)
        )
    })?;
    if json_problem(output).is_none() {
        return Ok(output.clone());
    }
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    // A string can always be serialised.
    Ok(serde_json::to_vec(text).unwrap_or_default().into())
}

/// Why this is not one JSON value, RFC 8259 in full.
fn json_problem(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<&RawValue>(bytes).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_filters_line_is_json_byte_for_byte() {
        for text in ["null", " {\"a\": 1.10, \"a\":123456789012345678901234567890} ", "\"\\ud800\"", "0"] {
            assert_eq!(line(&bytes(text)).unwrap(), text);
        }
        for (text, told) in [("hello", "not valid JSON"), ("1 2", "trailing characters"), ("[1,", "EOF"), ("NaN", "not valid JSON")]
        {
            let why = line(&bytes(text)).unwrap_err();
            assert!(why.contains(told) && why.ends_with(text), "{why}");
        }
        assert!(line(&Bytes::from_static(b"\"\xff\"")).is_err());
    }

    #[test]
    fn output_is_json_or_becomes_a_json_string() {
        for (text, response) in [
            ("{\"a\":1}\n", "{\"a\":1}\n"),
            ("hello\n", "\"hello\""),
            ("hello\r\n", "\"hello\""),
            ("hello\n\n", "\"hello\\n\""),
            ("\n", "\"\""),
            ("{\"a\":1}{\"b\":2}", "\"{\\\"a\\\":1}{\\\"b\\\":2}\""),
            ("a \u{1} \"b\" \\ ü", "\"a \\u0001 \\\"b\\\" \\\\ ü\""),
        ] {
            assert_eq!(output(&bytes(text)).unwrap(), response);
        }
        let why = output(&Bytes::from_static(b"ab\xff")).unwrap_err();
        assert!(why.contains("not UTF-8 (byte 3)"), "{why}");
    }

    proptest::proptest! {
        #[test]
        fn whatever_text_is_printed_the_response_is_json(text in "\\PC{0,20}\n?") {
            let response = output(&Bytes::from(text)).unwrap();
            proptest::prop_assert!(serde_json::from_slice::<serde_json::Value>(&response).is_ok());
        }
    }
}
