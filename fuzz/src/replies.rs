//! Reply lines: what section 3 of the protocol makes of a line, against what bootstrap does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::document::{ErrorDocument, LARGEST};
use bootstrap::protocol::reply::{self, Line, Reply, Source, Standing};
use bootstrap::protocol::stream::StreamHead;
use bootstrap::runtime::cause;
use bytes::Bytes;

use crate::rfc8259::{self, Node, Text, Value, is, squeezed, string};
use crate::text::{is_shallow, pattern};

/// The members by which a line is a reply.
const REPLIES: [&str; 6] = ["response", "error", "stream", "chunk", "chunkBase64", "end"];

/// What a line has to mean.
#[derive(Debug)]
pub enum Meaning<'a> {
    /// A log line on stdout, on descriptor 3 a mistake.
    Nothing,
    /// An answer, or a part of one.
    Reply(String, Part<'a>),
    /// A reply that breaks the rules.
    Malformed(String),
    /// Late or repeated; whether nothing more comes.
    Stale(String, bool),
    /// `{"ready":true}`, with its concurrency and whether it wants to be told of cancelled invocations.
    Ready(u32, bool),
    /// `{"ready":false}`, with its error.
    NotReady(Option<Error>),
}

/// What a reply has.
#[derive(Debug)]
pub enum Part<'a> {
    /// The bytes of `response`.
    Response(&'a [u8]),
    /// An error.
    Error(Error),
    /// What opens a stream.
    Stream(&'a Node<'a>),
    /// A chunk's bytes.
    Chunk(Vec<u8>),
    /// The end of a stream.
    End,
}

/// An error's members.
#[derive(Debug)]
pub struct Error {
    error_type: Option<Text>,
    error_message: Option<Text>,
    stack_trace: Vec<Text>,
    /// How it is written, where it is an object.
    object: Option<Vec<u8>>,
}

/// What is known of request ids here.
#[must_use]
pub fn standing(id: &str) -> Standing {
    match id {
        "now" => Standing::InFlight { streaming: false },
        "open" => Standing::InFlight { streaming: true },
        "past" => Standing::Past,
        _ => Standing::Unknown,
    }
}

/// The first byte says on which channel the line comes.
pub fn check(data: &[u8]) {
    let Some((first, line)) = data.split_first() else { return };
    let source = if *first == b'3' { Source::ReplyFd } else { Source::Stdout };
    if !is_shallow(line) || line.contains(&b'\n') {
        return;
    }
    let bytes = Bytes::copy_from_slice(line);
    let node = rfc8259::parse(line);
    compare(&reply::read(&bytes, source, standing), &meaning(line, node.as_ref(), source, standing), source);

    // What can be told of a line before its end is told the same way at its end.
    if let Some(id) = reply::begins(line) {
        assert!(begins(line).is_some_and(|found| squeezed(&string(&found)) == squeezed(&id)), "it begins as a reply to {id:?}");
    } else {
        assert_eq!(begins(line), None);
    }
}

/// Fails where the two differ.
pub fn compare(line: &Line, meaning: &Meaning<'_>, source: Source) {
    match (line, meaning) {
        (Line::Log, Meaning::Nothing) => assert_eq!(source, Source::Stdout),
        (Line::Garbage(why), Meaning::Nothing) => {
            assert_eq!(source, Source::ReplyFd);
            assert!(why.len() < 1500, "{why}");
        }
        (Line::Reply(id, reply), Meaning::Reply(expected, part)) => {
            assert_eq!(id, expected);
            compare_parts(reply, part);
        }
        (Line::Malformed(id, why), Meaning::Malformed(expected)) => {
            assert_eq!(id, expected);
            assert!(why.starts_with("the reply ") && why.len() < 1500, "{why}");
        }
        (Line::Stale { id, is_last }, Meaning::Stale(expected, last)) => assert_eq!((&squeezed(id), is_last), (expected, last)),
        (Line::Ready { concurrency, cancel }, Meaning::Ready(expected, wanted)) => {
            assert_eq!((concurrency, cancel), (expected, wanted));
        }
        (Line::NotReady(document), Meaning::NotReady(error)) => match error {
            Some(error) => compare_errors(document, error),
            None => assert_eq!(document.error_type, "Function.Error"),
        },
        _ => panic!("it means {meaning:?}, and is taken for {line:?}"),
    }
}

