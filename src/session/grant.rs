//! The two fields by which an app speaks of sessions: `Octroi-Session-Grant` and `Octroi-Session-Revoke`.
//!
//! Both are structured fields (RFC 9651), dictionaries, read strictly: they make sessions, so what an app did
//! not clearly say is refused.

use std::time::Duration;

use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::Roles;
use crate::model::{TenantName, UserId};

/// Most bytes of one of these fields, all lines joined.
const MAX_BYTES: usize = 4096;

/// An app's word that a sign-in succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who signed in: `user="u_812"`.
    pub user: UserId,
    /// What they may do: `roles=("admin" "editor")`; none if the key is absent.
    pub roles: Roles,
    /// Whose user: `tenant="acme"`; the realm if the key is absent.
    pub tenant: Option<TenantName>,
    /// How long at most: `absolute=28800`, in seconds; it may only shorten.
    pub absolute: Option<Duration>,
}

/// Whose sessions an app wants to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeRequest {
    /// The session of the request: `self`.
    Own,
    /// Every session of a user of the same tenant: `user="u_812"`.
    User(UserId),
}

/// Why a grant or a request to revoke is malformed. The texts hold no value of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// More than 4 KiB.
    #[error("the field has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not a dictionary.
    #[error("the field is not a structured-field dictionary (RFC 9651): {0}")]
    Syntax(&'static str),
    /// A key stands twice. The standard would take the last; two that differ are a mistake or an injection.
    #[error("a key stands more than once")]
    Duplicate,
    /// A key that the contract does not have.
    #[error("the key `{0}` is not known")]
    Unknown(Box<str>),
    /// A key that must stand.
    #[error("the key `{0}` is missing")]
    Missing(&'static str),
    /// A value of another type, out of bounds, or with parameters.
    #[error("the value of `{key}` is not {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it would have to be.
        expected: &'static str,
    },
}

const USER: GrantError =
    GrantError::Value { key: "user", expected: "a string of 1 to 256 visible ASCII characters" };
const ROLES: GrantError =
    GrantError::Value { key: "roles", expected: "a list of at most 32 strings `[A-Za-z0-9._:-]{1,64}`" };
const TENANT: GrantError = GrantError::Value { key: "tenant", expected: "a tenant's name, as a string" };
const ABSOLUTE: GrantError =
    GrantError::Value { key: "absolute", expected: "a whole number of seconds over 0" };
const OWN: GrantError = GrantError::Value { key: "self", expected: "alone or true" };

/// Reads the lines of an `Octroi-Session-Grant` field.
pub fn parse(field_lines: &[&[u8]]) -> Result<Grant, GrantError> {
    let (mut user, mut roles, mut tenant, mut absolute) = (None, Roles::default(), None, None);
    for (key, member) in dictionary(field_lines)? {
        match key.as_str() {
            "user" => user = Some(parse_user(&member)?),
            "roles" => roles = parse_roles(&member).ok_or(ROLES)?,
            "tenant" => tenant = Some(string(&member).and_then(|text| text.parse().ok()).ok_or(TENANT)?),
            "absolute" => absolute = Some(parse_seconds(&member).ok_or(ABSOLUTE)?),
            _ => return Err(GrantError::Unknown(key.into())),
        }
    }
    Ok(Grant { user: user.ok_or(GrantError::Missing("user"))?, roles, tenant, absolute })
}

/// Reads the lines of an `Octroi-Session-Revoke` field: `self` or `user="…"`, not both.
pub fn parse_revoke(field_lines: &[&[u8]]) -> Result<RevokeRequest, GrantError> {
    let mut request = None;
    for (key, member) in dictionary(field_lines)? {
        let found = match key.as_str() {
            "self" if bare(&member) == Some(&BareItem::Boolean(true)) => RevokeRequest::Own,
            "self" => return Err(OWN),
            "user" => RevokeRequest::User(parse_user(&member)?),
            _ => return Err(GrantError::Unknown(key.into())),
        };
        if request.replace(found).is_some() {
            return Err(OWN);
        }
    }
    request.ok_or(GrantError::Missing("self"))
}

/// Joins the lines (RFC 9651, section 4.2) and reads the dictionary, which must not name a key twice.
fn dictionary(field_lines: &[&[u8]]) -> Result<Dictionary, GrantError> {
    let bytes =
        field_lines.iter().fold(0_usize, |sum, line| sum.saturating_add(line.len()).saturating_add(2));
    if bytes.saturating_sub(2) > MAX_BYTES {
        return Err(GrantError::TooLarge);
    }
    let joined = field_lines.join(b", ".as_slice());
    let dictionary = Parser::parse_dictionary(&joined).map_err(GrantError::Syntax)?;
    if dictionary.len() < members(&joined) {
        return Err(GrantError::Duplicate);
    }
    Ok(dictionary)
}

