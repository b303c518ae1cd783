//! Who signed in, found in what the app signed.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Authentic, ForeignError, Format, Json};
use crate::{
    model::{SessionId, TenantName, UserId},
    session::{Claims, Roles},
};

/// Where a claim stands: the names of members, from the outside in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(pub Box<[Box<str>]>);

/// Which claims say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The user: a text, or a whole number. A session without one is nobody's.
    pub user: ClaimPath,
    /// The roles: a list of texts, or one text with blanks between them.
    pub roles: Option<ClaimPath>,
    /// The tenant; the realm where no claim is named.
    pub tenant: Option<ClaimPath>,
    /// When the user signed in, in seconds since 1970; when it was signed where no claim is named.
    pub auth_time: Option<ClaimPath>,
    /// What stays the same while the login lasts; the signed text where no claim is named.
    pub session: Option<ClaimPath>,
    /// How long after it was signed it holds, or after the sign-in where that is not said.
    pub max_age: Option<Duration>,
}

impl ClaimPath {
    /// Names a member of the outermost map.
    pub fn named(name: &str) -> Self {
        Self([name.into()].into())
    }

    /// Finds the claim. What is `null` is not there.
    fn find<'j>(&self, payload: &'j Json) -> Option<&'j Json> {
        self.0.iter().try_fold(payload, |json, name| json.member(name)).filter(|json| **json != Json::Null)
    }
}

impl Mapping {
    /// Makes claims of what is authentic; `None` where nobody signed in, as in the session of a visitor.
    ///
    /// They hold the ends that the token or `max_age` sets; no foreign session has an idle end of ours, nor a
    /// binding, nor an epoch.
    pub fn claims(
        &self,
        format: Format,
        authentic: &Authentic<'_>,
        realm: &TenantName,
    ) -> Result<Option<Claims>, ForeignError> {
        let payload = &authentic.payload;
        let Some(user) = self.user.find(payload) else { return Ok(None) };
        let user = user_of(user).ok_or(ForeignError::Claim {
            claim: "user",
            expected: "1 to 256 visible ASCII characters, or a number",
        })?;
        let tenant: TenantName = match &self.tenant {
            None => realm.clone(),
            Some(path) => path
                .find(payload)
                .and_then(Json::text)
                .and_then(|name| name.parse().ok())
                .ok_or(ForeignError::Claim { claim: "tenant", expected: "a tenant's name" })?,
        };
        if authentic.tenants.is_some_and(|tenants| !tenants.contains(&tenant)) {
            return Err(ForeignError::Tenant { key: authentic.key.into(), tenant });
        }
        let roles = match self.roles.as_ref().and_then(|path| path.find(payload)) {
            None => Roles::default(),
            Some(roles) => roles_of(roles).ok_or(ForeignError::Claim {
                claim: "list of roles",
                expected: "at most 32 of 1 to 64 letters, digits, `.`, `_`, `:` and `-`",
            })?,
        };
        let signed_in = match &self.auth_time {
            None => authentic.made,
            Some(path) => path.find(payload).and_then(Json::time),
        };
        let auth_time = signed_in.ok_or(ForeignError::Claim {
            claim: "time of the sign-in",
            expected: "a number of seconds since 1970",
        })?;
        let issued = authentic.made.unwrap_or(auth_time);
        let aged = self.max_age.map(|age| issued.plus(age));
        let absolute_end = [authentic.ends, aged].into_iter().flatten().min();
        let absolute_end = absolute_end
            .ok_or(ForeignError::Claim { claim: "end", expected: "said by the token, nor by `max_age`" })?;
        let id = self.id(format, authentic, &tenant)?;
        Ok(Some(Claims {
            id,
            tenant,
            user,
            roles,
            issued,
            auth_time,
            // A sign-in that lies ahead would escape the end of all of a user's sessions.
            not_before: authentic.begins.unwrap_or(issued).max(auth_time),
            idle_end: absolute_end,
            absolute_end,
            generation: 0,
            epoch: 0,
            binding: None,
        }))
    }

