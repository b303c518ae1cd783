//! The metrics listener, the admin listener, and who may use it.

use std::net::SocketAddr;

use crate::{
    config::{
        collection::{Named, NonEmpty},
        parse::{FilePath, Label},
        reader::{SecretText, Spanned},
        shape::{wire, words},
        unit::LastDay,
    },
    model::{Host, Role},
};

words! {
    Role, "role" { "viewer" => Role::Viewer, "operator" => Role::Operator, "auditor" => Role::Auditor, }
}

wire! {
    /// Where Prometheus scrapes and orchestrators ask. It holds no secret and asks for no token.
    Metrics "metrics" {
        /// The address to bind.
        address: Spanned<SocketAddr>,
    }

    /// The admin listener.
    Admin "admin" {
        /// The address to bind. Beyond loopback `tls` is required.
        address: Spanned<SocketAddr>,
        /// The certificate it shows.
        tls: Option<AdminTls>,
        /// The operators, by name.
        principals: Named<Label, PrincipalWire>,
        /// The Host names that are answered. Default: the address, and localhost.
        hosts: Option<NonEmpty<Spanned<AdminHost>>>,
    }

    /// A certificate and its key.
    AdminTls "admin_tls" {
        /// The chain, PEM, leaf first.
        cert: Spanned<FilePath>,
        /// The key, PEM.
        key: Spanned<FilePath>,
    }

    /// A named operator.
    PrincipalWire "principal" {
        /// The token, at least 32 characters: `${file:alice.token}`.
        token: SecretText,
        /// What they may do: `viewer`, `operator`, `auditor`.
        roles: NonEmpty<Spanned<Role>>,
        /// The last day (UTC) on which they may do it.
        expires: Option<Spanned<LastDay>>,
    }
}

/// A Host name that the admin listener answers: a name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct AdminHost(pub(in crate::config) String);

impl crate::config::parse::Scalar for AdminHost {
    fn parse(text: &str) -> Result<Self, crate::config::parse::ScalarError> {
        match text.parse::<std::net::IpAddr>() {
            Ok(address) => Ok(Self(address.to_string())),
            Err(_) => Host::parse(text).map(|host| Self(host.as_str().to_owned())),
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }
}
