//! What is logged, formatted, until stderr has taken it: in bounded memory, whole lines, and what is missing is counted.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::log::output::Output;
use crate::log::{Level, Origin, PATIENCE, Settings};

/// How many bytes may wait before the handler's channels are left unread.
pub(super) const ENOUGH: usize = 1024 * 1024;

/// How many bytes may wait at all: room for a line of the longest kind, whoever speaks.
const MOST: usize = 10 * 1024 * 1024;

/// A stderr that has a reader takes something at least this often.
const STALL: Duration = Duration::from_millis(100);

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

#[derive(Debug)]
pub(super) struct Sink {
    settings: Settings,
    output: Output,
    /// Formatted lines that stderr has not taken yet.
    pending: Vec<u8>,
    /// How much of `pending` it has taken.
    taken: usize,
    /// The last byte that it has taken was not the end of a line.
    mid_line: bool,
    /// How many bytes have ever been put into `pending`.
    pub(super) queued: u64,
    /// The long line that has been begun and not ended.
    open: Option<Origin>,
    /// The first bytes of a character that its next piece goes on with.
    begun: Vec<u8>,
    /// Since when stderr has taken nothing, while something waits.
    stalled: Option<Instant>,
    /// How long that may keep the channels unread of the handler that is spoken for.
    pub(super) patience: Duration,
    /// A report has waited for stderr in vain; the next ones don't, until it takes something again.
    pub(super) given_up: bool,
    /// How many lines are missing and have not been confessed.
    pub(super) dropped: usize,
    /// Nobody reads stderr any more.
    closed: bool,
}

/// The current time as a log line has it: RFC 3339 in UTC, with milliseconds.
fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

impl Sink {
    pub(super) fn new(settings: Settings, output: Output) -> Self {
        Self {
            settings,
            output,
            pending: Vec::new(),
            taken: 0,
            mid_line: false,
            queued: 0,
            open: None,
            begun: Vec::new(),
            stalled: None,
            patience: PATIENCE,
            given_up: false,
            dropped: 0,
            closed: false,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.pending.len() - self.taken
    }

    /// How many bytes have been put in and are here no more.
    pub(super) fn gone(&self) -> u64 {
        self.queued - self.waiting() as u64
    }

    /// Stderr has taken nothing for so long that the handler is kept waiting no longer.
    pub(super) fn is_stuck(&self) -> bool {
        self.has_stalled_for(self.patience)
    }

    /// Stderr has taken nothing for so long, while something waits.
    fn has_stalled_for(&self, time: Duration) -> bool {
        self.stalled.is_some_and(|since| since.elapsed() >= time)
    }

    /// Whether so many bytes more find room; a line that does not is dropped.
    fn takes(&self, length: usize) -> bool {
        !self.closed && self.waiting() + length <= if self.is_stuck() { ENOUGH } else { MOST }
    }

    fn append(&mut self, bytes: &[u8]) {
        let (length, capacity) = (self.pending.len(), self.pending.capacity());
        if length + bytes.len() > capacity.max(ENOUGH) {
            // All at once: growing step by step may copy each time, and then the old one and the new one are there side by side.
            // Only what is written to takes memory.
            self.pending.reserve_exact(bytes.len().max((MOST + 2 * ENOUGH).saturating_sub(length)));
        }
        self.pending.extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    /// Writes a line of bootstrap's own.
    pub(super) fn own(&mut self, level: Level, request_id: Option<&str>, error_type: Option<&str>, message: &str) {
        self.put(level, request_id, error_type, message);
        self.write();
    }

    fn put(&mut self, level: Level, request_id: Option<&str>, error_type: Option<&str>, message: &str) {
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
    }

    pub(super) fn line(&mut self, request_id: Option<&str>, line: &[u8]) {
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
        if let Ok(line) = serde_json::to_string(record) {
            self.push(tame(line).as_bytes());
        }
    }

    /// Takes a whole line, if there is room for it.
    fn push(&mut self, line: &[u8]) {
        self.close_long_line();
        if !self.takes(line.len() + 1) {
            self.dropped += usize::from(!self.closed);
            return;
        }
        self.append(line);
        self.append(b"\n");
        if self.waiting() >= ENOUGH / 4 {
            self.write();
        }
    }

    /// In text, a long line passes as it comes. In JSON its pieces are the message of one record. Either is ended early where
    /// another line comes between, so that no line is ever inside another.
    pub(super) fn piece(&mut self, origin: Origin, request_id: Option<&str>, piece: &[u8], last: bool) {
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
                self.append(&opening[..opening.len().saturating_sub(2)]);
            }
            self.open = Some(origin);
        }
        if !self.takes(piece.len()) {
            self.dropped += usize::from(last && !self.closed);
        } else if self.settings.json {
            let mut text = std::mem::take(&mut self.begun);
            text.extend_from_slice(piece);
            if !last {
                self.begun = text.split_off(text.len() - begun_character(&text));
            }
            let escaped = tame(serde_json::to_string(&String::from_utf8_lossy(&text)).unwrap_or_default());
            self.append(escaped.get(1..escaped.len() - 1).unwrap_or_default().as_bytes());
        } else {
            self.append(piece);
        }
        if last {
            self.close_long_line();
        }
        self.write();
    }

