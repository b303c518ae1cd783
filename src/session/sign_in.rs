//! Sign-ins that began here and come back from another site: OpenID Connect, OAuth 2.0, SAML.
//!
//! Where one begins, the app sends the browser to an identity provider, with a `state` of its own in the URL.
//! The browser gets a cookie that holds a hash of it, the *mark*. Who comes back without the mark, or with
//! another `state`, comes back from somebody else's sign-in.
//!
//! ```text
//! mark            = base64url(version ‖ key id ‖ nonce ‖ ciphertext ‖ tag); sizes, cipher, key as of a token
//! info            = u16(7) ‖ "sign-in" ‖ u16(length of realm) ‖ realm
//! plaintext       = until, milliseconds since 1970 (8) ‖ kind (1) ‖ hash (16), and of a kind with 4:
//!                   session that it replaces (16) ‖ its absolute end, milliseconds since 1970 (8)
//!                   ‖ name of its tenant
//! kind            = a sum of 1 where a form comes back, 2 where another site began it,
//!                   4 where it replaces a session
//! hash            = SHA-256("octroi/state/v1" ‖ state, percent-decoded, each `+` a blank)[0..16]
//! ```

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{
    KeyRing,
    cookie::{Readings, SUFFIX},
    key::{Use, VERSION},
    token::HEAD_BYTES,
};
use crate::model::{MAX_NAME_BYTES, SessionId, TenantName, UnixTime};

/// How long a sign-in may take, in seconds: to find a telephone, and no longer than providers keep their own.
pub const SIGN_IN_SECS: u64 = 600;

/// Most sign-ins of one browser at a time, each in a tab of its own. One more takes the place of the oldest.
pub const MOST_SIGN_INS: usize = 8;

/// Most of those that a page of another site led to, beside the others: what its pop-ups begin takes no place
/// of a sign-in that the user, or the realm's own page, began.
pub const MOST_FOREIGN_SIGN_INS: usize = 4;

/// How long it is remembered that a browser was sent to sign in again, in seconds: as long as the way there
/// and back takes where nobody is asked anything.
pub const AGAIN_SECS: u64 = 30;

/// What follows the name of the session cookie in the name of the one that says so. Its end is none that a
/// sign-in has, and it is taken out of what is forwarded as their marks are.
pub const AGAIN: &str = "-sign-in-tryagain";

const BYTES: usize = 8 + 1 + 16;
/// Of what it replaces: identifier, end, and the longest name.
const REPLACED: usize = 16 + 8;
const MOST_BYTES: usize = BYTES + REPLACED + MAX_NAME_BYTES;
const TAG: usize = 16;

/// A hash of a `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash([u8; 16]);

impl StateHash {
    /// Hashes a `state` as it stands in a query.
    ///
    /// Apps and providers encode it differently, blanks and plus signs above all, so that those two are one
    /// here.
    fn of(encoded: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"octroi/state/v1");
        for byte in decoded(encoded) {
            hash.update([byte]);
        }
        Self(hash.finalize().first_chunk().copied().unwrap_or_default())
    }

    /// Returns the end of the name of the cookie that holds the mark. Each sign-in has its own, so that tabs
    /// which begin at the same moment do not overwrite each other's.
    pub fn suffix(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{SUFFIX}{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

/// The session that a browser had where its sign-in began. The form that comes back from another site does
/// not bring it along (`SameSite=Lax`), and the sign-in replaces it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Which one.
    pub id: SessionId,
    /// Whose.
    pub tenant: TenantName,
    /// Its absolute end.
    pub ends: UnixTime,
}

/// A sign-in that began here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The `state` that comes back.
    pub state: StateHash,
    /// Whether it comes back as a form of another site, whose body nobody reads here.
    pub form: bool,
    /// Whether a page of another site led to it.
    pub foreign: bool,
    /// When it is too late.
    pub until: UnixTime,
    /// What it replaces.
    pub replaces: Option<Replaced>,
}

/// Reads where a redirect leads to; something comes back if it begins a sign-in: its query has one `state`,
/// or a `SAMLRequest`.
///
/// Whether a form comes back is what OpenID Connect asks for with `response_mode=form_post`, and what SAML
/// always does.
pub fn begins(location: &[u8]) -> Option<(StateHash, bool)> {
    let query = location.split(|&byte| byte == b'#').next()?;
    let query = query.get(memchr::memchr(b'?', query)?.checked_add(1)?..)?;
    if let Parameter::One(request) = parameter(query, "SAMLRequest") {
        let relay = match parameter(query, "RelayState") {
            Parameter::One(relay) => relay,
            Parameter::None | Parameter::Empty | Parameter::Several => request,
        };
        return Some((StateHash::of(relay), true));
    }
    let Parameter::One(state) = parameter(query, "state") else { return None };
    let form = match parameter(query, "response_mode") {
        Parameter::One(mode) => decoded(mode).take(9).eq(*b"form_post"),
        Parameter::None | Parameter::Empty | Parameter::Several => false,
    };
    Some((StateHash::of(state), form))
}