/// Counts the members of a well-formed dictionary: commas stand between members and in strings only.
fn members(dictionary: &[u8]) -> usize {
    let (mut members, mut quoted, mut escaped) = (1, false, false);
    for byte in dictionary {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => members += 1,
            _ => {}
        }
    }
    if dictionary.iter().all(|byte| *byte == b' ') { 0 } else { members }
}

/// The value of an item without parameters. Parameters would say something that nobody reads.
fn bare(member: &ListEntry) -> Option<&BareItem> {
    match member {
        ListEntry::Item(Item { bare_item, params }) if params.is_empty() => Some(bare_item),
        ListEntry::Item(_) | ListEntry::InnerList(_) => None,
    }
}

fn string(member: &ListEntry) -> Option<&str> {
    bare(member).and_then(BareItem::as_str)
}

fn parse_user(member: &ListEntry) -> Result<UserId, GrantError> {
    string(member).and_then(|text| text.parse().ok()).ok_or(USER)
}

fn parse_roles(member: &ListEntry) -> Option<Roles> {
    let ListEntry::InnerList(list) = member else { return None };
    if !list.params.is_empty() {
        return None;
    }
    let roles = list.items.iter().map(|item| item.bare_item.as_str().filter(|_| item.params.is_empty()));
    Roles::with_capacity(0, roles).ok()
}