    fn close_long_line(&mut self) {
        if self.open.take().is_some() {
            if !std::mem::take(&mut self.begun).is_empty() {
                self.append("\u{fffd}".as_bytes());
            }
            self.append(if self.settings.json { b"\"}\n" } else { b"\n" });
        }
    }

    /// Writes what stderr takes, and says how many lines are missing once it has taken the rest.
    pub(super) fn write(&mut self) {
        self.write_pending();
        if self.dropped > 0 && self.waiting() == 0 && !self.closed && self.output.is_writable() {
            let dropped = std::mem::take(&mut self.dropped);
            let message = format!("{dropped} log lines were dropped because stderr took nothing");
            self.put(Level::Warn, None, None, &message);
            self.write_pending();
            if self.dropped > 0 {
                // This line too: a full disk polls as writable. There will be another.
                self.dropped = dropped;
            }
        }
    }

    fn write_pending(&mut self) {
        let before = self.taken;
        while self.waiting() > 0 && !self.closed && self.output.is_writable() {
            let end = self.pending.len().min(self.taken.saturating_add(self.output.at_once()));
            match rustix::io::write(self.output.descriptor(), &self.pending[self.taken..end]) {
                Ok(length) => {
                    self.taken += length;
                    self.mid_line = self.taken > 0 && self.pending[self.taken - 1] != b'\n';
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::BADF) => self.closed = true,
                // A full disk, say: it may have room again later.
                Err(_) => {
                    self.give_up();
                    break;
                }
            }
        }
        if self.taken > before {
            self.given_up = false;
        }
        if self.waiting() == 0 || self.taken > before {
            self.stalled = None;
        } else {
            self.stalled.get_or_insert_with(Instant::now);
        }
        if self.closed {
            self.taken = self.pending.len();
        }
        if self.waiting() == 0 {
            self.taken = 0;
            if self.pending.capacity() > ENOUGH {
                self.pending = Vec::new();
            } else {
                self.pending.clear();
            }
        } else if self.taken > ENOUGH {
            self.pending.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// A report goes out before what waits is written. Where stderr takes something, if slowly, it goes on waiting, since it may be
    /// others' lines.
    pub(super) fn overdue(&mut self) {
        if self.has_stalled_for(STALL) {
            self.give_up();
        }
    }

    /// Drops the whole lines that wait. A line that stderr has taken a part of stays, so that it will be whole.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        let rest = &self.pending[self.taken..];
        let kept = if self.mid_line { memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1) } else { 0 };
        let lost = &rest[kept..];
        self.dropped += memchr::memchr_iter(b'\n', lost).count();
        if self.open.is_some() && !lost.is_empty() {
            // The long line that was being taken: what is still to come of it is a line of its own.
            self.open = None;
            self.begun.clear();
            self.dropped += usize::from(!lost.ends_with(b"\n"));
        }
        self.pending.truncate(self.taken + kept);
    }
}

/// JSON in which nothing stands raw that terminals and readers of lines act by. JSON itself allows delete, the control characters
/// beyond ASCII, and the line and paragraph separators in a string.
fn tame(json: String) -> String {
    if memchr::memchr3(0x7f, 0xc2, 0xe2, json.as_bytes()).is_none() {
        return json;
    }
    let mut tamed = String::with_capacity(json.len());
    for character in json.chars() {
        if is_odd(character) {
            let _ = write!(tamed, "\\u{:04x}", u32::from(character));
        } else {
            tamed.push(character);
        }
    }
    tamed
}

