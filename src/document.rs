//! The error document: what a caller of the function sees of an error, and what is logged and traced of it.

use bytes::Bytes;
use serde::Serialize;

/// The largest error document that is posted, in bytes (protocol, section 7).
pub const LARGEST: usize = 256 * 1024;

/// The longest `Lambda-Runtime-Function-Error-Type`, in characters.
const LONGEST_TYPE: usize = 137;

/// What a handler's error is called when it does not say.
pub const UNNAMED: &str = "Function.Error";

/// An error in Lambda's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDocument {
    /// What kind of error, for programs.
    pub error_type: String,
    /// What happened, for people.
    pub error_message: String,
    /// Where, a frame or a log line each.
    pub stack_trace: Vec<String>,
    /// The document as the handler wrote it, members beyond these three included.
    verbatim: Option<Bytes>,
}

/// The three members that Lambda knows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    error_type: &'a str,
    error_message: &'a str,
    stack_trace: &'a [String],
}

impl ErrorDocument {
    /// An error that bootstrap itself tells.
    #[must_use]
    pub fn new(error_type: impl Into<String>, error_message: impl Into<String>, stack_trace: Vec<String>) -> Self {
        Self { error_type: error_type.into(), error_message: error_message.into(), stack_trace, verbatim: None }
    }

    /// An error that a handler told as a JSON object, `object`, byte for byte; members it left out are put in front.
    #[must_use]
    pub fn of_handler(object: &Bytes, error_type: Option<String>, error_message: Option<String>, stack_trace: Vec<String>) -> Self {
        let mut added = Vec::new();
        if error_type.is_none() {
            added.push(format!(r#""errorType":"{UNNAMED}""#));
        }
        if error_message.is_none() {
            added.push(r#""errorMessage":"""#.to_owned());
        }
        let verbatim = if added.is_empty() {
            object.clone()
        } else {
            let rest = object[1..].trim_ascii_start();
            let comma = if rest.starts_with(b"}") { "" } else { "," };
            let mut whole = format!("{{{}{comma}", added.join(",")).into_bytes();
            whole.extend_from_slice(rest);
            whole.into()
        };
        Self {
            error_type: error_type.unwrap_or_else(|| UNNAMED.to_owned()),
            error_message: error_message.unwrap_or_default(),
            stack_trace,
            verbatim: Some(verbatim),
        }
    }

    /// The body to post: at most [`LARGEST`] bytes. Members beyond the three go first, then the longest parts are cut.
    #[must_use]
    pub fn body(&self) -> Bytes {
        match &self.verbatim {
            Some(verbatim) if verbatim.len() <= LARGEST => verbatim.clone(),
            _ => self.three_members().into(),
        }
    }

    fn three_members(&self) -> Vec<u8> {
        let whole = self.serialized();
        if whole.len() <= LARGEST {
            return whole;
        }
        // Each part is cut to a common longest length. Escapes make a part up to six times longer on the wire, so the length is
        // found by halving; the brackets and commas of very many frames can be too much by themselves, so their number halves too.
        let mut cut = self.clone();
        let mut longest = LARGEST / 2;
        loop {
            for part in [&mut cut.error_type, &mut cut.error_message].into_iter().chain(&mut cut.stack_trace) {
                shorten(part, longest);
            }
            let body = cut.serialized();
            if body.len() <= LARGEST {
                return body;
            }
            longest /= 2;
            if longest < 64 {
                cut.stack_trace.truncate(cut.stack_trace.len() / 2);
                longest = 64;
            }
        }
    }

    fn serialized(&self) -> Vec<u8> {
        let members = Members { error_type: &self.error_type, error_message: &self.error_message, stack_trace: &self.stack_trace };
        // Strings can always be serialised; the fallback only spares a panic that nothing can reach.
        serde_json::to_vec(&members).unwrap_or_default()
    }

    /// The value of `Lambda-Runtime-Function-Error-Type`, which Lambda keeps only in the form `(Runtime|Function)\.[A-Z][a-zA-Z]+`.
    #[must_use]
    pub fn type_header(&self) -> String {
        let is_name = |name: &str| {
            name.len() >= 2
                && name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        };
        let whole = &self.error_type;
        let name = whole.strip_prefix("Runtime.").or_else(|| whole.strip_prefix("Function."));
        if whole.len() <= LONGEST_TYPE && name.is_some_and(is_name) {
            return whole.clone();
        }
        // `java.lang.IllegalStateException` gives `Function.IllegalStateException`.
        let last = whole.rsplit(['.', ':']).next().unwrap_or_default();
        if is_name(last) && last.len() <= LONGEST_TYPE - "Function.".len() {
            format!("Function.{last}")
        } else {
            UNNAMED.to_owned()
        }
    }
}

/// Cuts a text to at most so many bytes, at a character's boundary, and marks the cut.
pub fn shorten(text: &mut String, longest: usize) {
    const MARK: &str = "…";
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest.saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(object: &str, error_type: Option<&str>, error_message: Option<&str>) -> String {
        let object = Bytes::copy_from_slice(object.as_bytes());
        let document =
            ErrorDocument::of_handler(&object, error_type.map(str::to_owned), error_message.map(str::to_owned), Vec::new());
        String::from_utf8(document.body().to_vec()).unwrap()
    }

    #[test]
    fn a_handlers_error_passes_byte_for_byte_and_gets_what_it_lacks() {
        assert_eq!(
            told(r#"{"errorType":"A", "errorMessage":"b","code":1.10}"#, Some("A"), Some("b")),
            r#"{"errorType":"A", "errorMessage":"b","code":1.10}"#
        );
        assert_eq!(told(r#"{ "errorMessage":"b"}"#, None, Some("b")), r#"{"errorType":"Function.Error","errorMessage":"b"}"#);
        assert_eq!(told(r#"{"errorType":"A"}"#, Some("A"), None), r#"{"errorMessage":"","errorType":"A"}"#);
        assert_eq!(told("{ }", None, None), r#"{"errorType":"Function.Error","errorMessage":""}"#);
    }

    #[test]
    fn the_type_header_has_the_form_that_lambda_keeps() {
        let longest = "A".repeat(128);
        let beyond = "A".repeat(129);
        for (error_type, header) in [
            ("Runtime.ExitError", "Runtime.ExitError"),
            ("Function.Error", "Function.Error"),
            ("java.lang.IllegalStateException", "Function.IllegalStateException"),
            ("Validation::TooShort", "Function.TooShort"),
            ("ValueError", "Function.ValueError"),
            ("Runtime.", "Function.Error"),
            ("Runtime.X", "Function.Error"),
            ("Runtime.exitError", "Function.Error"),
            ("Runtime.Exit.Error", "Function.Error"),
            ("Function.Error2", "Function.Error"),
            ("E2BIG", "Function.Error"),
            ("", "Function.Error"),
            ("a.b.", "Function.Error"),
            ("Grüße", "Function.Error"),
        ] {
            assert_eq!(ErrorDocument::new(error_type, "", Vec::new()).type_header(), header, "{error_type}");
        }
        for (error_type, header) in [
            (format!("Function.{longest}"), format!("Function.{longest}")),
            (format!("Function.{beyond}"), UNNAMED.to_owned()),
            (format!("Runtime.{beyond}"), format!("Runtime.{beyond}")),
            (format!("x.{longest}"), format!("Function.{longest}")),
            (format!("x.{beyond}"), UNNAMED.to_owned()),
        ] {
            assert_eq!(ErrorDocument::new(error_type, "", Vec::new()).type_header(), header);
        }
    }

    #[test]
    fn a_body_is_never_over_the_limit_and_stays_json() {
        let long = "x".repeat(LARGEST);
        let control = "\u{1}".repeat(LARGEST);
        for (message, frames) in [
            (long.as_str(), vec![]),
            (control.as_str(), vec!["frame".to_owned()]),
            ("short", vec![long.clone(), "kept".to_owned()]),
            ("short", vec!["x".to_owned(); 200_000]),
            (long.as_str(), vec!["☃".repeat(100); 10_000]),
        ] {
            let body = ErrorDocument::new("Function.Error", message, frames).body();
            assert!(body.len() <= LARGEST);
            let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(parsed["errorType"], "Function.Error");
        }
        let body = ErrorDocument::new("Function.Error", "short", vec![long, "kept".to_owned()]).body();
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(parsed["errorMessage"], "short");
        assert_eq!(parsed["stackTrace"][1], "kept");
    }

    #[test]
    fn members_beyond_the_three_go_first() {
        let object =
            Bytes::from(format!(r#"{{"errorType":"A","errorMessage":"b","stackTrace":["c"],"more":"{}"}}"#, "x".repeat(LARGEST)));
        let document = ErrorDocument::of_handler(&object, Some("A".into()), Some("b".into()), vec!["c".into()]);
        assert_eq!(&document.body()[..], br#"{"errorType":"A","errorMessage":"b","stackTrace":["c"]}"#);
    }
}
