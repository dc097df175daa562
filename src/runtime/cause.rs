//! The X-Ray error cause: an error document in the form that X-Ray shows, as the value of one header.

use serde::Serialize;

use crate::document::ErrorDocument;

/// The largest header value that is kept, in bytes (RIE crops at this).
const LARGEST: usize = 64 * 1024;

/// A frame takes at least 31 bytes: `{"path":"","line":0,"label":""}` and a comma.
const MOST_FRAMES: usize = LARGEST / 32;

/// The longest path that Linux takes, in bytes.
const LONGEST_DIRECTORY: usize = 4096;

#[derive(Serialize)]
struct Cause<'a> {
    working_directory: &'a str,
    exceptions: [Exception<'a>; 1],
    paths: Vec<&'a str>,
}

#[derive(Serialize)]
struct Exception<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    stack: &'a [Frame<'a>],
}

/// A stack frame. X-Ray shows all three; what a line does not tell stays empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Frame<'a> {
    path: &'a str,
    line: u32,
    label: &'a str,
}

/// The value of `Lambda-Runtime-Function-XRay-Error-Cause`: one line of printable ASCII, at most 64 KiB.
#[must_use]
pub fn header(document: &ErrorDocument, working_directory: &str) -> String {
    // No more frames than could ever fit: to read them all could take longer than the invocation has.
    let mut frames: Vec<Frame<'_>> = document.stack_trace.iter().take(MOST_FRAMES).map(|line| frame(line)).collect();
    let working_directory = &working_directory[..working_directory.floor_char_boundary(LONGEST_DIRECTORY)];
    let mut message = document.error_message.as_str();
    let mut kind = document.error_type.as_str();
    loop {
        let mut paths: Vec<&str> = Vec::new();
        for frame in &frames {
            if !frame.path.is_empty() && !paths.contains(&frame.path) {
                paths.push(frame.path);
            }
        }
        let exceptions = [Exception { kind, message, stack: &frames }];
        let text = ascii(&serde_json::to_string(&Cause { working_directory, exceptions, paths }).unwrap_or_default());
        if text.len() <= LARGEST {
            return text;
        }
        // The frames far from the error go first, then the ends of the texts.
        if frames.len() > 8 {
            frames.truncate(frames.len() / 2);
        } else if message.len() > 1024 {
            message = &message[..message.floor_char_boundary(message.len() / 2)];
        } else if !frames.is_empty() {
            frames.clear();
        } else {
            kind = &kind[..kind.floor_char_boundary(1024.min(kind.len() / 2))];
        }
    }
}

/// Reads the usual forms of a stack frame: Java's and Node's `at label(path:line)`, Python's `File "path", line 1, in label`.
fn frame(text: &str) -> Frame<'_> {
    python_frame(text).or_else(|| java_frame(text)).unwrap_or(Frame { path: "", line: 0, label: text })
}

fn python_frame(text: &str) -> Option<Frame<'_>> {
    let (path, rest) = text.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
    let (line, rest) = rest.split_once(|character: char| !character.is_ascii_digit()).unwrap_or((rest, ""));
    let label = rest.trim_start().strip_prefix("in ").unwrap_or("").lines().next().unwrap_or("");
    Some(Frame { path, line: line.parse().ok()?, label })
}

fn java_frame(text: &str) -> Option<Frame<'_>> {
    let (label, place) = text.trim().strip_prefix("at ")?.strip_suffix(')')?.rsplit_once('(')?;
    let label = label.trim_end();
    // Node adds a column behind the line.
    let numbers: Vec<&str> = place.rsplitn(3, ':').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (path, line) = match numbers[..] {
        [column, line, path] if is_number(column) && is_number(line) => (path, line),
        [line, _, ..] if is_number(line) => (&place[..place.len() - line.len() - 1], line),
        _ => (place, "0"),
    };
    Some(Frame { path, line: line.parse().ok()?, label })
}

/// JSON text with everything beyond printable ASCII escaped; a header holds nothing else.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_frames_are_read() {
        for (text, path, line, label) in [
            ("at com.example.Main.price(Main.java:42)", "Main.java", 42, "com.example.Main.price"),
            ("\tat java.base/java.lang.Thread.run(Thread.java:840)", "Thread.java", 840, "java.base/java.lang.Thread.run"),
            ("at sun.Native.call(Native Method)", "Native Method", 0, "sun.Native.call"),
            ("    at handler (/var/task/index.js:10:15)", "/var/task/index.js", 10, "handler"),
            ("  File \"/var/task/a.py\", line 7, in main", "/var/task/a.py", 7, "main"),
            ("plain text", "", 0, "plain text"),
            ("at nothing()", "", 0, "nothing"),
            ("at nowhere(42)", "42", 0, "nowhere"),
            ("at nowhere(:42)", "", 42, "nowhere"),
            ("at nowhere(7:42)", "7", 42, "nowhere"),
            ("", "", 0, ""),
        ] {
            assert_eq!(frame(text), Frame { path, line, label }, "{text}");
        }
    }

    #[test]
    fn the_header_is_one_printable_line_within_its_limit() {
        let frames = vec!["at a.B.c(B.java:1)".to_owned(), "ü\u{7f}\n".to_owned()];
        let text = header(&ErrorDocument::new("a.B", "\u{1f600} \n ☃", frames), "/var/task");
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text}");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["exceptions"][0]["message"], "\u{1f600} \n ☃");
        assert_eq!(parsed["exceptions"][0]["stack"][1]["label"], "ü\u{7f}\n");
        assert_eq!(parsed["paths"][0], "B.java");
        assert_eq!(parsed["working_directory"], "/var/task");

        for (kind, message, frames) in [
            ("T".to_owned(), "m".repeat(200_000), vec![]),
            ("T".to_owned(), "☃".repeat(200_000), vec!["f".repeat(100_000); 3]),
            ("T".repeat(200_000), "m".to_owned(), vec!["at a(b:1)".to_owned(); 100_000]),
        ] {
            let text = header(&ErrorDocument::new(kind, message, frames), &"/".repeat(100_000));
            assert!(text.len() <= LARGEST);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}
