//! What the tests of commands share: a running octroi's control socket over a fake control, and captured
//! output.

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::output::{Exit, Output};
use crate::{
    admin::{
        ControlSocket, ListenerState,
        fixture::{Bench, bench, policy},
        serve_control,
    },
    model::{Mode, Origin, PathRules, RouteId, Secret},
    policy::{
        Balance, CookieRules, IpAccess, Policy, Protocol, Route, RouteAccess, RouteTableBuilder, Server,
        ServerAddress, SessionRules, Sessions, Tenant, Upstream, UpstreamTimeouts,
    },
    session::{KeyRing, MasterKey, cookie::Name},
};

/// A control socket that answers while this lives.
pub(super) struct Running {
    pub(super) bench: Bench,
    pub(super) dir: tempfile::TempDir,
    _down: watch::Sender<ListenerState>,
    _serving: JoinHandle<std::io::Result<()>>,
}

pub(super) fn running() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let bench = bench(rustix::process::geteuid().as_raw());
    let socket = ControlSocket::bind(dir.path()).unwrap();
    let (down, shutdown) = watch::channel(ListenerState::Open);
    let serving = tokio::spawn(serve_control(socket, Arc::clone(&bench.api), shutdown));
    Running { bench, dir, _down: down, _serving: serving }
}

/// Runs a command off the runtime's threads. Returns how it ended, its data and its talk.
pub(super) async fn run_captured<F>(state_dir: &Path, command: F) -> (Exit, String, String)
where
    F: FnOnce(&Path, &mut Output<'_>) -> anyhow::Result<Exit> + Send + 'static,
{
    let state_dir = state_dir.to_owned();
    let work = move || {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut output = Output::to(&mut out, &mut talk);
        let outcome = command(&state_dir, &mut output);
        let exit = output.conclude(outcome);
        drop(output);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A policy with session keys, the lobby `lobby`, its member `acme`, and `globex`, which has a host of its
/// own.
pub(super) fn with_sessions() -> Policy {
    let rules = SessionRules {
        idle: Duration::from_secs(1800),
        absolute: Duration::from_secs(43_200),
        bind: Vec::new(),
        max_per_user: None,
    };
    let key = MasterKey { id: 7, secret: Secret::new([9; 32]), open_only: false };
    let mut policy = policy(None);
    policy.sessions = Some(Sessions {
        key_dir: None,
        cookie: Name::new("__Host-octroi"),
        ring: KeyRing::new(vec![key]),
        rules: rules.clone(),
        revocation: crate::policy::RevocationRules::default(),
        allow_email_user: false,
        login_url: None,
        foreign: crate::policy::ForeignSessions::default(),
        assertions: None,
    });
    for (name, host, members) in [
        ("lobby", Some("www.example.test"), vec!["acme"]),
        ("acme", None, vec![]),
        ("globex", Some("globex.example.test"), vec![]),
    ] {
        policy.tenants.add(Arc::new(Tenant {
            name: name.parse().unwrap(),
            origin: Origin::default(),
            hosts: host.into_iter().map(|host| host.parse().unwrap()).collect(),
            upstream: Arc::new(upstream()),
            routes: Arc::new(RouteTableBuilder::default().build(Arc::new(route()))),
            quotas: Box::default(),
            ip_access: IpAccess::default(),
            sessions: rules.clone(),
            limits: policy.request_limits,
            members: members.into_iter().map(|member| member.parse().unwrap()).collect(),
            mode: Mode::Enforce,
            suspended: false,
            allow_no_sni: false,
            request_fields: crate::policy::RequestFields::default(),
            response_headers: Box::default(),
            origins: Box::default(),
            cookies: CookieRules::default(),
            client_certificate: None,
        }));
    }
    policy
}

fn upstream() -> Upstream {
    let second = Duration::from_secs(1);
    Upstream {
        name: "app".parse().unwrap(),
        origin: Origin::default(),
        servers: Box::new([Server {
            address: ServerAddress::Tcp("127.0.0.1:9000".parse().unwrap()),
            weight: NonZeroU32::MIN,
        }]),
        balance: Balance::RoundRobin,
        tls: None,
        timeouts: UpstreamTimeouts { connect: second, first_byte: second, between_bytes: second },
        retries: 0,
        isolate: false,
        reads_bodies: false,
        protocol: Protocol::Http1,
        audience: "app".into(),
    }
}

fn route() -> Route {
    Route {
        id: RouteId::new("*"),
        origin: Origin::default(),
        access: RouteAccess::Session,
        methods: Box::default(),
        grant: crate::policy::Granting::default(),
        begins_sign_in: false,
        revoke: false,
        max_auth_age: None,
        websocket: false,
        body: false,
        origin_check: crate::policy::OriginCheck::default(),
        origins: Box::default(),
        path: PathRules::default(),
        quotas: Box::default(),
        limits: None,
    }
}
