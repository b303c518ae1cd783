//! The ring of master keys, from which each realm's keys are derived.

use std::{fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM_SIV, LessSafeKey, UnboundKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use papaya::HashMap;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{Secret, SessionId, TenantName};

/// The first byte of what is sealed.
pub(super) const VERSION: u8 = 1;

/// One master key of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKey {
    /// The number that tokens carry, 1 to 65535.
    pub id: u16,
    /// The 32 random bytes.
    pub secret: Secret<[u8; 32]>,
    /// Whether it only opens.
    pub open_only: bool,
}

impl MasterKey {
    /// Returns 8 hexadecimal digits that tell nothing of the secret and by which nodes can compare theirs.
    pub fn check(&self) -> String {
        let bytes = info("check", "").and_then(|info| expand(self, &info)).unwrap_or_default();
        bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The place a token is made for; it opens from no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The session cookie, set after a grant.
    Cookie,
    /// `Authorization: Bearer`, made by `octroi session mint --bearer`.
    Bearer,
}

impl Purpose {
    /// Returns the word that keys are derived with.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Bearer => "bearer",
        }
    }
}

/// What keys are derived for: tokens, or what marks a sign-in that began here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Token(Purpose),
    SignIn,
}

impl Use {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Token(purpose) => purpose.as_str(),
            Self::SignIn => "sign-in",
        }
    }
}

impl From<Purpose> for Use {
    fn from(purpose: Purpose) -> Self {
        Self::Token(purpose)
    }
}

/// The master keys, newest first. Clones share the keys derived so far.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<MasterKey>,
    derived: Arc<[Derived]>,
    hash: Option<Hmac<Sha256>>,
}

/// The keys derived from one master key, by purpose and realm.
#[derive(Default)]
struct Derived {
    cookie: HashMap<TenantName, RealmKey, ahash::RandomState>,
    bearer: HashMap<TenantName, RealmKey, ahash::RandomState>,
    sign_in: HashMap<TenantName, RealmKey, ahash::RandomState>,
}

/// What seals and opens the tokens of one master key, purpose and realm.
pub(super) struct RealmKey {
    pub(super) aead: LessSafeKey,
    /// version ‖ key id ‖ info.
    pub(super) associated: Box<[u8]>,
}

/// Most realms whose derived keys are kept, for each master key and purpose; about 1 KiB each. Keys of
/// further realms are derived anew each time, in some microseconds. Realms are configured, so strangers
/// cannot fill the table.
const MAX_KEPT: usize = 65_536;

const SALT: &[u8] = b"octroi/session/v1";

impl KeyRing {
    /// Takes the keys, newest first.
    pub fn new(keys: Vec<MasterKey>) -> Self {
        let derived = keys.iter().map(|_| Derived::default()).collect();
        let minting = keys.iter().find(|key| !key.open_only).or(keys.first());
        let hash = minting.and_then(|key| {
            let bytes = expand(key, &info("hash", "")?)?;
            <Hmac<Sha256> as KeyInit>::new_from_slice(bytes.as_slice()).ok()
        });
        Self { keys, derived, hash }
    }

    /// Returns the keys, newest first.
    pub fn keys(&self) -> &[MasterKey] {
        &self.keys
    }

    /// Returns the key that mints: the first that does not only open.
    pub fn minting(&self) -> Option<&MasterKey> {
        self.keys.iter().find(|key| !key.open_only)
    }