/// What the query of a request says of the sign-in that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Nothing.
    Nothing,
    /// This is its `state`.
    State(StateHash),
    /// Several, and nobody knows which one the app reads.
    Several,
}

/// Reads the query of a request.
///
/// Its `state` stands once, for every reader: Rack 2 and old Python end a parameter at `;` too, PHP, qs and
/// .NET read it under other names (`is_read_as`), and of two some take the first and some the last. No
/// provider sends any of that.
pub fn returned(query: &str) -> Returned {
    let name = |piece: &str| piece.split('=').next().unwrap_or_default().to_owned();
    let read = query.split(['&', ';']).filter(|piece| is_read_as(&name(piece), "state")).take(2).count();
    match (parameter(query.as_bytes(), "state"), read) {
        (Parameter::None, 0) | (Parameter::Empty, 1) => Returned::Nothing,
        (Parameter::One(state), 1) => Returned::State(StateHash::of(state)),
        (Parameter::None | Parameter::Empty | Parameter::One(_) | Parameter::Several, _) => Returned::Several,
    }
}

/// Says whether some app reads the name of a parameter as this one: in other letter case, percent-encoded
/// twice, with blanks around it or a NUL behind it, as an array (`state[]`, PHP; `[state]`, qs of Node), or
/// behind a second `?`.
fn is_read_as(name: &str, meant: &str) -> bool {
    let is = |name: &[u8]| {
        let name = name.strip_prefix(b"?").unwrap_or(name);
        let key = name
            .strip_prefix(b"[")
            .map_or(name, |key| key.split(|&byte| byte == b']').next().unwrap_or_default());
        key.eq_ignore_ascii_case(meant.as_bytes())
    };
    Readings::of(name.replace('+', " ").as_bytes()).any(is)
}

enum Parameter<'a> {
    None,
    /// It stands there, and says nothing.
    Empty,
    One(&'a [u8]),
    Several,
}

/// Finds a parameter of a query by its name, in whatever letter case, as some apps do.
fn parameter<'a>(query: &'a [u8], name: &str) -> Parameter<'a> {
    let is_meant = |key: &[u8]| {
        decoded(key)
            .map(|byte| byte.to_ascii_lowercase())
            .eq(name.bytes().map(|byte| byte.to_ascii_lowercase()))
    };
    let pairs = query.split(|&byte| byte == b'&').map(|pair| {
        let (key, value) =
            memchr::memchr(b'=', pair).and_then(|at| pair.split_at_checked(at)).unwrap_or((pair, &[]));
        (key, value.get(1..).unwrap_or_default())
    });
    let mut found = pairs.filter(|(key, _)| is_meant(key)).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (None, _) => Parameter::None,
        (Some([]), None) => Parameter::Empty,
        (Some(value), None) => Parameter::One(value),
        (Some(_), Some(_)) => Parameter::Several,
    }
}

fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    percent_encoding::percent_decode(text).map(|byte| if byte == b'+' { b' ' } else { byte })
}

