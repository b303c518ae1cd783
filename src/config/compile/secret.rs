//! Secrets: named by file or variable, never inline, never weak.

use std::{collections::BTreeSet, path::Path};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::Context;
use crate::{
    config::{
        parse::ScalarError,
        reader::{SecretText, without_newline},
        source::Span,
        substitute::{self, Piece},
    },
    model::{Secret, encoding_fault},
};

/// The fewest characters of a token: 128 bits even where they are hexadecimal digits.
const TOKEN_CHARS: usize = 32;
/// The fewest different characters of a token.
const DISTINCT_IN_TOKEN: usize = 10;

/// Reads a session key: base64 of 32 bytes that look random.
pub(super) fn session_key(cx: &mut Context<'_>, secret: &SecretText) -> Option<Secret<[u8; 32]>> {
    let text = reveal(cx, secret)?;
    let make = cx.history.secret(MAKE);
    let key = Secret::from_base64(text.expose()).map_err(|wrong| {
        cx.error(secret.0.span, wrong.to_string()).hint(make);
    });
    key.ok()
}

/// Reads a session key from a file of a folder; `span` is where the folder is named.
pub(super) fn session_key_file(cx: &mut Context<'_>, span: Span, path: &Path) -> Option<Secret<[u8; 32]>> {
    let wrong = match file(cx, path) {
        Ok(text) => match Secret::from_base64(text.expose()) {
            Ok(key) => return Some(key),
            Err(why) => ScalarError::new(format!("{}: {why}", path.display())).hint(cx.history.secret(MAKE)),
        },
        Err(wrong) => wrong,
    };
    cx.error(span, wrong.message).maybe_hint(wrong.hint);
    None
}

const MAKE: &str = "`octroi keys init` makes one; so does `head -c 32 /dev/urandom | base64`";

/// Reads an admin token.
pub(super) fn token(cx: &mut Context<'_>, secret: &SecretText) -> Option<Secret<Vec<u8>>> {
    let text = reveal(cx, secret)?;
    let bytes = text.expose().as_bytes();
    let distinct = bytes.iter().collect::<BTreeSet<_>>().len();
    let wrong = if bytes.len() < TOKEN_CHARS {
        format!("the token has {} characters; it needs at least {TOKEN_CHARS}", bytes.len())
    } else if !bytes.iter().all(u8::is_ascii_graphic) {
        "the token holds a character that an Authorization header does not carry".to_owned()
    } else if distinct < DISTINCT_IN_TOKEN {
        format!("the token has only {distinct} different characters")
    } else {
        return Some(Secret::new(bytes.to_vec()));
    };
    let make = cx.history.secret(MAKE);
    cx.error(secret.0.span, wrong).hint(make);
    None
}

/// The fewest bytes of a key for HMAC-SHA-256 (RFC 7518, section 3.2).
const MAC_BYTES: usize = 32;

/// Reads a MAC key that somebody else gave out: base64 or base64url, with padding or without.
pub(super) fn mac_key(cx: &mut Context<'_>, secret: &SecretText) -> Option<Secret<Vec<u8>>> {
    let text = reveal(cx, secret)?;
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url = text.expose().contains(['-', '_']);
    let engine = GeneralPurpose::new(if url { &alphabet::URL_SAFE } else { &alphabet::STANDARD }, lenient);
    let wrong = match engine.decode(text.expose()).map(Secret::new) {
        Ok(key) if key.expose().len() >= MAC_BYTES => return Some(key),
        Ok(key) => format!(
            "the key has {} bytes; it needs at least {MAC_BYTES} (RFC 7518, section 3.2)",
            key.expose().len()
        ),
        Err(_) => "the key is not base64".to_owned(),
    };
    cx.error(secret.0.span, wrong).hint("put it there as the CA gave it out");
    None
}

/// Finds what a secret refers to. The only ways are one file or one variable.
pub(super) fn reveal(cx: &mut Context<'_>, secret: &SecretText) -> Option<Secret<String>> {
    let span = secret.0.span;
    match lookup(cx, secret) {
        Ok(text) if text.expose().contains("${") => {
            cx.error(span, "`${` is left in the secret")
                .hint("what a file or variable holds is not read again; put the secret itself there");
            None
        }
        Ok(text) => Some(text),
        Err(wrong) => {
            cx.error(span, wrong.message).maybe_hint(wrong.hint);
            None
        }
    }
}

const NAME_IT: &str = "put it into a file that only octroi may read, and name that: `${file:NAME.key}`";

/// Looks the text up.
fn lookup(cx: &Context<'_>, secret: &SecretText) -> Result<Secret<String>, ScalarError> {
    let pieces = substitute::pieces(&secret.0.value)?;
    match pieces.as_slice() {
        [piece] => resolve(cx, secret.0.span, piece),
        _ => Err(ScalarError::new("a secret is written inline").hint(NAME_IT)),
    }
}

/// Returns what one file or variable holds.
pub(super) fn resolve(cx: &Context<'_>, at: Span, piece: &Piece<'_>) -> Result<Secret<String>, ScalarError> {
    match piece {
        Piece::Variable { name, default: None } => {
            let value = cx.inputs.variable(name).filter(|value| !value.is_empty());
            value.map(Secret::new).ok_or_else(|| {
                ScalarError::new(format!("the variable `{name}` is not set, or empty"))
                    .hint("set it where octroi is started (`EnvironmentFile=` of the unit), or name a file: `${file:NAME.key}`")
            })
        }
        Piece::Variable { default: Some(_), .. } => {
            Err(ScalarError::new("a secret must not have a default").hint(NAME_IT))
        }
        Piece::File(path) => {
            let path = cx.folder(at).join(cx.inputs.path(path)?);
            file(cx, &path)
        }
        Piece::Text(_) => Err(ScalarError::new("a secret is written inline").hint(NAME_IT)),
    }
}

/// Reads the text of a secret's file.
fn file(cx: &Context<'_>, path: &Path) -> Result<Secret<String>, ScalarError> {
    let shown = path.display();
    let missing = |why| {
        ScalarError::new(format!("cannot read {shown}: {why}")).hint(
            cx.history.unread(path, cx.history.secret("`octroi keys init` makes the keys that are missing")),
        )
    };
    let file = cx.inputs.file(path).map_err(missing)?;
    if file.is_open_to_all() {
        let wrong = ScalarError::new(format!(
            "{shown} is open to every account of this machine (mode {})",
            file.mode()
        ));
        return Err(wrong.hint(format!("chmod 0600 {shown}")));
    }
    if let Some(fault) = encoding_fault(file.bytes.expose()) {
        let wrong = ScalarError::new(format!("{shown}:1: {fault}"));
        return Err(match fault.hint(&shown.to_string()) {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        });
    }
    let text = std::str::from_utf8(file.bytes.expose()).map(without_newline);
    let text = text
        .map_err(|_| ScalarError::new(format!("{shown} is not text")).hint("secrets are kept as base64"))?;
    if text.is_empty() {
        return Err(ScalarError::new(format!("{shown} is empty")).hint(cx.history.secret(
            "put the secret there, or remove the file: `octroi keys init` makes keys that are missing",
        )));
    }
    Ok(Secret::new(text.to_owned()))
}
