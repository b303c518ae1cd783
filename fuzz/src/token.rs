//! The session token: what was sealed opens, what was not sealed does not, and claims have one spelling.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use octroi::{
    model::{Secret, SessionId, TenantName, UnixTime},
    session::{
        Claims, KeyRing, MAX_TOKEN_BYTES, MasterKey, OpenError, Purpose, Roles, SealError, TOKEN_PREFIX,
    },
};

use super::input::Input;

/// The master key of `tests/vectors/token_v1.json`.
const KEY: u16 = 7;
const REALM: &str = "lobby";

/// Judges one input; its first byte says what the others are.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        0 => noise(input.0),
        1 => round_trip(&mut input),
        _ => foreign_claims(&mut input),
    }
}

fn ring() -> KeyRing {
    let secret = std::array::from_fn(|at| u8::try_from(at).unwrap_or(0));
    KeyRing::new(vec![MasterKey { id: KEY, secret: Secret::new(secret), open_only: false }])
}

fn realm() -> TenantName {
    REALM.parse().expect("a name")
}

/// A text from a stranger. Should it be a token of ours, it is spelt as we spell it.
fn noise(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for text in [
        text.clone().into_owned(),
        format!("{TOKEN_PREFIX}{text}"),
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(data)),
    ] {
        for purpose in [Purpose::Cookie, Purpose::Bearer] {
            if let Ok(opened) = ring().open(&text, purpose, &realm()) {
                assert_eq!(sealed_again(&text, &opened.claims, purpose), text);
            }
        }
    }
}

/// Claims survive; a token with one bit turned, or cut, or for another place, does not open.
fn round_trip(input: &mut Input<'_>) {
    let purpose = if input.byte().is_multiple_of(2) { Purpose::Cookie } else { Purpose::Bearer };
    let (nonce, bit, cut) = (input.array(), input.array(), input.array());
    let claims = claims(input);
    let token = match ring().seal(&claims, purpose, &realm(), nonce) {
        Ok(token) => token,
        Err(error) => return assert_eq!(error, SealError::TooLong),
    };
    assert!(token.len() <= MAX_TOKEN_BYTES);
    let opened = ring().open(&token, purpose, &realm()).expect("what was sealed opens");
    assert_eq!((opened.claims, opened.key), (claims, KEY));

    let mut sealed = URL_SAFE_NO_PAD.decode(&token[TOKEN_PREFIX.len()..]).expect("base64url");
    let bit = usize::from(u16::from_be_bytes(bit)) % (sealed.len() * 8);
    sealed[bit / 8] ^= 1 << (bit % 8);
    assert!(
        ring().open(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed)), purpose, &realm()).is_err()
    );
    let cut = usize::from(u16::from_be_bytes(cut)) % token.len();
    assert!(ring().open(&token[..cut], purpose, &realm()).is_err());
    assert_eq!(ring().open(&token, purpose, &"acme".parse().expect("a name")), Err(OpenError::Tag));
    let other = if purpose == Purpose::Cookie { Purpose::Bearer } else { Purpose::Cookie };
    assert_eq!(ring().open(&token, other, &realm()), Err(OpenError::Tag));
}

/// Authentic bytes that are no claims, as another version would write them. What opens is spelt as we spell it.
fn foreign_claims(input: &mut Input<'_>) {
    let nonce: [u8; 12] = input.array();
    let mut sealed = input.0.get(..1400).unwrap_or(input.0).to_vec();
    let info = [&[0, 6][..], b"cookie", &[0, 5], REALM.as_bytes()].concat();
    let associated = [&[1][..], &KEY.to_be_bytes(), &info].concat();
    let tag = derived(&info).seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(associated),
        &mut sealed,
    );
    let all = [&[1][..], &KEY.to_be_bytes(), &nonce, &sealed, tag.expect("it seals").as_ref()].concat();
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(all));
    match ring().open(&token, Purpose::Cookie, &realm()) {
        Ok(opened) => assert_eq!(sealed_again(&token, &opened.claims, Purpose::Cookie), token),
        Err(error) => assert_eq!(error, OpenError::Claims),
    }
}

/// The key that the specification of the token says.
fn derived(info: &[u8]) -> LessSafeKey {
    let master: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap_or(0));
    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(b"octroi/session/v1"), &master)
        .expand(info, &mut key)
        .expect("32 bytes");
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).expect("32 bytes"))
}

fn sealed_again(token: &str, claims: &Claims, purpose: Purpose) -> String {
    let sealed = URL_SAFE_NO_PAD.decode(&token[TOKEN_PREFIX.len()..]).expect("it opened");
    let nonce = sealed[3..15].try_into().expect("12 bytes");
    ring().seal(claims, purpose, &realm(), nonce).expect("it was sealed once")
}

fn claims(input: &mut Input<'_>) -> Claims {
    const NAME: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const ROLE: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-";
    let visible: Vec<u8> = (b'!'..=b'~').collect();
    let mut time = || UnixTime::from_millis(u64::from_be_bytes(input.array()));
    let times = [time(), time(), time(), time(), time()];
    let [issued, auth_time, not_before, idle_end, absolute_end] = times;
    let roles = input.byte() % 33;
    Claims {
        id: SessionId::new(input.array()),
        tenant: input.text(NAME, 1, 64).parse().expect("a name"),
        user: input.text(&visible, 1, 256).parse().expect("a user"),
        roles: Roles::try_new(
            (0..roles).map(|_| input.text(ROLE, 1, 64)).collect::<Vec<_>>().iter().map(String::as_str),
        )
        .expect("roles"),
        issued,
        auth_time,
        not_before,
        idle_end,
        absolute_end,
        generation: u32::from_be_bytes(input.array()),
        epoch: u32::from_be_bytes(input.array()),
        binding: input.byte().is_multiple_of(2).then(|| input.array()),
    }
}

/// Makes the seeds: every token of the vectors, and claims of each kind.
pub fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let vectors = std::fs::read_to_string(root.join("tests/vectors/token_v1.json")).expect("the vectors");
    let tokens = vectors.split('"').filter(|text| text.starts_with(TOKEN_PREFIX));
    let mut seeds: Vec<Vec<u8>> = tokens.map(|token| [&[0], token.as_bytes()].concat()).collect();
    assert!(seeds.len() > 10, "the vectors hold tokens");
    seeds.push([vec![1], (0..=255).collect()].concat());
    seeds.push([vec![1], vec![3; 600]].concat());
    // Authentic claims: layout, session, times, counters, no binding, then the texts.
    let plain = [
        &[1][..],
        &[0x10; 16],
        &[0; 40],
        &[0, 0, 0, 1, 0, 0, 0, 3, 0],
        &[4],
        b"acme",
        &[0, 5],
        b"u_812",
        &[2, 5],
        b"admin",
        &[6],
        b"editor",
    ]
    .concat();
    seeds.push([&[2][..], &[0xa0; 12], &plain].concat());
    seeds
}
