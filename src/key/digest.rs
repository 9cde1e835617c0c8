//! Digests that replace secret values in keys and entries, since other programs may read the store.

use sha2::{Digest, Sha256};
use std::fmt;

/// A digest of a secret value.
pub(crate) type ValueDigest = [u8; 32];

/// Computes digests of secret values.
///
/// Processes with the same secret and namespace compute the same digests.
#[derive(Clone)]
pub(crate) struct ValueDigests {
    /// The state of SHA-256 after it has hashed a key that is derived from the namespace and the
    /// secret.
    keyed: Sha256,
}

/// The block size of SHA-256 in bytes (FIPS 180-4 section 1).
const BLOCK: usize = 64;

impl ValueDigests {
    pub(crate) fn new(namespace: &str, secret: &[u8]) -> Self {
        let mut key = Sha256::new_with_prefix(b"tower-response-cache: secret values in keys");
        for part in [namespace.as_bytes(), secret] {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        let mut block = [0; BLOCK];
        block[..32].copy_from_slice(&key.finalize());
        // Hashing the whole block here saves that work in each `digest`.
        Self { keyed: Sha256::new_with_prefix(block) }
    }

    /// Returns the digest of a value. `kind` names the field, cookie or key part with the value, so
    /// equal values of different kinds have different digests.
    ///
    /// The lengths are hashed first, so that no hashed input is the prefix of another one.
    pub(crate) fn digest(&self, kind: &[u8], value: &[u8]) -> ValueDigest {
        let mut digest = self.keyed.clone();
        digest.update((kind.len() as u32).to_le_bytes());
        digest.update((value.len() as u32).to_le_bytes());
        digest.update(kind);
        digest.update(value);
        digest.finalize().into()
    }
}

impl Default for ValueDigests {
    fn default() -> Self {
        Self::new("", b"")
    }
}

impl fmt::Debug for ValueDigests {
    /// Writes only the name of the type, without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValueDigests")
    }
}

#[cfg(test)]
mod tests {
    use super::ValueDigests;

    #[test]
    fn a_digest_depends_only_on_secret_namespace_kind_and_value() {
        let digest = |namespace, secret: &str, kind: &str, value: &str| {
            ValueDigests::new(namespace, secret.as_bytes()).digest(kind.as_bytes(), value.as_bytes())
        };
        let all = [
            digest("a", "", "sid", "1"),
            digest("b", "", "sid", "1"),
            digest("a", "s", "sid", "1"),
            digest("as", "", "sid", "1"),
            digest("a", "", "si", "d1"),
            digest("a", "", "sid", "2"),
            digest("a", "", "sid1", ""),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(all[0], digest("a", "", "sid", "1"));
    }

    #[test]
    fn debug_output_hides_the_secret() {
        assert_eq!(format!("{:?}", ValueDigests::new("a", b"s3cret")), "ValueDigests");
    }
}