    /// Returns the name a session has in logs and towards upstreams: 16 hexadecimal digits of a keyed hash of
    /// its identifier.
    ///
    /// All nodes with the same ring say the same. It changes when another key begins to mint. A ring without
    /// keys, which opens nothing, says zeros.
    pub fn session_hash(&self, id: &SessionId) -> String {
        let Some(keyed) = &self.hash else { return "0".repeat(16) };
        let mut hash = keyed.clone();
        hash.update(id.as_bytes());
        let digest = hash.finalize().into_bytes();
        let head = digest.first_chunk().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(head))
    }

    /// Runs `act` with the key derived for a use and a realm; `None` if no master key has the number.
    pub(super) fn with<T>(
        &self,
        id: u16,
        used: Use,
        realm: &TenantName,
        act: impl FnOnce(&RealmKey) -> T,
    ) -> Option<T> {
        let (master, derived) = self.keys.iter().zip(self.derived.iter()).find(|(key, _)| key.id == id)?;
        let kept = match used {
            Use::Token(Purpose::Cookie) => &derived.cookie,
            Use::Token(Purpose::Bearer) => &derived.bearer,
            Use::SignIn => &derived.sign_in,
        };
        let kept = kept.pin();
        if let Some(key) = kept.get(realm) {
            return Some(act(key));
        }
        let key = RealmKey::derive(master, used, realm)?;
        if kept.len() < MAX_KEPT {
            Some(act(kept.get_or_insert(realm.clone(), key)))
        } else {
            Some(act(&key))
        }
    }
}

impl RealmKey {
    fn derive(master: &MasterKey, used: Use, realm: &TenantName) -> Option<Self> {
        let info = info(used.as_str(), realm.as_str())?;
        let bytes = expand(master, &info)?;
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes.as_slice()).ok()?);
        let associated = [&[VERSION], master.id.to_be_bytes().as_slice(), &info].concat().into();
        Some(Self { aead, associated })
    }
}

/// u16 length ‖ purpose ‖ u16 length ‖ realm. The lengths keep `ab` + `c` and `a` + `bc` apart.
fn info(purpose: &str, realm: &str) -> Option<Vec<u8>> {
    let mut info = Vec::with_capacity(4 + purpose.len() + realm.len());
    for part in [purpose, realm] {
        info.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
        info.extend_from_slice(part.as_bytes());
    }
    Some(info)
}

/// HKDF-SHA-256 (RFC 5869) to 32 bytes.
fn expand(master: &MasterKey, info: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(SALT), master.secret.expose()).expand(info, bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for KeyRing {}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u16, open_only: bool) -> MasterKey {
        MasterKey { id, secret: Secret::new([u8::try_from(id).unwrap(); 32]), open_only }
    }

    #[test]
    fn the_first_key_that_does_not_only_open_mints() {
        assert_eq!(
            KeyRing::new(vec![key(3, true), key(2, false), key(1, false)]).minting().map(|key| key.id),
            Some(2)
        );
        assert_eq!(KeyRing::new(vec![key(1, true)]).minting(), None);
        assert_eq!(KeyRing::new(vec![]).minting(), None);
    }

    #[test]
    fn rings_are_equal_by_their_keys() {
        assert_eq!(KeyRing::new(vec![key(1, false)]), KeyRing::new(vec![key(1, false)]));
        assert_ne!(KeyRing::new(vec![key(1, false)]), KeyRing::new(vec![key(1, true)]));
        assert_eq!(format!("{:?}", KeyRing::new(vec![])), "KeyRing([])");
    }

    #[test]
    fn a_session_hash_is_keyed() {
        let id = SessionId::new([7; 16]);
        let one = KeyRing::new(vec![key(1, false)]);

        assert_eq!(one.session_hash(&id), KeyRing::new(vec![key(1, false), key(2, false)]).session_hash(&id));
        assert_ne!(one.session_hash(&id), KeyRing::new(vec![key(2, false)]).session_hash(&id));
        assert_ne!(one.session_hash(&id), one.session_hash(&SessionId::new([8; 16])));
        assert_eq!(one.session_hash(&id).len(), 16);
        assert_eq!(KeyRing::new(vec![]).session_hash(&id), "0000000000000000");
    }

    #[test]
    fn equal_secrets_have_equal_checks() {
        assert_eq!(key(1, false).check(), MasterKey { id: 9, ..key(1, true) }.check());
        assert_ne!(key(1, false).check(), key(2, false).check());
        assert_eq!(key(1, false).check().len(), 8);
    }

    #[test]
    fn the_parts_of_the_info_cannot_slide() {
        assert_ne!(info("cookie", "a"), info("cooki", "ea"));
        assert_eq!(info("ab", "c"), Some(b"\0\x02ab\0\x01c".to_vec()));
    }
}
