//! Client certificates per tenant: real chains and lists made with openssl, presented with curl and openssl.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]
#![cfg(feature = "gateway")]

mod harness;

use std::{
    cell::Cell,
    fs,
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use harness::wait;
use harness::{
    Curl, Octroi, Upstream, client, eventually,
    pki::{Ca, Wanted, openssl},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 5s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams: {{app: {{servers: [{{address: "{}"}}]}}}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, methods: [POST], access: public, grant: true}}
      - {{path: /ws, access: public, websocket: true}}
tenants:
  acme:
    hosts: [acme.test]
    upstream: app
    routes: app
    client_certificate: {{ca: acme-ca.pem, mode: required, crl: acme.crl}}
  globex:
    hosts: [globex.test]
    upstream: app
    routes: app
    mode: observe
    client_certificate: {{ca: globex-ca.pem, subjects: ["O=Globex,CN=robot", "CN=spare"], sans: ["robot.globex.test", "spiffe://globex/robot"]}}
  initech: {{hosts: [initech.test], upstream: app, routes: app}}
  umbrella:
    hosts: [umbrella.test]
    upstream: app
    routes: app
    client_certificate: {{ca: globex-ca.pem, mode: optional}}
    sessions: {{bind: [client_certificate]}}
  lobby:
    hosts: [lobby.test]
    upstream: app
    routes: app
    client_certificate: {{mode: optional}}
    members: [acme, globex, initech]
"#,
        upstream.addr
    )
}

/// Two customers with a CA each, and octroi that serves them.
struct House {
    octroi: Octroi,
    upstream: Upstream,
    acme: Ca,
    globex: Ca,
    /// How many refused handshakes were told of.
    told: Cell<usize>,
}

fn house() -> House {
    house_with(|acme| acme.crl(86_400))
}

/// A house that begins with this list of Acme's.
fn house_with(list: impl Fn(&Ca) -> String) -> House {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream));
    let pki = octroi.path().join("pki");
    let (acme, globex) = (Ca::root(&pki, "acme-root"), Ca::root(&pki, "globex-root"));
    fs::write(octroi.path().join("acme-ca.pem"), acme.pem()).unwrap();
    fs::write(octroi.path().join("acme.crl"), list(&acme)).unwrap();
    fs::write(octroi.path().join("globex-ca.pem"), globex.pem()).unwrap();
    octroi.run();
    House { octroi, upstream, acme, globex, told: Cell::new(0) }
}

impl House {
    fn curl(&self, host: &str, path: &str, certificate: &Path) -> Curl {
        self.octroi.curl(host, path).args(&["--cert", certificate.to_str().unwrap()])
    }

    /// Returns the detail of the one refused handshake since the last time.
    fn refused(&self) -> String {
        let line = eventually("a refused handshake", || {
            let lines = self.octroi.access_lines().into_iter().filter(|line| line["event"] == "connection");
            lines.skip(self.told.get()).last()
        });
        self.told.set(self.told.get() + 1);
        assert_eq!(line["reason"], "client_certificate", "{line}");
        line["detail"].as_str().unwrap().to_owned()
    }

    fn ca(&self) -> PathBuf {
        self.octroi.path().join("certs/ca.pem")
    }

    fn robot(&self) -> PathBuf {
        self.acme.client("robot", &Wanted::default())
    }

    /// What a client with a certificate needs.
    fn client_config(&self, certificate: &Path, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(certificate).unwrap())
        .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// A TLS connection that stays, with a certificate.
    fn held(
        &self,
        host: &str,
        certificate: &Path,
    ) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
        let config = self.client_config(certificate, &[]);
        let connection = rustls::ClientConnection::new(config, host.to_owned().try_into().unwrap()).unwrap();
        rustls::StreamOwned::new(connection, client::raw(self.octroi.addr("public")))
    }
}

fn ask(host: &str) -> String {
    format!("GET /public/ HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n")
}

#[test]
fn a_tenant_that_requires_a_certificate_serves_only_those_of_its_ca() {
    let house = house();
    let robot = house.robot();

    for version in ["--http1.1", "--http2"] {
        let served = house.curl("acme.test", "/public/", &robot).args(&[version]).get();
        assert_eq!(served.status, 200, "{served:?}");
        assert_eq!(served.version, if version == "--http2" { "HTTP/2" } else { "HTTP/1.1" });
        let bare = house.octroi.curl("acme.test", "/public/").args(&[version]).get();
        assert_eq!((bare.status, house.octroi.reason(&bare).as_str()), (403, "client_certificate_missing"));
    }
    for tls in ["1.2", "1.3"] {
        let pinned = [format!("--tlsv{tls}"), "--tls-max".to_owned(), tls.to_owned()];
        assert_eq!(
            house.curl("acme.test", "/public/", &robot).args(&pinned.each_ref().map(String::as_str)).status(),
            200,
            "{tls}"
        );
        assert_eq!(
            house.octroi.curl("acme.test", "/public/").args(&pinned.each_ref().map(String::as_str)).status(),
            403,
            "{tls}"
        );
    }
    assert_eq!(house.octroi.curl("initech.test", "/public/").status(), 200);
}

