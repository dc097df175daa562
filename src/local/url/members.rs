//! The members of a JSON object that make an HTTP answer, as they are written.

use std::fmt;

use serde::de::{self, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an answer's object; the last one where a name comes twice. `null` is the same as absent, but for the status.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) status_code: Option<&'a RawValue>,
    pub(super) headers: Option<&'a RawValue>,
    pub(super) cookies: Option<&'a RawValue>,
    pub(super) body: Option<&'a RawValue>,
    pub(super) is_base64_encoded: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    /// Reads a JSON text. Others than these members are left unread.
    ///
    /// # Errors
    /// When it is no object, or not JSON.
    pub(super) fn of(json: &'a str) -> serde_json::Result<Self> {
        let mut members = Members::default();
        for_each(json, |name, value| {
            let member = match name {
                "statusCode" => {
                    members.status_code = Some(value);
                    return;
                }
                "headers" => &mut members.headers,
                "cookies" => &mut members.cookies,
                "body" => &mut members.body,
                "isBase64Encoded" => &mut members.is_base64_encoded,
                _ => return,
            };
            *member = Some(value).filter(|value| value.get() != "null");
        })?;
        Ok(members)
    }
}

/// Calls `take` with each member of an object, its name and its value as it is written.
///
/// # Errors
/// When it is no object, or not JSON.
pub(super) fn for_each<'a>(json: &'a str, take: impl FnMut(&str, &'a RawValue)) -> serde_json::Result<()> {
    struct Object<F>(F);
    impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Object<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                (self.0)(&text(name).unwrap_or_default(), value);
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Object(take))?;
    deserializer.end()
}

/// The text of a JSON string; `None` of any other value. A lone surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD.
pub(super) fn text(value: &RawValue) -> Option<String> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    // A list of numbers would do for bytes too.
    let string = Some(value.get()).filter(|json| json.starts_with('"'))?;
    serde_json::Deserializer::from_str(string).deserialize_bytes(Text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Option<[Option<&str>; 3]> {
        let members = Members::of(json).ok()?;
        Some([members.status_code, members.headers, members.body].map(|value| value.map(RawValue::get)))
    }

    #[test]
    fn members_are_taken_as_they_are_written() {
        for (json, expected) in [
            ("{}", Some([None; 3])),
            (r#" {"status\u0043ode" : 2e2, "body":"\n","\ud800":1} "#, Some([Some("2e2"), None, Some(r#""\n""#)])),
            (r#"{"statusCode":null,"headers":null,"body":null}"#, Some([Some("null"), None, None])),
            (r#"{"body":1,"body":[ 2 ]}"#, Some([None, None, Some("[ 2 ]")])),
            ("[]", None),
            ("\"statusCode\"", None),
            ("{} {}", None),
            (r#"{"body":}"#, None),
            ("", None),
        ] {
            assert_eq!(members(json), expected, "{json}");
        }
    }

    #[test]
    fn only_a_string_has_a_text() {
        for (json, expected) in [
            (r#""a\u00e9\ud83c\udf6a""#, Some("aé🍪")),
            (r#""\ud800x""#, Some("\u{fffd}\u{fffd}\u{fffd}x")),
            ("[97]", None),
            ("1", None),
            ("null", None),
        ] {
            let value: &RawValue = serde_json::from_str(json).expect(json);
            assert_eq!(text(value).as_deref(), expected, "{json}");
        }
    }
}
