//! However an app reads a path, it is never asked for less than the path that it reads.
//!
//! Random rules, random spellings, and models of apps: a request that passes for a spelling passes for what the app makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use octroi::{
    model::{Path, PathRules},
    policy::{Matched, OriginCheck, Route, RouteAccess, RouteTable, RouteTableBuilder},
};
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use support::route;

/// How an app reads what is forwarded.
#[derive(Clone, Copy, Debug)]
enum App {
    /// Express: nothing is decoded before routes are compared, and case is not told apart.
    Express,
    /// IIS and ASP.NET: decoded once, slashes too, merged; case is not told apart.
    Iis,
    /// Tomcat: parameters are taken off first, then all is decoded and merged.
    Tomcat,
    /// Two layers that each decode, and a router behind them that takes parameters off.
    Twice,
    /// nginx: decoded once, merged.
    Nginx,
    /// Go, Rails and Flask: decoded once, merged, and `;` is a character like any other.
    Go,
    /// `proxy_pass http://app$uri` of nginx: decoded once, and what follows a `?` or `#` is no path any more.
    Decoding,
    /// Windows on the way to a code page: decoded once, full-width characters are narrow ones.
    BestFit,
    /// Fastify 4 and restify: a query begins at `;`, and all before it is decoded once.
    Fastify,
    /// ASP.NET on Windows: as IIS, without sessions in the path, and without what the file system does not see.
    AspNet,
    /// Symfony, Laravel, CodeIgniter: decoded once, and a script in front is none of their path.
    FrontController,
    /// `equalsIgnoreCase` of Java, `re.I` of Python: decoded once, case is not told apart, one character for one.
    Simple,
    /// Next.js and Gatsby: decoded once, the data of a page are those of the page, with a slash behind them or without.
    Pages,
    /// SvelteKit and Qwik City: what ends in the name of the data is the page, decoded once.
    Folders,
    /// React Router and Remix: decoded once, and `.data` is the page.
    Endings,
}

impl App {
    const ALL: [Self; 15] = [
        Self::Express,
        Self::Iis,
        Self::Tomcat,
        Self::Twice,
        Self::Nginx,
        Self::Go,
        Self::Decoding,
        Self::BestFit,
        Self::Fastify,
        Self::AspNet,
        Self::FrontController,
        Self::Simple,
        Self::Pages,
        Self::Folders,
        Self::Endings,
    ];

    fn read(self, forwarded: &str) -> Option<String> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        Some(match self {
            Self::Express => forwarded.to_ascii_lowercase(),
            Self::Iis => merged(&decoded(forwarded)?).to_lowercase(),
            Self::Tomcat => merged(&decoded(&without_parameters(forwarded))?),
            Self::Twice => merged(&without_parameters(&decoded(&decoded(forwarded)?)?)),
            Self::Nginx => merged(&decoded(forwarded)?),
            // Parameters of the last segment are the rule's own.
            Self::Go => merged(&decoded(&without_last_parameters(forwarded))?),
            Self::Decoding => merged(decoded(forwarded)?.split(['?', '#']).next().unwrap()),
            Self::BestFit => merged(&decoded(forwarded)?.chars().map(narrow).collect::<String>()),
            Self::Fastify => merged(&decoded(forwarded.split(';').next().unwrap())?),
            Self::AspNet => {
                let sessionless = merged(&decoded(forwarded)?).replace("/(S(a))/", "/");
                let seen = |segment: &str| {
                    segment.split("::$DATA").next().unwrap().trim_end_matches([' ', '.']).to_owned()
                };
                merged(&sessionless.split('/').map(seen).collect::<Vec<_>>().join("/")).to_lowercase()
            }
            Self::FrontController => merged(&decoded(forwarded)?.replace("/x.php/", "/")),
            Self::Simple => merged(&decoded(forwarded)?.chars().map(simple).collect::<String>()),
            Self::Pages => {
                let asked = merged(&decoded(forwarded)?);
                let data = asked.strip_suffix('/').unwrap_or(&asked);
                let next = || data.strip_prefix("/_next/data/b/")?.strip_suffix(".json");
                let gatsby = || data.strip_prefix("/page-data/")?.strip_suffix("/page-data.json");
                next()
                    .or_else(gatsby)
                    .map_or(asked.clone(), |page| format!("/{}", if page == "index" { "" } else { page }))
            }
            Self::Folders => {
                let folder = || {
                    forwarded.strip_suffix("/__data.json").or_else(|| forwarded.strip_suffix("/q-data.json"))
                };
                let file = || forwarded.strip_suffix(".html__data.json").map(|page| format!("{page}.html"));
                let page = folder().map(str::to_owned).or_else(file).unwrap_or_else(|| forwarded.to_owned());
                merged(&decoded(&format!("/{page}"))?)
            }
            Self::Endings => {
                let asked = merged(&decoded(forwarded)?);
                let page = asked.strip_suffix("/_.data").or_else(|| asked.strip_suffix(".data"));
                page.map(|page| format!("/{}", page.trim_matches('/'))).unwrap_or(asked)
            }
        })
    }

    /// Returns the rules that judge what it reads.
    fn judge(table: &RouteTable, read: &str, judge: impl FnOnce(&Matched<'_>)) {
        if read.contains(';') {
            // A path of which we would take something off.
            let read = if read.contains('%') { return } else { read };
            return judge(&Matched { route: table.find(read), alternates: Vec::new() });
        }
        // As one would ask for it.
        let plain = percent_encoding::utf8_percent_encode(read, percent_encoding::CONTROLS).to_string();
        let Ok(plain) = Path::parse(plain.as_bytes()) else { return };
        if plain.readings().is_ok_and(|readings| readings.is_empty())
            && plain.permit(PathRules::default()).is_ok()
        {
            judge(&table.match_all(&plain).unwrap());
        }
    }
}

