//! Does the tenant accept the client's certificate?
//!
//! Chains, revocation lists and names were verified where TLS is terminated; what is left is whether the
//! tenant is among those that accept the certificate.

use crate::{
    model::{Deny, Presented, Reason, Verdict},
    policy::{CertificateMode, ClientCertificates, Tenant},
};

/// Proves that the client has the certificate that the realm requires. One that a member accepts is enough
/// where the realm itself requires none: the session will say whose user this is. Observe mode does not relax
/// it.
pub fn of_realm(presented: Option<&Presented>, realm: &Tenant) -> Verdict {
    let Some(rules) = &realm.client_certificate else { return Ok(()) };
    usable(rules, realm, Reason::ClientCertificateRefused)?;
    let Some(presented) = presented else { return needed(rules, realm, Reason::ClientCertificateMissing) };
    let of_a_member = || {
        rules.mode == CertificateMode::Optional
            && presented.acceptance.tenants.iter().any(|name| realm.admits(name))
    };
    if presented.is_accepted_by(&realm.name) || of_a_member() {
        return Ok(());
    }
    Err(refused(presented, rules, realm, Reason::ClientCertificateRefused))
}

/// Proves that the client has the certificate that a member requires. Where it is optional, a certificate of
/// another member still counts as none.
pub fn of_member(presented: Option<&Presented>, member: &Tenant) -> Verdict {
    let Some(rules) = &member.client_certificate else { return Ok(()) };
    usable(rules, member, Reason::MemberClientCertificateRefused)?;
    match presented {
        None => needed(rules, member, Reason::MemberClientCertificateMissing),
        Some(presented) if presented.is_accepted_by(&member.name) => Ok(()),
        Some(presented) => Err(refused(presented, rules, member, Reason::MemberClientCertificateRefused)),
    }
}

/// Refuses everybody while the CAs cannot be used, with or without a certificate: which certificates they
/// would have accepted or revoked is unknown.
fn usable(rules: &ClientCertificates, tenant: &Tenant, reason: Reason) -> Verdict {
    match &rules.unusable {
        None => Ok(()),
        Some(trust) => {
            let detail = format!(
                "the CAs of tenant `{}` cannot be used, so everybody is refused: {}",
                tenant.name, trust.why
            );
            Err(Deny::new(reason, detail).by(rules.origin))
        }
    }
}

fn needed(rules: &ClientCertificates, tenant: &Tenant, reason: Reason) -> Verdict {
    match rules.mode {
        CertificateMode::Optional => Ok(()),
        CertificateMode::Required => {
            let detail =
                format!("tenant `{}` requires a client certificate, the connection has none", tenant.name);
            Err(Deny::new(reason, detail).by(rules.origin))
        }
    }
}

fn refused(presented: &Presented, rules: &ClientCertificates, tenant: &Tenant, reason: Reason) -> Deny {
    // The reason is not repeated where another tenant accepts the certificate.
    let why = &*presented.acceptance.why_not;
    let why = if why.is_empty() { "another tenant's CA made it" } else { why };
    Deny::new(
        reason,
        format!(
            "tenant `{}` does not accept the certificate of {}: {why}",
            tenant.name, presented.certificate.subject
        ),
    )
    .by(rules.origin)
}
