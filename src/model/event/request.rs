//! A request and how it ended.

use std::{fmt, time::Duration};

use crate::model::{
    AppCookie, ClientCertificate, ClientIp, Decision, Deny, Facts, HeaderDrop, Http2Error, HttpVersion,
    QuotaName, RequestId, RouteId, RuleLocation, Step, TenantName, UpstreamName, UserId,
};

/// A request that ended, in whatever way. Unknown facts are absent.
///
/// Bytes from clients are here as received, with the query: whoever logs them must cut, redact and escape
/// them.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnded<'a> {
    /// Its identifier.
    pub id: &'a RequestId,
    /// The connection that it came on.
    pub connection: &'a Facts,
    /// The certificate that the client presented, accepted or not.
    pub certificate: Option<&'a ClientCertificate>,
    /// Whether a handler began it. Otherwise it was refused earlier, and only its connection and a part of
    /// its head are known.
    pub began: bool,
    /// Whether its connection was ended with it, so that its line is one of a connection.
    pub ends_connection: bool,
    /// The client's address, after PROXY protocol and trusted forwarding headers.
    pub client: ClientIp,
    /// The method.
    pub method: Option<&'a [u8]>,
    /// The target, with its query.
    pub target: Option<&'a [u8]>,
    /// The HTTP version.
    pub version: Option<HttpVersion>,
    /// The requested host; in canonical form where it is known.
    pub host: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// The tenant that owns the host.
    pub tenant: Option<&'a TenantName>,
    /// The session's tenant, which is another one for a session of a member.
    pub member: Option<&'a TenantName>,
    /// The route that matches the path.
    pub route: Option<&'a RouteId>,
    /// The keyed hash of the session that was presented or granted; never its identifier.
    pub session: Option<&'a str>,
    /// Its user.
    pub user: Option<&'a UserId>,
    /// Whether a presented session was valid.
    pub session_held: bool,
    /// Why a presented session is invalid, where the request went on without it.
    pub session_fault: Option<&'a Deny>,
    /// The decision.
    pub decision: Decision,
    /// Why it was refused, or failed.
    pub deny: Option<&'a Deny>,
    /// The rule that decided.
    pub rule: Option<RuleLocation<'a>>,
    /// The findings of the checks, including those that observe mode let pass.
    pub steps: &'a [Step],
    /// The quotas that were charged.
    pub quotas: &'a dyn QuotaOutcomes,
    /// Whether it was an HTTP-01 challenge that was answered.
    pub is_challenge: bool,
    /// Directives of the upstream that were ignored.
    pub ignored: Option<&'a str>,
    /// The HTTP/2 stream identifier and the error code of its reset.
    pub reset: Option<(u32, Http2Error)>,
    /// Whether the exchange was ended while in progress, because what had let it pass no longer held.
    pub ended_under_way: bool,
    /// The status of the response.
    pub status: Option<u16>,
    /// The received bytes of its body.
    pub bytes_in: u64,
    /// The sent bytes of the response body, if known.
    pub bytes_out: Option<u64>,
    /// How long it took.
    pub duration: Duration,
    /// Its upstream, if it passed the checks.
    pub upstream: Option<UpstreamOutcome<'a>>,
    /// Facts that can occur several times in one request.
    pub counts: RequestCounts,
}

impl<'a> RequestEnded<'a> {
    /// Describes a request that was refused before a handler began it: only its connection is known.
    pub fn early(id: &'a RequestId, connection: &'a Facts, deny: &'a Deny) -> Self {
        Self {
            id,
            connection,
            certificate: None,
            began: false,
            ends_connection: false,
            client: connection.source_ip(),
            method: None,
            target: None,
            version: None,
            host: None,
            user_agent: None,
            referer: None,
            tenant: None,
            member: None,
            route: None,
            session: None,
            user: None,
            session_held: false,
            session_fault: None,
            decision: Decision::Deny(deny.reason),
            deny: Some(deny),
            rule: None,
            steps: &[],
            quotas: &NoQuotas,
            is_challenge: false,
            ignored: None,
            reset: None,
            ended_under_way: false,
            status: None,
            bytes_in: 0,
            bytes_out: None,
            duration: Duration::ZERO,
            upstream: None,
            counts: RequestCounts::default(),
        }
    }

    /// Returns the first finding that observe mode let pass.
    pub fn would(&self) -> Option<&'a Deny> {
        self.steps.iter().find(|step| step.observed).and_then(|step| step.deny.as_ref())
    }
}

/// The upstream of a request that passed.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamOutcome<'a> {
    /// Its name.
    pub name: &'a UpstreamName,
    /// The last attempt; none where no server was chosen.
    pub attempt: Option<UpstreamAttempted<'a>>,
}

/// The last attempt at an upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamAttempted<'a> {
    /// The server.
    pub server: &'a str,
    /// The status of its response.
    pub status: Option<u16>,
    /// The time from choosing the server to the head of its response.
    pub duration: Option<Duration>,
    /// How many attempts there were, including this one.
    pub tries: u32,
}

/// The quotas that a request was charged to. A trait, because quotas are rules of `policy`, and nothing is
/// copied for an event.
pub trait QuotaOutcomes: fmt::Debug {
    /// Calls a function with each quota and its verdict.
    fn for_each(&self, see: &mut dyn FnMut(&QuotaName, QuotaVerdict));
}

#[derive(Debug)]
struct NoQuotas;

impl QuotaOutcomes for NoQuotas {
    fn for_each(&self, _: &mut dyn FnMut(&QuotaName, QuotaVerdict)) {}
}

/// Facts that can occur several times in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    headers_dropped: [u32; HeaderDrop::ALL.len()],
    app_cookies: [u32; AppCookie::ALL.len()],
    /// Removed cookies whose names look like the session cookie's.
    pub cookie_lookalikes: u32,
    /// Cleared cookies that name no valid session.
    pub cookies_cleared: u32,
}

impl RequestCounts {
    /// Counts request fields that were not forwarded.
    pub fn drop_headers(&mut self, reason: HeaderDrop, count: u32) {
        add(&mut self.headers_dropped, HeaderDrop::ALL.iter().position(|&other| other == reason), count);
    }

    /// Counts a cookie that the app set.
    pub fn set_cookie(&mut self, fate: AppCookie) {
        add(&mut self.app_cookies, AppCookie::ALL.iter().position(|&other| other == fate), 1);
    }

    /// Returns how many fields were not forwarded, by reason.
    pub fn headers_dropped(&self) -> impl Iterator<Item = (HeaderDrop, u32)> {
        HeaderDrop::ALL.into_iter().zip(self.headers_dropped).filter(|(_, count)| *count > 0)
    }

    /// Returns how many cookies the app set, by what became of them.
    pub fn app_cookies(&self) -> impl Iterator<Item = (AppCookie, u32)> {
        AppCookie::ALL.into_iter().zip(self.app_cookies).filter(|(_, count)| *count > 0)
    }
}

fn add(counts: &mut [u32], place: Option<usize>, more: u32) {
    if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
        *count = count.saturating_add(more);
    }
}

/// The verdict of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaVerdict {
    /// The charge was accepted.
    Allow,
    /// The quota was exhausted.
    Deny,
    /// The quota was exhausted, and observe mode let the request pass.
    Observe,
}

impl QuotaVerdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Observe];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Observe => "observe",
        }
    }
}
