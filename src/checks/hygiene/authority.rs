//! The requested host: one, the same in every place, with valid syntax.

use crate::{
    model::{Deny, Host, HostError, HttpVersion, Reason, RequestView, Verdict},
    wire::token::trim,
};

/// Splits a target into the part from the path on and, for the absolute form, its authority.
pub(super) fn split(target: &[u8]) -> Verdict<(&str, Option<&str>)> {
    let form = |detail: &'static str| Deny::new(Reason::TargetForm, detail);
    // Without an early exit, the compiler examines many octets at once.
    let is_visible = target.iter().fold(true, |all, byte| all & byte.is_ascii_graphic() & (*byte != b'#'));
    let text = Some(target).filter(|_| is_visible).and_then(|target| std::str::from_utf8(target).ok());
    let Some(text) = text else {
        return Err(Deny::new(
            Reason::PathEncoding,
            "the target has a `#` or bytes that are not visible ASCII",
        ));
    };
    // RFC 3986, appendix A. The HTTP library would refuse these without a usable reason.
    let path = text.split('?').next().unwrap_or_default();
    if text.bytes().any(|byte| matches!(byte, b'"' | b'<' | b'>')) || path.contains('`') {
        return Err(Deny::new(Reason::PathEncoding, "the target has a character that a URL does not have"));
    }
    if text.starts_with('/') {
        return Ok((text, None));
    }
    // RFC 9112, section 3.2.2. The scheme is ignored: the listener knows how the request came.
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(form("the target is neither a path nor an absolute URL"));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(form("the target is a URL with another scheme than http or https"));
    }
    match rest.find(['/', '?']) {
        None => Ok(("/", Some(rest))),
        Some(at) => match rest.split_at_checked(at) {
            Some((authority, path)) if path.starts_with('/') => Ok((path, Some(authority))),
            Some(_) | None => Err(form("the target is a URL without a path before its query")),
        },
    }
}

/// The refusal of a target whose authority differs from Host.
pub(super) fn conflict() -> Deny {
    Deny::new(Reason::AuthorityConflict, "the authority of the target and Host differ")
}

/// Finds the one host of a request.
pub(super) fn check(view: &RequestView<'_>, target: Option<&str>) -> Verdict<(Host, Option<u16>)> {
    let mut lines = view.headers.get_all(http::header::HOST).iter().map(|value| trim(value.as_bytes()));
    let (field, more) = (lines.next(), lines.next());
    if more.is_some() {
        return Err(Deny::new(Reason::HeadDuplicate, "Host stands twice"));
    }
    let asked = match view.version {
        HttpVersion::Http2 => {
            // RFC 9113, section 8.3.1: a proxy that converts from HTTP/1 may omit `:authority`, and Host
            // replaces it.
            let authority = view.authority.map(str::as_bytes);
            if field.zip(authority).is_some_and(|(field, authority)| !field.eq_ignore_ascii_case(authority)) {
                return Err(Deny::new(Reason::AuthorityConflict, "`:authority` and Host differ"));
            }
            authority.or(field).unwrap_or_default()
        }
        HttpVersion::Http10 | HttpVersion::Http11 => field.unwrap_or_default(),
    };
    if asked.is_empty() {
        return Err(Deny::new(Reason::HostMissing, "no host"));
    }
    if target.is_some_and(|authority| !authority.as_bytes().eq_ignore_ascii_case(asked)) {
        return Err(conflict());
    }
    let asked =
        std::str::from_utf8(asked).map_err(|_| Deny::new(Reason::HostSyntax, "the host is not ASCII"))?;
    Host::parse_authority(asked).map_err(|error| {
        let reason = match error {
            HostError::Empty => Reason::HostMissing,
            // No tenant is found by address, however it is written.
            HostError::Address => Reason::HostUnknown,
            HostError::Octet | HostError::Length | HostError::Port | HostError::Wildcard => {
                Reason::HostSyntax
            }
        };
        Deny::new(reason, error.to_string())
    })
}
