//! TLS of the admin listener: one certificate for any SNI, HTTP/1.1 only, renewed from its files.

use std::{fmt, io, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    CertificateExpiry, TlsError,
    certificate::LoadedCertificate,
    content::{Content, Files},
    resolver::Certificates,
    setup::{provider, server_config},
};
use crate::{
    model::UnixTime,
    policy::{MinVersion, Policy},
};

/// The certificate that new connections of the admin listener get. Open connections keep the one that they
/// began with.
pub struct AdminTls(ArcSwap<Shown>);

struct Shown {
    config: Arc<ServerConfig>,
    min_version: MinVersion,
    /// A digest of the contents of the pair.
    content: [u8; 32],
    pair: Arc<LoadedCertificate>,
}

impl AdminTls {
    /// Reads the pair of a policy. Returns `None` where its admin listener has no TLS. Blocks on files.
    pub fn load(policy: &Policy) -> Result<Option<Self>, TlsError> {
        let Some(files) = files(policy) else { return Ok(None) };
        let content = Content::read(&files)?;
        Ok(Some(Self(ArcSwap::from_pointee(Shown::judge(files, content, policy.tls.min_version)?))))
    }

    /// Uses what another one has read from now on, unless clients would reject that certificate and accept
    /// the current one. Returns why it was not replaced.
    pub fn replace(&self, other: Self, now: UnixTime) -> Option<TlsError> {
        let other = other.0.into_inner();
        let worse = other.pair.worse_than(&self.0.load().pair, now);
        if worse.is_none() {
            self.0.store(other);
        }
        worse
    }

    /// Reads the files again. Returns the file of the certificate where its contents are used from now on.
    /// After an error the old pair stays in use. Blocks on files.
    pub fn renew(&self, policy: &Policy, now: UnixTime) -> Result<Option<String>, TlsError> {
        let Some(files) = files(policy) else { return Ok(None) };
        let (content, shown) = (Content::read(&files)?, self.0.load());
        if shown.content == content.digest() && shown.min_version == policy.tls.min_version {
            return Ok(None);
        }
        let name = files.cert.display().to_string();
        let new = Shown::judge(files, content, policy.tls.min_version)?;
        if let Some(why) = new.pair.worse_than(&shown.pair, now) {
            return Err(why);
        }
        self.0.store(Arc::new(new));
        Ok(Some(name))
    }

    /// Returns when the certificate in use expires.
    pub fn expiry(&self) -> CertificateExpiry {
        self.0.load().pair.expiry.clone()
    }

    /// Performs the handshake. The caller applies a deadline.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.0.load().config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Shown {
    fn judge(files: Files, content: Content, min_version: MinVersion) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let loaded = Arc::new(LoadedCertificate::judge(files, content, &provider)?);
        let content = loaded.content;
        let mut config =
            server_config(provider, min_version, &Arc::new(Certificates::new(&[Arc::clone(&loaded)])))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), min_version, content, pair: loaded })
    }
}

fn files(policy: &Policy) -> Option<Files> {
    let (cert, key) = policy.admin.as_ref()?.tls.as_ref()?;
    Some(Files { cert: cert.clone(), key: key.clone(), ocsp: None })
}

impl fmt::Debug for AdminTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminTls").finish_non_exhaustive()
    }
}
