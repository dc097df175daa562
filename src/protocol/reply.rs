//! From a handler's line to what it means: a reply, a control message, a log line, or a mistake.
//!
//! A reply's validity is RFC 8259's in full, at any depth, and its value is a slice of the line: nothing is parsed into a tree.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::document::{ErrorDocument, UNNAMED};
use crate::protocol::envelope::{Envelope, Key, Member, NotAnObject};
use crate::protocol::stream::{self, StreamHead};
use crate::protocol::text::{decoded, quoted};

/// Which kind of channel a line came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Descriptor 1: whatever is not a reply is a log line.
    Stdout,
    /// Descriptor 3: replies and control messages only.
    ReplyFd,
}

/// What bootstrap knows of a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An answer is owed.
    InFlight {
        /// Its stream was opened and has not ended.
        streaming: bool,
    },
    /// One of the handler's last invocations, answered or given up.
    Past,
    /// Never seen, or long ago.
    Unknown,
}

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A log line.
    Log,
    /// The answer to an invocation in flight, or a part of it.
    Reply(String, Reply),
    /// An answer that breaks the rules, to an invocation in flight: what is wrong with it.
    Malformed(String, String),
    /// An answer, or a part of one, that is late or repeated.
    Stale {
        /// The invocation that it answers.
        id: String,
        /// Nothing more of that answer will come.
        is_last: bool,
    },
    /// `{"ready":true}`.
    Ready {
        /// How many invocations the handler takes at a time.
        concurrency: u32,
        /// Whether it wants to be told of cancelled invocations.
        cancel: bool,
    },
    /// `{"ready":false}` and its error.
    NotReady(ErrorDocument),
    /// On descriptor 3: none of these. What is wrong with it.
    Garbage(String),
    /// Of a filter: an answer to nothing.
    Surplus,
}

/// What a handler answers, whole or piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value of `response`, byte for byte.
    Response(Bytes),
    /// The value of `error`. In an open stream it ends the stream.
    Error(ErrorDocument),
    /// The stream is opened.
    Stream(StreamHead),
    /// The bytes of `chunk` or `chunkBase64`, perhaps none.
    Chunk(Bytes),
    /// The stream has ended well.
    End,
}

/// Reads a line.
pub fn read(line: &Bytes, source: Source, standing: impl Fn(&str) -> Standing) -> Line {
    let envelope = match Envelope::read(line) {
        Ok(envelope) => envelope,
        Err(NotAnObject) => return nothing(source, line, "is not a JSON object"),
    };
    let id = envelope.id();
    match (&id, envelope.reply_member()) {
        (Some(id), Some(member)) => match standing(id) {
            Standing::InFlight { streaming } if envelope.broken.is_none() || envelope.id_comes_first() => {
                match reply(line, &envelope, member, streaming) {
                    Ok(reply) => Line::Reply(id.to_string(), reply),
                    Err(what) => Line::Malformed(id.to_string(), format!("the reply {what}: {}", quoted(line))),
                }
            }
            Standing::Past if envelope.broken.is_none() => stale(id, &envelope),
            // A reply channel is for replies only, so this is one, to an invocation that nobody waits for.
            Standing::Unknown if envelope.broken.is_none() && source == Source::ReplyFd => stale(id, &envelope),
            _ => nothing(source, line, &envelope.trouble("answers no invocation in flight")),
        },
        _ => control(line, &envelope)
            .unwrap_or_else(|| nothing(source, line, &envelope.trouble("is neither a reply nor a control message"))),
    }
}

/// The id that the beginning of a line too long to be held answers: `id` and the reply member stand before the value.
///
/// `None` where it is not the beginning of a reply.
#[must_use]
pub fn begins(start: &[u8]) -> Option<String> {
    let envelope = Envelope::read(start).ok()?;
    if !envelope.id_comes_first() {
        return None;
    }
    envelope.id().map(Cow::into_owned)
}

/// It answers an invocation that is over.
fn stale(id: &str, envelope: &Envelope<'_>) -> Line {
    Line::Stale { id: id.to_owned(), is_last: envelope.members.iter().any(|(member, _)| member.is_last()) }
}

