//! Does the tenant take the word of the client's certificate?
//!
//! Chains, revocation lists and names were judged where TLS is spoken; what is left is whether a tenant is among those that accept.

use crate::{
    model::{Deny, Presented, Reason, Verdict},
    policy::{CertificateMode, ClientCertificates, Tenant},
};

/// Proves that the realm has the certificate it asks for. A certificate of one of its members will do where the realm itself needs
/// none: the session will say whose user this is. Observe mode does not relax it.
pub fn of_realm(presented: Option<&Presented>, realm: &Tenant) -> Verdict {
    let Some(rules) = &realm.client_certificate else { return Ok(()) };
    usable(rules, realm, Reason::ClientCertificateRefused)?;
    let Some(presented) = presented else { return needed(rules, realm, Reason::ClientCertificateMissing) };
    let of_a_member = || rules.mode == CertificateMode::Optional && presented.acceptance.tenants.iter().any(|name| realm.admits(name));
    if presented.is_accepted_by(&realm.name) || of_a_member() {
        return Ok(());
    }
    Err(refused(presented, rules, realm, Reason::ClientCertificateRefused))
}

/// Proves that a member has the certificate that it asks for. Where it is optional, another one's is still none of its own.
pub fn of_member(presented: Option<&Presented>, member: &Tenant) -> Verdict {
    let Some(rules) = &member.client_certificate else { return Ok(()) };
    usable(rules, member, Reason::MemberClientCertificateRefused)?;
    match presented {
        None => needed(rules, member, Reason::MemberClientCertificateMissing),
        Some(presented) if presented.is_accepted_by(&member.name) => Ok(()),
        Some(presented) => Err(refused(presented, rules, member, Reason::MemberClientCertificateRefused)),
    }
}

/// Refuses everybody while the CAs cannot be used, whoever has a certificate and whoever has none: what they would have said, and whom
/// they have revoked, is not known.
fn usable(rules: &ClientCertificates, tenant: &Tenant, reason: Reason) -> Verdict {
    match &rules.unusable {
        None => Ok(()),
        Some(trust) => {
            let detail = format!("the CAs of tenant `{}` cannot be used, so everybody is refused: {}", tenant.name, trust.why);
            Err(Deny::new(reason, detail).by(rules.origin))
        }
    }
}

fn needed(rules: &ClientCertificates, tenant: &Tenant, reason: Reason) -> Verdict {
    match rules.mode {
        CertificateMode::Optional => Ok(()),
        CertificateMode::Required => {
            let detail = format!("tenant `{}` requires a client certificate, the connection has none", tenant.name);
            Err(Deny::new(reason, detail).by(rules.origin))
        }
    }
}

fn refused(presented: &Presented, rules: &ClientCertificates, tenant: &Tenant, reason: Reason) -> Deny {
    // Said by nobody where somebody else accepts it.
    let why = &*presented.acceptance.why_not;
    let why = if why.is_empty() { "another tenant's CA made it" } else { why };
    Deny::new(reason, format!("tenant `{}` does not accept the certificate of {}: {why}", tenant.name, presented.certificate.subject))
        .by(rules.origin)
}
