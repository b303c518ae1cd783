//! Why a request is refused: one closed table of codes, statuses and stages.
//!
//! The code appears in the access line, the metric label, the audit record and `octroi explain`. Codes are
//! never renamed or reused once released. The client never sees them: it sees the status, a fixed text and
//! the request id.

use std::{fmt, time::Duration};

/// The steps of a decision, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Is it one unambiguous, bounded request?
    Hygiene,
    /// Which client address?
    Client,
    /// Which tenant's host?
    Tenant,
    /// May this address reach this tenant?
    IpAccess,
    /// Which route?
    Route,
    /// Is it within the quotas by client and route?
    QuotaBefore,
    /// Which session?
    Session,
    /// May the session's tenant be used here?
    Member,
    /// Has the session been revoked?
    Revocation,
    /// Is it within the quotas by tenant, user and session?
    QuotaAfter,
    /// May this session do this?
    Authorization,
    /// Is the app's grant valid?
    Grant,
    /// Did the upstream answer?
    Upstream,
    /// The gateway itself.
    Gateway,
}

impl Stage {
    /// Returns the name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hygiene => "hygiene",
            Self::Client => "client",
            Self::Tenant => "tenant",
            Self::IpAccess => "ip_access",
            Self::Route => "route",
            Self::QuotaBefore => "quota_before",
            Self::Session => "session",
            Self::Member => "member",
            Self::Revocation => "revocation",
            Self::QuotaAfter => "quota_after",
            Self::Authorization => "authorization",
            Self::Grant => "grant",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($variant:ident $stage:ident $status:literal $code:literal $meaning:literal)*) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the stages.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the code in logs, metrics and records.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Returns the HTTP status of the refusal.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Returns the stage that refuses with this reason.
            pub const fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)* }
            }

            /// Explains in one sentence, for operators, when a request is refused for this reason.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    HeadOctet          Hygiene 400 "head_octet"          "The head holds a bare CR, a bare LF, a NUL or another control character."
    HeadSyntax         Hygiene 400 "head_syntax"         "A line of the head is folded, has no colon, or its name is not a token; or the request line is not `METHOD target HTTP/1.x`."
    HeadDuplicate      Hygiene 400 "head_duplicate"      "A field that may stand once (Host, Authorization) stands twice."
    FramingClTe        Hygiene 400 "framing_cl_te"       "Content-Length and Transfer-Encoding stand in one request."
    FramingTe          Hygiene 400 "framing_te"          "Transfer-Encoding is not exactly one `chunked`, or stands in HTTP/1.0 or HTTP/2."
    FramingCl          Hygiene 400 "framing_cl"          "Content-Length is not one line of 1 to 18 digits."
    FramingChunk       Hygiene 400 "framing_chunk"       "The chunks of the body are malformed."
    ConnectionField    Hygiene 400 "connection_field"    "An HTTP/2 request carries a field that belongs to one HTTP/1 connection (RFC 9113, section 8.2.2); or `Connection` names a field that is not the connection's own, or no field."
    Protocol           Hygiene 400 "protocol"            "The request breaks the protocol in a way that the HTTP library refused by itself."
    HeadMismatch       Hygiene 400 "head_mismatch"       "The HTTP library read another request than the one that was received, so nobody can say which one would be served."
    TargetForm         Hygiene 400 "target_form"         "The request target is neither a path nor an absolute URL with the authority of Host."
    AuthorityConflict  Hygiene 400 "authority_conflict"  "Host and the authority of the request target or `:authority` differ."
    HostMissing        Hygiene 400 "host_missing"        "No Host, or an empty one."
    HostSyntax         Hygiene 400 "host_syntax"         "The host name has characters, a label or a port that no host name has."
    PathDotSegment     Hygiene 400 "path_dot_segment"    "The path has a `..` segment, plain or encoded, or an encoded `.`."
    PathEncoding       Hygiene 400 "path_encoding"       "The path has a malformed, double or dangerous escape, a backslash, a character that paths do not have, or escapes that are no UTF-8."
    Expect             Hygiene 417 "expect"              "Expect is not `100-continue`."
    UriTooLong         Hygiene 414 "uri_too_long"        "The request target is longer than `uri_bytes`, or its path than `path_bytes`."
    HeadTooLarge       Hygiene 431 "head_too_large"      "The head is larger than `header_bytes`."
    FieldTooLarge      Hygiene 431 "field_too_large"     "One field is larger than `field_bytes`."
    TooManyFields      Hygiene 431 "too_many_fields"     "The head has more fields than `header_count`."
    CookieTooLarge     Hygiene 431 "cookie_too_large"    "More than 100 cookies, or more than 16 KiB of them."
    TimeoutHead        Hygiene 408 "timeout_head"        "The head was not complete within `header_timeout`."
    TimeoutBody        Hygiene 408 "timeout_body"        "The body came slower than `body_min_rate`."
    H2Abuse            Hygiene 400 "h2_abuse"            "An HTTP/2 client exceeded one of `limits.http2`; its connection was ended."
    MethodUnknown      Hygiene 405 "method_unknown"      "CONNECT, TRACE, TRACK, or a method that is not written in upper case."
    XffMalformed       Client 400 "xff_malformed"        "A trusted proxy sent a forwarding header with an element that is not an address."
    XffTooLong         Client 400 "xff_too_long"         "A trusted proxy sent a forwarding header with more than 32 elements."
    Loop               Client 508 "loop"                 "The request has passed octroi eight times (`CDN-Loop`, RFC 8586): an upstream leads back to it."
    HostUnknown        Tenant 421 "host_unknown"         "No tenant has this host, the host is an address, or the port is not the listener's."
    SniMissing         Tenant 421 "sni_missing"          "The TLS handshake named no host, and the tenant does not `allow_no_sni`."
    SniMismatch        Tenant 421 "sni_mismatch"         "The TLS handshake named another tenant than the request."
    PlaintextRefused   Tenant 403 "plaintext_refused"    "The listener is plain and serves redirects only, and this request cannot be redirected; or the tenant has client certificates, which clear text has not."
    TenantSuspended    Tenant 403 "tenant_suspended"     "The tenant is suspended."
    ClientCertificateMissing Tenant 403 "client_certificate_missing" "The tenant requires a client certificate, and the connection has none."
    ClientCertificateRefused Tenant 403 "client_certificate_refused" "The tenant does not accept the client certificate of the connection."
    IpDenied           IpAccess 403 "ip_denied"          "The client's address is in one of the tenant's `deny` ranges."
    IpNotAllowed       IpAccess 403 "ip_not_allowed"     "The client's address is in none of the tenant's `allow` ranges."
    PathParameter      Route 400 "path_param"            "The path has a `;`, and the route does not `allow_path_parameters`."
    PathEncodedSlash   Route 400 "path_encoded_slash"    "The path has a `%2F`, and the route does not `allow_encoded_slash`."
    PathEmptySegment   Route 400 "path_empty_segment"    "The path has a `//`, and the route does not `merge_slashes`."
    RouteNone          Route 404 "route_none"            "No rule matches, and the set says `unmatched: deny`."
    MethodNotAllowed   Route 405 "method_not_allowed"    "The rule does not list this method."
    UpgradeRefused     Route 400 "upgrade_refused"       "A malformed WebSocket handshake on a route with `websocket: true`."
    BodyTooLarge       Route 413 "body_too_large"        "The body is larger than `body_bytes` of the route or its tenant allows."
    BodyNotAllowed     Route 400 "body_not_allowed"      "GET, HEAD or OPTIONS with a body, and the rule does not say `body: true`."
    QuotaExceeded      QuotaBefore 429 "quota_exceeded"  "A quota by client or route is used up. `Retry-After` says when it has room again."
    SessionMissing     Session 401 "session_missing"     "The route needs a session and the request has none."
    SessionInvalid     Session 401 "session_invalid"     "The token does not open: altered, of another key, or of another host."
    SessionKeyUnknown  Session 401 "session_key_unknown" "The token names a key that its issuer does not publish; or the keys were not fetched, or too long ago."
    SessionExpired     Session 401 "session_expired"     "The session reached its absolute end."
    SessionIdle        Session 401 "session_idle"        "The session was idle for too long."
    SessionNotYet      Session 401 "session_not_yet"     "The session begins in the future by more than 60 seconds."
    SessionTenant      Session 401 "session_tenant"      "The session's tenant is neither this realm nor one of its members."
    SessionBinding     Session 401 "session_binding"     "The session is bound to another client prefix, user agent or client certificate."
    CookieAmbiguous    Session 401 "cookie_ambiguous"    "The session cookie stands more than once."
    CredentialConflict Session 401 "credential_conflict" "Cookie and Bearer token name different sessions; or a session of octroi and one of the app, or two of the app, stand in one request."
    MemberSuspended    Member 403 "member_suspended"     "The session's tenant is suspended."
    MemberClientCertificateMissing Member 403 "member_client_certificate_missing" "The session's tenant requires a client certificate, and the connection has none."
    MemberClientCertificateRefused Member 403 "member_client_certificate_refused" "The session's tenant does not accept the client certificate of the connection."
    MemberIpDenied     Member 403 "member_ip_denied"     "The client's address is in one of the `deny` ranges of the session's tenant."
    MemberIpNotAllowed Member 403 "member_ip_not_allowed" "The client's address is in none of the `allow` ranges of the session's tenant."
    SessionRevoked     Revocation 401 "session_revoked"  "The session, its user or its tenant was revoked, or the token is of another epoch of its tenant."
    RevocationLost     Revocation 401 "revocation_lost"  "The user signed in before the revocation journal began, or before it was lost: whether the session was ended is not known. See `octroi run --accept-old-sessions`."
    RevocationStale    Revocation 503 "revocation_stale"   "Redis has been silent for longer than `stale_after`, so this node does not know whom other nodes revoked."
    SessionReuse       Revocation 401 "session_reuse"    "An older token of the session came back more than 30 seconds after a newer one was in use; the session was revoked."
    RevocationUnavailable Revocation 503 "revocation_unavailable" "The revocation journal cannot be written, or Redis does not take a revocation, so a session event cannot be kept or told to other nodes; or this process was succeeded and lost its successor, so it no longer knows who was revoked."
    TenantQuotaExceeded QuotaAfter 429 "tenant_quota_exceeded" "A quota by tenant, user or session is used up. `Retry-After` says when it has room again."
    RoleMissing        Authorization 403 "role_missing"  "The session has none of the roles that the route asks for."
    AuthTooOld         Authorization 401 "auth_too_old"  "The sign-in is older than the route's `max_auth_age`."
    Csrf               Authorization 403 "csrf"          "A page of another site or tenant made the request, or a link or an image that would sign in or out: not for unsafe methods with a session from a cookie, nor on routes that grant, revoke or open WebSockets (`origin_check`)."
    GrantMalformed     Grant 502 "grant_malformed"       "The upstream's `Octroi-Session-Grant` is not what the contract says."
    GrantTenant        Grant 403 "grant_tenant"          "The grant names a tenant that is neither the realm nor one of its members."
    GrantIpDenied      Grant 403 "grant_ip_denied"       "The client's address may not reach the tenant that the grant names."
    GrantClientCertificate Grant 403 "grant_client_certificate" "The grant names a tenant that requires a client certificate, and the connection has none that it accepts."
    GrantSuspended     Grant 403 "grant_suspended"       "The grant names a suspended tenant."
    TooManySessions    Grant 403 "too_many_sessions"     "The user has as many sessions as `max_per_user` allows, and one more is to be refused."
    SessionsUncounted  Grant 503 "sessions_uncounted"    "The user's sessions are limited, and cannot be counted: the store that keeps them cannot be written or is full, or Redis is away."
    ClockStepped       Grant 503 "clock_stepped"         "The wall clock was set by more than 30 seconds: nobody signs in until it is back, steady for `server.clock_hold`, or confirmed by a reload. `Retry-After` says when that has been held."
    UpstreamConnect    Upstream 502 "upstream_connect"   "No server of the upstream took the connection."
    UpstreamTls        Upstream 502 "upstream_tls"       "The upstream's certificate or handshake is bad."
    UpstreamProtocol   Upstream 502 "upstream_protocol"  "The upstream's answer is malformed, upgrades without being asked, or was broken off by a reset of its stream."
    UpstreamClosed     Upstream 502 "upstream_closed"    "The upstream closed the connection before it answered."
    UpstreamTimeout    Upstream 504 "upstream_timeout"   "The upstream did not connect, answer or go on in time."
    UpstreamBusy       Upstream 503 "upstream_busy"      "Every connection to an HTTP/2 server of the upstream carries as many requests as that server takes at once, or all connections to servers that the limit of open files allows are taken, and none became free in time."
    UpstreamShare      Upstream 503 "upstream_share"     "The client, its IPv6 /48 or its tenant has its share of the connections or places of the upstream, more than half of all are taken, and none became free in time."
    UpstreamYielded    Upstream 503 "upstream_yielded"   "The client let the exchange rest while others waited for the connection or place that it held, of which the client or its tenant held many."
    MemoryShort        Upstream 503 "memory_short"       "octroi keeps large heads, answers for slow clients and requests whose bodies have not begun in 128 MiB, and the request finds no room there: all is taken, or the client, its IPv6 /48 or its tenant has its share of it."
    StreamIdle         Upstream 504 "stream_idle"        "Neither side of a gRPC call said anything within `websocket_idle` of the route."
    ClientClosed       Gateway 499 "client_closed"       "The client went away before the answer was complete."
    TimeoutWrite       Gateway 408 "timeout_write"       "The client took nothing of the answer within `write_stall`, or took it slower than `write_min_rate`."
    Draining           Gateway 503 "draining"            "The gateway is going down."
    Internal           Gateway 500 "internal"            "The gateway failed; the log says how."
}

