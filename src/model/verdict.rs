//! Verdicts, and the trail of the steps that led to one.

use std::{borrow::Cow, fmt, path::Path, time::Duration};

use super::{Reason, Stage, printable};

/// The result of a check: what it proved, or why the request is refused.
pub type Verdict<T = ()> = Result<T, Deny>;

/// A refusal. It is an answer, not a failure, so it is not an `Error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// The reason: it decides the status and what the client reads.
    pub reason: Reason,
    /// The facts, for the operator only. It holds no secret and no query.
    pub detail: Cow<'static, str>,
    /// When it makes sense to ask again.
    pub retry_after: Option<Duration>,
    /// The rule that decided, if there is one.
    pub rule: Option<Origin>,
    /// Whether a web page or a correct client can be made to send this request: then it does not count as an
    /// offence.
    pub honest: bool,
}

impl Deny {
    /// Refuses for a reason.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), retry_after: reason.retry_after(), rule: None, honest: false }
    }

    /// Sets the rule that decided.
    pub fn by(mut self, rule: Origin) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Sets whether a web page or a correct client can be made to send this.
    pub fn honest(mut self, honest: bool) -> Self {
        self.honest = honest;
        self
    }

    /// Says whether the refusal counts towards a ban of the peer.
    pub fn is_offence(&self) -> bool {
        self.reason.breaks_protocol() && !self.honest
    }

    /// Sets when to ask again.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// Where a rule is in the configuration: a file of the policy, by index, and a line from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Index into the policy's files.
    pub file: u16,
    /// Line, from 1; 0 where no line is known (a default).
    pub line: u32,
}

/// Where a rule is, as it is shown: `conf/octroi.yaml:41`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleLocation<'a> {
    /// The file, where the policy knows it.
    pub file: Option<&'a Path>,
    /// The line, from 1; 0 for a default, which is in no file.
    pub line: u32,
}

impl fmt::Display for RuleLocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file, self.line) {
            (_, 0) => f.write_str("default"),
            (Some(file), line) => write!(f, "{}:{line}", printable(&file.to_string_lossy())),
            (None, line) => write!(f, "line {line}"),
        }
    }
}

/// Whether a rule refuses, or only records that it would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The rule refuses.
    #[default]
    Enforce,
    /// The rule lets the request pass, and is recorded as `would=deny`.
    Observe,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// The refusal, if there was one.
    pub deny: Option<Deny>,
    /// Whether the refusal was only recorded.
    pub observed: bool,
    /// What passed, in words, and by which rule. Kept only in a full trail.
    pub note: Option<(Cow<'static, str>, Option<Origin>)>,
}

/// The steps of one decision.
///
/// Traffic keeps only refusals ([`Trail::brief`]); `octroi explain` keeps every step ([`Trail::full`]).
#[derive(Clone, Debug, Default)]
pub struct Trail {
    steps: Vec<Step>,
    full: bool,
}

impl Trail {
    /// Keeps only refusals, including those of observe mode.
    pub fn brief() -> Self {
        Self { steps: Vec::new(), full: false }
    }

    /// Keeps every step.
    pub fn full() -> Self {
        Self { steps: Vec::with_capacity(16), full: true }
    }

    /// Records how a check ended, and returns its verdict.
    pub fn note<T>(&mut self, stage: Stage, verdict: Verdict<T>) -> Verdict<T> {
        match &verdict {
            Ok(_) if self.full => self.steps.push(Step { stage, deny: None, observed: false, note: None }),
            Ok(_) => {}
            Err(deny) => {
                self.steps.push(Step { stage, deny: Some(deny.clone()), observed: false, note: None })
            }
        }
        verdict
    }

    /// Records a refusal that the observe mode of a tenant or quota lets pass.
    pub fn observe(&mut self, stage: Stage, deny: Deny) {
        self.steps.push(Step { stage, deny: Some(deny), observed: true, note: None });
    }

    /// Describes the last step in words, with its rule, in a full trail. The words are built only then.
    pub fn explain(&mut self, words: impl FnOnce() -> (Cow<'static, str>, Option<Origin>)) {
        if let (true, Some(step)) = (self.full, self.steps.last_mut()) {
            step.note = Some(words());
        }
    }

    /// Returns the steps in the order in which they were taken.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the first refusal that observe mode let pass: the `would` of the access line.
    pub fn would(&self) -> Option<&Deny> {
        self.steps.iter().find(|step| step.observed).and_then(|step| step.deny.as_ref())
    }
}

/// How a request ended, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It was forwarded.
    Allow,
    /// It was refused.
    Deny(Reason),
    /// It was redirected to HTTPS.
    Redirect,
}

impl Decision {
    /// Returns the word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Redirect => "redirect",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_trail_keeps_only_findings() {
        let mut trail = Trail::brief();

        let passed: Verdict<u8> = trail.note(Stage::Client, Ok(7));
        trail.observe(Stage::IpAccess, Deny::new(Reason::IpDenied, "192.0.2.1 is in 192.0.2.0/24"));
        let refused: Verdict = trail.note(Stage::Route, Err(Deny::new(Reason::RouteNone, "")));

        assert_eq!(passed, Ok(7));
        assert!(refused.is_err());
        assert_eq!(trail.steps().len(), 2);
        assert_eq!(trail.would().map(|deny| deny.reason), Some(Reason::IpDenied));
    }

    #[test]
    fn a_full_trail_keeps_the_words_of_each_step() {
        let mut trail = Trail::full();

        let _ = trail.note(Stage::Client, Ok(()));
        trail.explain(|| ("192.0.2.1, the peer".into(), None));

        assert_eq!(trail.steps()[0].note, Some(("192.0.2.1, the peer".into(), None)));
    }
}
