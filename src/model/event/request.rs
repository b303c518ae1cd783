//! What a request was, and how it ended.

use std::{fmt, time::Duration};

use crate::model::{
    AppCookie, ClientCertificate, ClientIp, Decision, Deny, Facts, HeaderDrop, Http2Error, HttpVersion,
    QuotaName, RequestId, RouteId, RuleLocation, Step, TenantName, UpstreamName, UserId,
};

/// A request that ended, however it did. What is not known of it is absent.
///
/// Octets of strangers stand here as they came, with the query: whoever writes them down cuts and escapes
/// them.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnded<'a> {
    /// Its identifier.
    pub id: &'a RequestId,
    /// The connection that it came on.
    pub connection: &'a Facts,
    /// The certificate that the client presented, whoever accepts it.
    pub certificate: Option<&'a ClientCertificate>,
    /// Whether a handler began it. Otherwise it was refused before that, and only its connection and a part
    /// of its head are known.
    pub began: bool,
    /// Whether its whole connection was ended, so that the line is one of a connection.
    pub ends_connection: bool,
    /// Who asked, after PROXY protocol and trusted forwarding headers.
    pub client: ClientIp,
    /// The method.
    pub method: Option<&'a [u8]>,
    /// The target, with its query.
    pub target: Option<&'a [u8]>,
    /// The HTTP version.
    pub version: Option<HttpVersion>,
    /// The host as asked for; the canonical one where it is known.
    pub host: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// The tenant that owns the host.
    pub tenant: Option<&'a TenantName>,
    /// The session's tenant; the same where it is not a member's.
    pub member: Option<&'a TenantName>,
    /// The rule for the path as asked.
    pub route: Option<&'a RouteId>,
    /// The keyed hash of the session that was presented or granted; never its identifier.
    pub session: Option<&'a str>,
    /// Its user.
    pub user: Option<&'a UserId>,
    /// Whether a session was presented and held.
    pub session_held: bool,
    /// Why a session that was presented is none, where the request went on without it.
    pub session_fault: Option<&'a Deny>,
    /// How it ended.
    pub decision: Decision,
    /// Why it was refused, or failed.
    pub deny: Option<&'a Deny>,
    /// The rule that decided.
    pub rule: Option<RuleLocation<'a>>,
    /// What was found on the way, with what observe mode let pass.
    pub steps: &'a [Step],
    /// The quotas that were asked.
    pub quotas: &'a dyn QuotaOutcomes,
    /// Whether it was a CA that proves a host over HTTP, and was answered.
    pub is_challenge: bool,
    /// What the upstream asked for in vain.
    pub ignored: Option<&'a str>,
    /// The number of its stream of HTTP/2, and what that was reset with.
    pub reset: Option<(u32, Http2Error)>,
    /// Whether it was ended under way, because what let it in no longer held.
    pub ended_under_way: bool,
    /// The status that was answered.
    pub status: Option<u16>,
    /// How many bytes came of its body.
    pub bytes_in: u64,
    /// How many bytes of the answer's body left, where that is known.
    pub bytes_out: Option<u64>,
    /// How long it took.
    pub duration: Duration,
    /// Where it may go, where it got so far.
    pub upstream: Option<UpstreamOutcome<'a>>,
    /// What happened several times within it.
    pub counts: RequestCounts,
}

impl<'a> RequestEnded<'a> {
    /// Describes a request of which only the connection is known, and that it was refused before anybody
    /// began it.
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
    /// The last attempt to have it answer; nothing where no server was chosen.
    pub attempt: Option<UpstreamAttempted<'a>>,
}

/// The last attempt to have an upstream answer.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamAttempted<'a> {
    /// The server.
    pub server: &'a str,
    /// What it answered.
    pub status: Option<u16>,
    /// From choosing the server to its answer's head.
    pub duration: Option<Duration>,
    /// How many servers were asked, with this one.
    pub tries: u32,
}

/// The quotas that a request was charged to. A trait, because they are rules, and a request need not be
/// copied for its event.
pub trait QuotaOutcomes: fmt::Debug {
    /// Shows each quota, and what it said.
    fn for_each(&self, see: &mut dyn FnMut(&QuotaName, QuotaVerdict));
}

#[derive(Debug)]
struct NoQuotas;

impl QuotaOutcomes for NoQuotas {
    fn for_each(&self, _: &mut dyn FnMut(&QuotaName, QuotaVerdict)) {}
}

/// What happened several times within one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    headers_dropped: [u32; HeaderDrop::ALL.len()],
    app_cookies: [u32; AppCookie::ALL.len()],
    /// Cookies whose names look like the session cookie's, taken out.
    pub cookie_lookalikes: u32,
    /// Cookies that name no valid session, cleared.
    pub cookies_cleared: u32,
}

impl RequestCounts {
    /// Counts fields of the request that were not forwarded.
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

/// What a quota said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaVerdict {
    /// The charge was taken.
    Allow,
    /// It was used up.
    Deny,
    /// It was used up, and observe mode let pass.
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
