//! Log lines on stderr: the handler's and bootstrap's own, text or JSON, whole lines at a time.
//!
//! Stderr is written to only when it would not block, since a log reader that has stopped must not stop the runtime. What it
//! does not take waits here, in bounded memory: what finds no room makes the handler wait, as a pipe would, while stderr is slow,
//! and is dropped and counted once stderr takes nothing at all.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::document::ErrorDocument;

/// How many bytes may wait before the handler's channels are left unread.
const ENOUGH: usize = 1024 * 1024;

/// A pipe that polls as writable takes this much without blocking (`PIPE_BUF`; a socket or terminal takes as much).
const ATOMIC: usize = 4096;

/// How long to leave a stderr that takes nothing before it is asked again.
const RETRY: Duration = Duration::from_millis(1);

/// How long a stderr that takes nothing at all may keep the handler's channels unread once there is no more room.
const PATIENCE: Duration = Duration::from_millis(250);

/// How important a line is; Lambda's own levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// The name that Lambda gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Lambda's advanced logging controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Lines are JSON objects.
    pub json: bool,
    /// The least important of bootstrap's own lines that is written.
    pub level: Level,
}

impl Settings {
    /// Reads `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL`, and what is to be warned of: a bad value means the default.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut settings = Self::default();
        if let Some(value) = lookup("AWS_LAMBDA_LOG_FORMAT").filter(|value| !value.is_empty()) {
            settings.json = value.eq_ignore_ascii_case("json");
            if !settings.json && !value.eq_ignore_ascii_case("text") {
                warnings.push(format!("AWS_LAMBDA_LOG_FORMAT={value:?} is neither JSON nor Text; logging as text"));
            }
        }
        if let Some(value) = lookup("AWS_LAMBDA_LOG_LEVEL").filter(|value| !value.is_empty()) {
            match Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(&value)) {
                Some(level) => settings.level = level,
                None => warnings.push(format!(
                    "AWS_LAMBDA_LOG_LEVEL={value:?} is none of TRACE, DEBUG, INFO, WARN, ERROR, FATAL; logging at INFO"
                )),
            }
        }
        (settings, warnings)
    }
}

/// Which of a handler's channels a long line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// A JSON log line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    timestamp: String,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    message: &'a str,
}

/// The log; all clones write to the same stderr.
#[derive(Debug, Clone)]
pub struct Logs(Rc<RefCell<Sink>>);

#[derive(Debug)]
struct Sink {
    settings: Settings,
    /// Formatted lines that stderr has not taken yet.
    pending: Vec<u8>,
    /// How much of `pending` it has taken.
    taken: usize,
    /// The long line that has been begun and not ended.
    open: Option<Origin>,
    /// The first bytes of a character that its next piece goes on with.
    begun: Vec<u8>,
    /// Stderr has taken nothing for too long: what does not fit is dropped until it takes something again.
    dropping: bool,
    dropped: usize,
    /// Nobody reads stderr any more.
    closed: bool,
    /// The longest write that can't block.
    at_once: usize,
    /// Since when stderr has taken nothing.
    stalled: Option<Instant>,
}

/// The current time as a log line has it: RFC 3339 in UTC, with milliseconds.
fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

fn stderr() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

