//! What else must stay the same while a session lives.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::model::ClientIp;

/// What a session is bound to; what is `None` does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound<'a> {
    /// The client, of which the /24 (IPv4) or /48 (IPv6) counts.
    pub client: Option<ClientIp>,
    /// The `User-Agent` field; a request without one has an empty one.
    pub user_agent: Option<&'a [u8]>,
    /// SHA-256 of the client's certificate; a connection without one has an empty one.
    pub certificate: Option<&'a [u8]>,
}

/// Returns what a token keeps of the things it is bound to, `None` if there are none.
///
/// It is the first 16 bytes of SHA-256 over `octroi/binding/v1`, then for each thing its kind (1 client, 2
/// user agent, 3 certificate), its length (u32, big-endian) and its bytes: four and the three first of the
/// address, or six and the six first; the field as it was sent; SHA-256 of the certificate's DER. The token
/// that holds it is encrypted, so it needs no key.
pub fn binding(bound: Bound<'_>) -> Option<[u8; 16]> {
    if bound == Bound::default() {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(b"octroi/binding/v1");
    if let Some(client) = bound.client {
        match client.addr() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                part(&mut hash, 1, &[4, a, b, c]);
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                part(&mut hash, 1, &[6, a, b, c, d, e, f]);
            }
        }
    }
    if let Some(agent) = bound.user_agent {
        part(&mut hash, 2, agent);
    }
    if let Some(fingerprint) = bound.certificate {
        part(&mut hash, 3, fingerprint);
    }
    hash.finalize().first_chunk().copied()
}

fn part(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addr: &str) -> Option<[u8; 16]> {
        binding(Bound {
            client: Some(ClientIp::from(addr.parse::<IpAddr>().unwrap())),
            user_agent: None,
            certificate: None,
        })
    }

    #[test]
    fn nothing_bound_is_no_binding() {
        assert_eq!(binding(Bound::default()), None);
    }

    #[test]
    fn a_client_may_move_within_its_prefix() {
        assert_eq!(at("192.0.2.1"), at("192.0.2.254"));
        assert_ne!(at("192.0.2.1"), at("192.0.3.1"));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:ffff::1"));
        assert_ne!(at("2001:db8:1::1"), at("2001:db8:2::1"));
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.9"));
    }

    #[test]
    fn each_thing_counts_apart() {
        let agent =
            |text: &'static str| binding(Bound { user_agent: Some(text.as_bytes()), ..Bound::default() });

        assert_ne!(agent("a"), agent("b"));
        assert_ne!(agent(""), None);
        let client = Some(ClientIp::from(IpAddr::from([192, 0, 2, 1])));
        assert_ne!(binding(Bound { client, user_agent: Some(b"a"), certificate: None }), agent("a"));
        let certificate =
            |bytes: &'static [u8]| binding(Bound { certificate: Some(bytes), ..Bound::default() });
        assert_ne!(certificate(b"a"), agent("a"));
        assert_ne!(certificate(b"a"), certificate(b""));
        assert_ne!(certificate(b""), None);
    }
}
