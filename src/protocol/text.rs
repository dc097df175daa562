//! The text of JSON strings, and of what is quoted in an error.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::document::shorten;

/// How many bytes of a malformed reply are quoted.
pub(super) const QUOTED: usize = 200;

/// The text of a JSON string that is known to be valid. A lone surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD.
pub(super) fn decoded(string: &str) -> String {
    String::from_utf8_lossy(&unescaped(string)).into_owned()
}

/// The bytes of a JSON string that is known to be valid. A lone surrogate is three bytes that are not UTF-8.
pub(super) fn unescaped(string: &str) -> Vec<u8> {
    struct Text(Vec<u8>);
    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = Text;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }
                fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
                    Ok(Text(bytes.to_vec()))
                }
            }
            deserializer.deserialize_bytes(Bytes)
        }
    }
    serde_json::from_str::<Text>(string).map(|text| text.0).unwrap_or_default()
}

/// At most [`QUOTED`] bytes of a line.
pub(super) fn quoted(line: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&line[..line.len().min(QUOTED + 4)]).into_owned();
    shorten(&mut text, QUOTED);
    text
}
