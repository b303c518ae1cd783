//! A reload that fails at any part leaves everything as it was.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::change::{Adopted, Cause, Change, Part, Prepared, Refused, apply};
use crate::{
    app::{
        assemble::{Foundation, Materials, assemble},
        bind::{Bound, bind},
        included::TenantIncludes,
        parts::App,
        prepare,
        shutdown::Signals,
        start::{Start, StartContext},
        start_journal::StartJournal,
    },
    files,
    model::{Clock, ControlError, ReloadRequest, TenantName},
    process::InheritedSockets,
    store::Descriptors,
    telemetry::tracing::{Format, ProcessLog},
    upkeep::clock::GuardedClock,
};

const BEFORE: &str = r#"
version: 1
server: {state_dir: state, threads: 1}
listeners:
  - {name: plain, address: "127.0.0.1:0", plaintext: true}
access_log: [{to: file, path: before.log}]
sessions: {keys: [{id: 1, secret: "${file:session-1.key}"}]}
upstreams:
  app: {servers: [{address: "127.0.0.1:9"}]}
routes:
  app: {unmatched: public}
tenants:
  acme: {hosts: [acme.test], upstream: app, routes: app}
  globex: {hosts: [globex.test], upstream: app, routes: app}
"#;

/// A gateway over a folder of its own, which serves nothing.
struct Bench {
    app: Arc<App>,
    config: PathBuf,
    dir: tempfile::TempDir,
}

/// What a reload may change, as far as anybody sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    revision: String,
    rules: usize,
    certificates: usize,
    listeners: Vec<(String, String)>,
    /// Whose sessions would end if they were not among the tenants of the next revision.
    tenants: Vec<TenantName>,
    confirmed: bool,
    tls_refused: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("octroi.yaml");
        key(dir.path(), 1);
        write(&config, BEFORE);
        let clock = Arc::new(GuardedClock::new());
        let as_clock: Arc<dyn Clock> = clock.clone();
        let mut revision = prepare::prepare_to_start(&config, &as_clock).unwrap();
        let policy = Arc::clone(&revision.policy);
        let included = TenantIncludes::at_start(std::mem::take(&mut revision.includes));
        let mut at_start = StartJournal::new(Arc::clone(&policy), included, false, clock.now()).unwrap();
        let mut context = StartContext {
            signals: Signals::listen().unwrap(),
            inherited: InheritedSockets::default(),
            control: None,
            joining: None,
        };
        let Bound { added, admin_listeners, log, journal } =
            bind(&policy, &mut context, &mut at_start).unwrap();
        let foundation = Foundation::new(&policy, log, &clock, clock.now(), Descriptors::new(None)).unwrap();
        let start = Start {
            config: config.clone(),
            succeeds: false,
            launch: None,
            accepts_old_sessions: false,
            log: ProcessLog::to_stderr(Format::Text).unwrap(),
        };
        let materials = Materials {
            start,
            revision,
            journal: journal.unwrap(),
            fresh_until: None,
            included: at_start.take_included(),
            generation: 1,
            admin_handles: admin_listeners.handles().unwrap(),
        };
        let app = assemble(foundation, materials).app;
        app.listeners.settle(&policy, added);
        Self { app, config, dir }
    }

    /// Reads another configuration: another tenant, listener, access log and session key, and one tenant
    /// less.
    fn change(&self, listener: &str) -> Change {
        key(self.dir.path(), 2);
        let text = BEFORE
            .replace("globex", "initech")
            .replace("before.log", "after.log")
            .replace("keys: [", "keys: [{id: 2, secret: \"${file:session-2.key}\"}, ")
            .replace(
                "access_log",
                &format!("  - {{name: more, address: \"{listener}\", plaintext: true}}\naccess_log"),
            );
        write(&self.config, &text);
        let before = self.app.shared.snapshot.load_full();
        let (clock, shown) = (Arc::clone(&self.app.shared.clock), self.app.tls.load_full());
        let next = prepare::prepare_to_reload(&self.config, &clock, &before.policy, &shown).unwrap();
        Change::new(Cause::Operator(ReloadRequest::default()), before, next)
    }

    fn seen(&self) -> Seen {
        let snapshot = self.app.shared.snapshot.load_full();
        let mut tenants = self.app.shared.revocations.tenants();
        tenants.sort_unstable();
        Seen {
            revision: snapshot.policy.revision.to_string(),
            rules: Arc::as_ptr(&snapshot).addr(),
            certificates: Arc::as_ptr(&self.app.tls.load_full()).addr(),
            listeners: self.app.listeners.addresses(),
            tenants,
            confirmed: self.app.included.lock().unwrap().is_confirmed(),
            tls_refused: self.app.refusals.reported(),
        }
    }
}