/// When to ask again while a store is away: it is tried every second, and usually back within a few.
const STORE_AWAY: Duration = Duration::from_secs(5);

/// When to ask again while all room, or a client's share of it, is taken: it is freed as exchanges end,
/// mostly within seconds, and a client that retries at once only waits with the others.
const ROOM_TAKEN: Duration = Duration::from_secs(5);

impl Reason {
    /// Returns when to ask again (RFC 9110, section 10.2.3), where the missing thing comes back by itself.
    /// Quotas and the clock know the moment of each case and set it themselves.
    pub const fn retry_after(self) -> Option<Duration> {
        if matches!(self, Self::RevocationStale | Self::RevocationUnavailable | Self::SessionsUncounted) {
            Some(STORE_AWAY)
        } else if matches!(
            self,
            Self::UpstreamBusy | Self::UpstreamShare | Self::UpstreamYielded | Self::MemoryShort
        ) {
            Some(ROOM_TAKEN)
        } else {
            None
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_said_by_one_reason_only() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();

        assert_eq!(codes.len(), Reason::ALL.len());
    }

    #[test]
    fn the_table_follows_the_order_of_the_stages() {
        assert!(Reason::ALL.windows(2).all(|pair| pair[0].stage() <= pair[1].stage()));
    }

    #[test]
    fn who_may_come_again_is_told_when() {
        let silent =
            |reason: &&Reason| matches!(reason.status(), 429 | 503) && reason.retry_after().is_none();
        let told: Vec<_> = Reason::ALL.iter().filter(|reason| reason.retry_after().is_some()).collect();

        // Three of them know the moment themselves, and a process that shuts down does not know when, or
        // whether, another starts.
        let silent: Vec<_> = Reason::ALL.iter().filter(silent).map(|reason| reason.code()).collect();
        assert_eq!(silent, ["quota_exceeded", "tenant_quota_exceeded", "clock_stepped", "draining"]);
        assert!(told.iter().all(|reason| reason.status() == 503), "{told:?}");
    }

    #[test]
    fn a_refusal_is_a_client_or_server_error() {
        assert!(Reason::ALL.iter().all(|reason| (400..600).contains(&reason.status())));
    }
}
