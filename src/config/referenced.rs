//! The files that a configuration names, even while they are missing: what `octroi keys init` makes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    collection::NamedEntry,
    error::ConfigErrors,
    finding::Findings,
    input::Inputs,
    load::render,
    parse::FilePath,
    read::{Contents, read},
    reader::{SecretText, Spanned},
    source::{Source, Sources, Span},
    substitute::{self, Piece},
    wire::Root,
};
use crate::model::HostPattern;

/// A file that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// The file; of a certificate, the chain.
    pub path: PathBuf,
    /// What it is.
    pub kind: ReferencedKind,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferencedKind {
    /// Base64 of 32 random bytes.
    SessionKey {
        /// The key's number.
        id: u16,
    },
    /// A folder of session keys.
    KeyDir {
        /// The numbers of the keys that are listed beside the folder.
        listed: Vec<u16>,
    },
    /// Base64 of 32 random bytes, one line, from which nodes derive the keys of TLS tickets.
    TicketKeys,
    /// A private key of Ed25519, PKCS#8 as PEM.
    AssertionKey,
    /// An admin token: at least 32 visible ASCII characters.
    AdminToken {
        /// Whose it is.
        principal: String,
    },
    /// A certificate chain, PEM, with its key.
    Certificate {
        /// The key.
        key: PathBuf,
        /// The names it should have.
        hosts: Vec<String>,
    },
}

/// Lists the files that a configuration names, in the order in which it names them. Only YAML that cannot be
/// read is an error.
///
/// A certificate of the listeners is for the tenant that its file is named after (`acme.pem` for `acme`),
/// otherwise for every host that no such file is for.
pub fn referenced_files(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Referenced>, ConfigErrors> {
    let inputs = Inputs::new(env);
    let mut findings = Findings::redacting(inputs.redactor());
    let contents = read(path, &inputs, &mut findings);
    match (&contents.root, contents.broken) {
        (Some(root), false) => Ok(list(root, &contents, &inputs)),
        _ => {
            let (problems, more) = render(findings, &contents.sources);
            Err(ConfigErrors { problems, more })
        }
    }
}

fn list(root: &Root, contents: &Contents, inputs: &Inputs<'_>) -> Vec<Referenced> {
    let sources = &contents.sources;
    let secret = |text: &SecretText| secret(sources, inputs, text);
    let mut files = Vec::new();
    for NamedEntry { name, value } in root.admin.iter().flat_map(|admin| &admin.principals.0) {
        let path = value.as_ref().and_then(|wire| secret(&wire.token));
        let kind = ReferencedKind::AdminToken { principal: name.value.0.clone() };
        files.extend(path.map(|path| Referenced { path, kind }));
    }
    if let Some((admin, tls)) = root.admin.as_ref().and_then(|admin| Some((admin, admin.tls.as_ref()?))) {
        let named =
            admin.hosts.as_ref().map(|hosts| hosts.0.iter().map(|host| host.value.0.clone()).collect());
        let hosts =
            named.unwrap_or_else(|| vec![admin.address.value.ip().to_string(), "localhost".to_owned()]);
        files.push(pair(sources, &tls.cert, &tls.key, hosts));
    }
    files.extend(certificates(root, contents));
    if let Some(path) = root.tls.as_ref().and_then(|tls| tls.ticket_keys.as_ref()) {
        files.push(Referenced {
            path: folder(sources, path.span).join(&path.value.0),
            kind: ReferencedKind::TicketKeys,
        });
    }
    for wire in
        root.sessions.iter().filter_map(|sessions| sessions.0.as_ref()?.assertion.as_ref()?.key.0.as_ref())
    {
        files.extend(
            wire.0.iter().filter_map(|key| {
                Some(Referenced { path: secret(key)?, kind: ReferencedKind::AssertionKey })
            }),
        );
    }
    if let Some(wire) = root.sessions.as_ref().and_then(|sessions| sessions.0.as_ref()) {
        for key in wire.keys.iter().flat_map(|keys| &keys.0) {
            let kind = ReferencedKind::SessionKey { id: key.id.value };
            files.extend(secret(&key.secret).map(|path| Referenced { path, kind }));
        }
        if let Some(path) = &wire.key_dir {
            let listed = wire.keys.iter().flat_map(|keys| &keys.0).map(|key| key.id.value).collect();
            let kind = ReferencedKind::KeyDir { listed };
            files.push(Referenced { path: folder(sources, path.span).join(&path.value.0), kind });
        }
    }
    files
}

fn certificates(root: &Root, contents: &Contents) -> Vec<Referenced> {
    let entries = root.tls.iter().flat_map(|tls| &tls.certificates.0);
    let pairs: Vec<_> =
        entries.filter_map(|entry| Some((entry.cert.as_ref()?, entry.key.as_ref()?))).collect();
    let stem =
        |cert: &Spanned<FilePath>| cert.value.0.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut hosts: HashMap<Option<String>, Vec<String>> = HashMap::new();
    let tenants = std::iter::once(&root.tenants).chain(&contents.tenants).flat_map(|file| &file.0);
    for (name, wire) in tenants.filter_map(|entry| Some((&entry.name.value, entry.value.as_ref()?))) {
        let own = Some(name.as_str().to_owned())
            .filter(|name| pairs.iter().any(|(cert, _)| stem(cert).as_ref() == Some(name)));
        hosts
            .entry(own)
            .or_default()
            .extend(wire.hosts.items.iter().map(|host: &Spanned<HostPattern>| host.value.to_string()));
    }
    let listed = pairs.iter().map(|(cert, key)| {
        let names = hosts.get(&stem(cert)).or_else(|| hosts.get(&None)).cloned().unwrap_or_default();
        pair(&contents.sources, cert, key, names)
    });
    listed.collect()
}

fn pair(
    sources: &Sources,
    cert: &Spanned<FilePath>,
    key: &Spanned<FilePath>,
    hosts: Vec<String>,
) -> Referenced {
    let resolve = |at: &Spanned<FilePath>| folder(sources, at.span).join(&at.value.0);
    Referenced { path: resolve(cert), kind: ReferencedKind::Certificate { key: resolve(key), hosts } }
}

/// Returns the file of a secret; one that comes from a variable has none.
fn secret(sources: &Sources, inputs: &Inputs<'_>, secret: &SecretText) -> Option<PathBuf> {
    match substitute::pieces(&secret.0.value).ok()?.as_slice() {
        [Piece::File(path)] => Some(folder(sources, secret.0.span).join(inputs.path(path).ok()?)),
        _ => None,
    }
}

fn folder(sources: &Sources, span: Span) -> PathBuf {
    sources.file(span.file).map(Source::folder).unwrap_or_default()
}
