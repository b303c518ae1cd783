//! What an app says of sessions: two dictionaries, read strictly, with one meaning.

use std::path::Path;

use octroi::session::grant::{Grant, RevokeRequest, parse, parse_revoke};

use super::input::lines;

/// Judges one input: the lines of either field.
pub fn run(data: &[u8]) {
    let lines = lines(data);
    if let Ok(grant) = parse(&lines) {
        assert!(grant.roles.len() <= 32);
        assert!(grant.roles.iter().all(|role| (1..=64).contains(&role.len())));
        assert!(grant.absolute.is_none_or(|absolute| !absolute.is_zero()));
        assert_eq!(parse(&[written(&grant).as_bytes()]).as_ref(), Ok(&grant));
        // A grant is no wish to revoke unless it only names a user.
        if parse_revoke(&lines).is_ok() {
            assert!(grant.roles.is_empty() && grant.tenant.is_none() && grant.absolute.is_none());
        }
    }
    if let Ok(wish) = parse_revoke(&lines) {
        let again = match &wish {
            RevokeRequest::Own => "self".to_owned(),
            RevokeRequest::User(user) => format!("user={}", quoted(user.as_str())),
        };
        assert_eq!(parse_revoke(&[again.as_bytes()]), Ok(wish));
    }
}

fn written(grant: &Grant) -> String {
    let mut text = format!("user={}", quoted(grant.user.as_str()));
    if !grant.roles.is_empty() {
        let roles: Vec<String> = grant.roles.iter().map(quoted).collect();
        text.push_str(&format!(", roles=({})", roles.join(" ")));
    }
    if let Some(tenant) = &grant.tenant {
        text.push_str(&format!(", tenant=\"{tenant}\""));
    }
    if let Some(absolute) = grant.absolute {
        text.push_str(&format!(", absolute={}", absolute.as_secs()));
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    [
        "user=\"u_812\", roles=(\"admin\" \"editor\"), tenant=\"acme\", absolute=28800",
        "user=\"u_812\"\nroles=(\"a:b\" \"c.d\")",
        "user=\"a\\\\b\\\"c\"",
        "self",
        "self=?1",
        "self=?0",
        "self;a=1",
        "user=\"a\", user=\"b\"",
        "user=:YQ==:, roles=\"a\", tenant=acme, absolute=1.5",
        "user=%\"caf%c3%a9\", absolute=@1800000000",
        "user=\"a\", absolute=-1, roles=()",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
