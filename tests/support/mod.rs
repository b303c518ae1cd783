//! A small world to judge requests in: policies built by hand, described requests, stores that count or panic.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZeroU32,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use octroi::{
    model::{
        Acceptance, Alpn, ClientCertificate, Deny, Facts, Http2Limits, HttpVersion, Mode, Origin, PathRules,
        Presented, QuotaAnswer, Reason, RevocationAnswer, RouteId, Secret, SessionId, TenantName, Tick,
        TlsFacts, Trail, Transport, UnixTime,
    },
    pipeline::{Disposition, Permit, RequestFacts, Stores, judge},
    policy::{
        Balance, CertificateMode, Charge, ClientCertificates, ClientIpHeader, CookieRules, DenyList,
        ForeignSessions, Granting, Identities, IpAccess, IpSet, Limits, Listener, ListenerKind, MinVersion,
        OriginCheck, Policy, Protocol, Quota, QuotaBy, RangeRule, RequestLimits, Route, RouteAccess,
        RouteTable, RouteTableBuilder, SessionRules, Sessions, Tenant, Tenants, Tls, UnknownSni, Upstream,
        UpstreamTimeouts,
    },
    quota::Limit,
    replay::Request,
    session::{Claims, KeyRing, MasterKey, Purpose, Roles, cookie},
    sessions::{RevocationStore, SessionRef},
    store::{Challenges, ChargeAnswers, KeySets, QuotaCharge, QuotaKey, QuotaStore},
};

/// The time at which everything is judged.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// An origin that a test can recognise.
pub const fn line(line: u32) -> Origin {
    Origin { file: 0, line }
}

pub fn route(path: &str, access: RouteAccess) -> Route {
    Route {
        id: RouteId::new(path),
        origin: line(7),
        access,
        methods: Box::default(),
        grant: Granting::default(),
        begins_sign_in: false,
        revoke: false,
        max_auth_age: None,
        websocket: false,
        body: false,
        origin_check: OriginCheck::default(),
        origins: Box::default(),
        path: PathRules::default(),
        quotas: Box::default(),
        limits: None,
    }
}

pub fn roles(role: &str) -> RouteAccess {
    RouteAccess::Roles(Box::new([role.into()]))
}

/// A table of rules; what no rule matches needs a session.
pub fn table(routes: Vec<Route>) -> Arc<RouteTable> {
    let mut builder = RouteTableBuilder::default();
    for route in routes {
        let path = route.id.as_str().to_owned();
        builder.add(&path, Arc::new(route), false).unwrap();
    }
    Arc::new(builder.build(Arc::new(route("*", RouteAccess::Session))))
}

pub fn quota(name: &str, by: QuotaBy, burst: u32) -> Quota {
    Quota {
        name: name.parse().unwrap(),
        id: 0,
        origin: line(9),
        by,
        limit: Limit {
            count: NonZeroU32::MIN,
            period: Duration::from_secs(60),
            burst: NonZeroU32::new(burst).unwrap(),
        },
        charge: Charge::Requests,
        mode: Mode::Enforce,
    }
}

pub fn range(text: &str) -> RangeRule {
    RangeRule { range: text.parse().unwrap(), origin: line(5), note: None, expires: None }
}

pub fn allow(ranges: &[&str]) -> IpAccess {
    IpAccess::new(Some(ranges.iter().map(|text| range(text)).collect()), Vec::new())
}

pub fn deny(ranges: &[&str]) -> IpAccess {
    IpAccess::new(None, ranges.iter().map(|text| range(text)).collect())
}

/// A tenant that is open to every address, with `/public/`, `/admin/` (role admin) and sessions elsewhere.
pub fn tenant(name: &str, hosts: &[&str]) -> Tenant {
    Tenant {
        name: name.parse().unwrap(),
        origin: line(3),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        upstream: upstream(),
        routes: table(vec![route("/public/", RouteAccess::Public), route("/admin/", roles("admin"))]),
        quotas: Box::default(),
        ip_access: IpAccess::default(),
        sessions: rules(),
        limits: REQUEST_LIMITS,
        members: octroi::policy::Members::default(),
        mode: Mode::Enforce,
        suspended: false,
        allow_no_sni: false,
        request_fields: octroi::policy::RequestFields::default(),
        response_headers: Box::default(),
        origins: Box::default(),
        cookies: CookieRules::default(),
        client_certificate: None,
    }
}

pub const REQUEST_LIMITS: RequestLimits =
    RequestLimits { body_bytes: 1000, body_min_rate: 1024, websocket_idle: Duration::from_secs(300) };