impl KeyRing {
    /// Seals a mark for a realm with the minting key; nothing comes back where none mints.
    pub fn seal_sign_in(
        &self,
        sign_in: &SignIn,
        realm: &TenantName,
        nonce: [u8; NONCE_LEN],
    ) -> Option<String> {
        let id = self.minting()?.id;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + MOST_BYTES + TAG);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&sign_in.until.as_millis().to_be_bytes());
        sealed.push(
            u8::from(sign_in.form)
                | u8::from(sign_in.foreign) << 1
                | u8::from(sign_in.replaces.is_some()) << 2,
        );
        sealed.extend_from_slice(&sign_in.state.0);
        if let Some(replaced) = &sign_in.replaces {
            sealed.extend_from_slice(replaced.id.as_bytes());
            sealed.extend_from_slice(&replaced.ends.as_millis().to_be_bytes());
            sealed.extend_from_slice(replaced.tenant.as_str().as_bytes());
        }
        let tag = self.with(id, Use::SignIn, realm, |key| {
            let (_, plain) = sealed.split_at_mut_checked(HEAD_BYTES)?;
            key.aead
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&key.associated),
                    plain,
                )
                .ok()
        })??;
        sealed.extend_from_slice(tag.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a mark that was sealed for a realm by any key of the ring. Whether it is too late is for the
    /// caller.
    pub fn open_sign_in(&self, mark: &[u8], realm: &TenantName) -> Option<SignIn> {
        let mut buffer = [0; HEAD_BYTES + MOST_BYTES + TAG];
        let length = URL_SAFE_NO_PAD
            .decode_slice(mark, &mut buffer)
            .ok()
            .filter(|length| *length >= HEAD_BYTES + BYTES + TAG)?;
        let (&mut [version, high, low], rest) = buffer.get_mut(..length)?.split_first_chunk_mut()?;
        if version != VERSION {
            return None;
        }
        let (nonce, locked) = rest.split_first_chunk_mut()?;
        let plain = self.with(u16::from_be_bytes([high, low]), Use::SignIn, realm, |key| {
            key.aead
                .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(&key.associated), locked)
                .ok()
        })??;
        let (until, plain) = plain.split_first_chunk()?;
        let (&kind, plain) = plain.split_first()?;
        let (state, rest) = plain.split_first_chunk()?;
        let (state, until) = (StateHash(*state), UnixTime::from_millis(u64::from_be_bytes(*until)));
        let replaces = if kind & 4 == 4 { Some(replaced(rest)?) } else { None };
        let fits = kind < 8 && (replaces.is_some() || rest.is_empty());
        fits.then_some(SignIn { state, form: kind & 1 == 1, foreign: kind & 2 == 2, until, replaces })
    }
}

