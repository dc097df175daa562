//! What a line means in each mode, after what was said before: sections 3 to 5 of the protocol.
//!
//! An input is a script: its first byte is the mode, then each line is a step, its first byte what happens.

use bootstrap::protocol::conversation::{Conversation, Ending, Long, Mode, Owed, Rest};
use bootstrap::protocol::reply::{Line, Reply, Source, Standing};
use bytes::Bytes;

use crate::replies::{self, Meaning};
use crate::rfc8259::{self, Value};
use crate::text::is_shallow;

struct Owing(bool, Mode);

impl Owed for Owing {
    fn standing(&self, id: &str) -> Standing {
        replies::standing(id)
    }

    fn only(&self) -> Option<&str> {
        (self.0 && self.1 != Mode::JsonLines).then_some("now")
    }

    fn any(&self) -> bool {
        self.0 || self.1 == Mode::JsonLines
    }
}

/// Plays a script, and holds each step against the protocol.
pub fn check(data: &[u8]) {
    let Some((first, script)) = data.split_first() else { return };
    if !is_shallow(script) {
        return;
    }
    let (mode, expects_ready) = match first {
        b'f' => (Mode::Filter, false),
        b'F' => (Mode::Filter, true),
        b'o' => (Mode::OneShot, false),
        _ => (Mode::JsonLines, false),
    };
    let mut conversation = Conversation::new(mode, expects_ready);
    let mut owing = Owing(false, mode);
    let (mut begun, mut uses_fd3) = (false, false);
    for step in script.split(|byte| *byte == b'\n') {
        let Some((what, text)) = step.split_first() else { continue };
        let line = Bytes::copy_from_slice(text);
        match what {
            b'b' => {
                assert_eq!(conversation.begin(), !begun);
                (begun, owing.0) = (true, true);
            }
            b'1' | b'3' => {
                let source = if *what == b'3' { Source::ReplyFd } else { Source::Stdout };
                uses_fd3 |= source == Source::ReplyFd;
                let is_log = uses_fd3 && source == Source::Stdout;
                let said = conversation.line(&line, source, &owing);
                let node = rfc8259::parse(text);
                match mode {
                    Mode::JsonLines => {
                        let meaning = replies::meaning(text, node.as_ref(), source, replies::standing);
                        replies::compare(&said, &meaning, source);
                    }
                    _ if is_log => assert_eq!(said, Line::Log),
                    _ if !begun => match replies::meaning(text, node.as_ref(), Source::Stdout, |_| Standing::Unknown) {
                        meaning @ (Meaning::Ready(..) | Meaning::NotReady(_)) if expects_ready => {
                            replies::compare(&said, &meaning, source);
                        }
                        _ => assert_eq!(said, Line::Log),
                    },
                    Mode::Filter if !owing.0 => assert_eq!(said, Line::Surplus),
                    Mode::OneShot if !owing.0 => assert_eq!(said, Line::Log),
                    Mode::Filter => answered(&said, node.is_some().then(|| text.to_vec())),
                    Mode::OneShot if node.is_some() => answered(&said, Some(text.to_vec())),
                    Mode::OneShot => match std::str::from_utf8(text) {
                        Ok(text) => {
                            let Line::Reply(id, Reply::Response(response)) = &said else { panic!("{said:?}") };
                            let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
                            let node = rfc8259::parse(response).expect("the response is JSON");
                            assert!(id == "now" && matches!(&node.value, Value::Text(found) if rfc8259::is(found, text)));
                        }
                        Err(_) => answered(&said, None),
                    },
                }
                if mode != Mode::JsonLines && matches!(said, Line::Reply(..) | Line::Malformed(..)) {
                    owing.0 = false;
                }
            }
            b'x' => assert_eq!(conversation.heard_reply_fd(), !std::mem::replace(&mut uses_fd3, true) && mode == Mode::OneShot),
            b'r' | b'R' => rest(&conversation, mode, uses_fd3, text, &owing, *what == b'R'),
            b'l' | b'L' => long(&mut conversation, begun, uses_fd3, text, &owing, *what == b'L'),
            b's' => {
                let silence = conversation.silence(&owing);
                assert_eq!(silence.is_some(), owing.0 && mode == Mode::OneShot);
                if let Some(said) = silence {
                    answered(&said, Some(b"null".to_vec()));
                }
            }
            _ => {}
        }
    }
}

/// The answer has to be these bytes, or malformed.
fn answered(said: &Line, response: Option<Vec<u8>>) {
    match (said, response) {
        (Line::Reply(id, Reply::Response(found)), Some(expected)) => assert_eq!((id.as_str(), &found[..]), ("now", &expected[..])),
        (Line::Malformed(id, why), None) => assert!(id == "now" && !why.is_empty()),
        (said, response) => panic!("{said:?}, not {response:?}"),
    }
}

/// The bytes after the last newline: the first of them says how the process has ended.
fn rest(conversation: &Conversation, mode: Mode, uses_fd3: bool, text: &[u8], owing: &Owing, on_fd3: bool) {
    let Some((how, text)) = text.split_first() else { return };
    let ending = match how {
        b'0' => Ending::Exited(0),
        b'1' => Ending::Exited(1),
        b'k' => Ending::Killed,
        b'a' => Ending::LivesOn,
        _ => Ending::Closed,
    };
    let source = if on_fd3 { Source::ReplyFd } else { Source::Stdout };
    let found = conversation.rest(|| Bytes::copy_from_slice(text), source, ending, owing);
    let node = rfc8259::parse(text);
    let is_over = matches!(ending, Ending::Exited(_) | Ending::Killed);
    let expected = match mode {
        Mode::JsonLines => match replies::meaning(text, node.as_ref(), source, replies::standing) {
            Meaning::Malformed(_) if is_over => Rest::Log,
            Meaning::Nothing if is_over && on_fd3 => Rest::Log,
            Meaning::Malformed(_) if ending == Ending::Closed => Rest::Wait,
            Meaning::Nothing if ending == Ending::Closed && on_fd3 => Rest::Wait,
            _ => Rest::Line,
        },
        _ if uses_fd3 && !on_fd3 => Rest::Log,
        _ => match (ending, mode) {
            (Ending::Closed, _) | (Ending::LivesOn, Mode::OneShot) => Rest::Wait,
            (Ending::Exited(0), _) => Rest::Line,
            _ => Rest::Log,
        },
    };
    assert_eq!(found, expected);
}

/// The beginning of a line that is too long.
fn long(conversation: &mut Conversation, begun: bool, uses_fd3: bool, start: &[u8], owing: &Owing, on_fd3: bool) {
    let source = if on_fd3 { Source::ReplyFd } else { Source::Stdout };
    let found = conversation.long_line(start, source, owing);
    let expected = match owing.1 {
        Mode::JsonLines => {
            let id = replies::begins(start).map(|id| rfc8259::string(&id));
            match (id.as_deref().map(replies::standing), on_fd3) {
                (Some(Standing::InFlight { .. }), _) => Long::Answer(id.unwrap_or_default()),
                (Some(Standing::Past), _) | (Some(Standing::Unknown), true) => match found {
                    // How a lone surrogate in an id is told is nobody's concern.
                    Long::Stale(Some(_)) => return,
                    found => panic!("{found:?}"),
                },
                (_, false) => Long::Log,
                (None, true) => Long::Garbage,
            }
        }
        _ if !begun || uses_fd3 && !on_fd3 => Long::Log,
        _ if owing.0 => Long::Answer("now".to_owned()),
        Mode::OneShot => Long::Log,
        Mode::Filter => Long::Surplus,
    };
    assert_eq!(found, expected);
}
