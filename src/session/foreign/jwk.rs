//! Keys as JSON (RFC 7517).

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::PublicKeyComponents,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Algorithm, Json, KeyError, VerifyKey};
use crate::model::Secret;

/// One JSON Web Key that verifies.
#[derive(Clone, Debug)]
pub struct Jwk {
    /// What tokens call it.
    pub kid: Option<Box<str>>,
    /// What verifies.
    pub key: VerifyKey,
}

/// Why JSON is no key that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not JSON, or not a map.
    #[error("it is no JSON Web Key: not a JSON object")]
    Json,
    /// A private key, which has no business here.
    #[error("it is a private key; give octroi the public one, it only verifies")]
    Private,
    /// Made for encryption, or to sign.
    #[error("`use` or `key_ops` say that the key does not verify")]
    Use,
    /// `alg` says another algorithm.
    #[error("`alg` says another algorithm")]
    Algorithm,
    /// A member is missing, or is not canonical base64url of the right length; or the type or curve is not
    /// the algorithm's.
    #[error("`kty`, `crv` or a number of the key is not what the algorithm wants")]
    Member,
    /// The key is not one of the algorithm.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Jwk {
    /// Reads a key for one algorithm.
    pub fn parse(json: &Json, algorithm: Algorithm) -> Result<Self, JwkError> {
        let text = |name: &str| json.member(name).and_then(Json::text);
        let kty = text("kty").ok_or(JwkError::Json)?;
        if kty != "oct" && json.member("d").is_some() {
            return Err(JwkError::Private);
        }
        let verifies = match json.member("key_ops") {
            None => true,
            Some(Json::List(ops)) => ops.iter().any(|op| op.text() == Some("verify")),
            Some(_) => false,
        };
        if text("use").is_some_and(|purpose| purpose != "sig") || !verifies {
            return Err(JwkError::Use);
        }
        if text("alg").is_some_and(|name| Algorithm::named(name) != Some(algorithm)) {
            return Err(JwkError::Algorithm);
        }
        let bytes = |name: &str| {
            text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(JwkError::Member)
        };
        let crv = text("crv").unwrap_or_default();
        let key = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 if kty == "oct" => {
                VerifyKey::shared(algorithm, Secret::new(bytes("k")?))?
            }
            Algorithm::Rs256 | Algorithm::Ps256 if kty == "RSA" => {
                let parts = PublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
                let der: PublicKeyX509Der<'_> = parts.as_der().map_err(|_| JwkError::Member)?;
                VerifyKey::public(algorithm, der.as_ref())?
            }
            Algorithm::Es256 if (kty, crv) == ("EC", "P-256") => {
                VerifyKey::public(algorithm, &point(&bytes("x")?, &bytes("y")?, 32)?)?
            }
            Algorithm::Es384 if (kty, crv) == ("EC", "P-384") => {
                VerifyKey::public(algorithm, &point(&bytes("x")?, &bytes("y")?, 48)?)?
            }
            Algorithm::EdDsa if (kty, crv) == ("OKP", "Ed25519") => {
                let x = bytes("x")?;
                if x.len() != 32 {
                    return Err(JwkError::Member);
                }
                VerifyKey::public(algorithm, &x)?
            }
            Algorithm::Hs256
            | Algorithm::Hs384
            | Algorithm::Hs512
            | Algorithm::Rs256
            | Algorithm::Ps256
            | Algorithm::Es256
            | Algorithm::Es384
            | Algorithm::EdDsa => return Err(JwkError::Member),
        };
        Ok(Self { kid: text("kid").map(Into::into), key })
    }
}

/// An uncompressed point (SEC 1, section 2.3.3); coordinates have their full length (RFC 7518, section
/// 6.2.1.2).
fn point(x: &[u8], y: &[u8], bytes: usize) -> Result<Vec<u8>, JwkError> {
    if x.len() != bytes || y.len() != bytes {
        return Err(JwkError::Member);
    }
    Ok([&[4], x, y].concat())
}
