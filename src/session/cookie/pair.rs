//! The pairs of a `Cookie` line.

/// One `name=value` of a line; without a `=` it is all name.
pub(super) struct Pair<'a> {
    pub(super) whole: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Pair<'a> {
    pub(super) fn of(piece: &'a [u8]) -> Self {
        let whole = trimmed(piece, is_blank);
        let (name, value) = split(whole, b'=');
        let [name, value] = [name, value.unwrap_or_default()].map(|part| trimmed(part, is_blank));
        Self { whole, name, value }
    }
}

/// The pairs of one line; empty ones are passed over.
pub(super) struct Pairs<'a>(pub(super) Option<&'a [u8]>);

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        loop {
            let (piece, rest) = split(self.0?, b';');
            self.0 = rest;
            let pair = Pair::of(piece);
            if !pair.whole.is_empty() {
                return Some(pair);
            }
        }
    }
}

/// Splits at the first separator.
pub(super) fn split(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(separator, bytes).and_then(|at| bytes.split_at_checked(at)) {
        Some((head, tail)) => (head, tail.split_first().map(|(_, rest)| rest)),
        None => (bytes, None),
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn trimmed(mut bytes: &[u8], is_trimmed: impl Fn(u8) -> bool) -> &[u8] {
    while let Some((_, rest)) = bytes.split_first().filter(|(first, _)| is_trimmed(**first)) {
        bytes = rest;
    }
    while let Some((_, rest)) = bytes.split_last().filter(|(last, _)| is_trimmed(**last)) {
        bytes = rest;
    }
    bytes
}