#[test]
fn a_certificate_that_nobody_accepts_ends_the_handshake_and_is_written_down() {
    let house = house();
    let of_another = house.globex.client("stranger", &Wanted::default());
    let expired = house.acme.client("old", &Wanted { until: "20210101000000Z", ..Wanted::default() });
    let of_a_server = house.acme.client("server", &Wanted { usage: "serverAuth", ..Wanted::default() });
    let revoked = house.robot();
    house.acme.revoke(&revoked);
    fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(86_400)).unwrap();
    house.octroi.ok(&["reload"]);

    for (certificate, why) in [
        (&of_another, "none of the CAs made it: CN=robot-1,O=Acme (serial 1000)"),
        (&expired, "it has expired: CN=robot-1,O=Acme"),
        (&of_a_server, "it is not for TLS clients"),
        (&revoked, "it is revoked"),
    ] {
        for tls in ["1.2", "1.3"] {
            let before = house
                .octroi
                .metric(r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="client_certificate",version="-"}"#);
            let answer =
                house.curl("acme.test", "/public/", certificate).args(&["--tlsv1.2", "--tls-max", tls]).get();
            assert_eq!(answer.status, 0, "{why}: {answer:?}");
            assert_ne!(answer.exit, 0, "{why}: {answer:?}");
            let after = house
                .octroi
                .metric(r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="client_certificate",version="-"}"#);
            assert!(after > before, "{why}: {before} {after}");
        }
        // The second one within a minute is only counted.
        let told = house.refused();
        assert!(told.starts_with(why), "{told}");
    }
}

#[test]
fn the_alert_says_what_the_client_can_mend() {
    let house = house();
    let addr = house.octroi.addr("public").to_string();
    let alert = |host: &str, certificate: &Path| {
        let args = [
            "s_client",
            "-connect",
            &addr,
            "-servername",
            host,
            "-cert",
            certificate.to_str().unwrap(),
            "-key",
            certificate.to_str().unwrap(),
            "-ign_eof",
        ];
        let output = Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().find(|line| line.contains("alert")).map(ToOwned::to_owned).unwrap_or(text)
    };

    assert!(alert("acme.test", &house.globex.client("a", &Wanted::default())).contains("alert unknown ca"));
    let old = Wanted { until: "20210101000000Z", ..Wanted::default() };
    assert!(alert("acme.test", &house.acme.client("b", &old)).contains("alert certificate expired"));
    assert!(alert("globex.test", &house.globex.client("c", &Wanted::default())).contains("access denied"));
}

#[test]
fn subjects_and_names_are_both_asked_where_both_are_written() {
    let house = house();
    let client = |name: &str, subject: &str, san: Option<&str>| {
        house.globex.client(name, &Wanted { subject, san, ..Wanted::default() })
    };

    for (name, subject, san) in [
        ("a", "/O=Globex/CN=robot", "DNS:robot.globex.test"),
        ("b", "/CN=robot/O=Globex/OU=x", "DNS:other.test,URI:spiffe://globex/robot"),
        ("c", "/CN=spare", "DNS:robot.globex.test"),
    ] {
        assert_eq!(
            house.curl("globex.test", "/public/", &client(name, subject, Some(san))).status(),
            200,
            "{name}"
        );
    }
    for (name, subject, san) in [
        ("d", "/O=Globex/CN=robot", None),
        ("e", "/O=Globex/CN=robot", Some("DNS:robot.globex.test.evil.test")),
        ("f", "/O=Globex/CN=robot", Some("DNS:*.globex.test")),
        ("g", "/O=Globex/CN=Robot", Some("DNS:robot.globex.test")),
        ("h", "/CN=robot", Some("DNS:robot.globex.test")),
        ("i", "/CN=evil/CN=spare", Some("DNS:robot.globex.test")),
        ("j", "/CN=evil\\,CN=spare", Some("DNS:robot.globex.test")),
    ] {
        assert_eq!(house.curl("globex.test", "/public/", &client(name, subject, san)).status(), 0, "{name}");
        assert!(
            house.refused().starts_with("it is none of the `subjects` and `sans` of `globex`: "),
            "{name}"
        );
    }
    // Observe mode relaxes none of it.
    let bare = house.octroi.curl("globex.test", "/public/").get();
    assert_eq!((bare.status, house.octroi.reason(&bare).as_str()), (403, "client_certificate_missing"));
}

