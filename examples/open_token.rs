//! Opens a token of octroi in another program: says whose session it is, and whether its clocks hold.
//!
//! ```text
//! open_token KEY_FILE KEY_ID REALM cookie|bearer < token
//! ```
//!
//! It needs the library without its sockets: `cargo run --no-default-features --example open_token`. It does not know which sessions were
//! ended: that is the gateway's part.
#![allow(clippy::print_stdout, reason = "it is a program that tells")]

use std::{error::Error, io::Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use octroi::{
    model::{Clock, Secret, SystemClock, UnixTime},
    session::{KeyRing, MasterKey, Purpose},
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [key_file, key_id, realm, purpose] = words.as_slice() else {
        return Err("open_token KEY_FILE KEY_ID REALM cookie|bearer".into());
    };
    let mut token = String::new();
    std::io::stdin().take(4096).read_to_string(&mut token)?;
    let now = SystemClock::new().now();
    let ring = ring(&std::fs::read_to_string(key_file)?, key_id.parse()?)?;
    print!("{}", read(&ring, token.trim_end(), purpose, realm, now)?);
    Ok(())
}

/// Takes one master key that only opens: base64 of 32 bytes.
pub(crate) fn ring(key: &str, id: u16) -> Result<KeyRing, Box<dyn Error>> {
    let secret = STANDARD.decode(key.trim_end())?.try_into().map_err(|_| "the key is not 32 bytes")?;
    Ok(KeyRing::new(vec![MasterKey { id, secret: Secret::new(secret), open_only: true }]))
}

/// Says what a token says.
pub(crate) fn read(
    ring: &KeyRing,
    token: &str,
    purpose: &str,
    realm: &str,
    now: UnixTime,
) -> Result<String, Box<dyn Error>> {
    let purpose = [Purpose::Cookie, Purpose::Bearer]
        .into_iter()
        .find(|known| known.as_str() == purpose)
        .ok_or("cookie or bearer?")?;
    let claims = ring.open(token, purpose, &realm.parse()?)?.claims;
    let holds = claims.not_before <= now && now < claims.idle_end && now < claims.absolute_end;
    let roles = claims.roles.iter().collect::<Vec<_>>().join(" ");
    let clocks = if holds { "within its clocks" } else { "outside its clocks" };
    Ok(format!("tenant {}\nuser {}\nroles {roles}\n{clocks}\n", claims.tenant, claims.user))
}
