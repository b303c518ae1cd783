//! Describing the steps of a judgement for `octroi explain`.

use std::borrow::Cow;

use crate::{
    checks::hygiene,
    model::{ClientIp, Origin, Stage, Trail, Verdict},
    policy::{Matched, RangeRule, Route, RouteAccess, Tenant},
};

/// Says which other rules judge the request, and why.
pub(super) fn readings(clean: &hygiene::Clean<'_>, matched: &Matched<'_>, trail: &mut Trail) -> Verdict {
    for alternate in &matched.alternates {
        trail.note(Stage::Route, Ok(()))?;
        trail.explain(|| {
            let id = alternate.route.id.as_str();
            let words = match &alternate.reading {
                Some(reading) => format!("an app may read the path as `{reading}`, so `{id}` judges too"),
                None => format!("`{id}` would match `{}` otherwise, so it judges too", clean.path.matching()),
            };
            (words.into(), Some(alternate.route.origin))
        });
    }
    Ok(())
}

pub(super) fn range(
    client: ClientIp,
    range: Option<&RangeRule>,
    tenant: &Tenant,
) -> (Cow<'static, str>, Option<Origin>) {
    match range {
        Some(rule) => (format!("{client} is in {}", rule.range).into(), Some(rule.origin)),
        None => (
            format!("tenant `{}` allows every address that it does not deny", tenant.name).into(),
            Some(tenant.origin),
        ),
    }
}

pub(super) fn access(route: &Route) -> Cow<'static, str> {
    match &route.access {
        RouteAccess::Public => "everybody may".into(),
        RouteAccess::Session => "every session may".into(),
        RouteAccess::Roles(roles) => {
            format!("sessions with one of the roles {} may", roles.join(", ")).into()
        }
        RouteAccess::Nobody => "nobody may".into(),
    }
}
