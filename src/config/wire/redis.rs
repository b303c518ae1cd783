//! The store that nodes share.

use std::num::NonZeroU32;

use serde_json::{Map, Value as Json, json};

use crate::config::{
    parse::FilePath,
    reader::{Reader, Spanned, Wire},
    shape::wire,
    substitute::{self, Piece},
    tree::{Node, Value},
    unit::Wait,
};

/// The URL as it is written: what stands for a password in it is resolved, and judged, when it is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RedisUrl(pub(in crate::config) Spanned<Box<str>>);

impl Wire for RedisUrl {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        let Value::Scalar { text, .. } = &node.value else {
            reader.wrong_kind(node, "a URL");
            return None;
        };
        // A password that was typed here is in the file already; no complaint shows it again.
        let userinfo = text.rsplit_once('@').and_then(|(userinfo, _)| Some(userinfo.split_once("://")?.1));
        if userinfo
            .and_then(|userinfo| userinfo.split_once(':'))
            .is_some_and(|(_, password)| !is_named(password))
        {
            reader.mask(node.span);
        }
        Some(Self(Spanned { value: text.clone(), span: node.span }))
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": "string", "pattern": "^((redis|rediss|unix)://|\\$\\{)"})
    }
}

/// Says whether nothing of a password is written out.
fn is_named(password: &str) -> bool {
    let named = |piece: &Piece<'_>| matches!(piece, Piece::File(_) | Piece::Variable { default: None, .. });
    substitute::pieces(password).is_ok_and(|pieces| pieces.iter().all(named))
}

wire! {
    /// The store that nodes share: one Redis.
    RedisWire "redis" {
        /// Where it is: `rediss://redis.internal:6380`, `redis://127.0.0.1:6379/2`,
        /// `unix:///run/redis/redis.sock`. A user may stand in it, a password only as
        /// `${file:redis.password}` or `${VARIABLE}`.
        url: RedisUrl,
        /// How long one command may take, 5ms to 5s. Default: 200ms.
        timeout: Option<Spanned<Wait>>,
        /// How many nodes of octroi share it, so that a missing one is reported.
        replicas: Option<Spanned<NonZeroU32>>,
        /// The CA bundle of `rediss`, PEM. Default: the system's.
        ca: Option<Spanned<FilePath>>,
        /// Says that revocations may leave this machine in clear text.
        plaintext: Option<Spanned<bool>>,
    }
}