fn key(dir: &Path, id: u8) {
    let path = dir.join(format!("session-{id}.key"));
    if !path.exists() {
        drop(crate::files::create_new(&path, 0o600).unwrap());
        let bytes: Vec<u8> =
            (0_u8..32).map(|at| at.wrapping_mul(at).wrapping_mul(37).wrapping_add(id)).collect();
        write(&path, &STANDARD.encode(bytes));
    }
}

/// Writes a file anew.
fn write(path: &Path, text: &str) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    files::create_new(path, 0o600).unwrap().write_all(text.as_bytes()).unwrap();
}

/// An address of loopback that nobody else binds.
fn free_address() -> String {
    TcpListener::bind("127.7.7.7:0").unwrap().local_addr().unwrap().to_string()
}

struct Failing;

#[async_trait]
impl Part for Failing {
    async fn prepare<'part>(&'part self, _change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        Err(ControlError::Unavailable("a test's".to_owned()).into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_part_that_fails_to_prepare_leaves_every_other_as_it_was() {
    let bench = Bench::new();
    let before = bench.seen();
    let listener = free_address();

    for at in 0..bench.app.parts().len() {
        let mut parts = bench.app.parts();
        parts[at] = Box::new(Failing);
        let outcome = apply(&parts, &mut bench.change(&listener)).await;

        assert_eq!(outcome.unwrap_err().error, ControlError::Unavailable("a test's".to_owned()));
        assert_eq!(bench.seen(), before, "part {at} failed");
        TcpListener::bind(&listener).expect("what was bound for the change is closed again");
    }

    apply(&bench.app.parts(), &mut bench.change(&listener)).await.unwrap();
    let after = bench.seen();
    assert_ne!((&after.revision, after.rules), (&before.revision, before.rules));
    assert_eq!(after.tenants, ["acme", "initech"].map(|name| name.parse().unwrap()));
    assert!(after.listeners.iter().any(|(name, address)| name == "more" && *address == listener));
}

/// What happened, in its order.
type Trace = Arc<Mutex<Vec<String>>>;

struct Recorded {
    number: usize,
    fails: bool,
    trace: Trace,
}

impl Recorded {
    fn note(&self, what: &str) {
        self.trace.lock().unwrap().push(format!("{what} {}", self.number));
    }
}

struct PreparedRecorded<'a> {
    part: &'a Recorded,
    is_adopted: bool,
}

#[async_trait]
impl Part for Recorded {
    fn refuse(&self, _change: &Change) -> Result<(), Refused> {
        self.note("refuse");
        Ok(())
    }

    async fn prepare<'part>(&'part self, _change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        self.note("prepare");
        if self.fails {
            return Err(ControlError::Unavailable(String::new()).into());
        }
        Ok(Box::new(PreparedRecorded { part: self, is_adopted: false }))
    }
}

impl Prepared for PreparedRecorded<'_> {
    fn adopt(mut self: Box<Self>, _adopted: &mut Adopted) {
        self.is_adopted = true;
        self.part.note("adopt");
    }
}

impl Drop for PreparedRecorded<'_> {
    fn drop(&mut self) {
        if !self.is_adopted {
            self.part.note("undo");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_of_one_kind_come_before_the_next_and_a_failure_undoes_what_was_prepared() {
    let bench = Bench::new();
    let listener = free_address();
    let run = async |failing: Option<usize>| {
        let trace = Trace::default();
        let part = |number| -> Box<dyn Part> {
            Box::new(Recorded { number, fails: failing == Some(number), trace: Arc::clone(&trace) })
        };
        let parts: Vec<_> = (0..3).map(part).collect();
        let outcome = apply(&parts, &mut bench.change(&listener)).await;
        assert_eq!(outcome.is_err(), failing.is_some());
        trace.lock().unwrap().join(", ")
    };

    assert_eq!(
        run(None).await,
        "refuse 0, refuse 1, refuse 2, prepare 0, prepare 1, prepare 2, adopt 0, adopt 1, adopt 2"
    );
    assert_eq!(run(Some(0)).await, "refuse 0, refuse 1, refuse 2, prepare 0");
    assert_eq!(
        run(Some(2)).await,
        "refuse 0, refuse 1, refuse 2, prepare 0, prepare 1, prepare 2, undo 0, undo 1"
    );
}