/// What a line means. `node` is what it is as JSON.
#[must_use]
pub fn meaning<'a>(line: &'a [u8], node: Option<&'a Node<'a>>, source: Source, standing: impl Fn(&str) -> Standing) -> Meaning<'a> {
    let Some(node) = node else {
        // It begins as a reply but is not valid JSON.
        return match begins(line).map(|id| string(&id)) {
            Some(id) if matches!(standing(&id), Standing::InFlight { .. }) => Meaning::Malformed(id),
            _ => Meaning::Nothing,
        };
    };
    let Some(members) = node.members() else { return Meaning::Nothing };
    let id = members.iter().find(|(name, _)| is(name, "id")).and_then(|(_, value)| value.text()).map(string);
    let has_reply = members.iter().any(|(name, _)| REPLIES.iter().any(|reply| is(name, reply)));
    let (Some(id), true) = (id, has_reply) else { return control(members).unwrap_or(Meaning::Nothing) };
    match standing(&id) {
        Standing::InFlight { streaming } => match part(members, streaming) {
            Some(part) => Meaning::Reply(id, part),
            None => Meaning::Malformed(id),
        },
        Standing::Unknown if source == Source::Stdout => Meaning::Nothing,
        Standing::Past | Standing::Unknown => {
            let is_last = members.iter().any(|(name, _)| ["response", "error", "end"].iter().any(|last| is(name, last)));
            Meaning::Stale(squeezed(&id), is_last)
        }
    }
}

/// The id of a line that begins as a reply: it is followed by a reply member, whose value may be anything.
#[must_use]
pub fn begins(line: &[u8]) -> Option<Text> {
    let members = rfc8259::begun(line);
    let place = members.iter().position(|(name, _)| is(name, "id"))?;
    let id = members[place].1.as_ref()?.text()?.clone();
    let reply = members.iter().position(|(name, _)| REPLIES.iter().any(|reply| is(name, reply)))?;
    (place < reply).then_some(id)
}

