//! Lines: the same wherever the chunks are cut, and never more of one in memory than its limit.

use bootstrap::protocol::lines::{LONGEST_LINE, Lines, Piece};
use bytes::Bytes;

use crate::text::cut;

/// A line, whole or of pieces.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    bytes: Vec<u8>,
    is_long: bool,
}

/// Splits them as one, as they come by the byte, and cut anyhow; whole and then split.
pub fn check(data: &[u8]) {
    let expected = reference(data);
    let all = Bytes::copy_from_slice(data);
    assert_eq!(split(&[all]), expected, "in one chunk");
    assert_eq!(split(&cut(data)), expected, "cut anyhow");
    let bytes: Vec<Bytes> = data.chunks(1).map(Bytes::copy_from_slice).collect();
    assert_eq!(split(&bytes), expected, "byte by byte");

    let mut lines = Lines::whole();
    let pieces = feed(&mut lines, &cut(data));
    if data.len() <= LONGEST_LINE {
        assert_eq!((pieces.len(), lines.rest()), (0, data));
        lines.split();
        let mut pieces: Vec<Piece> = std::iter::from_fn(|| lines.next_piece()).collect();
        pieces.extend(lines.finish());
        assert_eq!(joined(pieces), expected, "whole, then split");
    } else {
        let whole = joined(pieces.into_iter().chain(lines.finish()).collect());
        assert_eq!(whole, [Line { bytes: data.to_vec(), is_long: true }], "whole");
    }
}

/// Section 2: a line ends with a newline; a carriage return before it and empty lines are ignored; the rest counts as a line.
fn reference(data: &[u8]) -> Vec<Line> {
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let line = |raw: &[u8], bytes: &[u8]| Line { bytes: bytes.to_vec(), is_long: raw.len() > LONGEST_LINE };
    let mut lines: Vec<Line> = lines.into_iter().map(|raw| line(raw, raw.strip_suffix(b"\r").unwrap_or(raw))).collect();
    lines.push(line(rest, rest));
    lines.retain(|line| !line.bytes.is_empty());
    lines
}

fn split(chunks: &[Bytes]) -> Vec<Line> {
    let mut lines = Lines::default();
    let mut pieces = feed(&mut lines, chunks);
    pieces.extend(lines.finish());
    joined(pieces)
}

fn feed(lines: &mut Lines, chunks: &[Bytes]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for chunk in chunks {
        lines.room().extend_from_slice(chunk);
        lines.appended(chunk.len());
        pieces.extend(std::iter::from_fn(|| lines.next_piece()));
        assert!(lines.rest().len() <= LONGEST_LINE, "{} bytes are held", lines.rest().len());
    }
    pieces
}

fn joined(pieces: Vec<Piece>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut long: Option<Vec<u8>> = None;
    for piece in pieces {
        match (piece, &mut long) {
            (Piece::Line(bytes), None) => lines.push(Line { bytes: bytes.to_vec(), is_long: false }),
            (Piece::Start(bytes), None) => long = Some(bytes.to_vec()),
            (Piece::Middle(bytes), Some(long)) => {
                assert!(!bytes.is_empty(), "an empty piece");
                long.extend_from_slice(&bytes);
            }
            (Piece::End(end), Some(_)) => {
                let mut bytes = long.take().unwrap_or_default();
                bytes.extend_from_slice(&end);
                lines.push(Line { bytes, is_long: true });
            }
            (piece, _) => panic!("{piece:?} is out of order"),
        }
    }
    assert_eq!(long, None, "a long line has no end");
    lines
}