fn replaced(plain: &[u8]) -> Option<Replaced> {
    let (id, plain) = plain.split_first_chunk()?;
    let (ends, tenant) = plain.split_first_chunk()?;
    let tenant = std::str::from_utf8(tenant).ok()?.parse().ok()?;
    Some(Replaced { id: SessionId::new(*id), tenant, ends: UnixTime::from_millis(u64::from_be_bytes(*ends)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Secret,
        session::{MasterKey, Purpose},
    };

    fn ring(byte: u8) -> KeyRing {
        KeyRing::new(vec![MasterKey { id: 7, secret: Secret::new([byte; 32]), open_only: false }])
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    fn state(text: &str) -> StateHash {
        StateHash::of(text.as_bytes())
    }

    #[test]
    fn a_mark_opens_for_its_realm_alone_and_no_octet_of_it_can_be_changed() {
        let longest = "t".repeat(MAX_NAME_BYTES);
        let replaces = |tenant: &str| Replaced {
            id: SessionId::new([9; 16]),
            tenant: name(tenant),
            ends: UnixTime::from_secs(1_800_009_000),
        };
        let kinds = [
            (true, false, None),
            (false, false, None),
            (false, true, None),
            (true, true, None),
            (true, false, Some(replaces("a"))),
            (true, true, Some(replaces(&longest))),
        ];
        let until = UnixTime::from_secs(1_800_000_600);
        let sign_ins = kinds.map(|(form, foreign, replaces)| SignIn {
            state: state("abc"),
            form,
            foreign,
            until,
            replaces,
        });
        let mark = |sign_in| ring(1).seal_sign_in(sign_in, &name("lobby"), [9; 12]).unwrap();
        for sign_in in &sign_ins {
            assert_eq!(ring(1).open_sign_in(mark(sign_in).as_bytes(), &name("lobby")), Some(sign_in.clone()));
        }
        let [sign_in, ..] = sign_ins.clone();
        let mark = mark(&sign_in);

        assert_eq!(ring(1).open_sign_in(mark.as_bytes(), &name("acme")), None);
        assert_eq!(ring(2).open_sign_in(mark.as_bytes(), &name("lobby")), None);
        for at in 0..mark.len() {
            let mut bad = mark.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ring(1).open_sign_in(&bad, &name("lobby")), None, "{at}");
        }
        for bad in ["", "AA", &mark[1..], &format!("{mark}A"), &format!("{mark}=")] {
            assert_eq!(ring(1).open_sign_in(bad.as_bytes(), &name("lobby")), None, "{bad}");
        }
        // It is no token, and no token is one.
        for purpose in [Purpose::Cookie, Purpose::Bearer] {
            assert!(ring(1).open(format!("oct1.{mark}"), purpose, &name("lobby")).is_err());
        }
        let open_only =
            KeyRing::new(vec![MasterKey { id: 7, secret: Secret::new([1; 32]), open_only: true }]);
        assert_eq!(open_only.seal_sign_in(&sign_in, &name("lobby"), [9; 12]), None);
        assert_eq!(open_only.open_sign_in(mark.as_bytes(), &name("lobby")), Some(sign_in));
    }

    #[test]
    fn a_redirect_to_a_provider_begins_a_sign_in() {
        let begins = |location: &str| begins(location.as_bytes());
        let lax = |text: &str| Some((state(text), false));
        let form = |text: &str| Some((state(text), true));

        assert_eq!(begins("https://idp.test/authorize?client_id=a&state=abc&nonce=n"), lax("abc"));
        assert_eq!(begins("https://idp.test/authorize?state=abc&response_mode=form_post"), form("abc"));
        assert_eq!(begins("https://idp.test/authorize?state=abc&response_mode=form_post.jwt"), form("abc"));
        assert_eq!(begins("https://idp.test/authorize?state=abc&response_mode=query"), lax("abc"));
        assert_eq!(begins("/idp/authorize?state=abc"), lax("abc"));
        assert_eq!(begins("//idp.test/?state=abc#state=def"), lax("abc"));
        assert_eq!(begins("?state=abc"), lax("abc"));
        assert_eq!(begins("https://idp.test/sso?SAMLRequest=fZ&RelayState=token"), form("token"));
        assert_eq!(begins("https://idp.test/sso?SAMLRequest=fZ"), form("fZ"));
        for none in [
            "",
            "/",
            "/home?estate=abc",
            "https://idp.test/#?state=abc",
            "https://idp.test/?state=",
            "https://idp.test/?state",
            "https://idp.test/?state=a&state=b",
            "https://idp.test/?state=a&st%61te=b",
            "https://idp.test/?request_uri=urn:x",
        ] {
            assert_eq!(begins(none), None, "{none}");
        }
    }

    #[test]
    fn a_state_is_the_same_however_it_is_encoded() {
        let returned_state = |query: &str, sent: &str| returned(query) == Returned::State(state(sent));

        for (sent, back) in [
            ("a%2Fb%3D", "a/b="),
            ("a/b=", "a%2fb%3D"),
            ("a%20b", "a+b"),
            ("a+b", "a%2Bb"),
            ("%C3%A9", "%c3%a9"),
            ("eyJ4IjoxfQ==", "eyJ4IjoxfQ%3D%3D"),
        ] {
            assert!(returned_state(&format!("code=x&state={back}&iss=y"), sent), "{sent} {back}");
        }
        assert!(
            !returned_state("state=abd", "abc")
                && !returned_state("state=abc%00", "abc")
                && !returned_state("state=ABC", "abc")
        );
        for nothing in [
            "",
            "code=x",
            "state=",
            "state",
            "states=abc",
            "session_state=abc",
            "the.state=abc",
            "x[state]=abc",
        ] {
            assert_eq!(returned(nothing), Returned::Nothing, "{nothing}");
        }
        for several in
            ["state=a&state=a", "state=a&state=", "state=a&%73tate=b", "State=a&state=b", "state&state=a"]
        {
            assert_eq!(returned(several), Returned::Several, "{several}");
        }
    }

    #[test]
    fn a_second_state_that_only_some_apps_read_is_one() {
        for other in [
            "x=1;state",
            "x;state",
            ";%53tate",
            "amp;state",
            "+state",
            "%20state",
            "state+",
            "%09state",
            "state%00",
            "state%00x",
            "state[]",
            "state%5B%5D",
            "state[x]",
            "[state]",
            "[state][]",
            "%255Bstate]",
            "%2573tate",
            "%u0073tate",
            "st%U0061t%65",
            "?state",
            "%22state%22",
        ] {
            for query in [
                format!("code=x&{other}=zzz&state=abc"),
                format!("state=abc&{other}=zzz"),
                format!("{other}=zzz"),
            ] {
                assert_eq!(returned(&query), Returned::Several, "{query}");
            }
        }
        for (query, sent) in [
            ("state=abc;/home&code=x", "abc;/home"),
            ("session_state=zzz;x&state=abc", "abc"),
            ("state=abc&substate=zzz&state2=zzz&state_=zzz&state.x=zzz", "abc"),
            ("x[state]=zzz&state=abc&%u0073tat=zzz&iss=https://idp.test/?state=zzz", "abc"),
        ] {
            assert_eq!(returned(query), Returned::State(state(sent)), "{query}");
        }
    }
}
