//! What the steps of the answer read and make.

use std::sync::Arc;

use http::HeaderMap;

use super::AnswerInputs;
use crate::{
    model::Presented,
    pipeline::{Permit, Session, Source},
    policy::{Policy, Sessions, Tenant},
};

/// The final answer of an upstream, as every step sees it.
#[derive(Clone, Copy, Debug)]
pub struct AnswerView<'a> {
    /// The status.
    pub status: u16,
    /// The fields of the answer, as the upstream sent them.
    pub headers: &'a HeaderMap,
    /// The fields of the request, as the client sent them.
    pub request_headers: &'a HeaderMap,
    /// The client's certificate, and which tenants accept it now.
    pub certificate: Option<&'a Presented>,
    /// Whether the session that asked has ended meanwhile: it is not renewed, and its cookie stays as it is.
    pub without_session: bool,
}

/// A session that an answer begins.
#[derive(Clone, Debug)]
pub struct BegunSession {
    /// The session.
    pub session: Arc<Session>,
    /// Its tenant.
    pub tenant: Arc<Tenant>,
    /// Its name in logs.
    pub hash: String,
}

/// What every step reads.
#[derive(Debug)]
pub(super) struct AnswerContext<'a, S> {
    pub(super) view: &'a AnswerView<'a>,
    pub(super) permit: &'a Permit,
    pub(super) policy: &'a Policy,
    pub(super) sessions: &'a Sessions,
    pub(super) inputs: AnswerInputs<'a, S>,
}

impl<S> AnswerContext<'_, S> {
    /// Says whether the end of the session that asked clears our cookie. The app clears its own; and where
    /// the session had ended before, another sign-in may have set the cookie meanwhile.
    pub(super) fn clears_own_cookie(&self) -> bool {
        let is_ours = |session: &Session| matches!(session.source, Source::Octroi { .. });
        !self.view.without_session && self.permit.session().is_some_and(is_ours)
    }
}
