//! Passwords as RabbitMQ keeps them: hashed with a salt, so that definitions can be exchanged.
//!
//! ```text
//!   base64 ( salt, 4 bytes │ digest of (salt, password) )
//! ```
//!
//! What this module deliberately is not: it draws no salt, and it is not slow. RabbitMQ's digests
//! are quick to try out; what is to resist that belongs into another authenticator.
//!
//! invariant: neither a password nor a hash shows in debug output.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// How many bytes a salt has.
pub(crate) const SALT_BYTES: usize = 4;

/// How a password is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RabbitMQ's choice since 3.6.
    #[default]
    Sha256,
    /// What it may be set to.
    Sha512,
    /// Its choice before.
    Md5,
}

impl Algorithm {
    const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5];

    /// The algorithm of this name in definitions.
    pub(crate) fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Its name in definitions: that of RabbitMQ's module.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "rabbit_password_hashing_sha256",
            Algorithm::Sha512 => "rabbit_password_hashing_sha512",
            Algorithm::Md5 => "rabbit_password_hashing_md5",
        }
    }

    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        #[cfg(test)]
        tests::DIGESTS.with(|digests| digests.set(digests.get() + 1));
        fn of<D: Digest>(salt: &[u8], password: &[u8]) -> Vec<u8> {
            D::new().chain_update(salt).chain_update(password).finalize().to_vec()
        }
        match self {
            Algorithm::Sha256 => of::<Sha256>(salt, password),
            Algorithm::Sha512 => of::<Sha512>(salt, password),
            Algorithm::Md5 => of::<Md5>(salt, password),
        }
    }
}

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash {
    algorithm: Algorithm,
    /// The salt and the digest, or what was imported in their place.
    bytes: Vec<u8>,
}

/// The hash is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password hash is not base64")]
pub(crate) struct NotBase64;

impl PasswordHash {
    /// Hashes a password in the usual way.
    pub(crate) fn new(password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        PasswordHash::with_algorithm(Algorithm::default(), password, salt)
    }

    fn with_algorithm(algorithm: Algorithm, password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let mut bytes = salt.to_vec();
        bytes.extend(algorithm.digest(&salt, password));
        PasswordHash { algorithm, bytes }
    }

    /// Reads a hash from definitions.
    ///
    /// rabbitmq: takes bytes of any number. A user with a hash that is none, or an empty one, has
    /// no password and cannot log in with one.
    pub(crate) fn parse(base64: &str, algorithm: Algorithm) -> Result<Self, NotBase64> {
        // rabbitmq: blanks and line breaks in it mean nothing.
        let base64: String = base64.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(base64).map_err(|_| NotBase64)?;
        Ok(PasswordHash { algorithm, bytes })
    }

    /// Whether this is the password, in a time that does not depend on how much of it is right.
    ///
    /// rabbitmq: the empty password never is.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let Some((salt, digest)) = self.bytes.split_at_checked(SALT_BYTES) else { return false };
        let is_same = self.algorithm.digest(salt, password).ct_eq(digest);
        bool::from(is_same) && !password.is_empty()
    }

    /// The hash for definitions.
    pub(crate) fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// The name of the algorithm in definitions.
    pub(crate) fn algorithm_name(&self) -> &'static str {
        self.algorithm.name()
    }
}

/// Whether this is the password that a hash belongs to. Without a hash nothing is, which takes as
/// long to find out as that a password is wrong.
pub(crate) fn verify(hash: Option<&PasswordHash>, password: &[u8]) -> bool {
    match hash.filter(|hash| hash.bytes.len() >= SALT_BYTES) {
        Some(hash) => hash.verify(password),
        None => {
            let unknown_users = PasswordHash {
                algorithm: Algorithm::default(),
                bytes: vec![0; SALT_BYTES + UNKNOWN_USERS_DIGEST_BYTES],
            };
            std::hint::black_box(unknown_users.verify(password));
            false
        }
    }
}