fn narrow(character: char) -> char {
    match u32::from(character) {
        0x2044 | 0x2215 => '/',
        wide @ 0xff01..=0xff5e => char::from_u32(wide - 0xfee0).unwrap(),
        _ => character,
    }
}

fn simple(character: char) -> char {
    let upper: Vec<char> = character.to_uppercase().collect();
    let upper = if let [one] = *upper { one } else { character };
    upper.to_lowercase().next().unwrap()
}

fn without_last_parameters(text: &str) -> String {
    let (folder, last) = text.rsplit_once('/').unwrap();
    format!("{folder}/{}", last.split(';').next().unwrap())
}

fn merged(text: &str) -> String {
    let mut out = text.to_owned();
    while out.contains("//") {
        out = out.replace("//", "/");
    }
    out
}

fn without_parameters(text: &str) -> String {
    text.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
}

/// Who asks.
#[derive(Clone, Debug)]
struct Asker {
    roles: Option<Vec<&'static str>>,
    age: u64,
    method: &'static str,
    cross_site: bool,
}

fn passes(matched: &Matched<'_>, asker: &Asker) -> bool {
    matched.rules().all(|route| {
        let access = match (&route.access, &asker.roles) {
            (RouteAccess::Public, _) | (RouteAccess::Session, Some(_)) => true,
            (RouteAccess::Roles(asked), Some(roles)) => asked.iter().any(|role| roles.contains(&&**role)),
            (RouteAccess::Session | RouteAccess::Roles(_), None) | (RouteAccess::Nobody, _) => false,
        };
        let aged = route
            .max_auth_age
            .is_none_or(|most| asker.roles.is_some() && Duration::from_secs(asker.age) <= most);
        access
            && aged
            && route.lists(asker.method)
            && !(asker.cross_site && route.origin_check == OriginCheck::Always)
    })
}

fn access() -> impl Strategy<Value = RouteAccess> {
    let roles = prop::sample::subsequence(vec!["r", "s"], 1..=2);
    prop_oneof![
        3 => Just(RouteAccess::Public),
        2 => Just(RouteAccess::Session),
        2 => roles.prop_map(|roles| RouteAccess::Roles(roles.into_iter().map(Into::into).collect())),
    ]
}

fn rule() -> impl Strategy<Value = Route> {
    let path =
        (prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "é", "i"]), 0..3), any::<bool>());
    let methods = prop::sample::subsequence(vec!["GET", "POST"], 0..=2);
    let check = prop::sample::select(vec![OriginCheck::Off, OriginCheck::Sessions, OriginCheck::Always]);
    let options = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (path, access(), methods, prop::option::of(1_u64..3), check, options).prop_map(
        |((segments, folder), access, methods, age, origin_check, options)| {
            let bare: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            let path = if folder || bare.is_empty() { format!("{bare}/") } else { bare };
            let max_auth_age = age.map(Duration::from_secs).filter(|_| access != RouteAccess::Public);
            let (allow_encoded_slash, allow_path_parameters, merge_slashes, allow_double_encoding) = options;
            Route {
                methods: methods.into_iter().map(Into::into).collect(),
                max_auth_age,
                origin_check,
                path: PathRules {
                    allow_encoded_slash,
                    allow_path_parameters,
                    merge_slashes,
                    allow_double_encoding,
                },
                ..route(&path, access)
            }
        },
    )
}

fn table() -> impl Strategy<Value = RouteTable> {
    (prop::collection::vec(rule(), 1..6), prop_oneof![Just(RouteAccess::Nobody), access()]).prop_map(
        |(rules, fallback)| {
            let mut builder = RouteTableBuilder::default();
            for route in rules {
                let path = route.id.as_str().to_owned();
                let _twice = builder.add(&path, Arc::new(route), true);
            }
            builder.build(Arc::new(route("*", fallback)))
        },
    )
}

