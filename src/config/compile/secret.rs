//! Secrets: named by file or variable, never inline, never weak.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Context;
use crate::{
    config::{
        parse::Wrong,
        reader::{SecretText, without_newline},
        substitute::{self, Piece},
    },
    model::Secret,
};

/// The fewest different bytes of 32 random ones; the chance of fewer is under 2^-60.
const DISTINCT_IN_KEY: usize = 16;
/// The fewest characters of a token: 128 bits even where they are hexadecimal digits.
const TOKEN_CHARS: usize = 32;
/// The fewest different characters of a token.
const DISTINCT_IN_TOKEN: usize = 10;

/// Reads a session key: base64 of 32 bytes that look random.
pub(super) fn session_key(cx: &mut Context<'_>, secret: &SecretText) -> Option<Secret<[u8; 32]>> {
    const MAKE: &str = "`octroi keys init` makes one; so does `head -c 32 /dev/urandom | base64`";
    let text = reveal(cx, secret)?;
    let key = decode(text.expose()).map_err(|wrong| {
        cx.error(secret.0.span, wrong.message).hint(MAKE);
    });
    key.ok()
}

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
    cx.error(secret.0.span, wrong).hint("`octroi keys init` makes one; so does `head -c 32 /dev/urandom | base64`");
    None
}

/// Finds what a secret refers to. The only ways are one file or one variable.
fn reveal(cx: &mut Context<'_>, secret: &SecretText) -> Option<Secret<String>> {
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

/// Looks the text up.
fn lookup(cx: &Context<'_>, secret: &SecretText) -> Result<Secret<String>, Wrong> {
    const NAME_IT: &str = "put it into a file that only octroi may read, and name that: `${file:NAME.key}`";
    let pieces = substitute::pieces(&secret.0.value)?;
    match pieces.as_slice() {
        [Piece::Variable { name, default: None }] => {
            let value = cx.inputs.variable(name).filter(|value| !value.is_empty());
            value.map(Secret::new).ok_or_else(|| Wrong::new(format!("the variable `{name}` is not set, or empty")))
        }
        [Piece::Variable { default: Some(_), .. }] => Err(Wrong::new("a secret must not have a default").hint(NAME_IT)),
        [Piece::File(path)] => {
            let path = cx.folder(secret.0.span).join(cx.inputs.path(path)?);
            let shown = path.display();
            let file = cx.inputs.file(&path).map_err(|why| {
                Wrong::new(format!("cannot read {shown}: {why}")).hint("`octroi keys init` makes the keys that are missing")
            })?;
            if file.is_open_to_all() {
                let wrong = Wrong::new(format!("{shown} is open to every account of this machine (mode {})", file.mode()));
                return Err(wrong.hint(format!("chmod 0600 {shown}")));
            }
            let text = std::str::from_utf8(file.bytes.expose()).map(without_newline);
            let text = text.map_err(|_| Wrong::new(format!("{shown} is not text")).hint("secrets are kept as base64"))?;
            if text.is_empty() { Err(Wrong::new(format!("{shown} is empty"))) } else { Ok(Secret::new(text.to_owned())) }
        }
        _ => Err(Wrong::new("a secret is written inline").hint(NAME_IT)),
    }
}

/// Decodes a key and refuses what nobody drew at random: too few different bytes, an even sequence, readable text.
fn decode(text: &str) -> Result<Secret<[u8; 32]>, Wrong> {
    let bytes = STANDARD.decode(text).map(Secret::new).map_err(|_| Wrong::new("the key is not base64"))?;
    let key: [u8; 32] = bytes
        .expose()
        .as_slice()
        .try_into()
        .map_err(|_| Wrong::new(format!("the key has {} bytes; it needs exactly 32", bytes.expose().len())))?;
    let distinct = key.iter().collect::<BTreeSet<_>>().len();
    let steps: BTreeSet<u8> = key.iter().zip(key.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect();
    // Of 32 random bytes all are printable once in 10^14.
    let readable = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if distinct < DISTINCT_IN_KEY || steps.len() <= 2 || readable {
        return Err(Wrong::new("the key is not random"));
    }
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_looking() -> [u8; 32] {
        std::array::from_fn(|index| u8::try_from((index * index * 7 + index * 31 + 11) % 256).unwrap())
    }

    #[test]
    fn a_key_is_base64_of_32_random_bytes() {
        let read = |bytes: &[u8]| decode(&STANDARD.encode(bytes)).map_err(|wrong| wrong.message);

        assert_eq!(read(&random_looking()), Ok(Secret::new(random_looking())));
        assert_eq!(read(&random_looking()[..31]), Err("the key has 31 bytes; it needs exactly 32".into()));
        assert_eq!(read(&[0; 32]), Err("the key is not random".into()));
        assert_eq!(read(&std::array::from_fn::<u8, 32, _>(|index| u8::try_from(index).unwrap())), Err("the key is not random".into()));
        assert_eq!(read(b"this is a sentence, not a key!!!"), Err("the key is not random".into()));
        assert_eq!(decode("not base64").map_err(|wrong| wrong.message), Err("the key is not base64".into()));
    }
}