    fn id(
        &self,
        format: Format,
        authentic: &Authentic<'_>,
        tenant: &TenantName,
    ) -> Result<SessionId, ForeignError> {
        let named = match &self.session {
            None => None,
            Some(path) => {
                let claim = path.find(&authentic.payload).and_then(name_of);
                Some(claim.ok_or(ForeignError::Claim { claim: "session", expected: "a text, or a number" })?)
            }
        };
        let (kind, text) = named.as_deref().map_or(("token", &*authentic.signed), |claim| ("claim", claim));
        let mut hash = Sha256::new();
        hash.update(b"octroi/foreign/v1");
        for part in [format.as_str(), tenant.as_str(), kind, text] {
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Ok(SessionId::new(hash.finalize().first_chunk().copied().unwrap_or_default()))
    }
}

/// A text that is not empty, or a whole number.
fn name_of(json: &Json) -> Option<String> {
    match json {
        Json::Text(text) if !text.is_empty() => Some(text.as_ref().to_owned()),
        Json::Whole(number) => Some(number.to_string()),
        Json::Text(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Map(_) => None,
    }
}

fn user_of(json: &Json) -> Option<UserId> {
    name_of(json)?.parse().ok()
}

fn roles_of(json: &Json) -> Option<Roles> {
    match json {
        // As OAuth writes scopes (RFC 6749, section 3.3).
        Json::Text(text) => Roles::try_new(text.split(' ').filter(|role| !role.is_empty())).ok(),
        Json::List(items) => Roles::with_capacity(0, items.iter().map(Json::text)).ok(),
        Json::Null | Json::Bool(_) | Json::Whole(_) | Json::Number(_) | Json::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::model::UnixTime;

    const MADE: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn mapping() -> Mapping {
        let path = |name: &str| Some(ClaimPath::named(name));
        Mapping {
            user: ClaimPath::named("sub"),
            roles: Some(ClaimPath(["realm".into(), "roles".into()].into())),
            tenant: path("tenant"),
            auth_time: path("at"),
            session: path("sid"),
            max_age: Some(Duration::from_secs(60)),
        }
    }

    fn authentic<'a>(payload: &str, tenants: Option<&'a [TenantName]>) -> Authentic<'a> {
        Authentic {
            key: "k",
            tenants,
            payload: Json::parse(payload.as_bytes()).unwrap(),
            signed: Cow::Borrowed("signed"),
            made: Some(MADE),
            begins: None,
            ends: None,
        }
    }

    fn claims(payload: &str) -> Result<Option<Claims>, ForeignError> {
        mapping().claims(Format::Jwt, &authentic(payload, None), &"lobby".parse().unwrap())
    }

    fn claim(payload: &str) -> Option<&'static str> {
        match claims(payload) {
            Err(ForeignError::Claim { claim, .. }) => Some(claim),
            _ => None,
        }
    }

    const WHOLE: &str =
        r#"{"sub":"u_1","realm":{"roles":["a","b:c"]},"tenant":"acme","at":1799999990,"sid":7}"#;

    #[test]
    fn claims_become_a_session() {
        let found = claims(WHOLE).unwrap().unwrap();

        assert_eq!((found.user.as_str(), found.tenant.as_str()), ("u_1", "acme"));
        assert_eq!(found.roles, Roles::try_new(["a", "b:c"]).unwrap());
        assert_eq!(
            (found.auth_time, found.issued, found.not_before),
            (UnixTime::from_secs(1_799_999_990), MADE, MADE)
        );
        assert_eq!(
            (found.absolute_end, found.idle_end),
            (UnixTime::from_secs(1_800_000_060), found.absolute_end)
        );
    }