fn parse_seconds(member: &ListEntry) -> Option<Duration> {
    let seconds = bare(member)?.as_int()?;
    u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant(text: &str) -> Result<Grant, GrantError> {
        parse(&[text.as_bytes()])
    }

    fn request(text: &str) -> Result<RevokeRequest, GrantError> {
        parse_revoke(&[text.as_bytes()])
    }

    fn only(user: &str) -> Grant {
        Grant { user: user.parse().unwrap(), roles: Roles::default(), tenant: None, absolute: None }
    }

    #[test]
    fn a_grant_says_who_and_may_say_more() {
        let full = Grant {
            user: "u_812".parse().unwrap(),
            roles: Roles::try_new(["admin", "editor"]).unwrap(),
            tenant: Some("acme".parse().unwrap()),
            absolute: Some(Duration::from_secs(28_800)),
        };

        assert_eq!(
            grant(r#"user="u_812", roles=("admin" "editor"), tenant="acme", absolute=28800"#),
            Ok(full.clone())
        );
        assert_eq!(
            parse(&[
                br#"absolute=28800,roles=( "admin"  "editor" )"#,
                br#"tenant="acme""#,
                br#"user="u_812""#
            ]),
            Ok(full)
        );
        assert_eq!(grant(r#"user="u_812""#), Ok(only("u_812")));
        assert_eq!(grant(r#"user="u_812", roles=()"#), Ok(only("u_812")));
        assert_eq!(grant(r#"user="a,b\"c\\""#), Ok(only(r#"a,b"c\"#)));
    }

    #[test]
    fn a_key_stands_once() {
        assert_eq!(grant(r#"user="a", user="b""#), Err(GrantError::Duplicate));
        assert_eq!(grant(r#"user="a", user="a""#), Err(GrantError::Duplicate));
        assert_eq!(grant(r#"user="a", tenant="x, user=y", tenant="\", z""#), Err(GrantError::Duplicate));
        assert_eq!(parse(&[br#"user="a""#, br#"user="b""#]), Err(GrantError::Duplicate));
    }

    #[test]
    fn what_the_contract_does_not_have_is_refused() {
        assert_eq!(grant(r#"user="a", role=("x")"#), Err(GrantError::Unknown("role".into())));
        assert_eq!(grant(""), Err(GrantError::Missing("user")));
        assert_eq!(parse(&[]), Err(GrantError::Missing("user")));
        assert_eq!(grant(r#"roles=("x")"#), Err(GrantError::Missing("user")));
        assert!(matches!(grant("user=\"a\","), Err(GrantError::Syntax(_))));
        assert!(matches!(grant("user=\"a"), Err(GrantError::Syntax(_))));
        assert!(matches!(grant("User=\"a\""), Err(GrantError::Syntax(_))));
        assert!(matches!(grant("user=\"é\""), Err(GrantError::Syntax(_))));
        assert!(matches!(parse(&[b"user=\"a\"", b""]), Err(GrantError::Syntax(_))));
    }

    #[test]
    fn values_have_their_type_and_bounds() {
        for text in [
            r#"user=a"#,
            r#"user=("a")"#,
            "user",
            r#"user="""#,
            r#"user="a b""#,
            r#"user="a";x=1"#,
            "user=1",
            "user=:YQ==:",
        ] {
            assert_eq!(grant(text), Err(USER), "{text}");
        }
        for roles in [r#""x""#, "(x)", r#"("a,b")"#, r#"("")"#, r#"("a");x"#, r#"("a";x)"#, "?1"] {
            assert_eq!(grant(&format!(r#"user="a", roles={roles}"#)), Err(ROLES), "{roles}");
        }
        for absolute in ["0", "-1", "1.0", "\"1\"", "?1", "1;x"] {
            assert_eq!(grant(&format!(r#"user="a", absolute={absolute}"#)), Err(ABSOLUTE), "{absolute}");
        }
        for tenant in ["acme", r#""""#, r#""a b""#, r#""-a""#] {
            assert_eq!(grant(&format!(r#"user="a", tenant={tenant}"#)), Err(TENANT), "{tenant}");
        }
    }

    #[test]
    fn lists_and_fields_are_bounded() {
        let roles = |count: usize| {
            grant(&format!(r#"user="a", roles=({})"#, vec![r#""r""#; count].join(" ")))
                .map(|grant| grant.roles.len())
        };
        let user = |length: usize| grant(&format!(r#"user="{}""#, "a".repeat(length))).is_ok();

        assert_eq!(roles(32), Ok(32));
        assert_eq!(roles(33), Err(ROLES));
        assert!(user(256));
        assert!(!user(257));
        assert_eq!(grant(&format!("user=\"a\"{}", " ".repeat(MAX_BYTES - 8))), Ok(only("a")));
        assert_eq!(grant(&format!("user=\"a\"{}", " ".repeat(MAX_BYTES - 7))), Err(GrantError::TooLarge));
    }

    #[test]
    fn a_wish_is_for_oneself_or_a_user() {
        assert_eq!(request("self"), Ok(RevokeRequest::Own));
        assert_eq!(request("self=?1"), Ok(RevokeRequest::Own));
        assert_eq!(request(r#"user="u_812""#), Ok(RevokeRequest::User("u_812".parse().unwrap())));
        assert_eq!(request("self=?0"), Err(OWN));
        assert_eq!(request("self;now"), Err(OWN));
        assert_eq!(request(r#"self, user="a""#), Err(OWN));
        assert_eq!(request("self, self"), Err(GrantError::Duplicate));
        assert_eq!(request("all"), Err(GrantError::Unknown("all".into())));
        assert_eq!(request(""), Err(GrantError::Missing("self")));
    }

    /// `tests/third_party.rs` asks the same of the IETF's dictionaries.
    #[test]
    fn members_are_counted_right() {
        let cases: [(&[&str], usize); 13] = [
            (&[""], 0),
            (&["   "], 0),
            (&["a"], 1),
            (&["a=1"], 1),
            (&["  a=1  ,\t b=2 "], 2),
            (&["a=1", "b=2"], 2),
            (&["a", "", "b"], 0),
            (&["a, b, c"], 3),
            (&[r#"a="x,y", b="""#], 2),
            (&[r#"a="\"", b="\\", c="\\\",""#], 3),
            (&[r#"a=("x,y" t;p="," 1.5);q, b"#], 2),
            (&[r#"a=1;p=",";q=?0, b;r=:YQ==:, *c=t/o:k"#], 3),
            (&["a=-1,b=-1.5,c=:w4Zi:,d=?1,e=()"], 5),
        ];
        for (lines, count) in cases {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let joined = lines.join(b", ".as_slice());
            let text = String::from_utf8_lossy(&joined);
            match Parser::parse_dictionary(&joined) {
                Ok(read) => assert_eq!((members(&joined), read.len()), (count, count), "{text}"),
                // A line of nothing between two others is no member, and no dictionary (RFC 9651, section
                // 4.2.2).
                Err(_) => assert_eq!(count, 0, "{text}"),
            }
        }
        for twice in [r#"a=1, b=",", a=1"#, "a, a", r#"a="a", b, a;p"#] {
            assert!(matches!(dictionary(&[twice.as_bytes()]), Err(GrantError::Duplicate)), "{twice}");
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..3), text in r#"(user|roles|self|absolute|=|"|\\|,| |\(|\)|;|a|1){0,20}"#) {
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let _ = (parse(&lines), parse_revoke(&lines), grant(&text), request(&text));
        }
    }
}
