//! How a large content is divided, and what proves each part.

use std::ops::Range;

use sha2::{Digest as _, Sha256};
use wl_core::entry::Hash;

use crate::meta::checksum;

/// A content above this size is uploaded in parts.
pub(crate) const LARGE: u64 = 16 << 20;
/// Parts are at least so large; S3 asks for 5 MiB.
const USUAL_PART: u64 = 8 << 20;
/// Part numbers end here (Amazon S3 user guide, Multipart upload limits: 10,000 parts).
const MOST_PARTS: u64 = 10_000;
/// Part sizes are multiples of this.
const STEP: u64 = 1 << 20;

/// A content in parts of one size, the last one smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub size: u64,
    pub part: u64,
}

impl Layout {
    /// The division of a content of that size.
    pub fn of(size: u64) -> Self {
        Self { size, part: size.div_ceil(MOST_PARTS).next_multiple_of(STEP).max(USUAL_PART) }
    }

    /// How many parts there are.
    pub fn count(&self) -> u64 {
        self.size.div_ceil(self.part)
    }

    /// The bytes of the part of that number, which counts from 1.
    pub fn range(&self, number: u64) -> Range<u64> {
        let begin = (number - 1) * self.part;
        begin..(begin + self.part).min(self.size)
    }
}

/// The composite checksum of these parts: the sha256 of their sha256, and their number (Amazon S3 user guide, Checking
/// object integrity: composite checksums).
pub(crate) fn composite(parts: &[Hash]) -> String {
    let joined = parts.iter().fold(Sha256::new(), |all, part| all.chain_update(part.0)).finalize();
    format!("{}-{}", checksum(&Hash(joined.into())), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    #[test]
    fn no_content_needs_more_parts_than_there_are_numbers() {
        for (size, part, count) in [
            (LARGE + 1, 8 * MIB, 3),
            (5 * GIB, 8 * MIB, 640),
            (5 * GIB + 1, 8 * MIB, 641),
            (80_000 * MIB, 8 * MIB, 10_000),
            (80_000 * MIB + 1, 9 * MIB, 8_889),
            (5 * TIB, 525 * MIB, 9_987),
            (50_000_000_000_000, 4_769 * MIB, 9_999),
        ] {
            let layout = Layout::of(size);
            assert_eq!((layout.part, layout.count()), (part, count), "{size}");
            assert!(layout.part <= 5 * GIB && layout.count() <= MOST_PARTS);
        }
    }

    #[test]
    fn the_parts_are_the_content() {
        for size in [LARGE + 1, 5 * GIB, 5 * GIB - 1, 80_000 * MIB + 1] {
            let layout = Layout::of(size);
            let ends = (1..=layout.count()).try_fold(0, |at, number| {
                let range = layout.range(number);
                (range.start == at && range.end > at && range.end - at <= layout.part).then_some(range.end)
            });
            assert_eq!(ends, Some(size));
        }
    }

    #[test]
    fn a_composite_checksum_is_that_of_the_checksums() {
        let parts = [Hash::of(b"a"), Hash::of(b"b")];
        let joined = Hash::of(&[parts[0].0, parts[1].0].concat());
        assert_eq!(composite(&parts), format!("{}-2", checksum(&joined)));
    }
}