fn nothing(source: Source, line: &[u8], why: &str) -> Line {
    match source {
        Source::Stdout => Line::Log,
        Source::ReplyFd => Line::Garbage(format!("a line on descriptor 3 {why}: {}", quoted(line))),
    }
}

fn reply(line: &Bytes, envelope: &Envelope<'_>, member: Member, streaming: bool) -> Result<Reply, String> {
    if let Some(error) = &envelope.broken {
        return Err(format!("is not valid JSON ({error})"));
    }
    if let Some(duplicate) = &envelope.duplicate {
        return Err(format!("has the member \"{duplicate}\" twice"));
    }
    if let Some(second) = envelope.members.iter().map(|(found, _)| *found).find(|found| found.is_reply() && *found != member) {
        return Err(format!("has both \"{}\" and \"{}\"; a reply has one of them", member.name(), second.name()));
    }
    let other = envelope.members.iter().map(|(found, _)| *found).find(|found| *found != member && *found != Member::Id);
    if let Some(unknown) = envelope.unknown.as_deref().or(other.map(Member::name)) {
        return Err(format!("has the member \"{unknown}\" besides \"id\" and \"{}\"", member.name()));
    }
    let Some(value) = envelope.value(member) else { return Err(format!("has a \"{}\" without a value", member.name())) };
    match (member, streaming) {
        (Member::Error, _) => error_document(line, value).map(Reply::Error),
        (Member::Response, false) => Ok(Reply::Response(line.slice_ref(value.as_bytes()))),
        (Member::Stream, false) => stream::head(value).map(Reply::Stream),
        (Member::Chunk, true) => stream::chunk(line, value).map(Reply::Chunk),
        (Member::ChunkBase64, true) => stream::chunk_base64(value).map(Reply::Chunk),
        (Member::End, true) if value == "true" => Ok(Reply::End),
        (Member::End, true) => Err("has an \"end\" that is not true".to_owned()),
        (Member::Response, true) => Err("has a \"response\" in an open stream; it goes on with \"chunk\" and \"end\"".to_owned()),
        (Member::Stream, true) => {
            Err("has a second \"stream\"; the first is open and goes on with \"chunk\" and \"end\"".to_owned())
        }
        (other, _) => Err(format!("has \"{}\" with no open stream; a reply with \"stream\" opens it", other.name())),
    }
}

/// A control message, where this line is one.
pub(super) fn control_message(line: &Bytes) -> Option<Line> {
    control(line, &Envelope::read(line).ok()?)
}

fn control(line: &Bytes, envelope: &Envelope<'_>) -> Option<Line> {
    let is_known = |member: Member| matches!(member, Member::Ready | Member::Concurrency | Member::Cancel | Member::Error);
    let is_clean = envelope.broken.is_none() && envelope.duplicate.is_none() && envelope.unknown.is_none();
    if !is_clean || !envelope.members.iter().all(|(member, _)| is_known(*member)) {
        return None;
    }
    match envelope.value(Member::Ready)? {
        "true" if envelope.value(Member::Error).is_none() => {
            let concurrency = match envelope.value(Member::Concurrency) {
                Some(value) => value.parse().ok().filter(|number| *number > 0)?,
                None => 1,
            };
            let cancel = match envelope.value(Member::Cancel) {
                None | Some("false") => false,
                Some("true") => true,
                Some(_) => return None,
            };
            Some(Line::Ready { concurrency, cancel })
        }
        "false" => {
            let document = match envelope.value(Member::Error) {
                Some(value) => error_document(line, value).ok()?,
                None => ErrorDocument::new(UNNAMED, "the handler said {\"ready\":false} and gave no error", Vec::new()),
            };
            Some(Line::NotReady(document))
        }
        _ => None,
    }
}

