//! What is asserted to an upstream: who asks, signed, so that it can be believed wherever it is read.
//!
//! # The assertion
//!
//! A JSON Web Token in compact form (RFC 7519), signed with Ed25519 (`EdDSA`, RFC 8037). Nothing in it is
//! chosen by a client.
//!
//! | header | content |
//! |---|---|
//! | `alg` | `EdDSA` |
//! | `typ` | `octroi-assertion+jwt` (RFC 8725, section 3.11): no other kind of token passes for one |
//! | `kid` | the key's thumbprint (RFC 7638, RFC 8037 section 2) |
//!
//! | claim | content |
//! |---|---|
//! | `iss` | who says so: the same on all nodes |
//! | `aud` | the one upstream that it is for |
//! | `sub` | the user; two tenants may have users of the same name |
//! | `tenant` | whose user it is |
//! | `realm` | the tenant that owns the host that was asked for |
//! | `roles` | what the user may do, sorted |
//! | `sid` | the hash of the session, as in `Octroi-Session` |
//! | `auth_time` | when the user signed in, in seconds since 1970 |
//! | `jti` | the request's identifier, as in `Octroi-Request-Id` |
//! | `iat`, `exp` | when it was signed, and 60 s later |

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::model::UnixTime;

/// How long an assertion holds: as long as a request may be on its way, and clocks may differ.
pub const ASSERTION_LIFE: Duration = Duration::from_secs(60);

/// What `typ` says.
pub const ASSERTION_TYPE: &str = "octroi-assertion+jwt";

/// A key that signs assertions.
pub struct AssertionKey {
    pair: Ed25519KeyPair,
    kid: Box<str>,
    x: Box<str>,
    /// The header of what it signs, encoded.
    header: Box<str>,
}

/// Why bytes are no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionKeyError {
    /// Not a private key of Ed25519 in PKCS#8.
    #[error("it is no private key of Ed25519")]
    Kind,
    /// It stands in a standard, so everybody has it.
    #[error("it is an example that everybody knows")]
    Example,
}

/// The examples of RFC 8032 (section 7.1) and RFC 8037, and of RFC 8410.
const EXAMPLES: [&str; 2] =
    ["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"];

impl AssertionKey {
    /// Reads a key, PKCS#8 as DER (RFC 8410).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, AssertionKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| AssertionKeyError::Kind)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        if EXAMPLES.contains(&x.as_str()) {
            return Err(AssertionKeyError::Example);
        }
        let kid = thumbprint(&x);
        let header =
            URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","typ":"{ASSERTION_TYPE}","kid":"{kid}"}}"#));
        Ok(Self { pair, kid: kid.into(), x: x.into(), header: header.into() })
    }

    /// Returns what assertions call it.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// RFC 7638 with the members that RFC 8037, section 2 requires, in their order.
fn thumbprint(x: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl PartialEq for AssertionKey {
    fn eq(&self, other: &Self) -> bool {
        self.x == other.x
    }
}

impl Eq for AssertionKey {}

/// What signs. The first key does; all are published, so that an app knows a key before it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertions {
    keys: Arc<[AssertionKey]>,
    issuer: Box<str>,
}

/// What is asserted of one request.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// The upstream that it is for.
    pub audience: &'a str,
    /// Who asks.
    pub user: &'a str,
    /// Whose user that is.
    pub tenant: &'a str,
    /// Who owns the host.
    pub realm: &'a str,
    /// What the user may do, sorted.
    pub roles: &'a [&'a str],
    /// The hash of the session.
    pub session: &'a str,
    /// When the user signed in.
    pub auth_time: UnixTime,
    /// The request.
    pub request_id: &'a str,
}

/// It could not be signed: there is no key, or the library failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the assertion could not be signed")]
pub struct SignError;

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    tenant: &'a str,
    realm: &'a str,
    roles: &'a [&'a str],
    sid: &'a str,
    auth_time: u64,
    jti: &'a str,
    iat: u64,
    exp: u64,
}

impl Assertions {
    /// Takes the keys, the one that signs first, and the name of who signs.
    pub fn new(keys: Vec<AssertionKey>, issuer: &str) -> Self {
        Self { keys: keys.into(), issuer: issuer.into() }
    }

    /// Returns the keys, the one that signs first.
    pub fn keys(&self) -> &[AssertionKey] {
        &self.keys
    }

