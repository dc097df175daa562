//! Where the bytes that matter are in 64 bytes: a bit for each, the first byte's lowest.

/// How many bytes are looked at together: as many as a `u64` has bits.
pub(super) const SIZE: usize = 64;

/// So many bytes.
pub(super) type Block = [u8; SIZE];

/// What gives a block its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masks {
    /// `"`
    pub(super) quotes: u64,
    /// `\`
    pub(super) backslashes: u64,
    /// `{`, `}`, `[` and `]`
    pub(super) brackets: u64,
}

impl Masks {
    #[inline]
    pub(super) fn of(block: &Block) -> Self {
        Self {
            quotes: mask(block, |bytes| equal(bytes, b'"')),
            backslashes: mask(block, |bytes| equal(bytes, b'\\')),
            // Braces differ from square brackets by this bit alone.
            brackets: mask(block, |bytes| equal(bytes | (LOWEST * 0x20), b'{') | equal(bytes | (LOWEST * 0x20), b'}')),
        }
    }
}

/// Where raw newlines are.
pub(super) fn newlines(block: &Block) -> u64 {
    mask(block, |bytes| equal(bytes, b'\n') | equal(bytes, b'\r'))
}

/// For each bit whether the number of set bits up to it, with itself, is odd.
pub(super) fn parity(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}

/// The lowest and the highest bit of each of eight bytes.
const LOWEST: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = LOWEST << 7;

/// A mask of what is found in eight bytes at a time.
#[inline]
fn mask(block: &Block, found: impl Fn(u64) -> u64) -> u64 {
    let (words, _) = block.as_chunks();
    // Row by row: the bit of byte 8 * i + j comes to 8 * j + i.
    let rows = words.iter().enumerate().fold(0, |rows, (i, word)| rows | (found(u64::from_le_bytes(*word)) >> (7 - i)));
    if rows == 0 { 0 } else { transposed(rows) }
}

/// The highest bit of each byte that is this one.
#[inline]
fn equal(bytes: u64, byte: u8) -> u64 {
    // Zero where they are equal. Where not, either the highest bit is set or adding 0x7f sets it, without a carry to the next.
    let difference = bytes ^ (LOWEST * u64::from(byte));
    !(((difference & !HIGHEST) + !HIGHEST) | difference) & HIGHEST
}

/// Mirrors eight rows of eight bits at their diagonal: first single bits, then squares of two by two, then of four by four.
fn transposed(mut bits: u64) -> u64 {
    for (distance, places) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)] {
        let swapped = (bits ^ (bits >> distance)) & places;
        bits ^= swapped ^ (swapped << distance);
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(block: &Block, is: impl Fn(u8) -> bool) -> u64 {
        block.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(is(*byte)))
    }

    proptest! {
        #[test]
        fn masks_are_what_they_are_one_by_one(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\[]{}\n\r"[..])], SIZE)) {
            let block: Block = bytes.try_into().unwrap();
            let expected = Masks {
                quotes: one_by_one(&block, |byte| byte == b'"'),
                backslashes: one_by_one(&block, |byte| byte == b'\\'),
                brackets: one_by_one(&block, |byte| b"[]{}".contains(&byte)),
            };
            prop_assert_eq!(Masks::of(&block), expected);
            prop_assert_eq!(newlines(&block), one_by_one(&block, |byte| b"\r\n".contains(&byte)));
        }

        #[test]
        fn parity_is_of_all_bits_up_to_each(bits: u64) {
            for place in 0..64 {
                let below = bits & (u64::MAX >> (63 - place));
                prop_assert_eq!(parity(bits) >> place & 1, u64::from(below.count_ones() % 2));
            }
        }
    }
}