/// As long as a digest of the default algorithm.
const UNKNOWN_USERS_DIGEST_BYTES: usize = 32;

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How much work was done on this thread.
        pub(super) static DIGESTS: Cell<u32> = const { Cell::new(0) };
    }

    /// RabbitMQ's documentation computes this one step by step.
    const DOCUMENTED: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

    #[test]
    fn a_hash_is_the_one_that_rabbitmq_computes() {
        let hash = PasswordHash::new(b"test12", [0x90, 0x8d, 0xc6, 0x0a]);
        assert_eq!(hash.to_base64(), DOCUMENTED);
        assert_eq!(hash.algorithm_name(), "rabbit_password_hashing_sha256");
        let parsed = PasswordHash::parse(DOCUMENTED, Algorithm::Sha256).unwrap();
        assert_eq!(parsed, hash);
        assert!(parsed.verify(b"test12"));
    }

    #[test]
    fn each_algorithm_knows_its_own_hashes() {
        let salt = [1, 2, 3, 4];
        for (algorithm, bytes) in
            [(Algorithm::Sha256, 32), (Algorithm::Sha512, 64), (Algorithm::Md5, 16)]
        {
            let hash = PasswordHash::with_algorithm(algorithm, b"secret", salt);
            assert_eq!(hash.bytes.len(), SALT_BYTES + bytes);
            let text = hash.to_base64();
            assert_eq!(PasswordHash::parse(&text, algorithm).as_ref(), Ok(&hash));
            assert_eq!(Algorithm::from_name(hash.algorithm_name()), Some(algorithm));
            for other in Algorithm::ALL {
                let verified = PasswordHash::parse(&text, other).unwrap().verify(b"secret");
                assert_eq!(verified, other == algorithm);
            }
        }
        let md5 = PasswordHash::with_algorithm(Algorithm::Md5, b"", *b"abcd");
        assert_eq!(md5.bytes[SALT_BYTES..][..4], [0xe2, 0xfc, 0x71, 0x4c], "md5 of abcd");
    }

    #[test]
    fn the_salt_makes_hashes_of_one_password_differ() {
        let hashes = [[0; 4], [1; 4]].map(|salt| PasswordHash::new(b"secret", salt));
        assert_ne!(hashes[0].to_base64()[8..], hashes[1].to_base64()[8..]);
        assert!(hashes.iter().all(|hash| hash.verify(b"secret")));
    }

    #[test]
    fn no_other_password_is_the_right_one() {
        let hash = PasswordHash::new(b"secret", [1, 2, 3, 4]);
        for wrong in ["", "secre", "secret ", "Secret", "secrets"] {
            assert!(!hash.verify(wrong.as_bytes()), "{wrong}");
        }
        assert!(!PasswordHash::new(b"", [1, 2, 3, 4]).verify(b""));
    }

    #[test]
    fn a_hash_that_is_none_lets_nobody_in() {
        for text in ["", "AQID", "AQIDBA==", "AQIDBAU="] {
            let hash = PasswordHash::parse(text, Algorithm::Sha256).unwrap();
            assert!(!hash.verify(b"") && !hash.verify(b"secret"), "{text}");
            assert_eq!(hash.to_base64(), text);
        }
        let broken = PasswordHash::parse(" AQID\r\n BA== ", Algorithm::Sha256).unwrap();
        assert_eq!(broken.to_base64(), "AQIDBA==");
        for text in ["guest", "*", "AQIDBA"] {
            assert_eq!(PasswordHash::parse(text, Algorithm::Sha256), Err(NotBase64), "{text}");
        }
        assert_eq!(Algorithm::from_name("sha256"), None);
    }

    #[test]
    fn a_user_that_is_not_there_costs_the_work_of_a_wrong_password() {
        let hash = PasswordHash::new(b"secret", [1, 2, 3, 4]);
        let none = PasswordHash::parse("", Algorithm::Sha256).unwrap();
        for (hash, password, verified) in [
            (Some(&hash), &b"secret"[..], true),
            (Some(&hash), b"wrong", false),
            (Some(&hash), b"", false),
            (Some(&none), b"secret", false),
            (None, b"secret", false),
            (None, b"", false),
        ] {
            let before = DIGESTS.get();
            assert_eq!(verify(hash, password), verified);
            assert_eq!(DIGESTS.get() - before, 1, "{hash:?} {password:?}");
        }
    }

    #[test]
    fn a_hash_is_not_shown() {
        let hash = PasswordHash::parse(DOCUMENTED, Algorithm::Sha512).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash { algorithm: Sha512, .. }");
    }
}
