//! Choices out of an input's bytes; what has run out is zero.

use std::{path::PathBuf, sync::OnceLock};

use octroi::{config, model::UnixTime, policy::Policy};

/// The time at which everything is judged.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Bytes that are taken from the front.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Takes one byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Takes so many bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.slice(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Takes so many bytes, or what is left.
    pub fn slice(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes a text of `least` to `most` characters out of an alphabet.
    pub fn text(&mut self, alphabet: &[u8], least: usize, most: usize) -> String {
        let length = least + usize::from(u16::from_be_bytes(self.array())) % (most - least + 1);
        let filled = self.slice(length).iter().map(|byte| alphabet[usize::from(*byte) % alphabet.len()]);
        filled.chain(std::iter::repeat(alphabet[0])).take(length).map(char::from).collect()
    }
}

/// Cuts bytes into pieces of the sizes that stand in `sizes`, over and over; 0 is 256.
pub fn pieces<'a>(mut bytes: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    for size in sizes.iter().chain([&0]).cycle() {
        if bytes.is_empty() {
            break;
        }
        let size = if *size == 0 { 256 } else { usize::from(*size) };
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        found.push(piece);
        bytes = rest;
    }
    found
}

/// The lines of a field: an input has LF between them, which no field has in it.
pub fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == b'\n').collect()
}

/// A policy with one tenant, whose servers trust 10.0.0.0/8 as proxies.
pub fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| load(""))
}

/// Makes that policy with one more key under `server`.
pub fn load(server: &str) -> Policy {
    let text = r#"
version: 1
server: {trusted_proxies: [10.0.0.0/8, "2001:db8:1::/48"], MORE}
listeners: [{name: public, address: "127.0.0.1:8443", plaintext: true}]
sessions: {keys: [{id: 1, secret: "${KEY}"}]}
upstreams: {app: {servers: [{address: "127.0.0.1:9000"}]}}
routes: {app: {rules: [{path: /login, access: public, grant: true}]}}
tenants: {acme: {hosts: [acme.example.test], upstream: app, routes: app}}
"#;
    let key = |name: &str| (name == "KEY").then(|| "LHYOi0FbJcbFlGOd3RhctJaYs2YYpGa1BOmR49IeOwE=".to_owned());
    match config::fuzz::load_text(PathBuf::from("fuzz.yaml"), text.replace("MORE", server), NOW, &key) {
        Ok(loaded) => loaded.policy,
        Err(errors) => panic!("{errors}"),
    }
}
