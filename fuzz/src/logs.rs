//! The log: what a handler and bootstrap say, as it comes out on stderr. In JSON each line is one record under the right request id, and
//! whatever a line looks like it is a message; in text a handler's bytes pass, and bootstrap's own lines stay lines.

use std::os::fd::OwnedFd;

use bootstrap::document::ErrorDocument;
use bootstrap::log::{Level, Logs, Origin, Settings};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::rfc8259::{self, Node};
use crate::text::is_shallow;

const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

/// One thing that is said.
enum Said<'a> {
    /// A handler's line.
    Line(&'a [u8]),
    /// A piece of a line that is too long to be held, on one channel or the other; the last of it or not.
    Piece(usize, &'a [u8], bool),
    /// Of bootstrap's own: a warning.
    Own(&'a str),
    /// An error of this type and message.
    Error(&'a str, &'a str),
}

/// A line that has to come out.
#[derive(Debug)]
enum Expected {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A record with this message.
    Message(String),
    /// A line of bootstrap's own, with the type of an error or without.
    Own(Option<String>, String),
}

/// Says what the script holds, as text and as JSON.
pub fn check(data: &[u8]) {
    if !is_shallow(data) {
        return;
    }
    // No line has a newline in it, and none is empty: that is what a line is.
    let data: Vec<u8> = data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    let script = script(&data);
    for json in [false, true] {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        let logs = Logs::to(Settings { json, level: Level::Info }, writer);
        let mut written = Vec::new();
        for said in &script {
            match said {
                Said::Line(line) => logs.line(Some(ID), line),
                Said::Piece(channel, piece, last) => {
                    let origin = if *channel == 0 { Origin::Stdout(0) } else { Origin::Stderr(0) };
                    logs.piece(origin, Some(ID), piece, *last);
                }
                Said::Own(message) => logs.warn(Some(ID), message),
                Said::Error(kind, message) => logs.error(Some(ID), &ErrorDocument::new(*kind, *message, Vec::new())),
            }
            while logs.is_waiting() {
                logs.write();
                read(&reader, &mut written);
            }
            read(&reader, &mut written);
        }
        let expected = expected(&script, json);
        let open = matches!(script.iter().rfind(|said| matches!(said, Said::Piece(..))), Some(Said::Piece(_, _, false)))
            && matches!(script.last(), Some(Said::Piece(..)));
        if open {
            // What is not ended yet is ended by whatever comes next.
            logs.line(Some(ID), b"{}");
            logs.write();
            read(&reader, &mut written);
            written = written.strip_suffix(b"{}\n").expect("the line is there").to_vec();
        }
        let mut lines: Vec<&[u8]> = written.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.pop(), Some(&b""[..]), "the last line has no end");
        assert_eq!(lines.len(), expected.len(), "{expected:?}\n{}", String::from_utf8_lossy(&written));
        for (line, expected) in lines.into_iter().zip(expected) {
            if json { is_record(line, &expected) } else { is_text(line, &expected) }
        }
    }
}

/// A byte says what is said, the next one how long that is.
fn script(mut data: &[u8]) -> Vec<Said<'_>> {
    let mut script = Vec::new();
    while let [what, length, rest @ ..] = data {
        let (text, after) = rest.split_at(usize::from(*length).min(rest.len()));
        data = after;
        if text.is_empty() {
            continue;
        }
        script.push(match what % 8 {
            0..3 => Said::Line(text),
            3 => Said::Piece(0, text, false),
            4 => Said::Piece(0, text, true),
            5 => Said::Piece(1, text, false),
            which => {
                let Ok(text) = std::str::from_utf8(text) else { continue };
                let (kind, message) = text.split_once(' ').unwrap_or((text, ""));
                if which == 6 { Said::Own(text) } else { Said::Error(kind, message) }
            }
        });
    }
    script
}