fn upstream() -> Arc<Upstream> {
    let second = Duration::from_secs(1);
    Arc::new(Upstream {
        name: "app".parse().unwrap(),
        origin: line(1),
        servers: Box::default(),
        balance: Balance::RoundRobin,
        tls: None,
        timeouts: UpstreamTimeouts { connect: second, first_byte: second, between_bytes: second },
        retries: 1,
        isolate: false,
        reads_bodies: false,
        protocol: Protocol::Http1,
        audience: "app".into(),
    })
}

pub fn rules() -> SessionRules {
    SessionRules {
        idle: Duration::from_secs(1800),
        absolute: Duration::from_secs(12 * 3600),
        bind: Vec::new(),
        max_per_user: None,
    }
}

pub fn listener(name: &str, port: u16, kind: ListenerKind) -> Listener {
    Listener {
        name: name.parse().unwrap(),
        origin: line(2),
        address: ([127, 0, 0, 1], port).into(),
        public_port: None,
        kind,
        max_connections: 10,
        max_connections_per_client: 10,
        max_handshakes_per_second: None,
        proxy_protocol: None,
        deny: DenyList::default(),
        trusted_proxies: None,
        tls_in_front: false,
    }
}

pub fn ring() -> KeyRing {
    KeyRing::new(vec![MasterKey { id: 7, secret: Secret::new([7; 32]), open_only: false }])
}

/// A policy with three doors, 10.0.0.0/8 as trusted proxies, one session key, and these tenants.
pub fn policy(tenants: Vec<Tenant>) -> Policy {
    let mut all = Tenants::default();
    for tenant in tenants {
        assert_eq!(all.add(Arc::new(tenant)), Vec::new());
    }
    Policy {
        revision: "0123456789abcdef".into(),
        files: vec![PathBuf::from("octroi.yaml")],
        node: "edge-1".into(),
        threads: 1,
        drain: Duration::from_secs(1),
        drain_delay: Duration::ZERO,
        clock_hold: Duration::from_secs(600),
        state_dir: PathBuf::new(),
        trusted_proxies: IpSet::new(["10.0.0.0/8".parse().unwrap()]),
        client_ip_header: ClientIpHeader::XForwardedFor,
        listeners: vec![
            Arc::new(listener("public", 8443, ListenerKind::Tls)),
            Arc::new(listener("plain", 8081, ListenerKind::Plaintext)),
            Arc::new(listener("http", 8080, ListenerKind::Redirect { port: 443 })),
        ],
        limits: LIMITS,
        bans: None,
        request_limits: REQUEST_LIMITS,
        metrics: None,
        admin: None,
        tls: Tls {
            min_version: MinVersion::Tls12,
            unknown_sni: UnknownSni::Refuse,
            ja4: false,
            ticket_keys: None,
            certificates: Vec::new(),
        },
        sessions: Some(Sessions {
            key_dir: None,
            cookie: cookie::Name::new("__Host-octroi"),
            ring: ring(),
            rules: rules(),
            revocation: octroi::policy::RevocationRules::default(),
            allow_email_user: false,
            login_url: Some("/login".into()),
            foreign: ForeignSessions::default(),
            assertions: None,
        }),
        redis: None,
        upstreams: BTreeMap::new(),
        tenants: all,
        access_log: Vec::new(),
        next_expiry: None,
    }
}

pub const LIMITS: Limits = Limits {
    handshake_timeout: Duration::from_secs(5),
    header_timeout: Duration::from_secs(10),
    header_bytes: 4000,
    header_count: 20,
    field_bytes: 2000,
    path_bytes: 200,
    uri_bytes: 400,
    idle_timeout: Duration::from_secs(60),
    write_stall: Duration::from_secs(30),
    write_min_rate: 1024,
    http2: Http2Limits {
        streams: 100,
        stream_window: 65_536,
        connection_window: 262_144,
        send_buffer: 65_536,
        resets: 200,
        errors: 100,
        settings: 50,
        pings: 100,
        priorities: 200,
        window_updates: 1000,
        empty_data: 100,
        continuations: 100,
        starved: 50,
    },
};

