//! Feature bits of CephFS: what an MDS may expect of a client, and the other way round.

use crate::encoding::{DecodeError, Decoder, Encoder};
use std::fmt;

/// Feature bits by name (`CEPHFS_FEATURE_*` of `mds/cephfs_features.h`).
pub mod feature {
    /// Structures in replies carry their version and length. Without it their form depends on the connection.
    pub const REPLY_ENCODING: u32 = 9;
    /// A new life of a client can take over what its old one holds.
    pub const RECLAIM_CLIENT: u32 = 10;
    /// A client that was stale need not be given more than what it wants.
    pub const LAZY_CAP_WANTED: u32 = 11;
    /// A reconnect may be told in several messages.
    pub const MULTI_RECONNECT: u32 = 12;
    /// Replies to creations delegate numbers of inodes.
    pub const DELEG_INO: u32 = 13;
    /// The client tells how fast it is.
    pub const METRIC_COLLECT: u32 = 14;
    /// Names may have another form, in which an encrypted name is kept whole.
    pub const ALTERNATE_NAME: u32 = 15;
    /// An MDS answers a request to open a session that is open.
    pub const NOTIFY_SESSION_STATE: u32 = 16;
    /// The request for one virtual extended attribute.
    pub const OP_GETVXATTR: u32 = 17;
    /// Retries and forwards are counted in 32 bits.
    pub const RETRY_FWD_32BITS: u32 = 18;
    /// Snapshot realms tell when they were changed.
    pub const NEW_SNAPREALM_INFO: u32 = 19;
    /// Requests that create carry the new owner.
    pub const HAS_OWNER_UIDGID: u32 = 20;
    /// The client keeps to the user's MDS capabilities by itself in what it does under capabilities of inodes.
    pub const MDS_AUTH_CAPS_CHECK: u32 = 21;
}

/// A set of features (`feature_bitset_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet {
    /// Bit 0 of the first word is feature 0.
    words: Vec<u64>,
}

/// More features than any release will have for a while.
const WORDS_MAX: usize = 64;

impl FeatureSet {
    /// What this client announces.
    ///
    /// Not among it is [`feature::METRIC_COLLECT`], because it tells no metrics. [`feature::MDS_AUTH_CAPS_CHECK`] is, because all that this client
    /// does under capabilities is to read what the MDS has let it open.
    #[must_use]
    pub fn supported() -> Self {
        (0..=feature::MDS_AUTH_CAPS_CHECK).filter(|&bit| bit != feature::METRIC_COLLECT).collect()
    }

    /// Whether a feature is in it.
    #[must_use]
    pub fn has(&self, feature: u32) -> bool {
        let word = self.words.get((feature / 64) as usize).copied().unwrap_or(0);
        word & (1 << (feature % 64)) != 0
    }

    /// What is in it and not in `other`.
    #[must_use]
    pub fn missing_in(&self, other: &Self) -> Self {
        (0..self.words.len() as u32 * 64).filter(|&bit| self.has(bit) && !other.has(bit)).collect()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or far larger than any.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let bytes = decoder.blob()?;
        if bytes.len() > WORDS_MAX * 8 {
            return Err(decoder.error(format_args!("{} bytes of features", bytes.len())));
        }
        let words = bytes
            .chunks(8)
            .map(|chunk| chunk.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte)));
        Ok(Self { words: words.collect() })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.framed(|body| {
            for word in &self.words {
                body.u64(*word);
            }
        });
    }
}

impl FromIterator<u32> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = u32>>(features: I) -> Self {
        let mut words = Vec::new();
        for feature in features {
            let at = (feature / 64) as usize;
            if at >= WORDS_MAX {
                continue;
            }
            if at >= words.len() {
                words.resize(at + 1, 0);
            }
            words[at] |= 1 << (feature % 64);
        }
        Self { words }
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for bit in (0..self.words.len() as u32 * 64).filter(|&bit| self.has(bit)) {
            write!(f, "{separator}{bit}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_survive_the_wire() {
        let set = FeatureSet::supported();
        assert!(set.has(feature::REPLY_ENCODING) && !set.has(feature::METRIC_COLLECT) && !set.has(22));
        let mut encoder = Encoder::new();
        set.encode(&mut encoder);
        let bytes = encoder.finish();
        assert_eq!(bytes, [8, 0, 0, 0, 0xff, 0xbf, 0x3f, 0, 0, 0, 0, 0]);
        assert_eq!(FeatureSet::decode(&mut Decoder::new("test", &bytes)).unwrap(), set);
    }

    #[test]
    fn what_is_missing_is_named() {
        let wanted: FeatureSet = [9, 14, 70].into_iter().collect();
        assert_eq!(wanted.missing_in(&FeatureSet::supported()).to_string(), "14, 70");
        assert!(FeatureSet::supported().missing_in(&FeatureSet::supported()).is_empty());
        let huge = [0xff, 0xff, 0, 0];
        assert!(FeatureSet::decode(&mut Decoder::new("test", &huge)).is_err());
    }
}
