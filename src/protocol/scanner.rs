//! Follows the strings and brackets of an object or array, 64 bytes at a time, as simdjson does.

use crate::protocol::block::{self, Block, Masks};
use crate::protocol::structure::{self, is_space};

/// The state between two blocks of an object or array.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    open: Brackets,
    /// All ones inside a string, else zero.
    in_string: u64,
    /// One where the last byte was a backslash that escapes the next one, else zero.
    escape: u64,
    /// The last block was all inside a string, with nothing special in it.
    in_long_string: bool,
    /// The outermost bracket has been closed.
    closed: bool,
}

impl Scanner {
    /// Goes on with a piece, wherever it was cut; the first byte of all that is not white space must be an opening bracket.
    /// Newlines are only looked for where the caller has seen some. Returns whether all is well so far.
    pub(super) fn scan(&mut self, piece: &[u8], newlines: bool) -> bool {
        let (mut blocks, rest) = piece.as_chunks();
        while let [block, others @ ..] = blocks {
            if !self.block(block, block::SIZE, newlines) {
                return false;
            }
            let skipped = if self.in_long_string { plain(others) } else { 0 };
            if newlines && structure::has_newline(others[..skipped].as_flattened()) {
                return false;
            }
            blocks = &others[skipped..];
        }
        if rest.is_empty() {
            return true;
        }
        // Spaces may stand anywhere and change nothing, but for one thing: which byte is escaped next.
        let mut block = [b' '; block::SIZE];
        block[..rest.len()].copy_from_slice(rest);
        self.block(&block, rest.len(), newlines)
    }

    /// Whether the outermost bracket has been closed, and with it all else.
    pub(super) fn is_complete(&self) -> bool {
        self.closed
    }

    /// Goes on with a block, filled up with spaces after `length` bytes.
    fn block(&mut self, block: &Block, length: usize, newlines: bool) -> bool {
        if self.closed {
            return block.iter().copied().all(is_space);
        }
        let Masks { quotes, backslashes, brackets } = Masks::of(block);
        let in_string = block::parity(quotes & !self.escaped(backslashes, length)) ^ self.in_string;
        self.in_string = if in_string >> (block::SIZE - 1) == 1 { u64::MAX } else { 0 };
        self.in_long_string = in_string == u64::MAX && backslashes == 0;
        // No JSON has a backslash outside of strings; and such a one would have hidden the quote after it.
        let stray = backslashes & !in_string;
        // Only between tokens can a newline become a space unnoticed.
        let broken = if newlines { block::newlines(block) & in_string } else { 0 };
        stray | broken == 0 && self.brackets(block, brackets & !in_string)
    }

    /// Which bytes are escaped: of a run of backslashes every second one, and after a run of odd length the byte that follows.
    fn escaped(&mut self, backslashes: u64, length: usize) -> u64 {
        /// Every second bit, but not the lowest.
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let carried = std::mem::take(&mut self.escape);
        if backslashes == 0 {
            return carried;
        }
        // A run starts anew after a backslash that is itself escaped from the block before. By what it borrows, the subtraction
        // tells runs that begin at an even bit from those that begin at an odd one, so that of both the backslashes are left that
        // escape, and the end where it is escaped. (The arithmetic is simdjson's, which explains it step by step.)
        let runs = backslashes & !carried;
        let escaping_and_ends = ((runs << 1) | ODD).wrapping_sub(runs) ^ ODD;
        self.escape = ((escaping_and_ends & backslashes) >> (length - 1)) & 1;
        escaping_and_ends ^ (backslashes | carried)
    }

    /// Opens and closes brackets. Between them the details are the handler's business.
    fn brackets(&mut self, block: &Block, mut places: u64) -> bool {
        while places != 0 {
            let at = places.trailing_zeros() as usize;
            places &= places - 1;
            let fits = match block[at] {
                b'{' => self.open.push(true),
                b'[' => self.open.push(false),
                b'}' => self.open.pop(true),
                _ => self.open.pop(false),
            };
            if !fits {
                return false;
            }
            if self.open.is_empty() {
                self.closed = true;
                return block[at + 1..].iter().copied().all(is_space);
            }
        }
        true
    }
}

/// How many blocks to come are the middle of a string as well. A long one, base64 as a rule, is searched faster than followed.
fn plain(blocks: &[Block]) -> usize {
    let bytes = blocks.as_flattened();
    memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len()) / block::SIZE
}

/// The open brackets, one bit for each: set for an object.
#[derive(Debug)]
struct Brackets {
    /// The innermost ones, the last of them lowest, above them all a bit that marks the end.
    inner: u64,
    /// Words that were full, the outermost first.
    outer: Vec<u64>,
}

impl Default for Brackets {
    fn default() -> Self {
        Self { inner: 1, outer: Vec::new() }
    }
}

impl Brackets {
    /// Opens one. That always fits.
    fn push(&mut self, object: bool) -> bool {
        if self.inner.leading_zeros() == 0 {
            self.outer.push(std::mem::replace(&mut self.inner, 1));
        }
        self.inner = (self.inner << 1) | u64::from(object);
        true
    }

