//! Splits what a handler writes into lines, in bounded memory.

use bytes::{Bytes, BytesMut};

/// The longest line, in bytes, that is kept in memory as a whole (protocol, section 2): 8 MiB. A fuzzer has shorter inputs than that.
pub const LONGEST_LINE: usize = if cfg!(fuzzing) { 64 } else { 8 * 1024 * 1024 };

/// Room made for a read, in bytes, while lines are short, and once a read has filled it.
const SMALL_READ: usize = 16 * 1024;
const LARGE_READ: usize = 256 * 1024;

/// What the splitter found. A line that ends in `\r\n` has lost both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole line, not empty.
    Line(Bytes),
    /// The beginning of a line that is longer than [`LONGEST_LINE`].
    Start(Bytes),
    /// More of such a line.
    Middle(Bytes),
    /// The last of it, possibly empty.
    End(Bytes),
}

/// Collects bytes and gives them back as lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    searched: usize,
    /// The beginning of the current line has been given out.
    in_long_line: bool,
    /// The last read filled all the room it had.
    reads_large: bool,
    /// Everything up to the end of the stream is one line.
    is_whole: bool,
}

impl Lines {
    /// A splitter that takes all that comes for one line, until it is told to [`Self::split`].
    #[must_use]
    pub fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// From now on, and in what has come and was not given out, a newline ends a line.
    pub fn split(&mut self) {
        self.is_whole = false;
        self.searched = 0;
    }

    /// The buffer to append to, with room for a read.
    pub fn room(&mut self) -> &mut BytesMut {
        let wanted = if self.reads_large { LARGE_READ } else { SMALL_READ };
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * LARGE_READ {
            // A large line has passed: its memory goes back.
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < wanted / 4 {
            self.buffer.reserve(wanted);
        }
        &mut self.buffer
    }

    /// Tells that a read has appended `length` bytes to [`Self::room`].
    pub fn appended(&mut self, length: usize) {
        self.reads_large = length >= SMALL_READ / 2;
    }

    /// Takes the next line, or the next piece of a long one, if there is one.
    pub fn next_piece(&mut self) -> Option<Piece> {
        loop {
            let unsearched = if self.is_whole { &[] } else { &self.buffer[self.searched..] };
            let Some(found) = memchr::memchr(b'\n', unsearched) else {
                self.searched = self.buffer.len();
                return self.long_piece();
            };
            let length = self.searched + found;
            if !self.in_long_line && length > LONGEST_LINE {
                self.in_long_line = true;
                return Some(Piece::Start(self.split_text(length)));
            }
            let mut line = self.buffer.split_to(length + 1);
            self.searched = 0;
            line.truncate(length - usize::from(length > 0 && line[length - 1] == b'\r'));
            if std::mem::take(&mut self.in_long_line) {
                return Some(Piece::End(line.freeze()));
            }
            if !line.is_empty() {
                return Some(Piece::Line(line.freeze()));
            }
        }
    }

    /// Takes what is left after the last newline, at the end of the stream.
    pub fn finish(&mut self) -> Option<Piece> {
        self.searched = 0;
        let rest = std::mem::take(&mut self.buffer).freeze();
        if std::mem::take(&mut self.in_long_line) {
            return Some(Piece::End(rest));
        }
        (!rest.is_empty()).then_some(Piece::Line(rest))
    }

    /// Whether the beginning of the current line was given out.
    #[must_use]
    pub fn is_in_long_line(&self) -> bool {
        self.in_long_line
    }

    /// What is left after the last line that was taken.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    fn long_piece(&mut self) -> Option<Piece> {
        if self.in_long_line {
            let piece = self.split_text(self.buffer.len());
            return (!piece.is_empty()).then_some(Piece::Middle(piece));
        }
        if self.buffer.len() <= LONGEST_LINE {
            return None;
        }
        self.in_long_line = true;
        Some(Piece::Start(self.split_text(self.buffer.len())))
    }