/// A GET of `https://HOST/PATH` from 192.0.2.1 over HTTP/1.1 and TLS with SNI.
pub fn get(url: &str) -> Request {
    let (host, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let peer = "192.0.2.1:50000".parse().unwrap();
    let mut request = Request {
        facts: Facts {
            id: 1,
            listener: "public".parse().unwrap(),
            local: "127.0.0.1:8443".parse().unwrap(),
            peer,
            source: peer,
            transport: Transport::Tls(TlsFacts {
                sni: host.split(':').next().unwrap().parse().ok(),
                version: "TLSv1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
                group: "X25519",
                alpn: Alpn::Http1,
                resumed: false,
                ja4: None,
            }),
            accepted: NOW,
        },
        certificate: None,
        version: HttpVersion::Http11,
        method: "GET".into(),
        target: format!("/{path}").into_bytes(),
        authority: None,
        headers: http::HeaderMap::new(),
        head: None,
    };
    request.headers.append("host", host.parse().unwrap());
    request.write_head();
    request
}

/// Small changes to a request; the head follows.
pub trait Change: Sized {
    fn changed(self, change: impl FnOnce(&mut Request)) -> Self;

    fn method(self, method: &str) -> Self {
        self.changed(|request| request.method = method.into())
    }

    fn header(self, name: &'static str, value: &str) -> Self {
        self.changed(|request| {
            request.headers.append(name, value.parse().unwrap());
        })
    }

    fn from(self, addr: &str) -> Self {
        self.changed(|request| {
            request.facts.source.set_ip(addr.parse::<IpAddr>().unwrap());
            request.facts.peer = request.facts.source;
        })
    }

    fn at(self, listener: &str) -> Self {
        self.changed(|request| {
            request.facts.listener = listener.parse().unwrap();
            request.facts.transport = Transport::Plain;
        })
    }

    fn sni(self, host: Option<&str>) -> Self {
        self.changed(|request| {
            if let Transport::Tls(tls) = &mut request.facts.transport {
                tls.sni = host.map(|host| host.parse().unwrap());
            }
        })
    }

    /// Presents a certificate that these tenants accept.
    fn certificate(self, tenants: &[&str]) -> Self {
        self.changed(|request| request.certificate = Some(presented(tenants)))
    }

    fn cookie(self, token: &str) -> Self {
        self.header("cookie", &format!("__Host-octroi={token}"))
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn h2(self) -> Self {
        self.changed(|request| {
            request.version = HttpVersion::Http2;
            let host = request.headers.remove("host").unwrap();
            request.authority = Some(host.to_str().unwrap().to_owned());
        })
    }
}

impl Change for Request {
    fn changed(mut self, change: impl FnOnce(&mut Request)) -> Self {
        change(&mut self);
        self.write_head();
        self
    }
}

/// A certificate that these tenants accept.
pub fn presented(tenants: &[&str]) -> Presented {
    let certificate = ClientCertificate {
        chain: Box::new([Box::new([0x30, 0x00])]),
        subject: "CN=robot".parse().unwrap(),
        issuer: "CN=CA".parse().unwrap(),
        names: Box::default(),
        serial: "01".into(),
        fingerprint: [7; 32],
        turns: Box::default(),
    };
    let tenants: std::collections::BTreeSet<_> = tenants.iter().map(|name| name.parse().unwrap()).collect();
    let acceptance = Acceptance {
        tenants: tenants.into_iter().collect(),
        why_not: "it is revoked".into(),
        rules: 1,
        verified: NOW,
        until: NOW.plus(Duration::from_secs(1)),
    };
    Presented { certificate: Arc::new(certificate), acceptance: Arc::new(acceptance) }
}

/// Rules about client certificates, written in line 11.
pub fn certificates(mode: CertificateMode) -> Option<Arc<ClientCertificates>> {
    Some(Arc::new(ClientCertificates {
        origin: line(11),
        mode,
        trust: None,
        unusable: None,
        identities: Identities::default(),
    }))
}

/// The claims of a session of `tenant` that began a minute ago.
pub fn claims(tenant: &str) -> Claims {
    let begun = NOW.minus(Duration::from_secs(60));
    Claims {
        id: SessionId::new([9; 16]),
        tenant: tenant.parse().unwrap(),
        user: "u_1".parse().unwrap(),
        roles: Roles::try_new(["editor"]).unwrap(),
        issued: begun,
        auth_time: begun,
        not_before: begun,
        idle_end: begun.plus(Duration::from_secs(1800)),
        absolute_end: begun.plus(Duration::from_secs(12 * 3600)),
        generation: 0,
        epoch: 0,
        binding: None,
    }
}

pub fn seal(claims: &Claims, purpose: Purpose, realm: &str) -> String {
    ring().seal(claims, purpose, &realm.parse().unwrap(), [1; 12]).unwrap()
}

/// A cookie token of a tenant's user, for that tenant's own host.
pub fn token(tenant: &str) -> String {
    seal(&claims(tenant), Purpose::Cookie, tenant)
}

/// Stores that must not be reached.
#[derive(Debug)]
pub struct Empty;

impl QuotaStore for Empty {
    async fn take(&self, charges: &[QuotaCharge], _tick: Tick) -> ChargeAnswers {
        panic!("{charges:?} were charged")
    }

    fn give_back(&self, key: &QuotaKey, _limit: Limit, _tick: Tick) {
        panic!("{key:?} was given back")
    }

    fn peek(&self, key: &QuotaKey, _limit: Limit, _tick: Tick) -> QuotaAnswer {
        panic!("{key:?} was looked at")
    }
}

impl RevocationStore for Empty {
    fn lookup(&self, session: SessionRef<'_>, _: UnixTime) -> RevocationAnswer {
        panic!("{} of {} was looked up", session.user, session.tenant)
    }

    fn epoch(&self, tenant: &TenantName, _: UnixTime) -> u32 {
        panic!("the epoch of {tenant} was looked up")
    }

    fn epoch_of(&self, tenant: &TenantName, _: UnixTime, _: UnixTime) -> u32 {
        panic!("the epoch of {tenant} was looked up")
    }
}

/// Takes a quota's burst and no more; keeps the order of what it was asked.
#[derive(Debug, Default)]
pub struct Counting {
    taken: Mutex<Vec<(String, QuotaKey)>>,
}

impl Counting {
    /// The names of the quotas that were charged, in order.
    pub fn charged(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }
}

impl QuotaStore for Counting {
    async fn take(&self, charges: &[QuotaCharge], tick: Tick) -> ChargeAnswers {
        ChargeAnswers::in_order(charges, |key, limit| {
            let answer = self.peek(key, limit, tick);
            if matches!(answer, QuotaAnswer::Taken { .. }) {
                self.taken.lock().unwrap().push((format!("{}/{}", key.tenant(), key.quota()), key.clone()));
            }
            answer
        })
    }

    fn give_back(&self, key: &QuotaKey, _limit: Limit, _tick: Tick) {
        let mut taken = self.taken.lock().unwrap();
        let at = taken.iter().position(|(_, other)| other == key).unwrap();
        taken.remove(at);
    }

    fn peek(&self, key: &QuotaKey, limit: Limit, _tick: Tick) -> QuotaAnswer {
        let used = self.taken.lock().unwrap().iter().filter(|(_, other)| other == key).count();
        match limit.burst.get().checked_sub(u32::try_from(used).unwrap() + 1) {
            Some(remaining) => QuotaAnswer::Taken { remaining, reset: Duration::from_secs(60) },
            None => QuotaAnswer::Exceeded { retry_after: Duration::from_secs(30) },
        }
    }
}

/// Answers everything alike.
#[derive(Debug)]
pub struct Says(pub RevocationAnswer, pub u32);

/// Nobody was revoked.
pub const LIVE: Says = Says(RevocationAnswer::Live, 0);

impl RevocationStore for Says {
    fn lookup(&self, _: SessionRef<'_>, _: UnixTime) -> RevocationAnswer {
        self.0
    }

    fn epoch(&self, _: &TenantName, _: UnixTime) -> u32 {
        self.1
    }

    fn epoch_of(&self, _: &TenantName, _: UnixTime, _: UnixTime) -> u32 {
        self.1
    }
}

/// How a judgement ended.
#[derive(Debug)]
pub struct Judged {
    pub verdict: Result<Disposition, Deny>,
    pub facts: RequestFacts,
    pub trail: Trail,
}

impl Judged {
    /// The reason of the refusal.
    pub fn reason(&self) -> Option<Reason> {
        self.verdict.as_ref().err().map(|deny| deny.reason)
    }

    /// The line of the rule that refused.
    pub fn rule(&self) -> Option<u32> {
        self.verdict.as_ref().err().and_then(|deny| deny.rule).map(|origin| origin.line)
    }

    /// What observe mode let pass.
    pub fn would(&self) -> Option<Reason> {
        self.trail.would().map(|deny| deny.reason)
    }

    #[track_caller]
    pub fn permit(self) -> Permit {
        match self.verdict {
            Ok(Disposition::Permit(permit)) => permit,
            other => panic!("no permit: {other:?}"),
        }
    }
}

pub fn ask_at<Q: QuotaStore, R: RevocationStore>(
    request: &Request,
    policy: &Policy,
    quotas: &Q,
    revocations: &R,
    now: UnixTime,
) -> Judged {
    let (mut facts, mut trail) = (RequestFacts::default(), Trail::brief());
    let view = request.view(now, Tick::from_nanos(1));
    let stores =
        Stores { quotas, revocations, challenges: &Challenges::default(), key_sets: &KeySets::default() };
    let verdict = now_or_never(judge(&view, policy, stores, &mut facts, &mut trail));
    Judged { verdict, facts, trail }
}

pub fn ask<Q: QuotaStore, R: RevocationStore>(
    request: &Request,
    policy: &Policy,
    quotas: &Q,
    revocations: &R,
) -> Judged {
    ask_at(request, policy, quotas, revocations, NOW)
}

/// Judges where no quota is asked and nobody is revoked.
pub fn judged(request: &Request, policy: &Policy) -> Judged {
    ask(request, policy, &Empty, &LIVE)
}

pub fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}
