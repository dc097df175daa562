//! Where `bootstrap invoke` gets its events from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::json::{self, Place};
use crate::cli::{Source, UsageError};

/// The largest event that Lambda's `Invoke` takes, in bytes: 6 MiB.
pub const MAX_EVENT_BYTES: usize = 6 * 1024 * 1024;

/// One event.
#[derive(Debug)]
pub enum Event {
    /// Its bytes.
    Whole(Bytes),
    /// It has more than [`MAX_EVENT_BYTES`]; the number if it is known.
    TooLarge(Option<u64>),
}

/// Why a line is no event.
#[derive(Debug)]
pub enum NoEvent {
    /// It is not JSON: where, and the line around that place.
    NotJson(Place, String),
    /// The source can't be read any further.
    Unreadable(io::Error),
}

/// An event of many.
#[derive(Debug)]
pub struct Line {
    /// Its number in the source, from 1.
    pub number: u64,
    /// Where it ends in the source, in bytes.
    pub end: u64,
    /// The event, if it is one.
    pub event: Result<Event, NoEvent>,
}

/// One event or many.
#[derive(Debug)]
pub enum Events {
    /// The event, and what is odd about it.
    One(Event, Option<String>),
    /// A stream of them.
    Many(Lines),
}

/// The lines of a source, read as they are needed.
#[derive(Debug)]
pub struct Lines {
    /// What to call the source.
    pub name: String,
    /// Its size in bytes, where it is a file.
    pub size: Option<u64>,
    input: Input,
}

enum Input {
    Stdin,
    File(File),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Input::Stdin => "Stdin",
            Input::File(_) => "File",
        })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Stdin => io::stdin().read(buffer),
            Input::File(file) => file.read(buffer),
        }
    }
}

/// Opens the source; a single event is read at once.
///
/// # Errors
/// When a file can't be opened or read.
pub fn open(source: &Source) -> Result<Events, UsageError> {
    if let Some(path) = &source.events {
        let (input, name, size) = input(path, "--events")?;
        return Ok(Events::Many(Lines { name, size, input }));
    }
    if let Some(path) = &source.event_file {
        let (mut input, name, size) = input(path, "--event-file")?;
        let event = whole(&mut input, size).map_err(|error| UsageError::new(format!("--event-file: reading {name}: {error}")))?;
        let odd = match &event {
            Event::Whole(bytes) => json::check(bytes).err().map(|place| {
                format!("{name} is not JSON ({}, line {}, column {}); it is sent as it is", place.message, place.line, place.column)
            }),
            _ => None,
        };
        return Ok(Events::One(event, odd));
    }
    let text = source.event.as_ref().or(source.raw_event.as_ref()).map_or("{}", String::as_str);
    Ok(Events::One(sized(Bytes::copy_from_slice(text.as_bytes())), None))
}

fn input(path: &Path, flag: &str) -> Result<(Input, String, Option<u64>), UsageError> {
    if path == Path::new("-") {
        return Ok((Input::Stdin, "stdin".to_owned(), None));
    }
    let name = path.display().to_string();
    let refuse = |error: io::Error| UsageError::new(format!("{flag}: {name}: {error}"));
    let file = File::open(path).map_err(refuse)?;
    let metadata = file.metadata().map_err(refuse)?;
    if metadata.is_dir() {
        return Err(UsageError::new(format!("{flag}: {name} is a directory")));
    }
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Input::File(file), name, size))
}

fn sized(bytes: Bytes) -> Event {
    if bytes.len() > MAX_EVENT_BYTES { Event::TooLarge(Some(bytes.len() as u64)) } else { Event::Whole(bytes) }
}

/// Everything that a source has. Of one that never ends no more than the limit is read.
fn whole(input: &mut impl Read, size: Option<u64>) -> io::Result<Event> {
    let mut bytes = Vec::new();
    input.take(MAX_EVENT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > MAX_EVENT_BYTES { Event::TooLarge(size) } else { Event::Whole(bytes.into()) })
}

