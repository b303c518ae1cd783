//! Keys that an issuer publishes (RFC 7517, section 5), and those that were fetched.

use std::{collections::BTreeMap, fmt, sync::Arc};

use sha2::{Digest, Sha256};

use super::{Algorithm, Json, Jwk, VerifyKey};
use crate::model::{TenantName, Tick};

/// Most keys of one set that are read. The largest issuers have a dozen.
pub const MAX_KEYS_OF_A_SET: usize = 64;

/// Most bytes of a key's name.
const MAX_KID_BYTES: usize = 256;

/// A set of keys, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Name and key of each that verifies with an allowed algorithm; no name stands twice.
    keys: Vec<(Box<str>, VerifyKey)>,
    ignored: usize,
}

/// Why a text is no set of keys that is used. All of it is refused then: nobody knows what was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, not a map, or without a list of keys.
    #[error("it is no JSON Web Key Set")]
    Form,
    /// More keys than are read.
    #[error("it has {0} keys; at most {MAX_KEYS_OF_A_SET} are read")]
    TooMany(usize),
    /// A key that signs, where everybody reads it.
    #[error("it holds a private key, or a shared secret: whoever reads it signs as the issuer does")]
    Private,
    /// Two keys that verify have one name.
    #[error("two keys have the `kid` `{0}`")]
    Twice(String),
    /// No key that verifies.
    #[error("none of its {0} keys verifies with an allowed algorithm")]
    Empty(usize),
}

impl KeySet {
    /// Reads a set. Of its keys those count that have a `kid` and verify with one of these algorithms, which
    /// are asymmetric.
    ///
    /// Others are ignored, as section 5 asks: keys for encryption, of unknown types, too short ones. What a
    /// key is used with is its `alg`; one of RSA without it is used with the first allowed algorithm of RSA.
    pub fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeySetError> {
        let json = Json::parse(text).ok_or(KeySetError::Form)?;
        let Some(Json::List(list)) = json.member("keys") else { return Err(KeySetError::Form) };
        if list.len() > MAX_KEYS_OF_A_SET {
            return Err(KeySetError::TooMany(list.len()));
        }
        let mut set = Self::default();
        for json in list {
            let kty = json.member("kty").and_then(Json::text);
            if kty == Some("oct") || json.member("d").is_some() {
                return Err(KeySetError::Private);
            }
            match one(json, algorithms) {
                Some((kid, _)) if set.named(&kid).is_some() => return Err(KeySetError::Twice(kid.into())),
                Some(key) => set.keys.push(key),
                None => set.ignored += 1,
            }
        }
        if set.keys.is_empty() { Err(KeySetError::Empty(list.len())) } else { Ok(set) }
    }

    /// Returns how many keys verify.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Says whether none does; a set that was read has one.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns how many keys are of no use here.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    fn named(&self, kid: &str) -> Option<(&str, &VerifyKey)> {
        self.keys.iter().find(|(known, _)| **known == *kid).map(|(kid, key)| (&**kid, key))
    }
}

/// Reads one key, if it is of use.
fn one(json: &Json, algorithms: &[Algorithm]) -> Option<(Box<str>, VerifyKey)> {
    let kid = json.member("kid").and_then(Json::text)?;
    if !(1..=MAX_KID_BYTES).contains(&kid.len()) || kid.chars().any(char::is_control) {
        return None;
    }
    // At most one fits: the type and curve say which, or `alg` does.
    let jwk = algorithms.iter().find_map(|algorithm| Jwk::parse(json, *algorithm).ok())?;
    Some((kid.into(), jwk.key))
}

/// Names a source of keys: where from, vouched for by whom, for which algorithms. Keys of another source are
/// others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId([u8; 32]);

impl SourceId {
    /// Names a source. Without `roots` the system's CAs vouch for it.
    pub fn new(url: &str, roots: Option<&[Vec<u8>]>, algorithms: &[Algorithm]) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(url.as_bytes());
        part(format!("{algorithms:?}").as_bytes());
        part(if roots.is_some() { b"own" } else { b"system" });
        roots.unwrap_or_default().iter().for_each(|root| part(root));
        Self(hash.finalize().into())
    }
}

/// A set that is fetched while octroi runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSet {
    /// Its name in logs.
    pub id: Box<str>,
    /// The only tenants that its sessions may be of; `None` for every one.
    pub tenants: Option<Box<[TenantName]>>,
    /// Where it comes from.
    pub source: SourceId,
}

/// The sets that were fetched, as they are now. Nothing in a token ever adds to them.
#[derive(Clone, Default)]
pub struct FetchedKeys {
    sets: BTreeMap<SourceId, (Arc<KeySet>, Tick)>,
}

/// No set: for those who ask beside a running octroi.
pub(super) static NONE: FetchedKeys = FetchedKeys { sets: BTreeMap::new() };