/// A reply to an invocation in flight; `None` where it breaks a rule.
fn part<'a>(members: &'a [(Text, Node<'a>)], streaming: bool) -> Option<Part<'a>> {
    let [first, second] = members else { return None };
    let (name, node) = if is(&first.0, "id") { second } else { first };
    let (id, _) = if is(&first.0, "id") { first } else { second };
    if !is(id, "id") {
        return None;
    }
    match (string(name).as_str(), streaming) {
        ("error", _) => error(node).map(Part::Error),
        ("response", false) => Some(Part::Response(node.raw)),
        ("stream", false) => is_stream(node).then_some(Part::Stream(node)),
        ("chunk", true) => chunk(node).map(Part::Chunk),
        ("chunkBase64", true) => STANDARD.decode(string(node.text()?)).ok().map(Part::Chunk),
        ("end", true) => (node.value == Value::Bool(true)).then_some(Part::End),
        _ => None,
    }
}

fn chunk(node: &Node<'_>) -> Option<Vec<u8>> {
    let text: Option<String> = node.text()?.iter().map(|point| char::from_u32(*point)).collect();
    // The same, by another reader.
    assert_eq!(serde_json::from_slice::<String>(node.raw).ok(), text);
    text.map(String::into_bytes)
}

fn error(node: &Node<'_>) -> Option<Error> {
    if let Some(text) = node.text() {
        return Some(Error { error_type: None, error_message: Some(text.clone()), stack_trace: Vec::new(), object: None });
    }
    let members = node.members()?;
    let one = |name: &str| {
        let mut found = members.iter().filter(|(found, _)| is(found, name)).map(|(_, node)| node);
        let one = found.next();
        found.next().is_none().then_some(one)
    };
    let text = |node: Option<&Node<'_>>| node.map_or(Some(None), |node| node.text().cloned().map(Some));
    let stack_trace = match one("stackTrace")?.map(|node| &node.value) {
        None => Vec::new(),
        Some(Value::List(frames)) => frames.iter().map(|frame| frame.text().cloned()).collect::<Option<_>>()?,
        Some(_) => return None,
    };
    Some(Error {
        error_type: text(one("errorType")?)?,
        error_message: text(one("errorMessage")?)?,
        stack_trace,
        object: Some(node.raw.to_vec()),
    })
}

fn control<'a>(members: &[(Text, Node<'a>)]) -> Option<Meaning<'a>> {
    let mut names: Vec<String> = members.iter().map(|(name, _)| string(name)).collect();
    names.sort();
    names.dedup();
    let known = ["ready", "concurrency", "cancel", "error"];
    if names.len() != members.len() || !names.iter().all(|name| known.contains(&name.as_str())) {
        return None;
    }
    let get = |name: &str| members.iter().find(|(found, _)| is(found, name)).map(|(_, node)| node);
    if get("ready")?.value == Value::Bool(false) {
        return Some(Meaning::NotReady(get("error").map(|node| error(node).ok_or(())).transpose().ok()?));
    }
    if get("ready")?.value != Value::Bool(true) || get("error").is_some() {
        return None;
    }
    let concurrency = match get("concurrency") {
        None => 1,
        Some(node) => match (&node.value, std::str::from_utf8(node.raw)) {
            (Value::Number, Ok(number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().ok().filter(|n| *n > 0)?
            }
            _ => return None,
        },
    };
    match get("cancel").map(|node| &node.value) {
        None => Some(Meaning::Ready(concurrency, false)),
        Some(Value::Bool(cancel)) => Some(Meaning::Ready(concurrency, *cancel)),
        Some(_) => None,
    }
}

fn is_stream(node: &Node<'_>) -> bool {
    let Some(members) = node.members() else { return false };
    let mut names: Vec<String> = members.iter().map(|(name, _)| string(name)).collect();
    names.sort();
    names.dedup();
    names.len() == members.len()
        && members.iter().all(|(name, node)| match string(name).as_str() {
            "contentType" => node.text().is_some_and(|text| text.iter().all(|point| matches!(point, 9 | 0x20..=0x7e))),
            "statusCode" => {
                node.raw.len() == 3 && matches!(std::str::from_utf8(node.raw).unwrap_or_default().parse(), Ok(100..=599_u16))
            }
            "headers" => node.members().is_some_and(|headers| {
                headers.iter().enumerate().all(|(place, (name, value))| {
                    value.text().is_some() && headers[..place].iter().all(|(before, _)| before != name)
                })
            }),
            "cookies" => matches!(&node.value, Value::List(list) if list.iter().all(|cookie| cookie.text().is_some())),
            _ => false,
        })
}

fn compare_parts(reply: &Reply, part: &Part<'_>) {
    match (reply, part) {
        (Reply::Response(found), Part::Response(expected)) => assert_eq!(found, expected),
        (Reply::Error(document), Part::Error(error)) => compare_errors(document, error),
        (Reply::Stream(head), Part::Stream(node)) => compare_heads(head, node),
        (Reply::Chunk(found), Part::Chunk(expected)) => assert_eq!(found, expected),
        (Reply::End, Part::End) => {}
        _ => panic!("it means {part:?}, and is taken for {reply:?}"),
    }
}