    #[test]
    fn who_has_no_user_is_nobody() {
        assert_eq!(claims(r#"{"csrf":"x"}"#), Ok(None));
        assert_eq!(claims(r#"{"sub":null,"tenant":1}"#), Ok(None));
        assert_eq!(claim(r#"{"sub":""}"#), Some("user"));
        assert_eq!(claim(r#"{"sub":["u"]}"#), Some("user"));
        assert_eq!(claim(r#"{"sub":"é"}"#), Some("user"));
    }

    #[test]
    fn a_claim_that_is_named_must_be_there() {
        let without = |part: &str| WHOLE.replace(part, "\"x\":0");

        assert_eq!(claim(&without(r#""tenant":"acme""#)), Some("tenant"));
        assert_eq!(claim(&without(r#""at":1799999990"#)), Some("time of the sign-in"));
        assert_eq!(claim(&without(r#""sid":7"#)), Some("session"));
        assert_eq!(claims(&without(r#""realm":{"roles":["a","b:c"]}"#)).unwrap().unwrap().roles.len(), 0);
        assert_eq!(claim(&WHOLE.replace(r#"["a","b:c"]"#, r#"["a b"]"#)), Some("list of roles"));
        assert_eq!(claim(&WHOLE.replace(r#"["a","b:c"]"#, "1")), Some("list of roles"));
        assert_eq!(
            claims(&WHOLE.replace(r#"["a","b:c"]"#, r#""read write""#)).unwrap().unwrap().roles,
            Roles::try_new(["read", "write"]).unwrap()
        );
    }

    #[test]
    fn roles_are_bounded() {
        let with = |count: usize| WHOLE.replace(r#"["a","b:c"]"#, &format!("{:?}", vec!["r"; count]));

        assert_eq!(claims(&with(32)).unwrap().unwrap().roles.len(), 32);
        assert_eq!(claim(&with(33)), Some("list of roles"));
    }

    #[test]
    fn without_a_claim_the_realm_is_the_tenant_and_the_text_the_session() {
        let bare = Mapping { tenant: None, session: None, auth_time: None, ..mapping() };
        let of = |realm: &str, signed: &'static str| {
            let authentic = Authentic { signed: Cow::Borrowed(signed), ..authentic(WHOLE, None) };
            bare.claims(Format::Jwt, &authentic, &realm.parse().unwrap()).unwrap().unwrap()
        };

        assert_eq!((of("lobby", "a").tenant.as_str(), of("lobby", "a").auth_time), ("lobby", MADE));
        assert_eq!(of("lobby", "a").id, of("lobby", "a").id);
        assert_ne!(of("lobby", "a").id, of("lobby", "b").id);
        assert_ne!(of("lobby", "a").id, of("acme", "a").id);
        // The claim `7` and the signed text `7` are two sessions.
        let named = Mapping { tenant: None, ..mapping() }.claims(
            Format::Jwt,
            &authentic(WHOLE, None),
            &"lobby".parse().unwrap(),
        );
        assert_ne!(named.unwrap().unwrap().id, of("lobby", "7").id);
    }

    #[test]
    fn a_key_speaks_only_for_its_tenants() {
        let (acme, globex): (TenantName, TenantName) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let with = |tenants: &[TenantName]| {
            mapping().claims(Format::Jwt, &authentic(WHOLE, Some(tenants)), &"lobby".parse().unwrap())
        };

        assert!(with(&[globex.clone(), acme.clone()]).is_ok());
        assert_eq!(with(&[globex]), Err(ForeignError::Tenant { key: "k".into(), tenant: acme }));
    }

    #[test]
    fn the_earlier_end_counts_and_there_must_be_one() {
        let ends = |exp: Option<u64>, age: Option<u64>| {
            let authentic = Authentic { ends: exp.map(UnixTime::from_secs), ..authentic(WHOLE, None) };
            let mapping = Mapping { max_age: age.map(Duration::from_secs), ..mapping() };
            mapping
                .claims(Format::Jwt, &authentic, &"lobby".parse().unwrap())
                .map(|claims| claims.unwrap().absolute_end.as_secs())
        };

        assert_eq!(ends(Some(1_800_000_050), Some(60)), Ok(1_800_000_050));
        assert_eq!(ends(Some(1_800_000_070), Some(60)), Ok(1_800_000_060));
        assert_eq!(ends(Some(1_800_000_070), None), Ok(1_800_000_070));
        assert!(ends(None, None).is_err());
    }

    #[test]
    fn a_sign_in_that_lies_ahead_begins_then() {
        let ahead = claims(&WHOLE.replace("1799999990", "1800009999")).unwrap().unwrap();

        assert_eq!(ahead.not_before, UnixTime::from_secs(1_800_009_999));
    }
}