/// The value of `error`: an object in Lambda's own form, or a text.
fn error_document(line: &Bytes, value: &str) -> Result<ErrorDocument, String> {
    if value.starts_with('"') {
        // `"error":"text"` is short for `{"errorMessage":"text"}`.
        return Ok(ErrorDocument::new(UNNAMED, decoded(value), Vec::new()));
    }
    if !value.starts_with('{') {
        return Err("has an \"error\" that is neither an object nor a string".to_owned());
    }
    let members: ErrorMembers<'_> = serde_json::from_str(value).map_err(|error| format!("has an \"error\" that {error}"))?;
    let text = |name: &str, value: Option<&RawValue>| match value.map(RawValue::get) {
        None => Ok(None),
        Some(text) if text.starts_with('"') => Ok(Some(decoded(text))),
        Some(_) => Err(format!("has an \"error\" whose \"{name}\" is no string")),
    };
    let error_type = text("errorType", members.error_type)?;
    let error_message = text("errorMessage", members.error_message)?;
    let stack_trace = match members.stack_trace.map(|trace| serde_json::from_str::<Vec<&RawValue>>(trace.get())) {
        None => Vec::new(),
        Some(Ok(frames)) if frames.iter().all(|frame| frame.get().starts_with('"')) => {
            frames.iter().map(|frame| decoded(frame.get())).collect()
        }
        Some(_) => return Err("has an \"error\" whose \"stackTrace\" is no list of strings".to_owned()),
    };
    Ok(ErrorDocument::of_handler(&line.slice_ref(value.as_bytes()), error_type, error_message, stack_trace))
}

