//! Which refusals count towards a ban of the client: the one table, with the reasons.
//!
//! Only what no web page and no correct client can be made to send is an offence, however bad its user's line
//! or cookie jar is. A page can have its visitor's browser send any HTTP request to any port, values with
//! control characters, requests that are cancelled at once, TLS to a port without it, and STUN to any port,
//! inside TLS too (`turn:` and `turns:`); and a ban hits a whole office. So nothing before the end of a
//! handshake counts, nor anything that is not HTTP at all. Where a reason has causes of both kinds, the
//! refusal says which it is: [`Deny::honest`](super::Deny::honest).

use super::Reason;

impl Reason {
    /// Says whether the request broke the protocol, so that it counts towards a ban of its peer.
    pub const fn breaks_protocol(self) -> bool {
        match self {
            // Two parsers might read two requests: these are the tools of request smuggling.
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
            // A head that comes octet by octet holds a connection. A head that stops is a broken link.
            | Self::TimeoutHead => true,
            // Our two parsers disagree, which is not the client's fault; `OPTIONS *`, or a client that uses
            // us as its proxy.
            Self::HeadMismatch | Self::TargetForm => false,
            // Too large: a full cookie jar, a long search.
            Self::UriTooLong | Self::HeadTooLarge | Self::FieldTooLarge | Self::TooManyFields | Self::CookieTooLarge => false,
            // A slow link, an old monitor, a crawler's odd URL: refused, but harmless.
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
            // A trusted proxy wrote that.
            Self::XffMalformed | Self::XffTooLong => false,
            // The operator's upstream leads back to us.
            Self::Loop => false,
            // Well formed, but not allowed: the quotas by client are for that.
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
            // The app's fault, ours, or no fault.
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