    /// Takes so many bytes, or one less where the last of them is a carriage return: it may belong to the line's end.
    fn split_text(&mut self, length: usize) -> Bytes {
        self.searched = 0;
        let text = length - usize::from(length > 0 && self.buffer[length - 1] == b'\r');
        self.buffer.split_to(text).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut lines = Lines::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            lines.room().extend_from_slice(chunk);
            lines.appended(chunk.len());
            pieces.extend(std::iter::from_fn(|| lines.next_piece()));
        }
        pieces.extend(lines.finish());
        pieces
    }

    fn line(text: &'static str) -> Piece {
        Piece::Line(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_are_the_same_wherever_the_chunks_are_cut() {
        let text = b"one\r\n\n\r\n tw\ro \nthree\r\nrest";
        let expected = vec![line("one"), line(" tw\ro "), line("three"), line("rest")];
        assert_eq!(split(&[text]), expected);
        for cut in 0..text.len() {
            assert_eq!(split(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(split(&bytes), expected);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_and_one_byte_more_is_long() {
        let mut text = vec![b'x'; LONGEST_LINE];
        text.push(b'\n');
        assert!(matches!(&split(&[&text])[..], [Piece::Line(line)] if line.len() == LONGEST_LINE));
        text.insert(0, b'x');
        assert!(
            matches!(&split(&[&text])[..], [Piece::Start(start), Piece::End(end)] if start.len() == LONGEST_LINE + 1 && end.is_empty())
        );
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_the_next_line_is_whole() {
        let start = vec![b'x'; LONGEST_LINE + 1];
        let pieces = split(&[&start, b"more", b"end\nnext\n"]);
        assert_eq!(pieces.len(), 4);
        assert!(matches!(&pieces[0], Piece::Start(bytes) if bytes.len() == start.len()));
        assert_eq!(pieces[1], Piece::Middle(Bytes::from_static(b"more")));
        assert_eq!(pieces[2], Piece::End(Bytes::from_static(b"end")));
        assert_eq!(pieces[3], line("next"));
    }

    /// Found by the fuzz target `lines`: a long line kept its carriage return where that came before the newline did.
    #[test]
    fn the_end_of_a_long_line_is_the_same_wherever_the_chunks_are_cut() {
        let next = line("next\r");
        let line = [&vec![b'x'; LONGEST_LINE + 1][..], b"\ry\r\r\nnext\r"].concat();
        for cut in [LONGEST_LINE, line.len()].into_iter().chain(LONGEST_LINE + 1..line.len()) {
            let pieces = split(&[&line[..cut], &line[cut..]]);
            let text = |piece: &Piece| match piece {
                Piece::Start(bytes) | Piece::Middle(bytes) | Piece::End(bytes) => bytes.to_vec(),
                Piece::Line(_) => Vec::new(),
            };
            let long = pieces.iter().flat_map(text).collect::<Vec<_>>();
            assert!(long == line[..LONGEST_LINE + 4], "cut at {cut}: it ends in {:?}", &long[LONGEST_LINE..]);
            assert_eq!(pieces.last(), Some(&next), "cut at {cut}");
        }
    }

    #[test]
    fn a_whole_stream_is_one_line_until_it_is_split() {
        let mut lines = Lines::whole();
        lines.room().extend_from_slice(b"one\n\ntwo");
        assert_eq!((lines.next_piece(), lines.rest()), (None, &b"one\n\ntwo"[..]));
        assert_eq!(lines.finish(), Some(line("one\n\ntwo")));
        lines.room().extend_from_slice(b"one\n\ntwo");
        assert_eq!(lines.next_piece(), None);
        lines.split();
        assert_eq!((lines.next_piece(), lines.next_piece()), (Some(line("one")), None));
        assert_eq!(lines.finish(), Some(line("two")));
        let mut lines = Lines::whole();
        lines.room().extend_from_slice(&vec![b'\n'; LONGEST_LINE + 1]);
        assert!(matches!(lines.next_piece(), Some(Piece::Start(start)) if start.len() == LONGEST_LINE + 1));
        lines.room().extend_from_slice(b"\n\n");
        assert_eq!(
            (lines.next_piece(), lines.finish()),
            (Some(Piece::Middle(Bytes::from_static(b"\n\n"))), Some(Piece::End(Bytes::new())))
        );
    }

    #[test]
    fn the_memory_of_a_large_line_is_given_back() {
        let mut lines = Lines::default();
        let large = vec![b'x'; 4 * 1024 * 1024];
        lines.room().extend_from_slice(&large);
        lines.room().extend_from_slice(b"\n");
        drop(lines.next_piece());
        assert!(lines.room().capacity() <= 2 * LARGE_READ);
    }
}