/// The members of an error that Lambda knows. Serde refuses duplicates of them.
#[derive(Default)]
struct ErrorMembers<'a> {
    error_type: Option<&'a RawValue>,
    error_message: Option<&'a RawValue>,
    stack_trace: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for ErrorMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = ErrorMembers<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ErrorMembers<'de>, A::Error> {
                let mut members = ErrorMembers::default();
                while let Some(key) = map.next_key::<Key>()? {
                    let value: &RawValue = map.next_value()?;
                    let place = match key.name.as_deref() {
                        Some("errorType") => &mut members.error_type,
                        Some("errorMessage") => &mut members.error_message,
                        Some("stackTrace") => &mut members.stack_trace,
                        _ => continue,
                    };
                    if place.replace(value).is_some() {
                        return Err(de::Error::custom(format!("has the member \"{}\" twice", key.name.unwrap_or_default())));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, source: Source) -> Line {
        of_bytes(line.as_bytes(), source)
    }

    fn of_bytes(line: &[u8], source: Source) -> Line {
        read(&Bytes::copy_from_slice(line), source, |id| match id {
            "now" => Standing::InFlight { streaming: false },
            "open" => Standing::InFlight { streaming: true },
            "past" => Standing::Past,
            _ => Standing::Unknown,
        })
    }

    fn response(line: &str) -> String {
        for source in [Source::Stdout, Source::ReplyFd] {
            if let Line::Reply(id, Reply::Response(value)) = of(line, source) {
                assert_eq!(id, "now");
                if source == Source::ReplyFd {
                    return String::from_utf8(value.to_vec()).unwrap();
                }
            } else {
                panic!("{line} is no response on {source:?}");
            }
        }
        unreachable!()
    }

    #[test]
    fn the_value_of_a_response_passes_byte_for_byte() {
        for value in [
            "null",
            "0",
            "\"\"",
            "false",
            "{}",
            "[1, 2]",
            "123456789012345678901234567890",
            "1.10",
            r#"{"a":1,"a":2}"#,
            r#""\ud800""#,
            r#"{"id":"now","response":1}"#,
            "\"☃\"",
            r#"{ "deep" : [ [ ] ] }"#,
        ] {
            assert_eq!(response(&format!(r#"{{"id":"now","response":{value}}}"#)), value);
            assert_eq!(response(&format!(r#" {{ "response" : {value} , "id" : "now" }} "#)), value);
        }
        assert_eq!(response(r#"{"\u0069d":"n\u006fw","response":1}"#), "1");
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(response(&format!(r#"{{"id":"now","response":{deep}}}"#)), deep);
    }

    #[test]
    fn whatever_breaks_the_rules_of_a_reply_in_flight_is_malformed_and_says_why() {
        for (line, why) in [
            (r#"{"id":"now","response":1,"error":"x"}"#, "both \"response\" and \"error\""),
            (r#"{"id":"now","response":1,"more":2}"#, "\"more\" besides"),
            (r#"{"more":2,"id":"now","response":1}"#, "\"more\" besides"),
            (r#"{"id":"now","response":1,"ready":true}"#, "\"ready\" besides"),
            (r#"{"id":"now","response":1,"response":1}"#, "\"response\" twice"),
            (r#"{"id":"now","id":"now","response":1}"#, "\"id\" twice"),
            (r#"{"id":"now","response":NaN}"#, "not valid JSON"),
            (r#"{"id":"now","response":}"#, "not valid JSON"),
            (r#"{"id":"now","response":01}"#, "not valid JSON"),
            (r#"{"id":"now","response":[1,]}"#, "column 27"),
            (r#"{"id":"now","response":1} tail"#, "not valid JSON"),
            (r#"{"id":"now","response":1"#, "not valid JSON"),
            (r#"{"id":"now","response":"\x"}"#, "not valid JSON"),
            ("{\"id\":\"now\",\"response\":\"a\tb\"}", "not valid JSON"),
            (r#"{"id":"now","error":5}"#, "neither an object nor a string"),
            (r#"{"id":"now","error":null}"#, "neither an object nor a string"),
            (r#"{"id":"now","error":{"errorType":5}}"#, "\"errorType\" is no string"),
            (r#"{"id":"now","error":{"errorMessage":null}}"#, "\"errorMessage\" is no string"),
            (r#"{"id":"now","error":{"stackTrace":"x"}}"#, "\"stackTrace\" is no list of strings"),
            (r#"{"id":"now","error":{"stackTrace":[1]}}"#, "\"stackTrace\" is no list of strings"),
            (r#"{"id":"now","error":{"errorType":"a","errorType":"b"}}"#, "\"errorType\" twice"),
            (r#"{"id":"now","chunk":"a"}"#, "\"chunk\" with no open stream; a reply with \"stream\" opens it"),
            (r#"{"id":"now","chunkBase64":"YQ=="}"#, "\"chunkBase64\" with no open stream"),
            (r#"{"id":"now","end":true}"#, "\"end\" with no open stream"),
            (r#"{"id":"now","stream":{},"chunk":"a"}"#, "both \"stream\" and \"chunk\""),
            (r#"{"id":"now","stream":{"status":200}}"#, "\"stream\" with the member \"status\""),
            (r#"{"id":"open","stream":{}}"#, "a second \"stream\"; the first is open"),
            (r#"{"id":"open","response":1}"#, "a \"response\" in an open stream"),
            (r#"{"id":"open","error":5}"#, "neither an object nor a string"),
            (r#"{"id":"open","chunk":"a","end":true}"#, "both \"chunk\" and \"end\""),
            (r#"{"id":"open","chunk":"a","more":1}"#, "\"more\" besides"),
            (r#"{"id":"open","chunk":"a","chunk":"a"}"#, "\"chunk\" twice"),
            (r#"{"id":"open","chunk":"a}"#, "not valid JSON"),
            (r#"{"id":"open","chunk":{"a":1}}"#, "\"chunk\" that is not a string"),
            (r#"{"id":"open","chunk":"abc\udc00"}"#, "half a surrogate pair at column 31"),
            (r#"{"id":"open","chunkBase64":"YQ"}"#, "\"chunkBase64\" that is not base64"),
            (r#"{"id":"open","end":false}"#, "\"end\" that is not true"),
            (r#"{"id":"open","end":null}"#, "\"end\" that is not true"),
            (r#"{"id":"open","end":"true"}"#, "\"end\" that is not true"),
            (r#"{"id":"open","end":1}"#, "\"end\" that is not true"),
        ] {
            for source in [Source::Stdout, Source::ReplyFd] {
                let Line::Malformed(id, told) = of(line, source) else { panic!("{line} passed on {source:?}") };
                assert_eq!(id, if line.contains("\"open\"") { "open" } else { "now" });
                assert!(told.contains(why), "{line}: {told}");
                assert!(told.contains(line), "{told} does not quote {line}");
            }
        }
        let Line::Malformed(_, told) = of_bytes(b"{\"id\":\"now\",\"response\":\"\xff\"}", Source::Stdout) else { panic!() };
        assert!(told.contains("not valid JSON"));
        let Line::Malformed(_, told) = of(&format!(r#"{{"id":"now","response":1,"x":"{}"}}"#, "☃".repeat(500)), Source::Stdout)
        else {
            panic!()
        };
        assert!(told.len() < 350, "{told}");
    }

    #[test]
    fn an_error_is_an_object_or_a_text() {
        let error = |line: &str| match of(line, Source::Stdout) {
            Line::Reply(_, Reply::Error(document)) => document,
            other => panic!("{line}: {other:?}"),
        };
        let document = error(r#"{"id":"now","error":{"errorType":"A.B","errorMessage":"m\n","stackTrace":["f"],"code":1.10}}"#);
        assert_eq!((document.error_type.as_str(), document.error_message.as_str()), ("A.B", "m\n"));
        assert_eq!(&document.body()[..], br#"{"errorType":"A.B","errorMessage":"m\n","stackTrace":["f"],"code":1.10}"#);
        let document = error(r#"{"id":"now","error":"text"}"#);
        assert_eq!((document.error_type.as_str(), document.error_message.as_str()), ("Function.Error", "text"));
        assert_eq!(error(r#"{"id":"now","error":{}}"#).error_type, "Function.Error");
        assert_eq!(error(r#"{"id":"now","error":"a\ud800b"}"#).error_message, "a\u{fffd}\u{fffd}\u{fffd}b");
    }

    #[test]
    fn on_stdout_everything_else_is_a_log_line() {
        for line in [
            "hello",
            "",
            " ",
            "null",
            "[1]",
            "\"now\"",
            "{",
            "{}",
            r#"{"id":"now"}"#,
            r#"{"id":"other","response":1}"#,
            r#"{"id":5,"response":1}"#,
            r#"{"response":1}"#,
            r#"{"response":NaN,"id":"now"}"#,
            r#"{"level":"INFO","message":"x"}"#,
            r#"prefix {"id":"now","response":1}"#,
            r#"{"id":"past","response":NaN}"#,
            r#"{"id":"now","note":1}"#,
            r#"{"ready":1}"#,
            r#"{"ready":true,"concurrency":0}"#,
            r#"{"ready":true,"more":1}"#,
            r#"{"ready":true,"cancel":"yes"}"#,
            r#"{"ready":true,"error":{}}"#,
            r#"{"ready":false,"error":7}"#,
            r#"{"id":"x","ready":true}"#,
        ] {
            assert_eq!(of(line, Source::Stdout), Line::Log, "{line}");
        }
    }

    #[test]
    fn on_descriptor_3_everything_else_is_garbage_that_is_quoted() {
        for line in [
            "hello",
            "null",
            "{}",
            r#"{"id":"now"}"#,
            r#"{"response":1}"#,
            r#"{"id":5,"response":1}"#,
            r#"{"ready":1}"#,
            r#"{"id":"past","response":NaN}"#,
        ] {
            let Line::Garbage(why) = of(line, Source::ReplyFd) else { panic!("{line} passed") };
            assert!(why.contains("descriptor 3") && why.contains(line), "{why}");
        }
    }

    #[test]
    fn a_late_or_repeated_reply_is_stale() {
        for line in [r#"{"id":"past","response":1}"#, r#"{"id":"past","error":5,"more":1}"#] {
            assert_eq!(of(line, Source::Stdout), Line::Stale { id: "past".into(), is_last: true });
            assert_eq!(of(line, Source::ReplyFd), Line::Stale { id: "past".into(), is_last: true });
        }
        assert_eq!(of(r#"{"id":"other","response":1}"#, Source::ReplyFd), Line::Stale { id: "other".into(), is_last: true });
    }

    #[test]
    fn of_a_stale_reply_it_is_known_whether_more_will_come() {
        for (reply, is_last) in [
            (r#""response":null"#, true),
            (r#""error":"x""#, true),
            (r#""end":true"#, true),
            (r#""stream":{}"#, false),
            (r#""chunk":"end""#, false),
            (r#""chunkBase64":"YQ==""#, false),
        ] {
            for (id, source) in [("past", Source::Stdout), ("past", Source::ReplyFd), ("other", Source::ReplyFd)] {
                let line = format!(r#"{{"id":"{id}",{reply}}}"#);
                assert_eq!(of(&line, source), Line::Stale { id: id.into(), is_last }, "{line}");
            }
        }
    }

    /// Found by the fuzz target `replies`: such a line was taken for a late reply.
    #[test]
    fn a_line_with_a_broken_member_name_is_no_json() {
        for name in [&b"\x01"[..], b"\xff", b"a\x1fb", b"\xed\xa0\x80"] {
            let line = |id: &str| [b"{\"", name, b"\":1,\"id\":\"", id.as_bytes(), b"\",\"response\":1}"].concat();
            for id in ["now", "past", "other"] {
                assert_eq!(of_bytes(&line(id), Source::Stdout), Line::Log, "{name:?} {id}");
                assert!(
                    matches!(of_bytes(&line(id), Source::ReplyFd), Line::Garbage(why) if why.contains("not valid JSON")),
                    "{name:?} {id}"
                );
            }
            let begun = [b"{\"id\":\"now\",\"response\":1,\"", name, b"\":1}"].concat();
            assert!(matches!(of_bytes(&begun, Source::Stdout), Line::Malformed(..)), "{name:?}");
        }
        let line = r#"{"id":"now","\ud800":1,"response":1}"#;
        assert!(matches!(of(line, Source::Stdout), Line::Malformed(_, why) if why.contains("besides")), "that is valid JSON");
    }

    #[test]
    fn a_streamed_reply_comes_piece_by_piece() {
        for source in [Source::Stdout, Source::ReplyFd] {
            let piece = |line: &str| match of(line, source) {
                Line::Reply(_, reply) => reply,
                other => panic!("{line}: {other:?}"),
            };
            let head = StreamHead { content_type: "application/octet-stream".into(), prelude: None };
            assert_eq!(piece(r#"{"id":"now","stream":{}}"#), Reply::Stream(head));
            assert_eq!(piece(r#"{ "chunk" : "a\nb" , "id" : "open" }"#), Reply::Chunk("a\nb".into()));
            assert_eq!(piece(r#"{"id":"open","chunk":""}"#), Reply::Chunk(Bytes::new()));
            assert_eq!(piece(r#"{"id":"open","chunkBase64":"/w=="}"#), Reply::Chunk(Bytes::from_static(b"\xff")));
            assert_eq!(piece(r#"{"id":"open", "end": true }"#), Reply::End);
            assert!(matches!(piece(r#"{"id":"open","error":"x"}"#), Reply::Error(_)));
        }
    }

    #[test]
    fn control_messages_are_understood_on_both_channels() {
        for source in [Source::Stdout, Source::ReplyFd] {
            assert_eq!(of(r#"{"ready":true}"#, source), Line::Ready { concurrency: 1, cancel: false });
            assert_eq!(
                of(r#" {"cancel":true,"concurrency":8,"ready":true}"#, source),
                Line::Ready { concurrency: 8, cancel: true }
            );
            let Line::NotReady(document) = of(r#"{"ready":false,"error":{"errorType":"My.Error","errorMessage":"no"}}"#, source)
            else {
                panic!()
            };
            assert_eq!(document.error_type, "My.Error");
            assert!(matches!(of(r#"{"ready":false}"#, source), Line::NotReady(_)));
        }
    }

    #[test]
    fn the_beginning_of_a_reply_is_known_by_its_id_and_member() {
        assert_eq!(begins(br#"{"id":"now","response":"aaaa"#).as_deref(), Some("now"));
        assert_eq!(begins(br#"{"id":"now","error":{"a":["#).as_deref(), Some("now"));
        assert_eq!(begins(br#"{"id":"now","chunk":"aaaa"#).as_deref(), Some("now"));
        assert_eq!(begins(br#"{"response":"aaaa"#), None);
        assert_eq!(begins(br#"{"note":"aaaa"#), None);
        assert_eq!(begins(b"aaaa"), None);
    }
}
