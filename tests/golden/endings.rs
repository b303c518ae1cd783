//! How requests end: what the client gets, and the access line, over HTTP/1.1 and over HTTP/2.

use std::{fmt::Write, time::Duration};

use crate::{
    client::{Ask, Version},
    json::{Json, of_access_line},
    world::{World, escaped},
};

/// One ending.
struct Ending {
    name: &'static str,
    /// What is asked; `prepare` returns a session's cookie.
    prepare: fn(&World) -> String,
    /// Makes it happen; returns what the client got.
    run: fn(&World, Version, &str) -> String,
    /// How many access lines come of it.
    lines: usize,
    /// The versions in which it exists.
    versions: &'static [Version],
}

const BOTH: &[Version] = &[Version::Http1, Version::Http2];

const fn ending(
    name: &'static str,
    prepare: fn(&World) -> String,
    run: fn(&World, Version, &str) -> String,
) -> Ending {
    Ending { name, prepare, run, lines: 1, versions: BOTH }
}

/// Asks without more ado.
const fn simple(name: &'static str, run: fn(&World, Version, &str) -> String) -> Ending {
    ending(name, |_| String::new(), run)
}

fn asked(world: &World, version: Version, ask: Ask) -> String {
    ask.begin(world, version).end().told
}

fn get(world: &World, version: Version, host: &str, path: &str) -> String {
    asked(world, version, Ask::get(host, path))
}

fn grant(world: &World, version: Version, host: &str, grant: &str) -> String {
    asked(world, version, Ask::post(host, &format!("/login?h-Octroi-Session-Grant={}", escaped(grant))))
}