#[test]
fn an_intermediate_ca_may_come_from_either_side_and_may_be_revoked() {
    let mut house = house();
    let below = house.acme.below("acme-east");
    let robot = below.client("robot", &Wanted::default());
    let sends_chain = below.with_chain(&robot);
    let write = |house: &House, name: &str, parts: &[String]| {
        fs::write(house.octroi.path().join(name), parts.concat()).unwrap()
    };

    // No list says anything of what the CA below has made.
    assert_eq!(house.curl("acme.test", "/public/", &sends_chain).status(), 0);
    assert!(house.refused().starts_with("no revocation list says whether it still counts"));
    write(&house, "acme-ca.pem", &[house.acme.pem(), below.pem()]);
    write(&house, "acme.crl", &[house.acme.crl(86_400), below.crl(86_400)]);
    house.octroi.ok(&["reload"]);
    assert_eq!(house.curl("acme.test", "/public/", &sends_chain).status(), 200);
    assert_eq!(house.curl("acme.test", "/public/", &robot).status(), 200);
    let mut held = house.held("acme.test", &robot);
    assert_eq!(client::ask(&mut held, &ask("acme.test")).status, 200);

    // Its certificate stands among the CAs, and is no end of a chain for that: the root's list counts.
    house.acme.revoke_ca(&below);
    write(&house, "acme.crl", &[house.acme.crl(86_400), below.crl(86_400)]);
    house.octroi.ok(&["reload"]);
    house.octroi.refresh();
    for certificate in [&sends_chain, &robot] {
        assert_eq!(house.curl("acme.test", "/public/", certificate).status(), 0);
    }
    assert!(house.refused().starts_with("it is revoked"));
    let answer = client::ask(&mut held, &ask("acme.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (403, "client_certificate_refused"));
    // Nothing is left of the root's own clients' trouble.
    assert_eq!(house.curl("acme.test", "/public/", &house.robot()).status(), 200);
}

#[test]
fn a_held_connection_is_judged_again_when_its_certificate_is_revoked() {
    let house = house();
    let robot = house.robot();
    let spare = house.acme.client("spare", &Wanted { subject: "/CN=spare", ..Wanted::default() });
    let (mut held, mut other) = (house.held("acme.test", &robot), house.held("acme.test", &spare));
    assert_eq!(client::ask(&mut held, &ask("acme.test")).status, 200);
    assert_eq!(client::ask(&mut other, &ask("acme.test")).status, 200);

    house.acme.revoke(&robot);
    // Renamed over the old one, as a job does that fetches lists; nobody asks for a reload.
    let (new, list) = (house.octroi.path().join("new.crl"), house.octroi.path().join("acme.crl"));
    fs::write(&new, house.acme.crl(86_400)).unwrap();
    fs::rename(new, list).unwrap();

    // Others find out: a connection may be closed behind a request that is judged before that and answered behind it.
    eventually("the list is in force", || {
        (house.curl("acme.test", "/public/", &robot).status() == 0).then_some(())
    });
    let answer = client::ask(&mut held, &ask("acme.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (403, "client_certificate_refused"));
    assert_eq!(client::ask(&mut other, &ask("acme.test")).status, 200);
    let line = house.octroi.access_line(|line| line["reason"] == "client_certificate_refused");
    assert_eq!(
        line["detail"],
        "tenant `acme` does not accept the certificate of CN=robot-1,O=Acme: it is revoked"
    );
}

#[test]
fn an_http2_connection_is_ended_with_the_refusal_so_that_its_client_comes_back() {
    let house = house();
    let (robot, spare) =
        (house.robot(), house.acme.client("spare", &Wanted { subject: "/CN=spare", ..Wanted::default() }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = async |certificate: &Path| {
        let config = house.client_config(certificate, &[b"h2"]);
        let tcp = tokio::net::TcpStream::connect(house.octroi.addr("public")).await.unwrap();
        let tls = tokio_rustls::TlsConnector::from(config)
            .connect("acme.test".try_into().unwrap(), tcp)
            .await
            .unwrap();
        let (sender, connection) = h2::client::handshake(tls).await.unwrap();
        (sender.ready().await.unwrap(), tokio::spawn(connection))
    };
    let ask = async |sender: &mut h2::client::SendRequest<bytes::Bytes>, target: &str| {
        let request = http::Request::get(format!("https://acme.test{target}")).body(()).unwrap();
        sender.send_request(request, true).unwrap().0.await.unwrap().status().as_u16()
    };

    runtime.block_on(async {
        let (mut asking, asked) = connect(&robot).await;
        let (mut waiting, waited) = connect(&robot).await;
        let (mut other, _other_connection) = connect(&spare).await;
        for sender in [&mut asking, &mut waiting, &mut other] {
            assert_eq!(ask(sender, "/public/").await, 200);
        }
        house.upstream.take();
        let request = http::Request::get("https://acme.test/public/?sleep=15000").body(()).unwrap();
        let begun = waiting.send_request(request, true).unwrap().0;
        wait::eventually_async("the request is at the app", || !house.upstream.peek().is_empty()).await;
        house.acme.revoke(&robot);
        fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(86_400)).unwrap();
        house.octroi.ok(&["reload"]);

        // A request that comes now, and one that waits for its answer.
        assert_eq!(ask(&mut asking, "/public/").await, 403);
        assert_eq!(begun.await.unwrap().status(), 403);
        for (name, mut sender, connection) in [("asking", asking, asked), ("waiting", waiting, waited)] {
            // The client is told to go, in order: its library opens no further stream here.
            let told = async {
                while let Ok(ready) = sender.ready().await {
                    sender = ready;
                    wait::slow_peer_async(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), told).await.expect(name);
            tokio::time::timeout(Duration::from_secs(30), connection).await.expect(name).unwrap().unwrap();
        }
        assert_eq!(ask(&mut other, "/public/").await, 200, "whose certificate is accepted stays");
    });
    // A new connection is judged in its handshake.
    assert_eq!(house.curl("acme.test", "/public/", &robot).status(), 0);
    assert_eq!(house.curl("acme.test", "/public/", &spare).status(), 200);
}

/// Says whether the other side closes, in order, within the two seconds that a read may take.
fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => panic!("more came"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            false
        }
    }
}

/// Says whether an answer ends its connection.
fn closes(answer: &client::Answer) -> bool {
    answer.field("connection") == Some("close")
}

#[test]
fn an_http1_connection_is_closed_behind_the_answer_once_nobody_accepts_its_certificate() {
    let mut house = house();
    let (robot, spare) =
        (house.robot(), house.acme.client("spare", &Wanted { subject: "/CN=spare", ..Wanted::default() }));
    let mut held: Vec<_> =
        [&robot, &robot, &robot, &spare].map(|certificate| house.held("acme.test", certificate)).into();
    for held in &mut held {
        let answer = client::ask(held, &ask("acme.test"));
        assert_eq!((answer.status, closes(&answer)), (200, false));
    }
    // A request for somebody else's host is not a matter of certificates.
    let answer = client::ask(&mut held[0], &ask("globex.test"));
    assert_eq!((answer.status, closes(&answer)), (421, false));
    assert_eq!(client::ask(&mut held[0], &ask("acme.test")).status, 200);

    house.acme.revoke(&robot);
    fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(86_400)).unwrap();
    house.octroi.ok(&["reload"]);

    // Whatever the request is refused for: with this certificate it is of no use to come again over the same connection.
    for (number, host, status) in [(0, "acme.test", 403), (1, "globex.test", 421)] {
        let answer = client::ask(&mut held[number], &ask(host));
        assert_eq!((answer.status, closes(&answer)), (status, true), "{host}");
        assert!(is_closed(&mut held[number]), "{host}");
    }
    for host in ["globex.test", "acme.test"] {
        let answer = client::ask(&mut held[3], &ask(host));
        assert_eq!(
            (answer.status == 200, closes(&answer)),
            (host == "acme.test", false),
            "whose certificate is accepted stays"
        );
    }
    assert!(!is_closed(&mut held[3]));
    // Nobody asks for certificates any more: the request passes, and the next connection has none.
    let open = config(&house.upstream)
        .replace("    client_certificate: {ca: acme-ca.pem, mode: required, crl: acme.crl}\n", "");
    house.octroi.reload(&open);
    let answer = client::ask(&mut held[2], &ask("acme.test"));
    assert_eq!((answer.status, closes(&answer)), (200, true));
    assert!(is_closed(&mut held[2]));
}

#[test]
fn an_http1_connection_is_closed_where_another_certificate_would_help() {
    let house = house();
    let (robot, mut bare) = (
        house.robot(),
        client::raw_tls(house.octroi.addr("public"), "lobby.test", &house.ca(), &[b"http/1.1"]),
    );
    let session = sign_in(&house, "lobby.test", "acme", Some(&robot)).session();
    let of_member =
        format!("GET /x HTTP/1.1\r\nHost: lobby.test\r\nAccept: */*\r\nCookie: {session}\r\n\r\n");
    let grant = "user=%22u_1%22%2C%20tenant=%22acme%22";
    let of_grant = format!(
        "POST /login?h-Octroi-Session-Grant={grant} HTTP/1.1\r\nHost: lobby.test\r\nContent-Length: 0\r\n\r\n"
    );

    assert_eq!(client::ask(&mut bare, &ask("lobby.test")).status, 200);
    let answer = client::ask(&mut bare, &of_member);
    assert_eq!(
        (house.octroi.reason(&answer).as_str(), closes(&answer)),
        ("member_client_certificate_missing", true)
    );
    assert!(is_closed(&mut bare));
    let mut bare = client::raw_tls(house.octroi.addr("public"), "lobby.test", &house.ca(), &[b"http/1.1"]);
    let answer = client::ask(&mut bare, &of_grant);
    assert_eq!((house.octroi.reason(&answer).as_str(), closes(&answer)), ("grant_client_certificate", true));
    assert!(is_closed(&mut bare));
    // With the certificate both are served, over one connection.
    let mut held = house.held("lobby.test", &robot);
    for request in [&of_member, &of_grant, &of_member] {
        let answer = client::ask(&mut held, request);
        assert_eq!((answer.status, closes(&answer)), (200, false));
    }
    assert!(!is_closed(&mut held));
}

#[test]
fn a_bad_list_or_ca_on_disk_changes_nothing_and_is_told() {
    let house = house();
    let robot = house.robot();
    let list = house.octroi.path().join("acme.crl");
    let good = fs::read_to_string(&list).unwrap();
    let failures = |house: &House| house.octroi.metric(r#"octroi_config_reload_total{result="failure"}"#);

    for (bad, why) in [
        (house.globex.crl(86_400), "which is none of the CAs"),
        (good.get(..good.len() / 2).unwrap().to_owned(), "acme.crl"),
        (String::new(), "holds no revocation list"),
        (forged(&house.acme, house.octroi.path()), "is not signed by that CA"),
    ] {
        let before = failures(&house);
        fs::write(&list, bad).unwrap();
        eventually("the list is refused", || (failures(&house) > before).then_some(()));
        eventually(why, || house.octroi.printed().iter().any(|line| line.contains(why)).then_some(()));
        assert_eq!(house.curl("acme.test", "/public/", &robot).status(), 200, "{why}");
    }
    let until = house.octroi.metric(r#"octroi_crl_next_update_timestamp_seconds{tenant="acme"}"#);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now + 80_000.0..now + 87_000.0).contains(&until), "{until} {now}");
}

/// A list of that CA's name that another key has signed.
fn forged(ca: &Ca, dir: &Path) -> String {
    drop(ca.crl(86_400));
    Ca::root(&dir.join("forger"), "acme-root").crl(86_400)
}

#[test]
fn a_list_that_ends_lets_nobody_in_until_the_next_one_is_there() {
    let house = house();
    let robot = house.robot();
    fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(8)).unwrap();
    house.octroi.ok(&["reload"]);
    let mut held = house.held("acme.test", &robot);
    assert_eq!(client::ask(&mut held, &ask("acme.test")).status, 200);

    // Others find out: a connection may be closed behind a request that is judged before the end and answered behind it.
    eventually("the list ends", || (house.curl("acme.test", "/public/", &robot).status() == 0).then_some(()));
    assert!(house.refused().starts_with("the revocation list of its CA has ended"));
    let answer = client::ask(&mut held, &ask("acme.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (403, "client_certificate_refused"));

    fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(86_400)).unwrap();
    eventually("the next list is in force", || {
        (house.curl("acme.test", "/public/", &robot).status() == 200).then_some(())
    });
}

#[test]
fn what_has_ended_shuts_out_its_own_tenant_and_keeps_nobody_else_from_a_start_or_a_change() {
    let mut house = house_with(Ca::old_crl);
    let robot = house.robot();
    let globex = house.globex.client(
        "globex",
        &Wanted { subject: "/CN=spare", san: Some("DNS:robot.globex.test"), ..Wanted::default() },
    );
    let lapsed = |house: &House| house.octroi.metric("octroi_client_trust_lapsed");
    let others_are_served = |house: &House| {
        assert_eq!(house.octroi.curl("initech.test", "/public/").status(), 200);
        assert_eq!(house.curl("globex.test", "/public/", &globex).status(), 200);
        // Optional: without a certificate as before.
        assert_eq!(house.octroi.curl("umbrella.test", "/public/").status(), 200);
    };
    let is_shut_out = |house: &House| {
        assert_eq!(house.curl("acme.test", "/public/", &robot).status(), 0);
        let bare = house.octroi.curl("acme.test", "/public/").get();
        assert_eq!((bare.status, house.octroi.reason(&bare).as_str()), (403, "client_certificate_missing"));
    };

    // The start.
    others_are_served(&house);
    is_shut_out(&house);
    assert!(house.refused().starts_with("the revocation list of its CA has ended"));
    let checked = house.octroi.command(&["check"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    assert!(
        said.contains("warning: ") && said.contains("has ended: the next one was due on 2020-02-01"),
        "{said}"
    );
    let status = house.octroi.command(&["status"]);
    let told = "lapsed      acme: the revocation list of `CN=acme-root` has ended: certificates of that CA are refused";
    assert!(String::from_utf8_lossy(&status.stdout).contains(told), "{status:?}");
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(lapsed(&house), 1.0);
    let error = |line: &String| {
        line.contains("ERROR") && line.contains("the revocation list of `CN=acme-root` has ended")
    };
    assert_eq!(house.octroi.printed().iter().filter(|line| error(line)).count(), 1);

    // A change of another tenant's comes into force.
    let text = fs::read_to_string(house.octroi.config()).unwrap();
    house.octroi.reload(&format!("{text}  hooli: {{hosts: [initech2.test], upstream: app, routes: app}}\n"));
    assert_eq!(house.octroi.status()["tenants"], 6);
    is_shut_out(&house);
    // The list comes, and all is well by itself.
    fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(86_400)).unwrap();
    eventually("the next list is in force", || {
        (house.curl("acme.test", "/public/", &robot).status() == 200).then_some(())
    });
    assert_eq!((house.octroi.code(&["status"]), lapsed(&house)), (0, 0.0));

    // A CA that ends soon is told of, and serves.
    let soon = Command::new("date").args(["-u", "-d", "+10 days", "+%Y%m%d%H%M%SZ"]).output().unwrap().stdout;
    house.acme.end_at(String::from_utf8(soon).unwrap().trim());
    fs::write(house.octroi.path().join("acme-ca.pem"), house.acme.pem()).unwrap();
    house.octroi.ok(&["reload"]);
    let status = house.octroi.ok(&["status"]);
    assert!(
        status.contains("\nends        acme: the CA `CN=acme-root` of client certificates expires on 20"),
        "{status}"
    );
    assert_eq!(house.curl("acme.test", "/public/", &robot).status(), 200);

    // A CA that has ended, in a reload.
    let held = &mut house.held("acme.test", &robot);
    assert_eq!(client::ask(held, &ask("acme.test")).status, 200);
    house.acme.end();
    fs::write(house.octroi.path().join("acme-ca.pem"), house.acme.pem()).unwrap();
    house.octroi.ok(&["reload"]);
    is_shut_out(&house);
    assert!(house.refused().starts_with("the CA's own certificate is not in force"));
    let answer = client::ask(held, &ask("acme.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (403, "client_certificate_refused"));
    others_are_served(&house);
    let status = house.octroi.command(&["status"]);
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("lapsed      acme: the CA `CN=acme-root` has ended"),
        "{status:?}"
    );
    assert_eq!((status.status.code(), lapsed(&house)), (Some(1), 1.0));
}

#[test]
fn cas_that_cannot_be_used_at_the_start_shut_out_their_own_tenants_alone() {
    let mut house = house();
    let robot = house.robot();
    let (list, ca) = (house.octroi.path().join("acme.crl"), house.octroi.path().join("globex-ca.pem"));
    let (good_list, good_ca) = (fs::read_to_string(&list).unwrap(), fs::read_to_string(&ca).unwrap());
    fs::write(&list, "no list at all").unwrap();
    fs::remove_file(&ca).unwrap();

    house.octroi.signal("TERM");
    house.octroi.wait();
    house.octroi.run();

    // Everybody is refused by name, those too that need no certificate: `umbrella` asks for an optional one.
    for host in ["acme.test", "globex.test", "umbrella.test"] {
        let bare = house.octroi.curl(host, "/public/").get();
        assert_eq!(
            (bare.status, house.octroi.reason(&bare).as_str()),
            (403, "client_certificate_refused"),
            "{host}"
        );
    }
    let detail = house.octroi.access_line(|line| line["reason"] == "client_certificate_refused" && line["tenant"] == "acme")["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        detail.contains("the CAs of tenant `acme` cannot be used, so everybody is refused: ")
            && detail.contains("acme.crl"),
        "{detail}"
    );
    assert_eq!(house.curl("acme.test", "/public/", &robot).status(), 0, "nobody can vouch for a certificate");
    for host in ["initech.test", "lobby.test"] {
        assert_eq!(house.octroi.curl(host, "/public/").status(), 200, "{host}");
    }
    let status = house.octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        text.contains("lapsed      acme: the CAs of clients cannot be used (") && text.contains("acme.crl"),
        "{text}"
    );
    assert!(
        text.contains("lapsed      globex: ") && text.contains("globex-ca.pem: it does not exist"),
        "{text}"
    );
    assert_eq!((status.status.code(), house.octroi.metric("octroi_client_trust_lapsed")), (Some(1), 3.0));
    let error = |line: &String| {
        line.contains("ERROR")
            && line.contains("tenant=acme")
            && line.contains("the CAs of clients cannot be used")
    };
    assert_eq!(house.octroi.printed().iter().filter(|line| error(line)).count(), 1);
    assert_eq!(house.octroi.code(&["check"]), 1);

    // Others' changes come into force; one more that is broken does not.
    let text = fs::read_to_string(house.octroi.config()).unwrap();
    house.octroi.reload(&format!("{text}  hooli: {{hosts: [hooli.test], upstream: app, routes: app}}\n"));
    assert_eq!(house.octroi.curl("hooli.test", "/public/").status(), 200);
    let good = fs::read_to_string(house.octroi.config()).unwrap();
    let more = "  soylent: {hosts: [soylent.test], upstream: app, routes: app, client_certificate: {ca: none.pem}}\n";
    fs::write(house.octroi.config(), format!("{good}{more}")).unwrap();
    let refused = house.octroi.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("none.pem: it does not exist"), "{refused:?}");
    fs::write(house.octroi.config(), good).unwrap();
    house.octroi.ok(&["reload"]);

    // The files come, and all is well by itself.
    fs::write(&list, good_list).unwrap();
    fs::write(&ca, good_ca).unwrap();
    eventually("they are in force", || {
        (house.curl("acme.test", "/public/", &robot).status() == 200).then_some(())
    });
    eventually("the other one too", || {
        (house.octroi.curl("umbrella.test", "/public/").status() == 200).then_some(())
    });
    let none = house.octroi.curl("acme.test", "/public/").get();
    assert_eq!(house.octroi.reason(&none), "client_certificate_missing");
    assert_eq!((house.octroi.code(&["status"]), house.octroi.metric("octroi_client_trust_lapsed")), (0, 0.0));
}

#[test]
fn a_tunnel_ends_with_its_certificate() {
    let house = house();
    let robot = house.robot();
    let mut tunnel = house.held("acme.test", &robot);
    let open = "GET /ws HTTP/1.1\r\nHost: acme.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tunnel.write_all(open.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let read = tunnel.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&buffer[..read]));
    tunnel.write_all(b"one").unwrap();
    assert!(tunnel.read(&mut buffer).unwrap() > 0);

    house.acme.revoke(&robot);
    fs::write(house.octroi.path().join("acme.crl"), house.acme.crl(86_400)).unwrap();
    house.octroi.ok(&["reload"]);

    eventually("the tunnel ends", || {
        let _ = tunnel.write_all(b"more");
        wait::slow_peer(Duration::from_millis(200));
        matches!(tunnel.read(&mut buffer), Ok(0) | Err(_)).then_some(())
    });
    let line = house.octroi.access_line(|line| line["path"] == "/ws");
    assert_eq!(line["reason"], "client_certificate_refused", "{line}");
}

#[test]
fn no_handshake_with_a_certificate_is_resumed() {
    let house = house();
    let robot = house.robot();
    let addr = house.octroi.addr("public").to_string();
    let handshakes = |host: &str, more: &[&str]| {
        let cert = robot.to_str().unwrap();
        let mut args = vec!["s_client", "-connect", &addr, "-servername", host, "-cert", cert, "-key", cert];
        args.extend(more);
        let output = Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let of = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
        (of("New, "), of("Reused, "))
    };

    assert_eq!(handshakes("acme.test", &["-tls1_2", "-reconnect"]), (6, 0));
    assert_eq!(handshakes("initech.test", &["-tls1_2", "-reconnect"]), (1, 5));
    for host in ["acme.test", "lobby.test", "initech.test"] {
        for version in ["-tls1_2", "-tls1_3"] {
            let ticket = house.octroi.path().join(format!("{host}{version}"));
            // TLS 1.3 brings its tickets with the first answer.
            let made = Command::new("sh")
                .arg("-c")
                .arg(format!(
                    "(printf 'GET /public/ HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n'; sleep 0.5) | openssl s_client {version} -connect {addr} -servername {host} -cert {0} -key {0} -sess_out {1} -ign_eof -quiet",
                    robot.display(),
                    ticket.display()
                ))
                .output();
            drop(made.unwrap());
            // With a ticket of one host towards each host that asks for certificates.
            for other in ["acme.test", "lobby.test"] {
                if ticket.exists() {
                    assert_eq!(
                        handshakes(other, &[version, "-sess_in", ticket.to_str().unwrap()]),
                        (1, 0),
                        "{host} {other} {version}"
                    );
                }
            }
        }
    }
    // The counter-check: without certificates, sessions are resumed.
    let ticket = house.octroi.path().join("initech.test-tls1_3");
    assert_eq!(handshakes("initech.test", &["-tls1_3", "-sess_in", ticket.to_str().unwrap()]), (0, 1));
}

#[test]
fn a_certificate_of_one_tenant_opens_no_other() {
    let house = house();
    let robot = house.robot();

    // A handshake for one host, a request for another, on the connection that carries the certificate.
    let mut held = house.held("acme.test", &robot);
    let answer = client::ask(&mut held, &ask("globex.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (421, "sni_mismatch"));
    let mut held = house.held("initech.test", &robot);
    let answer = client::ask(&mut held, &ask("acme.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (421, "sni_mismatch"));
    assert_eq!(house.curl("globex.test", "/public/", &robot).status(), 0);
    assert_eq!(house.octroi.curl("acme.test", "/public/").header("Octroi-Client-Cert: :MIIB:").status(), 403);
}

/// Signs a user in at the lobby and returns the answer.
fn sign_in(house: &House, host: &str, tenant: &str, certificate: Option<&Path>) -> client::Answer {
    let grant = format!("user=\"u_1\", tenant=\"{tenant}\"");
    let grant = percent_encoding::utf8_percent_encode(&grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    let path = format!("/login?h-Octroi-Session-Grant={grant}");
    let curl = match certificate {
        Some(certificate) => house.curl(host, &path, certificate),
        None => house.octroi.curl(host, &path),
    };
    curl.args(&["-X", "POST"]).get()
}

#[test]
fn a_lobby_asks_for_the_certificates_of_its_members() {
    let house = house();
    let robot = house.robot();
    let globex = house.globex.client(
        "g",
        &Wanted { subject: "/CN=spare", san: Some("DNS:robot.globex.test"), ..Wanted::default() },
    );
    let nobody = house.globex.client("n", &Wanted { subject: "/CN=nobody", ..Wanted::default() });

    // Nobody needs one before they sign in, and one that no member accepts comes nowhere.
    assert_eq!(house.octroi.curl("lobby.test", "/public/").status(), 200);
    assert_eq!(house.curl("lobby.test", "/public/", &globex).status(), 200);
    assert_eq!(house.curl("lobby.test", "/public/", &nobody).status(), 0);

    // A session is granted with the certificate of its tenant only.
    for (certificate, tenant) in
        [(None, "acme"), (Some(&*globex), "acme"), (Some(&*robot), "globex"), (None, "globex")]
    {
        let answer = sign_in(&house, "lobby.test", tenant, certificate);
        assert_eq!(
            (answer.status, house.octroi.reason(&answer).as_str()),
            (403, "grant_client_certificate"),
            "{tenant}"
        );
        assert!(answer.field("set-cookie").is_none());
    }
    let session = sign_in(&house, "lobby.test", "acme", Some(&robot)).session();
    house.upstream.take();
    let served = house.curl("lobby.test", "/x", &robot).cookie(&session).get();
    assert_eq!(served.status, 200, "{served:?}");
    assert_eq!(house.upstream.only().field("octroi-tenant"), Some("acme"));

    // And is of use with it only.
    let bare = house.octroi.curl("lobby.test", "/x").cookie(&session).get();
    assert_eq!(
        (bare.status, house.octroi.reason(&bare).as_str()),
        (403, "member_client_certificate_missing")
    );
    let other = house.curl("lobby.test", "/x", &globex).cookie(&session).get();
    assert_eq!(
        (other.status, house.octroi.reason(&other).as_str()),
        (403, "member_client_certificate_refused")
    );
    // A member that asks for none is not concerned.
    let plain = sign_in(&house, "lobby.test", "initech", None).session();
    assert_eq!(house.octroi.curl("lobby.test", "/x").cookie(&plain).status(), 200);
}

#[test]
fn the_upstream_and_the_log_are_told_of_the_certificate() {
    let house = house();
    let robot = house.robot();
    let der = CertificateDer::from_pem_file(&robot).unwrap();
    let expected = format!(":{}:", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der));

    let spoofed = ["Octroi-Client-Cert: :AAAA:", "Octroi_Client_Cert: :AAAA:", "X-Client-Cert: x"];
    let curl =
        spoofed.iter().fold(house.curl("acme.test", "/public/", &robot), |curl, line| curl.header(line));
    let answer = curl.get();
    let got = house.upstream.only();
    assert_eq!(got.field("octroi-client-cert"), Some(&*expected));
    assert!(!got.has("x-client-cert") && !got.has("octroi_client_cert"));

    let id = answer.field("octroi-request-id").unwrap().to_owned();
    let line = house.octroi.access_line(|line| line["request.id"] == *id);
    let fingerprint = openssl(
        house.octroi.path(),
        &["x509", "-in", robot.to_str().unwrap(), "-noout", "-fingerprint", "-sha256"],
    );
    let fingerprint = fingerprint.trim().rsplit('=').next().unwrap().replace(':', "").to_ascii_lowercase();
    assert_eq!(line["tls.client.subject"], "CN=robot-1,O=Acme");
    assert_eq!(line["tls.client.issuer"], "CN=acme-root");
    assert_eq!(line["tls.client.serial"], "1000");
    assert_eq!(line["tls.client.sha256"], fingerprint[..32]);

    // At a lobby it is the member's word; an anonymous request acts for the lobby, which has no CA.
    house.curl("lobby.test", "/public/", &robot).get();
    assert!(!house.upstream.only().has("octroi-client-cert"));
    // Without a certificate nothing is said, whatever the client says.
    house.octroi.curl("umbrella.test", "/public/").header("Octroi-Client-Cert: :AAAA:").get();
    assert!(!house.upstream.only().has("octroi-client-cert"));
}

#[test]
fn a_session_may_be_bound_to_the_certificate() {
    let house = house();
    let client = |name: &str| house.globex.client(name, &Wanted::default());
    let (one, other) = (client("one"), client("other"));

    let session = sign_in(&house, "umbrella.test", "umbrella", Some(&one)).session();
    assert_eq!(house.curl("umbrella.test", "/x", &one).cookie(&session).status(), 200);
    for answer in [
        house.curl("umbrella.test", "/x", &other).cookie(&session).get(),
        house.octroi.curl("umbrella.test", "/x").cookie(&session).get(),
    ] {
        assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (401, "session_binding"));
    }
    // One that began without a certificate goes on without one.
    let bare = sign_in(&house, "umbrella.test", "umbrella", None).session();
    assert_eq!(house.octroi.curl("umbrella.test", "/x").cookie(&bare).status(), 200);
    let answer = house.curl("umbrella.test", "/x", &one).cookie(&bare).get();
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (401, "session_binding"));
    // A minted one is bound to the file that is named.
    let mint = |certificate: &str| {
        let token = house.octroi.ok(&[
            "session",
            "mint",
            "--tenant",
            "umbrella",
            "--user",
            "u_9",
            "--client-certificate",
            certificate,
        ]);
        format!("__Host-octroi={}", token.trim())
    };
    let minted = mint(one.to_str().unwrap());
    assert_eq!(house.curl("umbrella.test", "/x", &one).cookie(&minted).status(), 200);
    assert_eq!(house.curl("umbrella.test", "/x", &other).cookie(&minted).status(), 401);
}

#[test]
fn rules_that_change_reach_connections_that_are_held() {
    let mut house = house();
    let robot = house.robot();
    let mut held = house.held("acme.test", &robot);
    let mut bare = client::raw_tls(house.octroi.addr("public"), "initech.test", &house.ca(), &[b"http/1.1"]);
    assert_eq!(client::ask(&mut held, &ask("acme.test")).status, 200);
    assert_eq!(client::ask(&mut bare, &ask("initech.test")).status, 200);

    let before = config(&house.upstream);
    let bounded = before.replace("crl: acme.crl}", "crl: acme.crl, subjects: [CN=robot-2]}");
    house.octroi.reload(
        &bounded.replace("initech: {hosts", "initech: {client_certificate: {ca: acme-ca.pem}, hosts"),
    );
    let answer = client::ask(&mut held, &ask("acme.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (403, "client_certificate_refused"));
    // A connection that was never asked for one has none: its client may come again.
    let answer = client::ask(&mut bare, &ask("initech.test"));
    assert_eq!((answer.status, house.octroi.reason(&answer).as_str()), (403, "client_certificate_missing"));
    assert_eq!(answer.field("connection"), Some("close"));

    house.octroi.reload(&before);
    let mut held = house.held("acme.test", &robot);
    assert_eq!(client::ask(&mut held, &ask("acme.test")).status, 200);
    fs::write(house.octroi.path().join("acme-ca.pem"), house.globex.pem()).unwrap();
    house.octroi.reload(&before.replace(", crl: acme.crl}", "}"));
    assert_eq!(client::ask(&mut held, &ask("acme.test")).status, 403);
}

#[test]
fn explain_judges_a_certificate() {
    let house = house();
    let robot = house.robot();
    let stranger = house.globex.client("s", &Wanted::default());
    let explain = |args: &[&str]| {
        let output = house.octroi.command(&[&["explain", "https://acme.test/public/"], args].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };

    assert_eq!(explain(&["--certificate", robot.to_str().unwrap()]).0, 0);
    let (code, text) = explain(&[]);
    assert!(code == 1 && text.contains("client_certificate_missing"), "{text}");
    let (code, text) = explain(&["--certificate", stranger.to_str().unwrap()]);
    assert!(
        code == 1 && text.contains("client_certificate_refused") && text.contains("none of the CAs made it"),
        "{text}"
    );
    assert_eq!(
        house.octroi.code(&["explain", "https://acme.test/public/", "--certificate", "nothing.pem"]),
        1
    );
}