impl FetchedKeys {
    /// Takes a set over, which counts until then.
    pub fn insert(&mut self, source: SourceId, set: Arc<KeySet>, until: Tick) {
        self.sets.insert(source, (set, until));
    }

    /// Forgets the sets of other sources.
    pub fn retain(&mut self, keep: impl Fn(&SourceId) -> bool) {
        self.sets.retain(|source, _| keep(source));
    }

    /// Returns a set, unless it is too old.
    pub fn set(&self, source: &SourceId, now: Tick) -> Option<&Arc<KeySet>> {
        self.sets.get(source).filter(|(_, until)| now < *until).map(|(set, _)| set)
    }

    /// Finds the key of a name in one set.
    pub(super) fn find(&self, source: &SourceId, kid: &str, now: Tick) -> Option<(&str, &VerifyKey)> {
        self.set(source, now).and_then(|set| set.named(kid))
    }
}

impl fmt::Debug for FetchedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedKeys").field("sets", &self.sets.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    const ALL: [Algorithm; 5] =
        [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];

    fn parse(keys: &[String]) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{}],"more":1}}"#, keys.join(",")).as_bytes(), &ALL)
    }

    fn key(kid: &str, rest: &str) -> String {
        format!(r#"{{"kid":"{kid}",{rest}}}"#)
    }

    #[test]
    fn keys_that_verify_are_found_by_name() {
        let set = parse(&[key("a", ED), key("b", EC), key("é", ED)]).unwrap();

        let algorithm = |kid: &str| set.named(kid).map(|(_, key)| key.algorithm());
        assert_eq!(
            [algorithm("a"), algorithm("b"), algorithm("é"), algorithm("A")],
            [Some(Algorithm::EdDsa), Some(Algorithm::Es256), Some(Algorithm::EdDsa), None]
        );
        assert_eq!((set.len(), set.ignored()), (3, 0));
    }

    #[test]
    fn keys_of_no_use_are_ignored() {
        let short = r#""kty":"RSA","e":"AQAB","n":"vGcPQ0fqdNJp5H2cbS0cdWhzKzA0Wf6r7sc9-FEnK7JRiEfM5y6mzVfdZ0pQKz0vN7W0h6d3b8t2Cz9Yq6b2sQ""#;
        let set = parse(&[
            key("a", ED),
            key("b", &format!(r#"{EC},"use":"enc""#)),
            key("c", &format!(r#"{EC},"key_ops":["sign"]"#)),
            key("d", &format!(r#"{ED},"alg":"ES256""#)),
            key("e", r#""kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#),
            key("f", r#""kty":"AKP","alg":"ML-DSA-44","pub":"AA""#),
            key("g", short),
            format!("{{{ED}}}"),
            key("", ED),
            key(&"x".repeat(257), ED),
            key("\\n", ED),
            "1".to_owned(),
        ])
        .unwrap();

        assert_eq!((set.len(), set.ignored()), (1, 11));
        assert_eq!(
            KeySet::parse(format!(r#"{{"keys":[{}]}}"#, key("a", ED)).as_bytes(), &[Algorithm::Es256]),
            Err(KeySetError::Empty(1))
        );
    }

    #[test]
    fn a_set_in_doubt_is_refused_as_a_whole() {
        assert_eq!(parse(&[key("a", ED), key("b", &format!(r#"{EC},"d":"AA""#))]), Err(KeySetError::Private));
        assert_eq!(parse(&[key("a", ED), key("b", r#""kty":"oct","k":"AAAA""#)]), Err(KeySetError::Private));
        assert_eq!(parse(&[key("a", ED), key("a", EC)]), Err(KeySetError::Twice("a".into())));
        // One that only encrypts may share a name.
        assert!(parse(&[key("a", ED), key("a", &format!(r#"{EC},"use":"enc""#))]).is_ok());
        assert_eq!(parse(&vec![key("a", ED); 65]), Err(KeySetError::TooMany(65)));
        assert_eq!(parse(&[]), Err(KeySetError::Empty(0)));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
            assert_eq!(KeySet::parse(text.as_bytes(), &ALL), Err(KeySetError::Form), "{text}");
        }
    }

    #[test]
    fn a_set_counts_until_it_is_too_old() {
        let (one, other) =
            (SourceId::new("https://a.test/", None, &ALL), SourceId::new("https://a.test/", Some(&[]), &ALL));
        let mut fetched = FetchedKeys::default();
        fetched.insert(one.clone(), Arc::new(parse(&[key("a", ED)]).unwrap()), Tick::from_nanos(10));

        assert!(fetched.find(&one, "a", Tick::from_nanos(9)).is_some());
        assert!(fetched.find(&one, "a", Tick::from_nanos(10)).is_none());
        assert!(fetched.find(&other, "a", Tick::from_nanos(9)).is_none());
        assert_ne!(one, SourceId::new("https://a.test/", None, &ALL[1..]));
    }
}
