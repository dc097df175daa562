//! Where the bytes that matter are in 64 bytes: a bit for each, the first byte's lowest.

use wide::u8x16;

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
            brackets: mask(block, |bytes| {
                // Braces differ from square brackets by this bit alone.
                let braces = bytes | u8x16::splat(0x20);
                equal(braces, b'{') | equal(braces, b'}')
            }),
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

/// A mask of what is found in sixteen bytes at a time.
#[inline]
fn mask(block: &Block, found: impl Fn(u8x16) -> u8x16) -> u64 {
    let (vectors, _) = block.as_chunks();
    let bits = |bytes: &[u8; 16]| u64::from(found(u8x16::new(*bytes)).to_bitmask());
    // The last vector's bits are the highest.
    vectors.iter().rev().fold(0, |mask, bytes| (mask << 16) | bits(bytes))
}

/// All ones in each byte that is this one.
#[inline]
fn equal(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
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