impl Lines {
    /// Reads them in a thread of its own, a few ahead of who takes them: a terminal or a pipe may keep one waiting.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn read(self) -> io::Result<mpsc::Receiver<Line>> {
        let (send, lines) = mpsc::channel(2);
        // It is not joined: it may be blocked in a read for ever.
        thread::Builder::new().name("events".to_owned()).spawn(move || {
            let mut reader = BufReader::with_capacity(64 * 1024, self.input);
            let (mut number, mut end) = (0, 0);
            while let Some((event, length)) = line(&mut reader, MAX_EVENT_BYTES) {
                number += 1;
                end += length;
                let Some(event) = event else { continue };
                let last = matches!(event, Err(NoEvent::Unreadable(_)));
                if send.blocking_send(Line { number, end, event }).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(lines)
    }
}

/// The next line, if there is one: its event of at most `most` bytes, if it isn't blank, and its length with its newline.
pub fn line(reader: &mut impl BufRead, most: usize) -> Option<(Option<Result<Event, NoEvent>>, u64)> {
    let mut bytes = Vec::new();
    // Room for the line's end beside the largest event.
    let read = match reader.take(most as u64 + 2).read_until(b'\n', &mut bytes) {
        Ok(0) => return None,
        Ok(read) => read as u64,
        Err(error) => return Some((Some(Err(NoEvent::Unreadable(error))), 0)),
    };
    let ended = bytes.ends_with(b"\n");
    if ended {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.len() > most {
        let length = bytes.len() as u64;
        let rest = if ended { Ok(Skipped::default()) } else { skip_line(reader, bytes.ends_with(b"\r")) };
        return Some(match rest {
            Ok(Skipped { length: rest, end }) => {
                (Some(Ok(Event::TooLarge(Some(length + rest - end.saturating_sub(1))))), read + rest + end.min(1))
            }
            Err(error) => (Some(Err(NoEvent::Unreadable(error))), read),
        });
    }
    if bytes.trim_ascii().is_empty() {
        return Some((None, read));
    }
    let event = match json::check(&bytes) {
        Ok(()) => Ok(Event::Whole(bytes.into())),
        Err(place) => {
            let excerpt = place.excerpt(&bytes);
            Err(NoEvent::NotJson(place, excerpt))
        }
    };
    Some((Some(event), read))
}

/// What was left of a line.
#[derive(Default)]
struct Skipped {
    /// How many bytes, up to its newline.
    length: u64,
    /// 1 where there was a newline, and 2 where a carriage return stood before it.
    end: u64,
}

/// Reads past the line's end. What was read of it before may have ended in a carriage return.
fn skip_line(reader: &mut impl BufRead, mut is_return: bool) -> io::Result<Skipped> {
    let mut skipped = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let newline = memchr::memchr(b'\n', buffer);
        let length = newline.unwrap_or(buffer.len());
        skipped += length as u64;
        is_return = buffer[..length].last().map_or(is_return, |last| *last == b'\r');
        reader.consume(length + usize::from(newline.is_some()));
        if newline.is_some() || length == 0 {
            let end = if newline.is_some() { 1 + u64::from(is_return) } else { 0 };
            return Ok(Skipped { length: skipped, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<String> {
        let mut reader = BufReader::with_capacity(7, text);
        let mut found = Vec::new();
        while let Some((event, length)) = line(&mut reader, MAX_EVENT_BYTES) {
            found.push(match event {
                None => format!("blank, {length}"),
                Some(Ok(Event::Whole(bytes))) => format!("{}, {length}", String::from_utf8_lossy(&bytes)),
                Some(Ok(Event::TooLarge(size))) => format!("{} bytes, {length}", size.unwrap_or_default()),
                Some(Err(NoEvent::NotJson(place, _))) => format!("column {}, {length}", place.column),
                Some(Err(NoEvent::Unreadable(error))) => error.to_string(),
            });
        }
        found
    }

    #[test]
    fn a_line_is_an_event_and_blank_lines_are_none() {
        assert_eq!(
            lines(b"{}\r\n\n  [1, 2]\nnope\n \r\n7"),
            ["{}, 4", "blank, 1", "  [1, 2], 9", "column 2, 5", "blank, 3", "7, 1"]
        );
        assert_eq!(lines(b""), [""; 0]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_whole() {
        let text = |size: usize| format!("\"{}\"\n1\n", "x".repeat(size - 2));
        let largest = lines(text(MAX_EVENT_BYTES).as_bytes());
        assert_eq!((largest.len(), largest[1].as_str()), (2, "1, 2"));
        assert!(largest[0].starts_with("\"xxx"));
        for over in [1, 2, 3, 1000] {
            let size = MAX_EVENT_BYTES + over;
            // The carriage return before the newline is no part of it, wherever the first read has stopped.
            let with_return = lines(text(size).replace('\n', "\r\n").as_bytes());
            assert_eq!(with_return, [format!("{size} bytes, {}", size + 2), "1, 3".to_owned()]);
            assert_eq!(
                lines(text(size).as_bytes())[0].split_once(" bytes").map(|(n, _)| n.to_owned()),
                Some(size.to_string()),
                "{over}"
            );
            assert_eq!(lines(text(size).as_bytes())[1], "1, 2");
        }
    }
}
