//! Whether a text is JSON, and where it stops being so.

use std::fmt::Write as _;

use serde::de::IgnoredAny;

/// How many characters of a line an excerpt shows.
const EXCERPT: usize = 72;

/// Where a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is wrong there, for people.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1. It may be one past the line's end.
    pub column: usize,
}

/// Checks that `text` is one JSON value (RFC 8259), at any depth and without building it.
///
/// # Errors
/// The first place where it isn't.
pub fn check(text: &[u8]) -> Result<(), Place> {
    if let Err(error) = std::str::from_utf8(text) {
        let before = &text[..error.valid_up_to()];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        return Err(Place {
            message: format!("byte 0x{:02x} is not UTF-8", text.get(before.len()).copied().unwrap_or_default()),
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            column: before.len() - line_start + 1,
        });
    }
    if text.trim_ascii().is_empty() {
        return Err(Place { message: "it is empty".to_owned(), line: 1, column: 1 });
    }
    if text.starts_with("\u{feff}".as_bytes()) {
        return Err(Place { message: "it begins with a byte order mark (U+FEFF)".to_owned(), line: 1, column: 1 });
    }
    serde_json::from_slice::<IgnoredAny>(text).map(drop).map_err(|error| {
        // The place is told apart from the message, which repeats it at its end.
        let (line, column) = (error.line().max(1), error.column().max(1));
        let whole = error.to_string();
        let message = whole.strip_suffix(&format!(" at line {} column {}", error.line(), error.column())).unwrap_or(&whole);
        // The parser's own words, where they are not everybody's.
        let message = match message.strip_prefix("EOF while parsing ") {
            Some(what) => format!("it ends in the middle of {what}"),
            None if message == "expected ident" => "expected true, false or null".to_owned(),
            None if message == "key must be a string" && byte_at(text, line, column) == Some(b'}') => "trailing comma".to_owned(),
            None => message.to_owned(),
        };
        // At the end of the text the place is behind it.
        let column = if error.is_eof() { column + 1 } else { column };
        Place { message, line, column }
    })
}

fn byte_at(text: &[u8], line: usize, column: usize) -> Option<u8> {
    text.split(|&byte| byte == b'\n').nth(line - 1)?.get(column - 1).copied()
}

impl Place {
    /// The line around the place, and a caret below it. Each ends with a newline.
    pub fn excerpt(&self, text: &[u8]) -> String {
        let line = text.split(|&byte| byte == b'\n').nth(self.line - 1).unwrap_or_default();
        let at = (self.column - 1).min(line.len());
        let before: Vec<char> = printable(&line[..at]);
        let after: Vec<char> = printable(&line[at..]);
        let shown_before = before.len().min(EXCERPT * 2 / 3);
        let shown_after = after.len().min(EXCERPT - shown_before);
        let mut excerpt = String::from("    ");
        let mut column = 4 + shown_before;
        if shown_before < before.len() {
            excerpt.push('…');
            column += 1;
        }
        excerpt.extend(&before[before.len() - shown_before..]);
        excerpt.extend(&after[..shown_after]);
        if shown_after < after.len() {
            excerpt.push('…');
        }
        let _ = writeln!(excerpt, "\n{:column$}^", "");
        excerpt
    }
}

/// One character of a terminal for each character of the text.
fn printable(bytes: &[u8]) -> Vec<char> {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_passes_at_any_depth() {
        for text in ["{}", " [1, 2.50, \"a\\u00e9\", null]\n", "1e400", "\"\\ud800\"", "\"\u{7f}\""] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        let depth = 100_000;
        assert_eq!(check(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes()), Ok(()));
    }

    #[test]
    fn the_caret_stands_below_the_mistake() {
        for (text, message, excerpt) in [
            ("{name: world}", "key must be a string", "    {name: world}\n     ^\n"),
            ("{\"a\": tru}", "expected true, false or null", "    {\"a\": tru}\n             ^\n"),
            ("{\"a\":1,}", "trailing comma", "    {\"a\":1,}\n           ^\n"),
            ("{\"a\":1", "it ends in the middle of an object", "    {\"a\":1\n          ^\n"),
            ("{} x", "trailing characters", "    {} x\n       ^\n"),
            ("\u{feff}{}", "it begins with a byte order mark (U+FEFF)", "    \u{feff}{}\n    ^\n"),
            ("", "it is empty", "    \n    ^\n"),
            ("{\n  'a': 1\n}", "key must be a string", "      'a': 1\n      ^\n"),
            ("{\"é\": x}", "expected value", "    {\"é\": x}\n          ^\n"),
        ] {
            let place = check(text.as_bytes()).expect_err(text);
            assert_eq!((place.message.as_str(), place.excerpt(text.as_bytes()).as_str()), (message, excerpt), "{text}");
        }
        let place = check(b"[\"\xff\"]").expect_err("not UTF-8");
        assert_eq!((place.message.as_str(), place.line, place.column), ("byte 0xff is not UTF-8", 1, 3));
    }

    #[test]
    fn a_long_line_is_shown_around_the_mistake() {
        let text = format!("[{}x,{}]", "1,".repeat(1000), "2,".repeat(1000));
        let excerpt = check(text.as_bytes()).expect_err("x is no value").excerpt(text.as_bytes());
        let lines: Vec<&str> = excerpt.lines().collect();
        assert!(lines[0].chars().count() < 80, "{excerpt}");
        let caret = lines[1].chars().position(|c| c == '^').expect("there is a caret");
        assert_eq!(lines[0].chars().nth(caret), Some('x'), "{excerpt}");
    }
}