/// Whether a character would break or disguise a line.
fn is_odd(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
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
        if is_odd(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    /// A sink on a pipe of one page, and the pipe's other end.
    fn sink(json: bool) -> (Sink, OwnedFd) {
        let flags = rustix::pipe::PipeFlags::NONBLOCK;
        let (reader, writer) = rustix::pipe::pipe_with(flags).unwrap();
        (Sink::new(Settings { json, level: Level::Info }, Output::Own(writer)), reader)
    }

    /// What has been written since the last call.
    fn read(reader: &OwnedFd) -> String {
        let mut text = Vec::new();
        let mut buffer = vec![0; 65536];
        while let Ok(length @ 1..) = rustix::io::read(reader, &mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn in_json_a_line_that_is_an_object_passes_and_any_other_becomes_one() {
        let (mut sink, reader) = sink(true);
        sink.line(Some("id"), br#"{"level":"DEBUG"}"#);
        sink.line(Some("id"), b"pl\"ain \xff");
        sink.line(None, b"{not json}");
        sink.write();
        let text = read(&reader);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"level":"DEBUG"}"#);
        let record: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(record["message"], "pl\"ain \u{fffd}");
        assert_eq!(record["level"], "INFO");
        assert_eq!(record["requestId"], "id");
        assert!(record["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(lines[2]).unwrap().get("requestId"), None);
    }

    #[test]
    fn in_json_no_character_disguises_a_line() {
        let (mut sink, reader) = sink(true);
        let odd = "\u{7f}\u{85}\u{9b}2K\u{2028}\u{2029}";
        sink.line(None, odd.as_bytes());
        sink.piece(Origin::Stdout(0), None, odd.as_bytes(), true);
        let text = read(&reader);
        assert!(!text.chars().any(|character| is_odd(character) && character != '\n'), "{text:?}");
        let messages: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(messages.len() == 2 && messages.iter().all(|record| record["message"] == odd), "{text}");
    }

    #[test]
    fn a_long_line_is_whole_until_another_comes_between() {
        let (mut plain, reader) = sink(false);
        plain.piece(Origin::Stdout(0), None, b"aa", false);
        plain.piece(Origin::Stdout(0), None, b"bb", false);
        plain.line(None, b"other");
        plain.piece(Origin::Stdout(0), None, b"cc", true);
        assert_eq!(read(&reader), "aabb\nother\ncc\n");
        plain.piece(Origin::Stdout(0), None, b"aa", false);
        plain.piece(Origin::Stdout(1), None, b"bb", false);
        plain.piece(Origin::Stdout(0), None, b"cc", true);
        assert_eq!(read(&reader), "aa\nbb\ncc\n");
        let (mut json, reader) = sink(true);
        let snowman = "☃".as_bytes();
        json.piece(Origin::Stdout(0), None, &snowman[..2], false);
        json.piece(Origin::Stdout(0), None, &snowman[2..], false);
        json.piece(Origin::Stdout(0), None, &snowman[..1], false);
        json.piece(Origin::Stderr(0), None, b"\"", true);
        let messages: Vec<String> = read(&reader)
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(messages, ["☃\u{fffd}", "\""]);
    }

    #[test]
    fn a_stderr_that_takes_nothing_bounds_what_waits_and_is_told_how_much_is_missing() {
        let (mut sink, reader) = sink(false);
        sink.patience = Duration::ZERO;
        let line = [b'x'; 999];
        for _ in 0..20_000 {
            sink.line(None, &line);
        }
        assert!(sink.waiting() <= ENOUGH && sink.dropped > 10_000, "{} wait, {} dropped", sink.waiting(), sink.dropped);
        let mut text = String::new();
        while sink.waiting() > 0 || sink.dropped > 0 {
            text.push_str(&read(&reader));
            sink.write();
        }
        text.push_str(&read(&reader));
        let (lines, warnings): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('x'));
        assert!(lines.iter().all(|line| line.len() == 999), "a line was torn");
        assert_eq!(
            warnings,
            [format!("[WARN] bootstrap: {} log lines were dropped because stderr took nothing", 20_000 - lines.len())]
        );
    }

    #[test]
    fn giving_up_keeps_the_line_that_is_half_written() {
        let (mut sink, reader) = sink(false);
        // More than the pipe holds, so that stderr has taken a part of the second line.
        sink.line(None, &[b'a'; 60_000]);
        sink.line(None, &[b'b'; 60_000]);
        sink.line(None, b"third");
        sink.write();
        sink.give_up();
        assert!(sink.given_up && sink.dropped == 1);
        let mut text = read(&reader);
        sink.write();
        assert!(!sink.given_up, "it has taken something");
        text.push_str(&read(&reader));
        assert_eq!(
            text,
            format!(
                "{}\n{}\n[WARN] bootstrap: 1 log lines were dropped because stderr took nothing\n",
                "a".repeat(60_000),
                "b".repeat(60_000)
            )
        );
    }

    #[test]
    fn what_a_slow_stderr_has_not_taken_at_a_deadline_goes_on_waiting() {
        let (mut sink, _reader) = sink(false);
        sink.line(None, &[b'a'; 100_000]);
        sink.line(None, b"second");
        sink.write();
        for (stalled, dropped) in [(None, 0), (Some(Duration::ZERO), 0), (Some(Duration::from_secs(1)), 1)] {
            sink.stalled = stalled.map(|time| Instant::now().checked_sub(time).unwrap());
            sink.overdue();
            assert_eq!(sink.dropped, dropped, "{stalled:?}");
        }
        assert!(sink.given_up);
    }

    #[test]
    fn nobody_at_stderr_costs_nothing() {
        let (mut sink, reader) = sink(false);
        drop(reader);
        sink.line(None, b"lost");
        sink.write();
        assert!(sink.closed && sink.waiting() == 0 && sink.dropped == 0);
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