/// The lines that come out: those that are said whole, and long ones up to where another comes between.
fn expected(script: &[Said<'_>], json: bool) -> Vec<Expected> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    let message = |bytes: Vec<u8>| if json { Expected::Message(lossy(&bytes)) } else { Expected::Bytes(bytes) };
    for said in script {
        if let Said::Piece(channel, piece, last) = said {
            if let Some((_, bytes)) = open.take_if(|(other, _)| other != channel) {
                lines.push(message(bytes));
            }
            let (channel, mut bytes) = open.take().unwrap_or((*channel, Vec::new()));
            bytes.extend_from_slice(piece);
            if *last {
                lines.push(message(bytes))
            } else {
                open = Some((channel, bytes))
            }
            continue;
        }
        if let Some((_, bytes)) = open.take() {
            lines.push(message(bytes));
        }
        lines.push(match said {
            Said::Line(line) => {
                let is_object = rfc8259::parse(line).is_some_and(|node| node.members().is_some());
                if is_object { Expected::Bytes(line.to_vec()) } else { message(line.to_vec()) }
            }
            Said::Own(text) => Expected::Own(None, (*text).to_owned()),
            Said::Error(kind, text) => Expected::Own(Some((*kind).to_owned()), (*text).to_owned()),
            Said::Piece(..) => continue,
        });
    }
    lines.extend(open.map(|(_, bytes)| message(bytes)));
    lines
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_disguise(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

fn is_record(line: &[u8], expected: &Expected) {
    if let Expected::Bytes(bytes) = expected {
        return assert_eq!(line, bytes);
    }
    let text = std::str::from_utf8(line).expect("a record is UTF-8");
    assert!(!text.chars().any(is_disguise), "{text:?}");
    let record = rfc8259::parse(line).unwrap_or_else(|| panic!("no JSON: {text}"));
    let string = |name: &str| record.get(name).and_then(Node::text).map(rfc8259::string);
    let members: Vec<String> = record.members().expect("an object").iter().map(|(name, _)| rfc8259::string(name)).collect();
    let timestamp = string("timestamp").expect("a timestamp");
    assert!(crate::text::pattern!(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").is_match(&timestamp), "{timestamp}");
    assert_eq!(string("requestId").as_deref(), Some(ID));
    let (level, kind, message) = match expected {
        Expected::Message(message) => ("INFO", None, message),
        Expected::Own(None, message) => ("WARN", None, message),
        Expected::Own(kind, message) => ("ERROR", kind.as_ref(), message),
        Expected::Bytes(_) => unreachable!("dealt with"),
    };
    assert_eq!(string("level").as_deref(), Some(level));
    assert_eq!(string("message").as_ref(), Some(message));
    assert_eq!(string("errorType").as_ref(), kind);
    assert_eq!(string("errorMessage").as_ref(), kind.and(Some(message)));
    let mut known = vec!["timestamp", "level", "requestId", "errorType", "errorMessage", "message"];
    known.retain(|name| kind.is_some() || !name.starts_with("error"));
    assert_eq!(members, known, "each once");
}

fn is_text(line: &[u8], expected: &Expected) {
    let (kind, message) = match expected {
        Expected::Bytes(bytes) => return assert_eq!(line, bytes),
        Expected::Message(_) => unreachable!("there are none in text"),
        Expected::Own(kind, message) => (kind, message),
    };
    let text = std::str::from_utf8(line).expect("bootstrap's own lines are UTF-8");
    assert!(!text.chars().any(is_disguise), "{text:?}");
    let level = if kind.is_some() { "ERROR" } else { "WARN" };
    let told = text.strip_prefix(&format!("[{level}] bootstrap: RequestId: {ID} ")).expect("it begins as its own lines do");
    let plain = |text: &str| text.split(is_disguise).map(str::to_owned).collect::<Vec<_>>();
    let mut said = kind.as_ref().map(|kind| plain(&format!("{kind}: "))).unwrap_or_default();
    said.extend(plain(message));
    // What is not escaped of it stands there, in that order.
    let mut rest = told;
    for piece in said {
        let at = rest.find(&piece).unwrap_or_else(|| panic!("{piece:?} is not in {told:?}"));
        rest = &rest[at + piece.len()..];
    }
}

fn read(reader: &OwnedFd, written: &mut Vec<u8>) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = rustix::io::read(reader, &mut buffer) {
        written.extend_from_slice(&buffer[..length]);
    }
}
