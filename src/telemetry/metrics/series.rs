//! Metric handles of one tenant or upstream, looked up once.

use std::{sync::OnceLock, time::Duration};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::code::ByCode;
use crate::model::{Decision, Mode, Reason, Stage};

/// The counters of one tenant. Each is created at first use, so that an idle tenant has few series.
#[derive(Debug)]
pub(super) struct TenantSeries {
    name: Box<str>,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    allowed: ByCode,
    denied: ByCode,
    redirected: ByCode,
    passed: OnceLock<IntCounter>,
    refused: Box<[OnceLock<IntCounter>]>,
    observed: Box<[OnceLock<IntCounter>]>,
}

impl TenantSeries {
    pub(super) fn new(name: &str, requests: &IntCounterVec, decisions: &IntCounterVec) -> Self {
        let slots = || Reason::ALL.iter().map(|_| OnceLock::new()).collect();
        Self {
            name: name.into(),
            requests: requests.clone(),
            decisions: decisions.clone(),
            allowed: ByCode::new(),
            denied: ByCode::new(),
            redirected: ByCode::new(),
            passed: OnceLock::new(),
            refused: slots(),
            observed: slots(),
        }
    }

    /// Counts a request that ended, and its decision.
    pub(super) fn request(&self, status: u16, decision: Decision) {
        let by_code = match decision {
            Decision::Allow => &self.allowed,
            Decision::Deny(_) => &self.denied,
            Decision::Redirect => &self.redirected,
        };
        by_code.count(status, |code| self.requests.with_label_values(&[code, decision.as_str(), &self.name]));
        match decision {
            Decision::Allow => {
                self.passed
                    .get_or_init(|| {
                        self.decisions.with_label_values(&["-", "allow", "-", "enforce", &self.name])
                    })
                    .inc();
            }
            Decision::Deny(reason) => self.finding(reason, Mode::Enforce),
            Decision::Redirect => {}
        }
    }

    /// Counts a finding: a refusal, or what observe mode let pass. [`TenantSeries::request`] calls it for
    /// refusals.
    pub(super) fn finding(&self, reason: Reason, mode: Mode) {
        let (slots, word) = match mode {
            Mode::Enforce => (&self.refused, "enforce"),
            Mode::Observe => (&self.observed, "observe"),
        };
        let slot = Reason::ALL.iter().position(|&other| other == reason).and_then(|place| slots.get(place));
        if let Some(slot) = slot {
            let labels = [reason.stage().as_str(), "deny", reason.code(), word, &self.name];
            slot.get_or_init(|| self.decisions.with_label_values(&labels)).inc();
        }
    }

    /// Deletes every series of the tenant.
    pub(super) fn forget(&self) {
        for (by_code, decision) in
            [(&self.allowed, "allow"), (&self.denied, "deny"), (&self.redirected, "redirect")]
        {
            for code in by_code.labels() {
                // An error means that the series is already gone.
                let _ = self.requests.remove_label_values(&[code, decision, &self.name]);
            }
        }
        let _ = self.decisions.remove_label_values(&["-", "allow", "-", "enforce", &*self.name]);
        for reason in Reason::ALL {
            for mode in ["enforce", "observe"] {
                let _ = self.decisions.remove_label_values(&[
                    reason.stage().as_str(),
                    "deny",
                    reason.code(),
                    mode,
                    &self.name,
                ]);
            }
        }
    }
}

/// The metrics of one upstream.
#[derive(Debug)]
pub(super) struct UpstreamSeries {
    name: Box<str>,
    requests: IntCounterVec,
    errors: IntCounterVec,
    durations: HistogramVec,
    retries: IntCounterVec,
    answers: ByCode,
    duration: Histogram,
}

impl UpstreamSeries {
    /// Every reason begins at 0, so that `rate()` sees the first error.
    pub(super) fn new(
        name: &str,
        requests: &IntCounterVec,
        errors: &IntCounterVec,
        durations: &HistogramVec,
        retries: &IntCounterVec,
    ) -> Self {
        for reason in Reason::ALL.iter().filter(|reason| reason.stage() == Stage::Upstream) {
            errors.with_label_values(&[reason.code(), name]);
        }
        retries.with_label_values(&[name]);
        Self {
            name: name.into(),
            requests: requests.clone(),
            errors: errors.clone(),
            durations: durations.clone(),
            retries: retries.clone(),
            answers: ByCode::new(),
            duration: durations.with_label_values(&[name]),
        }
    }

    /// Counts a response and the time to its head.
    pub(super) fn answer(&self, status: u16, took: Duration) {
        self.answers.count(status, |code| self.requests.with_label_values(&[code, &self.name]));
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts an attempt that failed without a response.
    pub(super) fn error(&self, reason: Reason) {
        self.errors.with_label_values(&[reason.code(), &self.name]).inc();
    }

    /// Counts a retry.
    pub(super) fn retry(&self) {
        self.retries.with_label_values(&[&*self.name]).inc();
    }

    /// Deletes every series of the upstream.
    pub(super) fn forget(&self) {
        for code in self.answers.labels() {
            let _ = self.requests.remove_label_values(&[code, &self.name]);
        }
        for reason in Reason::ALL {
            let _ = self.errors.remove_label_values(&[reason.code(), &self.name]);
        }
        let _ = self.durations.remove_label_values(&[&*self.name]);
        let _ = self.retries.remove_label_values(&[&*self.name]);
    }
}
