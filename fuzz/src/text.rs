//! Inputs that people can read and write: how bytes are cut into chunks, and lines like those of a head.

use bytes::Bytes;

/// A regular expression, which is read once.
macro_rules! pattern {
    ($text:expr) => {{
        static PATTERN: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new($text).expect("a pattern"));
        &*PATTERN
    }};
}
pub(crate) use pattern;

/// Cuts bytes into chunks of sizes that look random and are the same for the same bytes.
#[must_use]
pub fn cut(bytes: &[u8]) -> Vec<Bytes> {
    let mut state =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut rest = bytes;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let most = [2, 5, 70, 5000][(state >> 40) as usize % 4];
        let (chunk, after) = rest.split_at(1 + (state >> 20) as usize % most.min(rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = after;
    }
    chunks
}

/// The `name: value` lines in front of an empty line, and what follows it. Without an empty line all is what follows.
#[must_use]
pub fn head_and_body(input: &[u8]) -> (Vec<(String, &[u8])>, &[u8]) {
    let Some(end) = input.windows(2).position(|pair| pair == b"\n\n") else { return (Vec::new(), input) };
    let lines = input[..end].split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = &line[colon + 1..];
        Some((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), value.strip_prefix(b" ").unwrap_or(value)))
    });
    (lines.collect(), &input[end + 2..])
}

/// Whether nothing in it is nested so deep that an oracle, which calls itself for each level, would run out of stack.
#[must_use]
pub fn is_shallow(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= 1000
}