impl Logs {
    /// A log on this process's stderr.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let is_file = rustix::fs::fstat(stderr())
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile);
        Self(Rc::new(RefCell::new(Sink {
            settings,
            pending: Vec::new(),
            taken: 0,
            open: None,
            begun: Vec::new(),
            dropping: false,
            dropped: 0,
            closed: false,
            at_once: if is_file { usize::MAX } else { ATOMIC },
            stalled: None,
        })))
    }

    /// A line of bootstrap's own.
    pub fn tell(&self, level: Level, request_id: Option<&str>, message: &str) {
        self.0.borrow_mut().own(level, request_id, None, message);
    }

    /// Worth knowing: something is odd, and work goes on.
    pub fn warn(&self, request_id: Option<&str>, message: &str) {
        self.tell(Level::Warn, request_id, message);
    }

    /// The one ERROR line of an error that is reported, or of an init error.
    pub fn error(&self, request_id: Option<&str>, document: &ErrorDocument) {
        self.0.borrow_mut().own(Level::Error, request_id, Some(&document.error_type), &document.error_message);
    }

    /// A line of the handler's, without its newline.
    pub fn line(&self, request_id: Option<&str>, line: &[u8]) {
        self.0.borrow_mut().line(request_id, line);
    }

    /// A piece of a line too long to be held as a whole; the last one ends it.
    pub fn piece(&self, origin: Origin, request_id: Option<&str>, piece: &[u8], last: bool) {
        self.0.borrow_mut().piece(origin, request_id, piece, last);
    }

    /// Whether more can be taken from the handler's channels.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let sink = self.0.borrow();
        sink.dropping || sink.waiting() < ENOUGH
    }

    /// Whether there is something that stderr has not taken.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.borrow().waiting() > 0
    }

    /// Writes what stderr takes at once.
    pub fn write(&self) {
        self.0.borrow_mut().write();
    }

    /// Goes on with what is waiting. A stderr that is slow keeps the handler's channels unread meanwhile; one that takes nothing at
    /// all does so for a quarter of a second, and then what finds no room is dropped. Cancel safe.
    pub async fn progress(&self) {
        tokio::time::sleep(RETRY).await;
        let mut sink = self.0.borrow_mut();
        sink.write();
        if sink.waiting() >= ENOUGH && sink.stalled.is_some_and(|since| since.elapsed() >= PATIENCE) {
            sink.dropping = true;
        }
    }

    /// Waits until everything is written, at most until `latest`; then lines are dropped. While lines are being dropped nothing
    /// is waited for: a stderr that takes nothing delays one report, not every one.
    pub async fn flush(&self, latest: Instant) {
        loop {
            {
                let mut sink = self.0.borrow_mut();
                sink.write();
                if sink.waiting() == 0 || sink.dropping {
                    return;
                }
                if Instant::now() >= latest {
                    return sink.give_up();
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Whether stderr takes [`ATOMIC`] bytes without blocking. A stderr without a reader counts: the write then says so.
fn is_writable() -> bool {
    let descriptor = stderr();
    let mut asked = [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::OUT)];
    match poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => asked[0].revents().intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
        Err(_) => false,
    }
}

impl Sink {
    fn waiting(&self) -> usize {
        self.pending.len() - self.taken
    }

    fn own(&mut self, level: Level, request_id: Option<&str>, error_type: Option<&str>, message: &str) {
        if level < self.settings.level {
            return;
        }
        if self.settings.json {
            self.record(&Record {
                timestamp: timestamp(),
                level: level.name(),
                request_id,
                error_type,
                error_message: error_type.and(Some(message)),
                message,
            });
        } else {
            let mut text = format!("[{}] bootstrap: ", level.name());
            if let Some(id) = request_id {
                let _ = write!(text, "RequestId: {id} ");
            }
            if let Some(error_type) = error_type {
                let _ = write!(text, "{}: ", one_line(error_type));
            }
            text.push_str(&one_line(message));
            self.push(text.as_bytes());
        }
        self.write();
    }

    fn line(&mut self, request_id: Option<&str>, line: &[u8]) {
        if self.settings.json && !is_json_object(line) {
            let message = String::from_utf8_lossy(line);
            self.record(&Record {
                timestamp: timestamp(),
                level: Level::Info.name(),
                request_id,
                error_type: None,
                error_message: None,
                message: &message,
            });
        } else {
            self.push(line);
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        // Strings can always be serialised.
        if let Ok(line) = serde_json::to_vec(record) {
            self.push(&line);
        }
    }

    /// Takes a whole line, unless lines are being dropped.
    fn push(&mut self, line: &[u8]) {
        self.close_long_line();
        if self.closed {
            return;
        }
        if self.dropping && self.waiting() + line.len() > ENOUGH {
            self.dropped += 1;
            return;
        }
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        if self.waiting() >= ENOUGH / 4 {
            self.write();
        }
    }

    /// In text, a long line passes as it comes. In JSON its pieces are the message of one record. Either is ended early where
    /// another line comes between, so that no line is ever inside another.
    fn piece(&mut self, origin: Origin, request_id: Option<&str>, piece: &[u8], last: bool) {
        if self.open != Some(origin) {
            self.close_long_line();
            if self.settings.json {
                let opening = Record {
                    timestamp: timestamp(),
                    level: Level::Info.name(),
                    request_id,
                    error_type: None,
                    error_message: None,
                    message: "",
                };
                let opening = serde_json::to_vec(&opening).unwrap_or_default();
                // The record without the quote and the brace that end it.
                self.pending.extend_from_slice(&opening[..opening.len().saturating_sub(2)]);
            }
            self.open = Some(origin);
        }
        if self.dropping && self.waiting() > ENOUGH {
            self.dropped += usize::from(last);
        } else if self.settings.json {
            let mut text = std::mem::take(&mut self.begun);
            text.extend_from_slice(piece);
            if !last {
                self.begun = text.split_off(text.len() - begun_character(&text));
            }
            let escaped = serde_json::to_vec(&String::from_utf8_lossy(&text)).unwrap_or_default();
            self.pending.extend_from_slice(escaped.get(1..escaped.len() - 1).unwrap_or_default());
        } else {
            self.pending.extend_from_slice(piece);
        }
        if last {
            self.close_long_line();
        }
        self.write();
    }

    fn close_long_line(&mut self) {
        if self.open.take().is_some() {
            self.pending.extend_from_slice(if self.settings.json { b"\"}\n" } else { b"\n" });
        }
    }

    fn write(&mut self) {
        let before = self.taken;
        while self.waiting() > 0 && !self.closed && is_writable() {
            let end = self.pending.len().min(self.taken.saturating_add(self.at_once));
            match rustix::io::write(stderr(), &self.pending[self.taken..end]) {
                Ok(length) => self.taken += length,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => self.closed = true,
            }
        }
        if self.waiting() == 0 || self.taken > before {
            self.stalled = None;
        } else {
            self.stalled.get_or_insert_with(Instant::now);
        }
        if self.closed || self.waiting() == 0 {
            self.taken = 0;
            if self.pending.capacity() > ENOUGH {
                self.pending = Vec::new();
            } else {
                self.pending.clear();
            }
            self.dropping = false;
            self.confess();
        } else if self.taken > ENOUGH {
            self.pending.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Drops the whole lines that wait. A line that stderr has taken a part of stays, so that it will be whole.
    fn give_up(&mut self) {
        self.dropping = true;
        let rest = &self.pending[self.taken..];
        let begun = self.taken > 0 && self.pending[self.taken - 1] != b'\n';
        let kept = if begun { memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1) } else { 0 };
        self.dropped += memchr::memchr_iter(b'\n', &rest[kept..]).count();
        self.pending.truncate(self.taken + kept);
        if self.open.take().is_some() && !self.pending.ends_with(b"\n") && self.waiting() > 0 {
            self.pending.push(b'\n');
        }
    }

    /// Says how many lines are missing, once stderr takes lines again.
    fn confess(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 && !self.closed {
            self.own(Level::Warn, None, None, &format!("{dropped} log lines were dropped because stderr took nothing"));
        }
    }
}

/// Whether a line is a JSON object, which then is a log record already.
fn is_json_object(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<&serde_json::value::RawValue>(line).is_ok()
}

/// How many bytes at the end are the beginning of a UTF-8 character.
fn begun_character(text: &[u8]) -> usize {
    let tail = &text[text.len().saturating_sub(3)..];
    let Some(lead) = tail.iter().rposition(|byte| *byte >= 0xC0) else { return 0 };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.error_len().is_none() => tail.len() - lead,
        _ => 0,
    }
}

/// The text with what would break or disguise a line escaped.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(json: bool) -> Sink {
        Sink {
            settings: Settings { json, level: Level::Info },
            pending: Vec::new(),
            taken: 0,
            open: None,
            begun: Vec::new(),
            dropping: false,
            dropped: 0,
            closed: false,
            at_once: ATOMIC,
            stalled: None,
        }
    }

    fn text(sink: &Sink) -> &str {
        std::str::from_utf8(&sink.pending).unwrap()
    }

    #[test]
    fn in_json_a_line_that_is_an_object_passes_and_any_other_becomes_one() {
        let mut sink = sink(true);
        sink.line(Some("id"), br#"{"level":"DEBUG"}"#);
        sink.line(Some("id"), b"pl\"ain \xff");
        sink.line(None, b"{not json}");
        let lines: Vec<&str> = text(&sink).lines().collect();
        assert_eq!(lines[0], r#"{"level":"DEBUG"}"#);
        let record: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(record["message"], "pl\"ain \u{fffd}");
        assert_eq!(record["level"], "INFO");
        assert_eq!(record["requestId"], "id");
        assert!(record["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(lines[2]).unwrap().get("requestId"), None);
    }

    #[test]
    fn a_long_line_is_whole_until_another_comes_between() {
        let mut plain = sink(false);
        plain.at_once = 0;
        plain.open = None;
        plain.dropping = true;
        plain.piece_for_test(b"aa");
        plain.piece_for_test(b"bb");
        plain.push(b"other");
        assert_eq!(text(&plain), "aabb\nother\n");
    }

    impl Sink {
        /// A piece without a write to the test's own stderr.
        fn piece_for_test(&mut self, piece: &[u8]) {
            self.open = Some(Origin::Stdout);
            self.pending.extend_from_slice(piece);
        }
    }

    #[test]
    fn a_character_cut_in_two_is_told_from_a_whole_one() {
        for (text, begun) in
            [(&b"a"[..], 0), ("☃".as_bytes(), 0), (&"☃".as_bytes()[..2], 2), (&"a𝄞".as_bytes()[..4], 3), (b"\xff", 0), (b"", 0)]
        {
            assert_eq!(begun_character(text), begun, "{text:?}");
        }
    }

    #[test]
    fn giving_up_keeps_the_line_that_is_half_written() {
        let mut sink = sink(false);
        sink.pending = b"first\nsecond\nthird\n".to_vec();
        sink.taken = 8;
        sink.give_up();
        assert_eq!(&sink.pending[sink.taken..], b"cond\n");
        assert_eq!(sink.dropped, 1);
        sink.taken = 6;
        sink.pending = b"first\nsecond\nthird\n".to_vec();
        sink.give_up();
        assert_eq!(sink.waiting(), 0);
        assert_eq!(sink.dropped, 3);
    }

    #[test]
    fn a_message_stays_on_one_line() {
        assert_eq!(one_line("a\nb\t\u{1b}[31m☃"), "a\\nb\\t\\u{1b}[31m☃");
    }

    #[test]
    fn a_bad_format_or_level_means_the_default_with_a_warning() {
        let of = |format: &'static str, level: &'static str| {
            Settings::from_environment(move |name| match name {
                "AWS_LAMBDA_LOG_FORMAT" => Some(format.to_owned()),
                _ => Some(level.to_owned()),
            })
        };
        assert_eq!(of("json", "debug"), (Settings { json: true, level: Level::Debug }, vec![]));
        assert_eq!(of("Text", "FATAL"), (Settings { json: false, level: Level::Fatal }, vec![]));
        assert_eq!(of("", ""), (Settings::default(), vec![]));
        let (settings, warnings) = of("xml", "loud");
        assert_eq!(settings, Settings::default());
        assert!(warnings[0].contains("AWS_LAMBDA_LOG_FORMAT=\"xml\"") && warnings[1].contains("AWS_LAMBDA_LOG_LEVEL=\"loud\""));
    }
}
