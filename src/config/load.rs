//! The one door: start, reload, `check` and `explain` all come in here.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    compile::{Context, Parts, compile, machine},
    default,
    error::{ConfigErrors, Problem, Severity},
    finding::Findings,
    history::History,
    input::Inputs,
    locate,
    read::{Contents, Include, read},
    source::{Source, Sources, Span},
    tree::{self, Node},
};
use crate::{model::UnixTime, policy::Policy};

/// A configuration that holds.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub policy: Policy,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
    /// The patterns of tenant files, and how many files each fits.
    pub includes: Vec<Include>,
    /// What is wrong with certificates that a start leaves out, and with CAs of clients; always empty but for
    /// [`load_to_start`].
    pub faults: Vec<Problem>,
    /// How many of them are about certificates.
    pub certificate_faults: usize,
}

/// Reads a configuration file, the tenant files and the keys it names, and compiles them.
///
/// `now` decides what has expired; `env` answers for `${NAME}` and `$STATE_DIRECTORY`. Either everything
/// holds, or every problem that was found comes back. Blocking: it reads files.
pub fn load(
    path: &Path,
    now: UnixTime,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    let inputs = Inputs::new(env);
    let mut findings = Findings::redacting(inputs.redactor());
    let contents = read(path, &inputs, &mut findings);
    compiled(contents, &inputs, findings, now, Purpose::Use)
}

/// Does the same for who only asks: what a start would need of this machine is looked at, too. Nothing is
/// made.
pub fn load_to_check(
    path: &Path,
    now: UnixTime,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    let inputs = Inputs::new(env);
    let mut findings = Findings::redacting(inputs.redactor());
    let contents = read(path, &inputs, &mut findings);
    compiled(contents, &inputs, findings, now, Purpose::Check)
}

/// What a configuration is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be used, all of it.
    Use,
    /// To be used even without certificates that cannot be.
    Start,
    /// To say what would happen.
    Check,
}

/// Does the same for who has nothing else to serve: a certificate that cannot be used is left out, a tenant
/// whose CAs cannot be used refuses everybody, and what is wrong with it is returned beside the rules. One
/// customer's mistake must not keep all others out.
pub fn load_to_start(
    path: &Path,
    now: UnixTime,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    let inputs = Inputs::new(env);
    let mut findings = Findings::redacting(inputs.redactor());
    let contents = read(path, &inputs, &mut findings);
    compiled(contents, &inputs, findings, now, Purpose::Start)
}

/// Compiles a text as if it stood in the file at that path, without the tenant files that it names.
pub(super) fn load_text(
    path: PathBuf,
    text: String,
    now: UnixTime,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    let inputs = Inputs::new(env);
    let mut findings = Findings::redacting(inputs.redactor());
    let contents = Contents::of_text(path, text, &inputs, &mut findings);
    compiled(contents, &inputs, findings, now, Purpose::Use)
}

fn compiled(
    contents: Contents,
    inputs: &Inputs<'_>,
    mut findings: Findings,
    now: UnixTime,
    purpose: Purpose,
) -> Result<Loaded, ConfigErrors> {
    let Contents { sources, root, tenants, includes, broken } = contents;
    let mut policy = None;
    if let (Some(root), false) = (root, broken) {
        let is_misread = findings.errors() > 0;
        let named = root.server.as_ref().and_then(|server| server.state_dir.as_ref());
        let state_dir = named
            .map(|at| sources.file(at.span.file).map(Source::folder).unwrap_or_default().join(&at.value.0));
        let history =
            History::of(&state_dir.unwrap_or_else(|| default::state_dir(&|name| inputs.environment(name))));
        let mut cx = Context {
            sources: &sources,
            findings: &mut findings,
            inputs,
            is_misread,
            now,
            history,
            next_expiry: None,
        };
        let places = (purpose == Purpose::Check).then(|| machine::Places::of(&root));
        let compiled = compile(&mut cx, Parts { root, tenants }, String::new());
        if let Some(places) = places {
            machine::validate(&mut cx, &places, &compiled);
        }
        policy = Some(compiled);
    }
    let failed = if purpose == Purpose::Start { findings.inexcusable() > 0 } else { findings.errors() > 0 };
    let certificate_faults = findings.excused_certificates();
    let revision = revision(&sources, inputs);
    let (problems, more) = render(findings, &sources);
    match policy {
        Some(policy) if !failed => {
            let (faults, warnings) =
                problems.into_iter().partition(|problem| problem.severity == Severity::Error);
            Ok(Loaded {
                policy: Policy { revision, ..policy },
                warnings,
                includes,
                faults,
                certificate_faults,
            })
        }
        _ => Err(ConfigErrors { problems, more }),
    }
}

/// Renders what was found. Trees are not kept while there is nothing to say, so those of the files concerned
/// are made again.
pub(super) fn render(findings: Findings, sources: &Sources) -> (Vec<Problem>, usize) {
    let trees: Vec<OnceCell<Option<Node>>> = sources.files().iter().map(|_| OnceCell::new()).collect();
    findings.render(sources, |span: Span| {
        let tree =
            trees.get(usize::from(span.file)).zip(sources.file(span.file)).and_then(|(tree, source)| {
                // Whatever is wrong with it has been found the first time.
                tree.get_or_init(|| tree::parse(source, span.file, default::BOUNDS, &mut Findings::default()))
                    .as_ref()
            });
        tree.map(|tree| locate::path_of(tree, span)).unwrap_or_default()
    })
}

/// Digests every byte that was read: the files of the policy, and what they refer to.
fn revision(sources: &Sources, inputs: &Inputs<'_>) -> String {
    let mut digest = Sha256::new();
    for source in sources.files() {
        digest.update(u64::try_from(source.text().len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(source.text().as_bytes());
    }
    inputs.digest(&mut digest);
    let digest = digest.finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