    /// Signs a statement at a time. Costs one signature, some 10 µs.
    pub fn sign(&self, statement: &Statement<'_>, now: UnixTime) -> Result<String, SignError> {
        let key = self.keys.first().ok_or(SignError)?;
        let payload = Payload {
            iss: &self.issuer,
            aud: statement.audience,
            sub: statement.user,
            tenant: statement.tenant,
            realm: statement.realm,
            roles: statement.roles,
            sid: statement.session,
            auth_time: statement.auth_time.as_secs(),
            jti: statement.request_id,
            iat: now.as_secs(),
            exp: now.plus(ASSERTION_LIFE).as_secs(),
        };
        let payload = serde_json::to_vec(&payload).map_err(|_| SignError)?;
        // A signature has 86 characters.
        let mut token = String::with_capacity(key.header.len() + payload.len().div_ceil(3) * 4 + 88);
        token.push_str(&key.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = key.pair.try_sign(token.as_bytes()).map_err(|_| SignError)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// Returns the public keys as a JSON Web Key Set (RFC 7517, section 5), in the order in which they are
    /// configured.
    pub fn key_set(&self) -> String {
        let one = |key: &AssertionKey| {
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"{}","x":"{}"}}"#,
                key.kid, key.x
            )
        };
        format!("{{\"keys\":[{}]}}\n", self.keys.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::*;

    /// PKCS#8 around a seed (RFC 8410, section 7).
    fn pkcs8(seed: [u8; 32]) -> Vec<u8> {
        [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &seed].concat()
    }

    fn key(seed: u8) -> AssertionKey {
        AssertionKey::from_pkcs8(&pkcs8([seed; 32])).unwrap()
    }

    const STATEMENT: Statement<'_> = Statement {
        audience: "app",
        user: "u\"1",
        tenant: "acme",
        realm: "lobby",
        roles: &["admin", "editor"],
        session: "0123456789abcdef",
        auth_time: UnixTime::from_secs(1_799_999_000),
        request_id: "01K0",
    };

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        assert_eq!(thumbprint(EXAMPLES[0]), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn an_example_of_a_standard_is_no_key() {
        let of = |seed: &str| {
            AssertionKey::from_pkcs8(&pkcs8(URL_SAFE_NO_PAD.decode(seed).unwrap().try_into().unwrap()))
                .map(|_| ())
        };

        assert_eq!(of("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"), Err(AssertionKeyError::Example));
        assert_eq!(of("1O5y2_kTWErVttjx92n4rTr-fCjL8dT74Jeoj0R1WEI"), Err(AssertionKeyError::Example));
        assert_eq!(AssertionKey::from_pkcs8(b"0").map(|_| ()), Err(AssertionKeyError::Kind));
    }

    #[test]
    fn the_first_key_signs_what_the_published_one_verifies() {
        let assertions = Assertions::new(vec![key(1), key(2)], "octroi");

        let token = assertions.sign(&STATEMENT, UnixTime::from_secs(1_800_000_000)).unwrap();

        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let json =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(json(header), json!({"alg": "EdDSA", "typ": "octroi-assertion+jwt", "kid": key(1).kid()}));
        assert_eq!(
            json(payload),
            json!({
                "iss": "octroi", "aud": "app", "sub": "u\"1", "tenant": "acme", "realm": "lobby", "roles": ["admin", "editor"],
                "sid": "0123456789abcdef", "auth_time": 1_799_999_000, "jti": "01K0", "iat": 1_800_000_000, "exp": 1_800_000_060,
            })
        );
        let set: Value = serde_json::from_str(&assertions.key_set()).unwrap();
        let x = URL_SAFE_NO_PAD.decode(set["keys"][0]["x"].as_str().unwrap()).unwrap();
        let signed = token.rsplit_once('.').unwrap().0;
        UnparsedPublicKey::new(&ED25519, x)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
    }

    #[test]
    fn every_key_is_published_and_no_private_part() {
        let set: Value =
            serde_json::from_str(&Assertions::new(vec![key(1), key(2)], "octroi").key_set()).unwrap();

        let keys = set["keys"].as_array().unwrap();
        let kids: Vec<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(kids, [key(1).kid(), key(2).kid()]);
        for key in keys {
            let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
        }
    }

    #[test]
    fn without_a_key_nothing_is_signed() {
        assert_eq!(
            Assertions::new(Vec::new(), "octroi").sign(&STATEMENT, UnixTime::from_secs(1)),
            Err(SignError)
        );
    }
}