const ENDINGS: &[Ending] = &[
    simple("public", |world, version, _| get(world, version, "acme.test", "/public/x?query=1")),
    simple("a body and a referer", |world, version, _| {
        asked(world, version, Ask::post("acme.test", "/public/x").field("referer", "https://acme.test/a?b=c"))
    }),
    simple("HEAD", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/public/x").method("HEAD"))
    }),
    simple("204", |world, version, _| {
        get(world, version, "acme.test", "/public/x?status=204%20No%20Content")
    }),
    simple("304", |world, version, _| {
        get(world, version, "acme.test", "/public/x?status=304%20Not%20Modified")
    }),
    simple("500 of the app's", |world, version, _| {
        get(world, version, "acme.test", "/public/x?status=500%20Oops")
    }),
    simple("trailers", |world, version, _| get(world, version, "acme.test", "/trailers")),
    ending(
        "a session",
        |world| world.sign_in("acme.test", "u_1"),
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/in/x").cookie(cookie)),
    ),
    ending(
        "a session of the app's own login",
        |world| world.foreign(),
        |world, version, token| {
            asked(
                world,
                version,
                Ask::get("acme.test", "/in/x").field("authorization", &format!("Bearer {token}")),
            )
        },
    ),
    ending(
        "a member's session at the lobby",
        |world| {
            let path = format!("/login?h-Octroi-Session-Grant={}", escaped(r#"user="u_1", tenant="globex""#));
            world.fine(&Ask::post("lobby.test", &path))
        },
        |world, version, cookie| asked(world, version, Ask::get("lobby.test", "/in/x").cookie(cookie)),
    ),
    simple("a client certificate", |world, version, _| {
        asked(world, version, Ask::get("asked.test", "/public/x").certificate(&world.certificate))
    }),
    // Hygiene and whose address.
    simple("hygiene: a path with ..", |world, version, _| get(world, version, "acme.test", "/a/../b")),
    simple("hygiene: expect", |world, version, _| {
        asked(world, version, Ask::post("acme.test", "/public/x").field("expect", "200-ok"))
    }),
    simple("hygiene: a field that is too large", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/public/x").field("x-large", &"x".repeat(5000)))
    }),
    simple("hygiene: a method", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/public/x").method("TRACE"))
    }),
    simple("client: a loop", |world, version, _| {
        let passed = ["octroi"; 8].join(", ");
        asked(world, version, Ask::get("acme.test", "/public/x").field("cdn-loop", &passed))
    }),
    // The tenant and its addresses.
    simple("tenant: an unknown host", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/public/x").host("nobody.test"))
    }),
    simple("tenant: another than the handshake's", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/public/x").host("globex.test"))
    }),
    simple("tenant: suspended", |world, version, _| get(world, version, "shut.test", "/public/x")),
    simple("ip_access: not allowed", |world, version, _| get(world, version, "far.test", "/public/x")),
    simple("ip_access: denied", |world, version, _| get(world, version, "near.test", "/public/x")),
    simple("ip_access: observed", |world, version, _| get(world, version, "watched.test", "/public/x")),
    // The route.
    simple("route: none", |world, version, _| get(world, version, "acme.test", "/nowhere")),
    simple("route: another method", |world, version, _| get(world, version, "acme.test", "/only/x")),
    simple("route: an empty segment", |world, version, _| get(world, version, "acme.test", "/public//x")),
    simple("route: a body that is too large", |world, version, _| {
        let ask = Ask { body: vec![b'x'; 5000], ..Ask::post("acme.test", "/public/x") };
        asked(world, version, ask)
    }),
    simple("route: a body that none should have", |world, version, _| {
        asked(world, version, Ask::post("acme.test", "/public/x").method("GET"))
    }),
    // Quotas.
    ending(
        "quota: used up",
        |world| {
            // The first version has used it up for the second.
            if !world
                .lines()
                .iter()
                .any(|line| line.get("path").is_some_and(|path| path.text() == "/each/first"))
            {
                world.fine(&Ask::get("acme.test", "/each/first"));
            }
            String::new()
        },
        |world, version, _| get(world, version, "acme.test", "/each/x"),
    ),
    ending(
        "quota: of a user, used up",
        |world| {
            let cookie = world.sign_in("acme.test", "u_busy");
            if !world
                .lines()
                .iter()
                .any(|line| line.get("path").is_some_and(|path| path.text() == "/user/first"))
            {
                world.fine(&Ask::get("acme.test", "/user/first").cookie(&cookie));
            }
            cookie
        },
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/user/x").cookie(cookie)),
    ),
    ending(
        "quota: observed",
        |world| world.fine(&Ask::get("trial.test", "/public/first")),
        |world, version, _| get(world, version, "trial.test", "/public/x"),
    ),
    // Sessions.
    simple("session: missing", |world, version, _| get(world, version, "acme.test", "/in/x")),
    simple("session: missing, in a browser", |world, version, _| {
        let ask =
            Ask::get("acme.test", "/in/x").field("accept", "text/html").field("sec-fetch-mode", "navigate");
        asked(world, version, ask.field("sec-fetch-dest", "document"))
    }),
    simple("session: missing, of a gRPC call", |world, version, _| {
        let ask =
            Ask::post("acme.test", "/in/x").field("content-type", "application/grpc").field("te", "trailers");
        asked(world, version, ask)
    }),
    simple("session: invalid", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/in/x").cookie("__Host-octroi=oct1.AAAAAAAAAAAA"))
    }),
    simple("session: invalid, where none is needed", |world, version, _| {
        asked(world, version, Ask::get("acme.test", "/public/x").cookie("__Host-octroi=oct1.AAAAAAAAAAAA"))
    }),
    simple("session: twice", |world, version, _| {
        asked(
            world,
            version,
            Ask::get("acme.test", "/in/x").cookie("__Host-octroi=oct1.AA; __Host-octroi=oct1.AB"),
        )
    }),
    ending(
        "session: idle",
        |world| world.session_of("acme", Duration::from_secs(3600)),
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/in/x").cookie(cookie)),
    ),
    ending(
        "session: expired",
        |world| world.session_of("acme", Duration::from_secs(13 * 3600)),
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/in/x").cookie(cookie)),
    ),
    ending(
        "revocation: ended",
        |world| {
            let cookie = world.sign_in("acme.test", "u_gone");
            world.revoke("acme", "u_gone");
            cookie
        },
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/in/x").cookie(cookie)),
    ),
    ending(
        "authorization: a role",
        |world| world.sign_in("acme.test", "u_1"),
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/staff/x").cookie(cookie)),
    ),
    ending(
        "authorization: a sign-in too old",
        |world| world.session_of("globex", Duration::from_secs(120)),
        |world, version, cookie| asked(world, version, Ask::get("globex.test", "/fresh/x").cookie(cookie)),
    ),
    ending(
        "authorization: a page of another site",
        |world| world.sign_in("acme.test", "u_1"),
        |world, version, cookie| {
            asked(
                world,
                version,
                Ask::post("acme.test", "/in/x").cookie(cookie).field("origin", "https://evil.test"),
            )
        },
    ),
    // What an answer does to sessions.
    simple("granted", |world, version, _| {
        grant(world, version, "acme.test", r#"user="u_3", roles=("editor")"#)
    }),
    simple("grant: malformed", |world, version, _| grant(world, version, "acme.test", "user=")),
    simple("grant: another tenant", |world, version, _| {
        grant(world, version, "acme.test", r#"user="u_3", tenant="globex""#)
    }),
    simple("grant: where none is made", |world, version, _| {
        let path = format!("/public/x?h-Octroi-Session-Grant={}", escaped(r#"user="u_3""#));
        get(world, version, "acme.test", &path)
    }),
    ending(
        "grant: one too many",
        |world| {
            world.revoke("strict", "u_1");
            world.sign_in("strict.test", "u_1")
        },
        |world, version, _| grant(world, version, "strict.test", r#"user="u_1""#),
    ),
    ending(
        "grant: one more than stay",
        |world| world.sign_in("oldest.test", "u_1"),
        |world, version, _| grant(world, version, "oldest.test", r#"user="u_1""#),
    ),
    ending(
        "renewed",
        |world| world.session_of("acme", Duration::from_secs(900)),
        |world, version, cookie| asked(world, version, Ask::get("acme.test", "/in/x").cookie(cookie)),
    ),
    ending(
        "revoked",
        |world| world.sign_in("acme.test", "u_leaving"),
        |world, version, cookie| {
            asked(
                world,
                version,
                Ask::post("acme.test", "/logout?h-Octroi-Session-Revoke=self").cookie(cookie),
            )
        },
    ),
    ending(
        "a revocation where none is made",
        |world| world.sign_in("acme.test", "u_1"),
        |world, version, cookie| {
            asked(world, version, Ask::get("acme.test", "/in/x?h-Octroi-Session-Revoke=self").cookie(cookie))
        },
    ),
    // Upstreams.
    simple("upstream: takes no connection", |world, version, _| {
        get(world, version, "gone.test", "/public/x")
    }),
    simple("upstream: no TLS", |world, version, _| get(world, version, "sick.test", "/public/x")),
    simple("upstream: closes", |world, version, _| get(world, version, "slow.test", "/close")),
    ending(
        "upstream: tried again",
        |world| world.fine(&Ask::get("acme.test", "/stale")),
        |world, version, _| get(world, version, "acme.test", "/stale"),
    ),
    simple("upstream: no HTTP", |world, version, _| get(world, version, "acme.test", "/garbage")),
    simple("upstream: no answer in time", |world, version, _| {
        get(world, version, "slow.test", "/public/x?sleep=2000")
    }),
    simple("upstream: stops in the middle", |world, version, _| get(world, version, "slow.test", "/stall")),
    // Clients that leave.
    simple("the client leaves before the answer", |world, version, _| {
        let before = world.silent.heads();
        let exchange = Ask::get("silent.test", "/public/x").begin(world, version);
        exchange.said(|| world.silent.heads() > before);
        world.silent.takes_one(before);
        drop(exchange);
        "-".to_owned()
    }),
    simple("the client leaves in its body", |world, version, _| {
        let before = world.silent.heads();
        let exchange = Ask::post("silent.test", "/public/x").unfinished(1000).begin(world, version);
        exchange.said(|| world.silent.heads() > before);
        world.silent.takes_one(before);
        drop(exchange);
        "-".to_owned()
    }),
    // What ends by a revocation.
    ending(
        "revoked: an upload",
        |world| world.minted("silent", "u_up"),
        |world, version, cookie| {
            let before = world.silent.heads();
            let exchange =
                Ask::post("silent.test", "/in/x").cookie(cookie).unfinished(1000).begin(world, version);
            exchange.said(|| world.silent.heads() > before);
            world.silent.takes_one(before);
            world.revoke("silent", "u_up");
            exchange.end().told
        },
    ),
    ending(
        "revoked: while the app thinks",
        |world| world.minted("silent", "u_wait"),
        |world, version, cookie| {
            let before = world.silent.heads();
            let exchange = Ask::get("silent.test", "/in/x").cookie(cookie).begin(world, version);
            exchange.said(|| world.silent.heads() > before);
            world.silent.takes_one(before);
            // It says nothing: what ends the request is the revocation alone.
            world.revoke("silent", "u_wait");
            exchange.end().told
        },
    ),
    ending(
        "revoked: server-sent events",
        |world| world.sign_in("acme.test", "u_events"),
        |world, version, cookie| {
            let mut exchange = Ask::get("acme.test", "/held").cookie(cookie).begin(world, version);
            exchange.first();
            world.revoke("acme", "u_events");
            exchange.end().told
        },
    ),
    // WebSockets.
    Ending {
        versions: &[Version::Http1],
        ..ending(
            "a WebSocket that the client closes",
            |world| world.sign_in("acme.test", "u_1"),
            |world, version, cookie| {
                let mut exchange = socket(cookie).begin(world, version);
                exchange.head();
                drop(exchange);
                "-".to_owned()
            },
        )
    },
    Ending {
        versions: &[Version::Http1],
        ..ending(
            "revoked: a WebSocket",
            |world| world.sign_in("acme.test", "u_socket"),
            |world, version, cookie| {
                let mut exchange = socket(cookie).begin(world, version);
                exchange.head();
                world.revoke("acme", "u_socket");
                exchange.end().told
            },
        )
    },
    Ending {
        versions: &[Version::Http1],
        ..ending(
            "a WebSocket with a malformed handshake",
            |world| world.sign_in("acme.test", "u_1"),
            |world, version, cookie| {
                asked(
                    world,
                    version,
                    Ask::get("acme.test", "/ws")
                        .cookie(cookie)
                        .field("upgrade", "websocket")
                        .field("connection", "upgrade"),
                )
            },
        )
    },
];

fn socket(cookie: &str) -> Ask {
    let ask = Ask::get("acme.test", "/ws")
        .cookie(cookie)
        .field("upgrade", "websocket")
        .field("connection", "upgrade");
    ask.field("sec-websocket-version", "13").field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// Makes all of them happen, and tells of each.
pub fn table(world: &World) -> String {
    let mut out =
        "# Each ending: what the client gets, and the access line. `HTTP/1.1 | HTTP/2` where they differ; `-` where there is none.\n"
            .to_owned();
    for ending in ENDINGS {
        let columns: Vec<Vec<(String, String)>> =
            BOTH.iter().map(|version| column(world, ending, *version)).collect();
        let only = if ending.versions == BOTH { "" } else { " (HTTP/1.1)" };
        writeln!(out, "\n## {}{only}", ending.name).unwrap();
        for (name, values) in rows(&columns[0], &columns[1]) {
            writeln!(out, "{name}: {values}").unwrap();
        }
    }
    out
}

/// The fields of one version, in their order.
fn column(world: &World, ending: &Ending, version: Version) -> Vec<(String, String)> {
    if !ending.versions.contains(&version) {
        return Vec::new();
    }
    let prepared = (ending.prepare)(world);
    let before = world.lines().len();
    let told = (ending.run)(world, version, &prepared);
    let lines = world.next_lines(ending.name, before, ending.lines);
    assert_eq!(lines.len(), ending.lines, "{}: {lines:?}", ending.name);
    let mut fields = vec![("(client)".to_owned(), told)];
    lines.into_iter().for_each(|line| fields.extend(masked(line)));
    fields
}

/// The members of an access line.
pub fn masked(mut line: Json) -> Vec<(String, String)> {
    line.mask(&of_access_line(&line.clone()));
    let Json::Map(members) = line else { panic!("{line:?}") };
    members
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Json::Text(ref text) => format!("{text:?}"),
                Json::Plain(_) | Json::List(_) | Json::Map(_) => value.text(),
            };
            (name, value)
        })
        .collect()
}

/// Puts two versions beside each other. Both have what they share in the same order.
fn rows(one: &[(String, String)], two: &[(String, String)]) -> Vec<(String, String)> {
    if two.is_empty() {
        return one.to_vec();
    }
    let place = |of: &[(String, String)], name: &str| of.iter().position(|(other, _)| other == name);
    let (mut rows, mut b) = (Vec::new(), 0);
    for (name, value) in one {
        let Some(at) = place(two, name) else {
            rows.push((name.clone(), format!("{value} | -")));
            continue;
        };
        assert!(at >= b, "{name} stands in another place over HTTP/2");
        rows.extend(two[b..at].iter().map(|(name, value)| (name.clone(), format!("- | {value}"))));
        b = at + 1;
        let other = &two[at].1;
        rows.push((name.clone(), if other == value { value.clone() } else { format!("{value} | {other}") }));
    }
    rows.extend(two[b..].iter().map(|(name, value)| (name.clone(), format!("- | {value}"))));
    rows
}
