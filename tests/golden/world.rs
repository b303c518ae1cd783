//! One octroi with something of everything, its apps, and what they need.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{EncodingKey, Header, encode};
use octroi::{
    model::{Clock, Secret, SessionId, SystemClock, UnixTime},
    session::{Claims, KeyRing, MasterKey, Purpose, Roles},
};

use crate::{
    client::{Ask, Version},
    harness::{
        Octroi, Upstream, eventually,
        pki::{Ca, Wanted},
        program::BINARY,
    },
    json::Json,
    ocsp::{Responder, Word},
};

pub struct World {
    pub octroi: Octroi,
    pub silent: Silent,
    /// A client's certificate and its key, of the CA that a tenant names.
    pub certificate: PathBuf,
    /// One that nobody accepts.
    pub stranger: PathBuf,
    /// Sessions that tests have made.
    made: AtomicU8,
    _app: Upstream,
}

/// An app that takes requests, and answers none of them.
pub struct Silent {
    addr: SocketAddr,
    heads: Arc<AtomicUsize>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = Self { addr: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = Arc::clone(&silent.heads);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let heads = Arc::clone(&heads);
                std::thread::spawn(move || {
                    let (mut got, mut space) = (Vec::new(), [0; 4096]);
                    let mut is_head = true;
                    while let Ok(read) = stream.read(&mut space) {
                        if read == 0 {
                            return;
                        }
                        got.extend_from_slice(&space[..read]);
                        if is_head && got.windows(4).any(|four| four == b"\r\n\r\n") {
                            heads.fetch_add(1, Ordering::SeqCst);
                            is_head = false;
                        }
                    }
                });
            }
        });
        silent
    }

    pub fn heads(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }

    /// Waits until one more request is there than there were.
    pub fn takes_one(&self, before: usize) {
        eventually("the request is at the app", || (self.heads() > before).then_some(()));
    }
}