fn compare_heads(head: &StreamHead, node: &Node<'_>) {
    const DEFAULT: &str = "application/octet-stream";
    let content_type = node.get("contentType").and_then(Node::text).map(string);
    if ["statusCode", "headers", "cookies"].iter().all(|name| node.get(name).is_none()) {
        assert_eq!((&head.content_type, &head.prelude), (&content_type.unwrap_or_else(|| DEFAULT.to_owned()), &None));
        return;
    }
    assert_eq!(head.content_type, "application/vnd.awslambda.http-integration-response");
    let prelude = head.prelude.as_ref().expect("there is a prelude");
    let json = prelude.strip_suffix(&[0; 8]).expect("it ends in eight NUL bytes");
    assert!(!json.contains(&0), "a NUL in the prelude");
    let prelude = rfc8259::parse(json).expect("the prelude is JSON");
    let status = node.get("statusCode").map_or(&b"200"[..], |node| node.raw);
    assert_eq!(prelude.get("statusCode").expect("there is a status").raw, status);
    let cookies = rfc8259::parse(b"[]").expect("it is JSON");
    assert!(prelude.get("cookies").expect("there are cookies").same(node.get("cookies").unwrap_or(&cookies)));
    // Each header as it is, and one content type: that of the stream, else what the headers say, else the default.
    let is_type = |name: &Text| string(name).eq_ignore_ascii_case("content-type");
    let headers = node.get("headers").and_then(Node::members).unwrap_or_default();
    let mut expected: Vec<(Text, Text)> = headers
        .iter()
        .filter(|(name, _)| content_type.is_none() || !is_type(name))
        .map(|(name, value)| (name.clone(), value.text().cloned().unwrap_or_default()))
        .collect();
    if !expected.iter().any(|(name, _)| is_type(name)) {
        let points = |text: &str| text.chars().map(u32::from).collect();
        expected.push((points("content-type"), points(content_type.as_deref().unwrap_or(DEFAULT))));
    }
    let mut found: Vec<(Text, Text)> = prelude
        .get("headers")
        .and_then(Node::members)
        .expect("there are headers")
        .iter()
        .map(|(name, value)| (name.clone(), value.text().expect("a text").clone()))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

fn compare_errors(document: &ErrorDocument, error: &Error) {
    let text = |text: &Option<Text>, missing: &str| text.as_ref().map_or(missing.to_owned(), |text| squeezed(&string(text)));
    assert_eq!(squeezed(&document.error_type), text(&error.error_type, "Function.Error"));
    assert_eq!(squeezed(&document.error_message), text(&error.error_message, ""));
    let trace: Vec<String> = document.stack_trace.iter().map(|frame| squeezed(frame)).collect();
    assert_eq!(trace, error.stack_trace.iter().map(|frame| squeezed(&string(frame))).collect::<Vec<_>>());

    // What is posted: the object as it was written, and what it lacks in front.
    let body = document.body();
    assert!(body.len() <= LARGEST);
    let posted = rfc8259::parse(&body).expect("the document is JSON");
    for (name, value) in [("errorType", &error.error_type), ("errorMessage", &error.error_message)] {
        let found = posted.get(name).and_then(Node::text).expect("it is a text");
        match value {
            Some(value) => assert_eq!(squeezed(&string(found)), squeezed(&string(value))),
            None => assert!(is(found, if name == "errorType" { "Function.Error" } else { "" })),
        }
    }
    if let Some(object) = &error.object {
        let told = rfc8259::parse(object).expect("it was JSON");
        let (told, posted) = (told.members().unwrap_or_default(), posted.members().unwrap_or_default());
        let added = usize::from(error.error_type.is_none()) + usize::from(error.error_message.is_none());
        assert_eq!(posted.len(), told.len() + added);
        assert!(posted[added..].iter().zip(told).all(|((name, a), (named, b))| name == named && a.same(b)));
    }

    let header = document.type_header();
    let form = pattern!(r"^(Runtime|Function)\.[A-Z][a-zA-Z]+$");
    assert!(form.is_match(&header) && header.len() <= 137, "{header}");
    let cause = cause::header(document, "/var/task");
    assert!(cause.len() <= 64 * 1024 && cause.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{cause}");
    assert!(rfc8259::parse(cause.as_bytes()).is_some(), "{cause}");
}