/// A path in pieces that readers read differently.
fn spelling() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "/",
        "/./",
        "/.",
        "//",
        "%2F",
        "%2f",
        "%252F",
        "%252f",
        "a",
        "b",
        "A",
        "B",
        "ab",
        "aB",
        "%61",
        "%42",
        "%2561",
        "%2541",
        "%C3%A9",
        "%C3%89",
        "%25C3%25A9",
        ";",
        ";a",
        "%3B",
        "%3Ba",
        "%253B",
        ";x%2Fa",
        "i",
        "%C4%B0",
        "%C4%B1",
        "%3F",
        "%23",
        "%EF%BD%81",
        "%EF%BC%A2",
        "%EF%BC%8F",
        "/(S(a))/",
        "/x.php/",
        "/x.php%2F",
        "%20",
        ".",
        "::$DATA",
    ]);
    // As frameworks ask for the data of pages, with something more.
    let data = prop::sample::select(vec![
        ("", ""),
        ("", ""),
        ("_next/data/b/", ".json"),
        ("_next%2Fdata/b/", "%2Ejson"),
        ("page-data/", "/page-data.json"),
        ("", "/__data.json"),
        ("", "/q-data.json"),
        ("", ".html__data.json"),
        ("", ".data"),
        ("", "%2Edata"),
        ("", "/_.data"),
        ("", "/.data"),
    ]);
    let behind = prop::sample::select(vec!["", "", "", "/", "//", ";a", "%2F"]);
    (prop::collection::vec(piece, 0..8), data, behind)
        .prop_map(|(pieces, (before, after), behind)| format!("/{before}{}{after}{behind}", pieces.concat()))
}

fn asker() -> impl Strategy<Value = Asker> {
    let roles = prop::option::of(prop::sample::subsequence(vec!["r", "s"], 0..=2));
    (roles, 0_u64..4, prop::sample::select(vec!["GET", "POST", "PUT"]), any::<bool>())
        .prop_map(|(roles, age, method, cross_site)| Asker { roles, age, method, cross_site })
}

#[test]
fn a_path_that_all_readers_read_alike_costs_no_memory() {
    let mut builder = RouteTableBuilder::default();
    for path in ["/", "/items/", "/login", "/admin/users/"] {
        builder.add(path, Arc::new(route(path, RouteAccess::Session)), false).unwrap();
    }
    let table = builder.build(Arc::new(route("*", RouteAccess::Public)));
    for path in [
        "/items/1",
        "/items/AbC",
        "/none",
        "/admin",
        "/Admin/Users/7",
        "/login/",
        "/items/a.b:c(d)",
        "/items/_a_b.json",
        "/_next/static/a.js",
    ] {
        let count = allocation_counter::measure(|| {
            let path = Path::parse(path.as_bytes()).unwrap();
            assert!(table.match_all(&path).unwrap().alternates.is_empty());
        });

        assert_eq!(count.count_total, 0, "{path}");
    }
}

/// What some server, proxy or framework does with a path before it is compared with anything.
#[derive(Clone, Copy, Debug)]
enum Step {
    Decode,
    DecodeButSlashes,
    WithoutParameters,
    Merge,
    BeforeQuery,
    Narrow,
    Lower,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Decode,
        Self::DecodeButSlashes,
        Self::WithoutParameters,
        Self::Merge,
        Self::BeforeQuery,
        Self::Narrow,
        Self::Lower,
    ];

    fn of(self, text: &str) -> String {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match self {
            Self::Decode => decoded(text),
            Self::DecodeButSlashes => {
                decoded(&text.replace("%2F", "\u{1}").replace("%2f", "\u{1}")).replace('\u{1}', "%2F")
            }
            Self::WithoutParameters => without_parameters(text),
            Self::Merge => merged(text),
            Self::BeforeQuery => text.split(['?', '#']).next().unwrap().to_owned(),
            Self::Narrow => text.chars().map(narrow).collect(),
            Self::Lower => text.to_lowercase(),
        }
    }
}

/// What comes of a path in every order of so many steps, with at most two decodings and one narrowing.
fn orders(path: &str, depth: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([(path.to_owned(), 0, 0)]);
    let mut layer = seen.clone();
    for _ in 0..depth {
        let mut next = BTreeSet::new();
        for (text, decodings, narrowings) in &layer {
            for step in Step::ALL {
                let counts = match step {
                    Step::Decode | Step::DecodeButSlashes => (decodings + 1, *narrowings),
                    Step::Narrow => (*decodings, narrowings + 1),
                    Step::WithoutParameters | Step::Merge | Step::BeforeQuery | Step::Lower => {
                        (*decodings, *narrowings)
                    }
                };
                let made = (step.of(text), counts.0, counts.1);
                if made.0 != *text && counts.0 <= 2 && counts.1 <= 1 && seen.insert(made.clone()) {
                    next.insert(made);
                }
            }
        }
        layer = next;
    }
    seen.into_iter().map(|(text, _, _)| text).collect()
}

