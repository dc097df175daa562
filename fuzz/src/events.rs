//! The lines of `invoke --events`: each is an event, byte for byte, or is refused with its place; none is lost, and none is held that is
//! too large.

use std::io::{self, BufRead, Read};

use bootstrap::local::events::{Event, NoEvent, line};
use bytes::Bytes;

use crate::rfc8259;
use crate::text::{cut, is_shallow};

/// An event has at most so many bytes here, where Lambda's limit is 6 MiB.
const MOST: usize = 24;

/// A source that gives what it has in chunks.
struct Chunks(std::vec::IntoIter<Bytes>, Bytes);

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let here = self.fill_buf()?;
        let length = here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&here[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.1.is_empty() {
            self.1 = self.0.next().unwrap_or_default();
        }
        Ok(&self.1)
    }

    fn consume(&mut self, length: usize) {
        let _ = self.1.split_to(length);
    }
}

/// Reads them all, and holds each against the source split by hand.
pub fn check(data: &[u8]) {
    if !is_shallow(data) {
        return;
    }
    let mut source = Chunks(cut(data).into_iter(), Bytes::new());
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    let ended = lines.into_iter().map(|line| (line, line.strip_suffix(b"\r").unwrap_or(line), line.len() + 1));
    let unended = Some((last, last, last.len())).filter(|(line, ..)| !line.is_empty());
    for (_, text, length) in ended.chain(unended) {
        let (event, read) = line(&mut source, MOST).expect("there is a line");
        assert_eq!(read, length as u64, "where it ends");
        match event {
            None => assert!(text.len() <= MOST && text.iter().all(u8::is_ascii_whitespace)),
            Some(Ok(Event::TooLarge(size))) => {
                assert!(text.len() > MOST && size == Some(text.len() as u64), "{size:?} of {text:?}")
            }
            Some(Ok(Event::Whole(bytes))) => {
                assert!(text.len() <= MOST && bytes == text && rfc8259::parse(text).is_some());
            }
            Some(Err(NoEvent::NotJson(place, excerpt))) => {
                assert!(text.len() <= MOST && rfc8259::parse(text).is_none());
                // One line, whatever else a line breaks at.
                assert!(place.line >= 1 && place.column <= text.len() + 1, "{place:?}");
                assert_eq!(excerpt.matches('\n').count(), 2, "{excerpt}");
            }
            Some(Err(NoEvent::Unreadable(error))) => panic!("{error}"),
        }
    }
    assert!(line(&mut source, MOST).is_none(), "a line too many");
}
