//! Values that show, once they are copied, that they are whole and belong to the key that was asked for.
//!
//! The kernel re-uses the memory of an entry that was replaced or removed at once, for another key, while a program may
//! still read it. A program therefore copies the value first and then checks the copy; what does not match is looked up
//! again, and in the end refused.

use crate::keys::PortKey;
use crate::values::{GuardEntry, PodEntry, PortEntry};

/// A value with a seal over its key and all of its fields.
pub trait Sealed: Copy {
    /// Of the map.
    type Key;

    /// Whether this was written for `key`, and at one go.
    fn is_of(&self, key: &Self::Key) -> bool;

    /// Copies a value that may change meanwhile; only [`Self::is_of`] tells what the copy is worth.
    ///
    /// # Safety
    ///
    /// `at` is the address of a value in a map.
    unsafe fn copied(at: *const Self) -> Self;
}

/// Mixes in a way that no exchange of words between two entries survives (the multiplier is FNV's); no secret is needed,
/// because nobody but the agent writes these maps.
#[inline(always)]
const fn seal<const N: usize>(key: u64, words: &[u64; N]) -> u64 {
    let mut sum = !key;
    let mut at = 0;
    // The last word is the seal itself.
    while at < N - 1 {
        sum = (sum ^ words[at]).wrapping_mul(0x0000_0100_0000_01b3);
        sum ^= sum >> 32;
        at += 1;
    }
    sum
}

macro_rules! sealed {
    ($($value:ident by $key:ty, $words:literal words, |$name:ident| $number:expr;)+) => {$(
        const _: () = assert!(size_of::<$value>() == $words * 8 && align_of::<$value>() == 8);

        impl $value {
            #[inline(always)]
            const fn words(self) -> [u64; $words] {
                // SAFETY: of one size, and a value is made of integers without padding (Plain).
                unsafe { core::mem::transmute(self) }
            }

            /// The seal that belongs to this key and these fields.
            #[inline(always)]
            pub(crate) const fn seal_for(self, $name: $key) -> u64 {
                seal($number, &self.words())
            }
        }

        impl Sealed for $value {
            type Key = $key;

            #[inline(always)]
            fn is_of(&self, key: &$key) -> bool {
                self.seal_for(*key) == self.words()[$words - 1]
            }

            #[inline(always)]
            unsafe fn copied(at: *const Self) -> Self {
                let mut words = [0_u64; $words];
                let mut word = 0;
                while word < $words {
                    // SAFETY: inside the value, which is aligned to 8; volatile, so that what is checked is what is used.
                    words[word] = unsafe { at.cast::<u64>().add(word).read_volatile() };
                    word += 1;
                }
                // SAFETY: of one size, and every bit pattern is a value (Plain).
                unsafe { core::mem::transmute(words) }
            }
        }
    )+};
}

sealed! {
    PodEntry by u64, 8 words, |cookie| cookie;
    GuardEntry by u32, 6 words, |ifindex| ifindex as u64;
    PortEntry by PortKey, 2 words, |key| ((key.ifindex() as u64) << 16) | key.port() as u64;
}
