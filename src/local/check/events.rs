//! The awkward events: each is a kind that some program, somewhere, has stumbled over.

use bytes::Bytes;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of all planes, with what some line readers take for the end of a line.
    Unicode,
    /// Every escape that JSON has, a lone surrogate among them.
    Escapes,
    /// Numbers that no double holds.
    Numbers,
    /// More nesting than a recursive parser likes.
    Deep,
    /// `null`.
    Null,
    /// A bare number.
    Scalar,
    /// `{}`.
    EmptyObject,
    /// As large as Lambda lets one be.
    Large,
    /// With newlines between the tokens.
    Pretty,
    /// No JSON at all.
    NotJson,
}

/// Lambda's limit is 6 MiB; this leaves room for an answer that holds the event.
const LARGE: usize = 6 * 1024 * 1024 - 4096;

/// Deeper than what most parsers follow: Python's stops at 1,000 or so, jq's at 256 or 10,000.
const DEPTH: usize = 2000;

impl Kind {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Kind; 10] = [
        Kind::Unicode,
        Kind::Escapes,
        Kind::Numbers,
        Kind::Deep,
        Kind::Null,
        Kind::Scalar,
        Kind::EmptyObject,
        Kind::Large,
        Kind::Pretty,
        Kind::NotJson,
    ];

    /// The event.
    pub fn event(self) -> Bytes {
        match self {
            Kind::Unicode => "{\"text\":\"Zoë 東京 👩‍🚀 \u{2028}\u{2029}\u{85}\u{feff}\u{7f}\u{202e}\"}".into(),
            Kind::Escapes => r#"{"text":"\"\\\/\b\f\n\r\t\u0000\u2028\ud83d\ude00\ud800","\u0069d":"\"}\n"}"#.into(),
            Kind::Numbers => {
                r#"{"integer":123456789012345678901234567890,"money":1.10,"double":0.1000000000000000055511151231257827,"huge":1e400,"zero":-0.0}"#
                    .into()
            }
            Kind::Deep => format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)).into(),
            Kind::Null => "null".into(),
            Kind::Scalar => "-1.5".into(),
            Kind::EmptyObject => "{}".into(),
            Kind::Large => format!("{{\"text\":\"{}\"}}", "x".repeat(LARGE)).into(),
            Kind::Pretty => "{\r\n  \"lines\": [\r\n    1,\r\n\t2\r\n  ]\r\n}\r\n".into(),
            Kind::NotJson => "name=world&id=\"1\n".into(),
        }
    }

    /// What it is, for people.
    pub fn what(self) -> &'static str {
        match self {
            Kind::Unicode => r#"{"text":"…"} with letters of all planes, U+2028, U+2029, U+0085, U+FEFF and U+202E"#,
            Kind::Escapes => r#"{"text":"…"} with every escape of JSON's, \u0000 and the lone surrogate \ud800 among them"#,
            Kind::Numbers => r#"{"integer":123456789012345678901234567890,"money":1.10,"huge":1e400,…}"#,
            Kind::Deep => "2,000 arrays in one another",
            Kind::Null => "null",
            Kind::Scalar => "-1.5",
            Kind::EmptyObject => "{}",
            Kind::Large => r#"{"text":"xxx…"} of 6 MB"#,
            Kind::Pretty => "an object over six lines, which end in CR and LF",
            Kind::NotJson => r#"name=world&id="1 and a newline"#,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::json;

    #[test]
    fn all_but_one_are_json_and_none_is_too_large() {
        for kind in Kind::ALL {
            let event = kind.event();
            assert_eq!(json::check(&event).is_ok(), kind != Kind::NotJson, "{kind:?}");
            assert!(event.len() <= 6 * 1024 * 1024, "{kind:?}");
        }
    }
}
