//! TLS of the admin listener: one certificate, whatever name is asked for, and HTTP/1.1; renewed from its files.

use std::{fmt, io, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    TlsError,
    certificate::Loaded,
    content::Content,
    resolver::Certificates,
    setup::{provider, server_config},
    source::Files,
};
use crate::{
    model::UnixTime,
    policy::{MinVersion, Policy},
};

/// What the admin listener shows to new connections. Those that are open go on with what they began with.
pub struct AdminTls(ArcSwap<Shown>);

struct Shown {
    config: Arc<ServerConfig>,
    min_version: MinVersion,
    /// A digest of what the pair held.
    content: [u8; 32],
    pair: Arc<Loaded>,
}

impl AdminTls {
    /// Reads the pair of a policy; nothing where its admin listener has none. Blocks on files.
    pub fn load(policy: &Policy) -> Result<Option<Self>, TlsError> {
        let Some(files) = files(policy) else { return Ok(None) };
        let content = Content::read(&files)?;
        Ok(Some(Self(ArcSwap::from_pointee(Shown::judge(files, content, policy.tls.min_version)?))))
    }

    /// Shows from now on what another one has read.
    pub fn replace(&self, other: Self) {
        self.0.store(other.0.into_inner());
    }

    /// Reads the files again. Returns the certificate's file where what it holds is shown from now on; after an error the old pair is.
    /// Blocks on files.
    pub fn renew(&self, policy: &Policy, now: UnixTime) -> Result<Option<String>, TlsError> {
        let Some(files) = files(policy) else { return Ok(None) };
        let (content, shown) = (Content::read(&files)?, self.0.load());
        if shown.content == content.digest() && shown.min_version == policy.tls.min_version {
            return Ok(None);
        }
        let name = files.cert.display().to_string();
        let new = Shown::judge(files, content, policy.tls.min_version)?;
        if let Some(why) = new.pair.out_of_date(now).filter(|_| shown.pair.out_of_date(now).is_none()) {
            return Err(why);
        }
        self.0.store(Arc::new(new));
        Ok(Some(name))
    }

    /// Shakes hands. The deadline is the caller's.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.0.load().config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Shown {
    fn judge(files: Files, content: Content, min_version: MinVersion) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let loaded = Arc::new(Loaded::judge(files, content, &provider)?);
        let content = loaded.content;
        let mut config = server_config(provider, min_version, &Arc::new(Certificates::new(&[Arc::clone(&loaded)])))?;
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