/// Numbers that look like chance and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

#[test]
fn whatever_order_of_steps_leads_to_a_rule_that_rule_judges() {
    const AROUND: [&str; 24] = [
        "/",
        "%2F",
        "%252F",
        ";",
        "%3B",
        "%253B",
        "x",
        "%3F",
        "%23",
        "%253F",
        "%EF%BC%8F",
        "%25EF%25BC%258F",
        "%EF%BC%9B",
        "/x",
        ";x",
        ".",
        "%EF%BC%852F",
        "%EF%BC%853B",
        "%EF%BC%9F",
        "%E2%81%84",
        "%EF%BC%85",
        "%EF%BC%85252F",
        "%25",
        "%EF%BC%8E",
    ];
    const NAMES: [&str; 13] = [
        "admin",
        "%61dmin",
        "%2561dmin",
        "%EF%BD%81dmin",
        "%25EF%25BD%2581dmin",
        "ADMIN",
        "adm%C4%B1n",
        "%EF%BC%8561dmin",
        "a%25%36%34min",
        "%EF%BC%85%EF%BC%96%EF%BC%91dmin",
        "%25%EF%BC%961dmin",
        "%EF%BC%85EF%EF%BC%85BD%EF%BC%8581dmin",
        "a%64min",
    ];
    let open = |rules: PathRules| {
        let mut builder = RouteTableBuilder::default();
        builder.add("/", Arc::new(Route { path: rules, ..route("/", RouteAccess::Public) }), false).unwrap();
        builder.add("/admin", Arc::new(route("/admin", RouteAccess::Session)), false).unwrap();
        builder.build(Arc::new(route("*", RouteAccess::Public)))
    };
    let all = PathRules {
        allow_encoded_slash: true,
        allow_path_parameters: true,
        merge_slashes: true,
        allow_double_encoding: true,
    };
    let tables = [open(PathRules::default()), open(all)];
    let mut numbers = Numbers(7);
    let (mut led, mut judged, mut climbed, mut passed) = (0, 0, 0, 0);
    for _ in 0..4_000 {
        let mut around =
            || (0..numbers.below(4)).map(|_| AROUND[numbers.below(AROUND.len())]).collect::<String>();
        let (before, after) = (around(), around());
        let spelling = format!("/{before}{}{after}", NAMES[numbers.below(NAMES.len())]);
        // Segments that are a bare dot are off for everybody.
        let Ok(path) = Path::parse(spelling.as_bytes()) else { continue };
        let read = orders(path.raw(), 6);
        let leads = read.iter().any(|text| merged(text).trim_end_matches('/').to_lowercase() == "/admin");
        let climbs = read.iter().any(|text| text.split('/').any(|segment| matches!(segment, "." | "..")));
        led += usize::from(leads);
        climbed += usize::from(climbs);
        for table in &tables {
            let Ok(matched) = table.match_all(&path) else { continue };
            if path.permit(matched.route.path).is_err() {
                continue;
            }
            assert!(!climbs, "{spelling} climbs: {read:?}");
            let by_rule = matched.rules().any(|route| route.id.as_str() == "/admin");
            assert!(by_rule || !leads, "{spelling} is read as /admin: {read:?}, and judged by {matched:?}");
            judged += usize::from(leads);
            passed += usize::from(!by_rule);
        }
    }
    // It is not all refused.
    assert!(led > 400 && judged > 200 && climbed > 5 && passed > 400, "{led} {judged} {climbed} {passed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, max_global_rejects: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn no_spelling_passes_where_what_is_read_would_not(table in table(), spelling in spelling(), asker in asker()) {
        let Ok(path) = Path::parse(spelling.as_bytes()) else { return Ok(()) };
        let Ok(matched) = table.match_all(&path) else { return Ok(()) };
        prop_assume!(path.permit(matched.route.path).is_ok() && passes(&matched, &asker));
        for app in App::ALL {
            let Some(read) = app.read(&path.forwarded()) else { continue };
            // Parameters of the last segment are the rule's own, unless only whoever does not know them sees that they are.
            let read = if matches!(app, App::Go) { read } else { without_last_parameters(&read) };
            let mut refused = None;
            App::judge(&table, &read, |judged| {
                if !passes(judged, &asker) {
                    refused = Some(format!("{judged:?}"));
                }
            });
            prop_assert!(refused.is_none(), "{app:?} reads {spelling} as {read}: {refused:?}, and {matched:?}");
        }
    }
}
