//! The hop-by-hop fields that an HTTP/1 client names (RFC 9110, section 7.6.1).

use http::{HeaderName, HeaderValue, header};

use crate::{
    model::{Deny, Reason, RequestView, Verdict},
    wire::token::is_token,
};

/// Checks the options of `Connection`: each of them removes a field from the request on its way to the
/// upstream.
pub(super) fn check(view: &RequestView<'_>) -> Verdict {
    let lines = view.headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let options = lines
        .flat_map(|line| line.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty());
    for (count, option) in options.enumerate() {
        if count == MOST {
            return Err(Deny::new(
                Reason::ConnectionField,
                format!("Connection has more than {MOST} options"),
            )
            .honest(true));
        }
        if !option.iter().all(|&byte| is_token(byte)) {
            return Err(Deny::new(Reason::ConnectionField, "an option of Connection is no token"));
        }
        // Field names are case-insensitive.
        let name = HeaderName::from_bytes(option)
            .map_err(|_| Deny::new(Reason::ConnectionField, "an option of Connection is too long"))?;
        if is_end_to_end(name.as_str()) {
            return Err(Deny::new(
                Reason::ConnectionField,
                format!("Connection names {name}, which is not its own"),
            ));
        }
    }
    Ok(())
}

/// Common clients send one, or two beside `Upgrade`.
const MOST: usize = 9;

/// Says whether a field identifies the client, routes the request or frames it (CVE-2024-45410).
fn is_end_to_end(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "transfer-encoding" | "cookie" | "authorization" | "forwarded")
        || ["octroi-", "x-octroi-", "x-forwarded"].iter().any(|prefix| name.starts_with(prefix))
}
