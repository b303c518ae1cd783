//! Which trailers of an upstream's answer reach the client (RFC 9110, section 6.5).

use http::{HeaderMap, HeaderName, header};

use super::{defaults::TenantFields, response::is_hidden};

/// The most trailers, and the most bytes of all of them: gRPC clients take 8 KiB unless configured otherwise.
const MOST: usize = 64;
const MOST_BYTES: usize = 16 * 1024;

/// Removes the trailers that must not reach the client, or returns why none can be forwarded. `of_tenant` are
/// the fields that the tenant sets itself.
///
/// Fields that are hidden in a head are hidden here, and so is every field that a client must know before the
/// body: a client that merges trailers into the head must find none that frames the message, guards it or
/// sets a cookie.
pub fn filter_trailers(trailers: &mut HeaderMap, of_tenant: &TenantFields) -> Result<(), &'static str> {
    let bytes: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if trailers.len() > MOST || bytes > MOST_BYTES {
        return Err("the trailers of the answer are too many or too long");
    }
    let unfit = |name: &&HeaderName| {
        is_hidden(name.as_str()) || NEVER.contains(name) || of_tenant.iter().any(|(own, _)| own == *name)
    };
    let unfit: Vec<_> = trailers.keys().filter(unfit).cloned().collect();
    for name in unfit {
        trailers.remove(name);
    }
    Ok(())
}

/// Fields of framing, connection, authentication, caching and content, and those that guard a page (RFC 9110,
/// section 6.5.1).
const NEVER: [HeaderName; 33] = [
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TE,
    header::UPGRADE,
    header::HOST,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHENTICATE,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::CACHE_CONTROL,
    header::AGE,
    header::EXPIRES,
    header::DATE,
    header::VARY,
    header::LOCATION,
    header::RETRY_AFTER,
    header::STRICT_TRANSPORT_SECURITY,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
    header::X_FRAME_OPTIONS,
    header::X_CONTENT_TYPE_OPTIONS,
    header::REFERRER_POLICY,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ALT_SVC,
    HeaderName::from_static("clear-site-data"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_belongs_into_the_head_is_taken_off() {
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("grpc-message", "ok"),
            ("x-checksum", "1"),
            ("set-cookie", "a=b"),
            ("content-length", "3"),
            ("octroi-session-grant", "user=x"),
            ("server", "app"),
            ("trailer", "x"),
            ("x-tenant-says", "1"),
        ]);

        filter_trailers(
            &mut trailers,
            &[(HeaderName::from_static("x-tenant-says"), HeaderValue::from_static("2"))],
        )
        .unwrap();

        let left: std::collections::BTreeSet<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["grpc-message", "grpc-status", "x-checksum"].into());
    }

    #[test]
    fn they_are_bounded_in_number_and_size() {
        let many = |count: usize| -> HeaderMap {
            (0..count)
                .map(|n| (HeaderName::try_from(format!("x-{n}")).unwrap(), HeaderValue::from_static("1")))
                .collect()
        };
        let long = |bytes: usize| -> HeaderMap {
            [(HeaderName::from_static("x"), HeaderValue::try_from("a".repeat(bytes)).unwrap())]
                .into_iter()
                .collect()
        };

        assert_eq!(filter_trailers(&mut many(MOST), &[]), Ok(()));
        assert!(filter_trailers(&mut many(MOST + 1), &[]).is_err());
        assert_eq!(filter_trailers(&mut long(MOST_BYTES - 5), &[]), Ok(()));
        assert!(filter_trailers(&mut long(MOST_BYTES - 4), &[]).is_err());
    }
}
