//! What lies in Redis, and what nodes say through it.

use std::{collections::BTreeSet, fmt::Write, fs, sync::mpsc, time::Duration};

use crate::{
    harness::{Octroi, Upstream, eventually, redis::Redis},
    world::escaped,
};

fn config(upstream: &Upstream, redis: &Redis, node: &str) -> String {
    format!(
        r#"
version: 1
node: {node}
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
bans: {{after: 5, within: 1m, for: 10m}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  revocation: {{store: redis}}
redis: {{url: "{}", replicas: 2, timeout: 2s}}
upstreams: {{app: {{servers: [{{address: "{}"}}]}}}}
routes:
  app:
    rules:
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
quotas: {{each: {{by: client, rate: 100/s, burst: 100}}}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app, quotas: [each], sessions: {{idle: 2s, max_per_user: {{limit: 3, over: oldest}}}}}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
"#,
        redis.url(),
        upstream.addr
    )
}

fn sign_in(node: &Octroi, tenant: &str, user: &str) -> String {
    let path = format!("/login?h-Octroi-Session-Grant={}", escaped(&format!("user=\"{user}\"")));
    node.curl(&format!("{tenant}.test"), &path).args(&["-X", "POST"]).get().session()
}

/// Has two nodes grant, renew and end sessions, and tells of every key and message.
pub fn table() -> String {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let heard = listen(&redis);
    let mut nodes = ["edge-1", "edge-2"].map(|node| Octroi::prepared(&config(&upstream, &redis, node)));
    fs::copy(nodes[0].path().join("session.key"), nodes[1].path().join("session.key")).unwrap();
    nodes.iter_mut().for_each(Octroi::run);
    let [a, b] = nodes;
    let are_two = || (redis.cli(&["HLEN", "octroi:nodes"]) == "2").then_some(());
    eventually("both nodes are there", are_two);

    let first = sign_in(&a, "acme", "u_1");
    sign_in(&a, "globex", "u_2");
    a.ok(&["session", "revoke", "--tenant", "globex", "--user", "u_2"]);
    a.ok(&["session", "revoke", "--session", &"ab".repeat(16)]);
    b.ok(&["session", "revoke", "--tenant", "globex"]);
    b.ok(&["ban", "add", "192.0.2.7"]);
    // A renewal: of a session that has used a quarter of its two seconds, and is presented with the token that came of it.
    let mut cookie = first;
    eventually("the token is renewed and told of", || {
        let answer = a.curl("acme.test", "/in/x").cookie(&cookie).get();
        assert_eq!(answer.status, 200, "{answer:?}");
        if !answer.all("set-cookie").is_empty() {
            cookie = answer.session();
        }
        let values = redis.cli(&["HVALS", "octroi:sessions:acme:u_1"]);
        (values.split(' ').nth(4) != Some("0")).then_some(())
    });

    let mut out = "# Keys in Redis: type, whether they end, and what is in them.\n".to_owned();
    let keys = redis.cli(&["KEYS", "*"]);
    let keys: BTreeSet<&str> = keys.lines().collect();
    for key in keys {
        keyed(&redis, key, &mut out);
    }
    out.push_str("\n# Messages, by channel.\n");
    let needed = ["octroi:0:heard:", "octroi:0:news", "octroi:0:turns"];
    let mut messages = BTreeSet::new();
    eventually("a message on each channel", || {
        messages.extend(heard.try_iter());
        needed
            .iter()
            .all(|channel| messages.iter().any(|message: &String| message.starts_with(channel)))
            .then_some(())
    });
    for message in messages {
        writeln!(out, "{message}").unwrap();
    }
    out
}

/// Hears every message from now on.
fn listen(redis: &Redis) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let client = ::redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (ready, begins) = mpsc::channel();
    std::thread::spawn(move || {
        let mut messages = connection.as_pubsub();
        messages.psubscribe("*").unwrap();
        ready.send(()).unwrap();
        while let Ok(message) = messages.get_message() {
            let channel = message.get_channel_name().to_owned();
            if sender.send(said(&channel, message.get_payload_bytes())).is_err() {
                return;
            }
        }
    });
    begins.recv().unwrap();
    receiver
}

