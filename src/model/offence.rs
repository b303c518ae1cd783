//! Which refusals of requests are held against a client: the one table, with the reasons.
//!
//! An offence is only what no web page and no correct client can be made to send, however broken its user's line or cookie jar is. A
//! page has its visitor's browser send any request of HTTP to any port, values with control characters, requests that are cancelled
//! at once, TLS to a port without it, and STUN to any port, inside TLS too (`turn:` and `turns:`); and a ban is of a whole office. So
//! nothing before the end of a handshake counts, nor what is no HTTP at all. Where a reason has causes of both kinds, the refusal
//! says it: [`Deny::honest`](super::Deny::honest).

use super::Reason;

impl Reason {
    /// Says whether the request broke the protocol, so that it counts towards a ban of who connected.
    pub const fn breaks_protocol(self) -> bool {
        match self {
            // Two readers might read two requests: the tools of smuggling.
            Self::HeadOctet
            | Self::HeadSyntax
            | Self::HeadDuplicate
            | Self::FramingClTe
            | Self::FramingTe
            | Self::FramingCl
            | Self::FramingChunk
            | Self::ConnectionField
            | Self::Protocol
            | Self::AuthorityConflict
            // Floods that ask for nothing.
            | Self::H2Abuse
            // A head that is dripped in, octet by octet, holds a connection. One that stops is a line that died.
            | Self::TimeoutHead => true,
            // Our two readers do not agree, which is not the client's doing; and `OPTIONS *`, or a client that takes us for its proxy.
            Self::HeadMismatch | Self::TargetForm => false,
            // Too large: a full cookie jar, a long search.
            Self::UriTooLong | Self::HeadTooLarge | Self::FieldTooLarge | Self::TooManyFields | Self::CookieTooLarge => false,
            // A slow line, an old monitor, a crawler's odd link: refused, and no harm done.
            Self::TimeoutBody
            | Self::TimeoutWrite
            | Self::Expect
            | Self::MethodUnknown
            | Self::HostMissing
            | Self::HostSyntax
            | Self::PathDotSegment
            | Self::PathEncoding
            | Self::PathParameter
            | Self::PathEncodedSlash
            | Self::PathEmptySegment
            | Self::UpgradeRefused => false,
            // A proxy of ours wrote that.
            Self::XffMalformed | Self::XffTooLong => false,
            // It is the operator's upstream that leads back.
            Self::Loop => false,
            // Well formed, and not allowed: that is what the quotas by client are for.
            Self::HostUnknown
            | Self::SniMissing
            | Self::SniMismatch
            | Self::PlaintextRefused
            | Self::TenantSuspended
            | Self::ClientCertificateMissing
            | Self::ClientCertificateRefused
            | Self::MemberClientCertificateMissing
            | Self::MemberClientCertificateRefused
            | Self::IpDenied
            | Self::IpNotAllowed
            | Self::RouteNone
            | Self::MethodNotAllowed
            | Self::BodyTooLarge
            | Self::BodyNotAllowed
            | Self::QuotaExceeded
            | Self::TenantQuotaExceeded
            | Self::SessionMissing
            | Self::SessionInvalid
            | Self::SessionKeyUnknown
            | Self::SessionExpired
            | Self::SessionIdle
            | Self::SessionNotYet
            | Self::SessionTenant
            | Self::SessionBinding
            | Self::CookieAmbiguous
            | Self::CredentialConflict
            | Self::MemberSuspended
            | Self::MemberIpDenied
            | Self::MemberIpNotAllowed
            | Self::SessionRevoked
            | Self::RevocationLost
            | Self::SessionReuse
            | Self::RoleMissing
            | Self::AuthTooOld
            | Self::Csrf => false,
            // The app's, ours, or nobody's.
            Self::RevocationUnavailable
            | Self::RevocationStale
            | Self::GrantMalformed
            | Self::GrantTenant
            | Self::GrantIpDenied
            | Self::GrantClientCertificate
            | Self::GrantSuspended
            | Self::TooManySessions
            | Self::SessionsUncounted
            | Self::ClockStepped
            | Self::UpstreamConnect
            | Self::UpstreamTls
            | Self::UpstreamProtocol
            | Self::UpstreamClosed
            | Self::UpstreamTimeout
            | Self::UpstreamBusy
            | Self::UpstreamShare
            | Self::MemoryShort
            | Self::UpstreamYielded
            | Self::StreamIdle
            | Self::ClientClosed
            | Self::Draining
            | Self::Internal => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stage;

    #[test]
    fn only_hygiene_is_held_against_a_client() {
        let offences: Vec<_> = Reason::ALL.iter().filter(|reason| reason.breaks_protocol()).collect();

        assert!(offences.iter().all(|reason| reason.stage() == Stage::Hygiene), "{offences:?}");
        assert_eq!(offences.len(), 12);
    }
}