/// Lines are not to move: what names them is in the golden files.
fn config(app: &Upstream, silent: &Silent) -> String {
    let (app, silent) = (app.addr, silent.addr);
    format!(
        r#"version: 1
node: golden-1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
  - {{name: http, address: "127.0.0.1:0", redirect_to_https: 443}}
  - {{name: denied, address: "127.0.0.1:0", tls: {{}}, deny: [127.0.0.0/8]}}
  - {{name: one, address: "127.0.0.1:0", plaintext: true, max_connections_per_client: 1}}
  - {{name: full, address: "127.0.0.1:0", plaintext: true, max_connections: 1}}
  - {{name: proxied, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {{trusted: [127.0.0.0/8]}}}}
  - {{name: strange, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {{trusted: [192.0.2.0/24]}}}}
limits: {{header_bytes: 8KiB, uri_bytes: 6KiB, path_bytes: 4KiB, field_bytes: 4KiB, header_count: 40, http2: {{pings: 20}}}}
bans: {{after: 500, within: 1m, for: 10m}}
request_limits: {{body_bytes: 4KiB}}
metrics: {{address: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:0", hosts: [admin.test], principals: {{vera: {{token: "${{file:vera.token}}", roles: [viewer], expires: 2099-12-31}}, olaf: {{token: "${{file:olaf.token}}", roles: [operator], expires: 2099-12-31}}}}}}
tls: {{certificates: [{{dev: true, dir: certs}}, {{cert: pairs/a.pem, key: pairs/a.key, ocsp: pairs/a.der}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  login_url: /login
  formats: [octroi, jwt]
  jwt: {{bearer: true, keys: [{{id: app, algorithm: HS256, secret: "${{file:jwt.key}}"}}, {{id: login, jwks: {{url: "https://127.0.0.1:1/keys"}}}}], claims: {{tenant: tenant, session: sid}}}}
  assertion: {{key: "${{file:assertion.pem}}"}}
upstreams:
  app: {{servers: [{{address: "{app}"}}]}}
  slow: {{servers: [{{address: "{app}"}}], retries: 0, timeouts: {{connect: 3s, first_byte: 300ms, between_bytes: 300ms}}}}
  gone: {{servers: [{{address: "127.0.0.1:1"}}], retries: 0}}
  sick: {{servers: [{{address: "{app}"}}], retries: 0, tls: {{sni: app.internal}}}}
  silent: {{servers: [{{address: "{silent}"}}], retries: 0}}
routes:
  app:
    unmatched: deny
    rules:
      - {{path: /public/, access: public}}
      - {{path: /in/, access: session}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
      - {{path: /only/, access: public, methods: [POST]}}
      - {{path: /staff/, roles: [staff]}}
      - {{path: /fresh/, access: session, max_auth_age: 1m}}
      - {{path: /ws, access: session, websocket: true}}
      - {{path: /held, access: session}}
      - {{path: /stall, access: public}}
      - {{path: /garbage, access: public}}
      - {{path: /close, access: public}}
      - {{path: /trailers, access: public}}
      - {{path: /stale, access: public}}
      - {{path: /each/, access: public, quotas: [each]}}
      - {{path: /user/, access: session, quotas: [user]}}
quotas:
  each: {{by: client, rate: 1/h, burst: 1}}
  user: {{by: user, rate: 1/h, burst: 1}}
  trial: {{by: client, rate: 1/h, burst: 1, mode: observe}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app, sessions: {{idle: 30m}}}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
  lobby: {{hosts: [lobby.test], upstream: app, routes: app, members: [globex]}}
  strict: {{hosts: [strict.test], upstream: app, routes: app, sessions: {{max_per_user: {{limit: 1, over: refuse}}}}}}
  oldest: {{hosts: [oldest.test], upstream: app, routes: app, sessions: {{max_per_user: {{limit: 1, over: oldest}}}}}}
  shut: {{hosts: [shut.test], upstream: app, routes: app, suspended: true}}
  far: {{hosts: [far.test], upstream: app, routes: app, ip_access: {{allow: [203.0.113.0/24]}}}}
  near: {{hosts: [near.test], upstream: app, routes: app, ip_access: {{deny: [127.0.0.0/8]}}}}
  watched: {{hosts: [watched.test], upstream: app, routes: app, mode: observe, ip_access: {{deny: [127.0.0.0/8]}}}}
  trial: {{hosts: [trial.test], upstream: app, routes: app, quotas: [trial]}}
  slow: {{hosts: [slow.test], upstream: slow, routes: app}}
  gone: {{hosts: [gone.test], upstream: gone, routes: app}}
  sick: {{hosts: [sick.test], upstream: sick, routes: app}}
  silent: {{hosts: [silent.test], upstream: silent, routes: app}}
  stapled: {{hosts: [stapled.test], upstream: app, routes: app}}
  asked: {{hosts: [asked.test], upstream: app, routes: app, client_certificate: {{ca: clients.pem, mode: optional, crl: clients.crl}}}}
access_log: [{{to: stdout, format: json}}]
"#
    )
}

impl World {
    pub fn start() -> Self {
        let (app, silent) = (Upstream::start(), Silent::start());
        let mut octroi = Octroi::prepared(&config(&app, &silent));
        let ca = Ca::root(&octroi.path().join("pki"), "clients");
        fs::write(octroi.path().join("clients.pem"), ca.pem()).unwrap();
        fs::write(octroi.path().join("clients.crl"), ca.crl(86_400)).unwrap();
        let certificate = ca.client("robot", &Wanted::default());
        let stranger =
            Ca::root(&octroi.path().join("pki"), "strangers").client("stranger", &Wanted::default());
        let secret = octroi.path().join("jwt.key");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        // Stapled, and shown with a certificate that has nothing to do with it.
        let responder = Responder::new();
        let (leaf, key) = responder.issue(0x11, &["stapled.test"]);
        let pairs = octroi.path().join("pairs");
        fs::create_dir_all(&pairs).unwrap();
        fs::write(pairs.join("a.pem"), leaf + &ca.pem()).unwrap();
        fs::write(pairs.join("a.key"), key).unwrap();
        fs::set_permissions(pairs.join("a.key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(pairs.join("a.der"), responder.answer(0x11, Word::Good, true)).unwrap();
        // Some sessions of the tests are older than the journal.
        let mut run = Command::new(BINARY);
        run.args(["run", "--accept-old-sessions", "--config"]).arg(octroi.config()).stdin(Stdio::null());
        let child = octroi.spawn(run);
        octroi.adopt(child);
        Self { octroi, silent, certificate, stranger, made: AtomicU8::new(1), _app: app }
    }

    /// Asks, expects to be well served, and waits for the access line. Returns the cookie that came.
    pub fn fine(&self, ask: &Ask) -> String {
        let before = self.lines().len();
        let answer = ask.begin(self, Version::Http1).end();
        assert!(answer.told.starts_with("200"), "{answer:?}");
        self.next_lines("a fine request", before, 1);
        answer.cookie
    }

    /// Makes the cookie of a session without a sign-in.
    pub fn minted(&self, tenant: &str, user: &str) -> String {
        format!(
            "__Host-octroi={}",
            self.octroi.ok(&["session", "mint", "--tenant", tenant, "--user", user]).trim()
        )
    }

    /// Makes a token of the app's own login.
    pub fn foreign(&self) -> String {
        let now = SystemClock::new().now().as_secs();
        let claims = serde_json::json!({"sub": "u_2", "tenant": "acme", "sid": "s_1", "iat": now - 10, "exp": now + 600});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    /// Leaves the folder of the test out of a text.
    pub fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.octroi.path().display()), "<folder>/")
    }

    /// Ends the sessions of a user as an operator does.
    pub fn revoke(&self, tenant: &str, user: &str) {
        self.octroi.ok(&["session", "revoke", "--tenant", tenant, "--user", user]);
    }

    /// Signs a user in, and returns the cookie.
    pub fn sign_in(&self, host: &str, user: &str) -> String {
        let grant = format!("user=\"{user}\", roles=(\"editor\")");
        self.fine(&Ask::post(host, &format!("/login?h-Octroi-Session-Grant={}", escaped(&grant))))
    }

    /// Makes the cookie of a session that began so long ago, its token with it.
    pub fn session_of(&self, tenant: &str, ago: Duration) -> String {
        let text = fs::read_to_string(self.octroi.path().join("session.key")).unwrap();
        let secret: [u8; 32] = STANDARD.decode(text.trim()).unwrap().try_into().unwrap();
        let ring = KeyRing::new(vec![MasterKey { id: 1, secret: Secret::new(secret), open_only: false }]);
        let begun: UnixTime = SystemClock::new().now().minus(ago);
        let claims = Claims {
            id: SessionId::new([self.made.fetch_add(1, Ordering::Relaxed); 16]),
            tenant: tenant.parse().unwrap(),
            user: "u_old".parse().unwrap(),
            roles: Roles::try_new(["editor"]).unwrap(),
            issued: begun,
            auth_time: begun,
            not_before: begun,
            idle_end: begun.plus(Duration::from_secs(1800)),
            absolute_end: begun.plus(Duration::from_secs(12 * 3600)),
            generation: 0,
            epoch: 0,
            binding: None,
        };
        format!(
            "__Host-octroi={}",
            ring.seal(&claims, Purpose::Cookie, &tenant.parse().unwrap(), [1; 12]).unwrap()
        )
    }

    /// Returns the access lines so far, but those of calls of the admin API.
    pub fn lines(&self) -> Vec<Json> {
        self.lines_of(|event| event != "admin")
    }

    pub fn lines_of(&self, fits: impl Fn(&str) -> bool) -> Vec<Json> {
        let printed = self.octroi.printed();
        let lines = printed.iter().filter_map(|line| line.strip_prefix("out: ")).map(Json::read);
        lines.filter(|line| fits(&line.get("event").unwrap().text())).collect()
    }

    /// Waits for the lines behind the first `before`.
    pub fn next_lines(&self, what: &str, before: usize, count: usize) -> Vec<Json> {
        let mut lines = eventually(&format!("access lines: {what}"), || {
            Some(self.lines()).filter(|lines| lines.len() >= before + count)
        });
        lines.split_off(before)
    }
}

/// What the app of the world signs its own sessions with.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