    /// Closes the innermost one. Returns whether it was open and of this kind.
    fn pop(&mut self, object: bool) -> bool {
        let kind = self.inner & 1;
        self.inner >>= 1;
        if self.inner == 1 {
            self.inner = self.outer.pop().unwrap_or(1);
        }
        self.inner != 0 && kind == u64::from(object)
    }

    fn is_empty(&self) -> bool {
        self.inner == 1
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::protocol::structure::{Structure, examine};

    /// What the scanner does, byte by byte: `None` for what is broken, else what is missing at the end.
    fn model(text: &[u8]) -> Option<Vec<u8>> {
        let (mut missing, mut escaped, mut closed) = (Vec::new(), false, false);
        for byte in text.iter().copied() {
            let in_string = missing.last() == Some(&b'"');
            match byte {
                _ if closed && is_space(byte) => {}
                _ if closed => return None,
                b'\n' | b'\r' if in_string => return None,
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'\\' => return None,
                b'"' if in_string => drop(missing.pop()),
                b'"' => missing.push(b'"'),
                _ if in_string => {}
                b'{' => missing.push(b'}'),
                b'[' => missing.push(b']'),
                b'}' | b']' if missing.pop() != Some(byte) => return None,
                _ => {}
            }
            closed |= missing.is_empty();
        }
        missing.extend(escaped.then_some(b'n'));
        missing.reverse();
        Some(missing)
    }

    fn cut(mut text: &[u8], sizes: &[usize]) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            if text.is_empty() {
                break;
            }
            let (chunk, rest) = text.split_at(text.len().min(*size));
            chunks.push(Bytes::copy_from_slice(chunk));
            text = rest;
        }
        chunks
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![1usize..4, 1usize..200, Just(64), Just(1000)], 1..8)
    }

    /// Text that is JSON by its structure more often than not.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            6 => r#""(\\\\|\\"|\\n|[a"é]|[\[\]{},: ]){0,40}(\\\\){0,70}""#,
            6 => r#""(\\\\|\\"|\\n|[aé]|[\[\]{},: ]){0,40}(\\\\){0,70}[a ]{0,200}""#,
            6 => r#"[\[{, 1]|\[\]|\{\}|\[\{\}|\{"a":"#,
            1 => r"[ \n]{0,70}",
            1 => r#"[\]}"\\\n]"#,
        ];
        (prop::collection::vec(part, 0..10), any::<bool>(), r"[ \n]{0,70}x?").prop_map(|(parts, whole, end)| {
            let mut text = format!("[{}", parts.concat());
            if whole && let Some(missing) = model(text.as_bytes()) {
                text.extend(missing.into_iter().map(char::from));
                text.push_str(&end);
            }
            text
        })
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), r#"[\\"{}\na☃]{0,90}"#.prop_map(Value::from)];
        let value = leaf.prop_recursive(6, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(r#"[\\"{}\na]{0,9}"#, inner, 0..8).prop_map(|members| members.into_iter().collect()),
            ]
        });
        (value, any::<bool>()).prop_map(|(value, pretty)| if pretty { format!("{value:#}") } else { value.to_string() })
    }

    fn expected(text: &str, fits: bool) -> Structure {
        match (fits, text.contains(['\n', '\r'])) {
            (false, _) => Structure::NotJson,
            (true, false) => Structure::Line,
            (true, true) => Structure::Pretty,
        }
    }

    proptest! {
        #[test]
        fn blocks_give_what_bytes_give(text in text(), sizes in sizes()) {
            let fits = model(text.as_bytes()).is_some_and(|missing| missing.is_empty());
            prop_assert_eq!(examine(&cut(text.as_bytes(), &sizes)), expected(&text, fits));
        }

        #[test]
        fn json_is_accepted_and_follows_the_model_with_a_byte_missing(text in json(), sizes in sizes(), at in any::<prop::sample::Index>()) {
            prop_assert_eq!(examine(&cut(text.as_bytes(), &sizes)), expected(&text, true));
            let mut less: Vec<char> = text.chars().collect();
            less.remove(at.index(less.len()));
            let less: String = less.into_iter().collect();
            if less.trim_start().starts_with(['{', '[']) {
                let fits = model(less.as_bytes()).is_some_and(|missing| missing.is_empty());
                prop_assert_eq!(examine(&cut(less.as_bytes(), &sizes)), expected(&less, fits));
            }
        }
    }

    #[test]
    fn long_strings_are_searched_for_newlines_too() {
        for (end, fits) in [("\"]", true), ("\n\"]", false), ("\\\"\"]", true), ("", false)] {
            for length in 100..400 {
                let text = format!("[\n\"{}{end}", "a".repeat(length));
                assert_eq!(examine(&[Bytes::from(text.clone())]), expected(&text, fits), "{text:?}");
            }
        }
    }
}