/// Tells of a message without what differs from run to run.
fn said(channel: &str, payload: &[u8]) -> String {
    if channel.ends_with(":news") {
        let parts: Vec<&[u8]> = payload.splitn(4, |byte| *byte == b':').collect();
        let token = if parts[2] == b"-" { "-" } else { "<token>" };
        return format!("{channel}\n  <number>:<process>:{token}:{}", records(parts[3]));
    }
    let text = std::str::from_utf8(payload).unwrap();
    let channel = channel
        .split_once(":heard:")
        .map_or(channel.to_owned(), |(before, _)| format!("{before}:heard:<process>"));
    if channel.ends_with(":turns") {
        let (before, _) = text.rsplit_once(':').unwrap();
        let words: Vec<String> = before.split(':').map(word).collect();
        return format!("{channel}\n  {}:<generation>", words.join(":"));
    }
    // Which of its own a process waits for, and who answers.
    format!("{channel}\n  <token> {}", text.split_once(' ').unwrap().1)
}

/// Names a word by its form.
fn word(word: &str) -> String {
    let is_hex = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match word.len() {
        32 if is_hex && word.contains(|digit| digit != '0') && !word.starts_with("00000000") => {
            "<id 32>".to_owned()
        }
        // Of the machine that makes it.
        13 if word.bytes().all(|byte| byte.is_ascii_digit()) => "<ms>".to_owned(),
        10 if word.bytes().all(|byte| byte.is_ascii_digit()) => "<epoch>".to_owned(),
        length @ 16..
            if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !word.starts_with("0000") =>
        {
            format!("<name {length}>")
        }
        _ => word.to_owned(),
    }
}

/// Tells of records as the table of `state/record.rs` has them.
fn records(mut bytes: &[u8]) -> String {
    let mut told = Vec::new();
    while !bytes.is_empty() {
        told.push(record(&mut bytes));
    }
    told.join(" + ")
}

fn record(bytes: &mut &[u8]) -> String {
    let take = |bytes: &mut &[u8], count: usize| {
        let (head, rest) = bytes.split_at(count);
        *bytes = rest;
        head.to_vec()
    };
    let text = |bytes: &mut &[u8], width: usize| {
        let length = take(bytes, width).into_iter().fold(0, |length, byte| length << 8 | usize::from(byte));
        String::from_utf8(take(bytes, length)).unwrap()
    };
    match take(bytes, 1)[0] {
        1 => {
            let id = take(bytes, 16);
            take(bytes, 16);
            let id = if id == [0xab; 16] { "ab…" } else { "<id>" };
            format!("1 {id} <at> <until> {:?}", text(bytes, 1))
        }
        2 => {
            let (tenant, user) = (text(bytes, 1), text(bytes, 2));
            take(bytes, 24);
            format!("2 {tenant:?} {user:?} <from> <at> <until>")
        }
        8 => {
            let tenant = text(bytes, 1);
            take(bytes, 12);
            format!("8 {tenant:?} <at> <epoch>")
        }
        other => panic!("a record of kind {other}"),
    }
}

fn keyed(redis: &Redis, key: &str, out: &mut String) {
    let kind = redis.cli(&["TYPE", key]);
    let ends = if redis.cli(&["PTTL", key]) == "-1" { "for good" } else { "ends" };
    writeln!(out, "\n{key} {kind}, {ends}").unwrap();
    match kind.as_str() {
        "hash" => {
            let all = redis.cli(&["HGETALL", key]);
            let lines: Vec<&str> = all.lines().collect();
            let mut members: Vec<String> = lines
                .chunks(2)
                .map(|pair| {
                    let mut value: Vec<String> = pair[1].split(' ').map(word).collect();
                    // How often it was renewed before this is read is for the machine to say.
                    if key.starts_with("octroi:sessions:") && value[4] != "0" {
                        "<generation>".clone_into(&mut value[4]);
                    }
                    let value = match pair[0] {
                        "seq" => "<number>".to_owned(),
                        "id" => "<name>".to_owned(),
                        _ => value.join(" "),
                    };
                    format!("  {}: {value}", word(pair[0]))
                })
                .collect();
            members.sort_unstable();
            members.iter().for_each(|member| writeln!(out, "{member}").unwrap());
        }
        "zset" => {
            let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
            let all: Vec<(Vec<u8>, f64)> = ::redis::cmd("ZRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .query(&mut connection)
                .unwrap();
            let members: BTreeSet<String> = all
                .into_iter()
                .map(|(member, score)| {
                    let score = if score == 9_007_199_254_740_992.0 { "2^53" } else { "<until>" };
                    format!("  {score}: {}", records(&member))
                })
                .collect();
            members.iter().for_each(|member| writeln!(out, "{member}").unwrap());
        }
        other => panic!("{key} is a {other}"),
    }
}
