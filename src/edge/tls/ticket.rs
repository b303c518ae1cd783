//! Seals and opens session tickets.
//!
//! ```text
//! ticket     = key id 16 | nonce 12 | AES-256-GCM ciphertext | tag 16; associated data: the key id
//! key | id   = HKDF-SHA-256(secret, salt "octroi/ticket/v1", info), 32 | 16 bytes
//! info       = epoch u64 | certificates 32
//! epoch      = seconds since 1970 / 21600, big-endian
//! ```
//!
//! A key seals for six hours and opens for six more. Then it is gone, and nobody can read what it sealed.
//! Keys of our own are random. Where nodes share a file of secrets, the keys are derived from the newest
//! secret, the time and a digest of the certificates: nodes with the same file and the same certificates open
//! each other's tickets, and rotate together. Either way another certificate means other keys, so no ticket
//! outlives the certificate that it stands for.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    rand,
};
use hkdf::Hkdf;
use rustls::server::ProducesTickets;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{Clock, Secret};
use crate::policy::TicketSecrets;

/// How long a key seals, in seconds. It opens for as long again (`threat-model.md`, row 23).
const EPOCH: u32 = 6 * 3600;
const SALT: &[u8] = b"octroi/ticket/v1";
const ID: usize = 16;

/// The keys of one TLS state.
pub(super) struct Tickets {
    clock: Arc<dyn Clock>,
    origin: Origin,
    ring: ArcSwap<Ring>,
    /// One thread rotates the ring; the others go on with the old one.
    turning: Mutex<()>,
}

/// Where keys come from.
enum Origin {
    /// Random keys of this process.
    Own,
    /// Derived from secrets that nodes share, newest first, and from a digest of the certificates.
    Shared { secrets: TicketSecrets, certificates: [u8; 32] },
}

/// The keys of an epoch. The first one seals, all of them open.
struct Ring {
    epoch: u64,
    keys: Vec<Arc<Key>>,
}

struct Key {
    id: [u8; ID],
    epoch: u64,
    aead: RandomizedNonceKey,
}

impl Tickets {
    /// Creates random keys, which exist in this process only.
    pub(super) fn own(clock: &Arc<dyn Clock>) -> Result<Self, Unspecified> {
        Self::new(clock, Origin::Own)
    }

    /// Derives keys from secrets that nodes share, newest first, for these certificates.
    pub(super) fn shared(
        clock: &Arc<dyn Clock>,
        secrets: TicketSecrets,
        certificates: [u8; 32],
    ) -> Result<Self, Unspecified> {
        Self::new(clock, Origin::Shared { secrets, certificates })
    }

    fn new(clock: &Arc<dyn Clock>, origin: Origin) -> Result<Self, Unspecified> {
        let ring = origin.ring(epoch(&**clock), &[])?;
        Ok(Self {
            clock: Arc::clone(clock),
            origin,
            ring: ArcSwap::from_pointee(ring),
            turning: Mutex::new(()),
        })
    }

    /// Returns the current keys, or `None` where the system has no random bytes: then no ticket is made.
    fn ring(&self) -> Option<Arc<Ring>> {
        let epoch = epoch(&*self.clock);
        let ring = self.ring.load_full();
        if ring.epoch == epoch {
            return Some(ring);
        }
        let _one = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = self.ring.load_full();
        if ring.epoch == epoch {
            return Some(ring);
        }
        let turned = Arc::new(self.origin.ring(epoch, &ring.keys).ok()?);
        self.ring.store(Arc::clone(&turned));
        Some(turned)
    }
}

impl Origin {
    /// Creates the keys of an epoch, and keeps those of the epoch before, which still open.
    fn ring(&self, epoch: u64, before: &[Arc<Key>]) -> Result<Ring, Unspecified> {
        let mut keys = Vec::new();
        match self {
            Self::Own => {
                let mut bytes = Zeroizing::new([0; 32 + ID]);
                rand::fill(&mut *bytes)?;
                keys.push(Arc::new(Key::new(&bytes, epoch)?));
                keys.extend(before.iter().filter(|key| key.epoch.checked_add(1) == Some(epoch)).cloned());
            }
            Self::Shared { secrets, certificates } => {
                // The next epoch too: the clock of another node may be ahead.
                for epoch in [Some(epoch), epoch.checked_sub(1), epoch.checked_add(1)].into_iter().flatten() {
                    for secret in secrets.newest_first() {
                        keys.push(Arc::new(Key::derive(secret, epoch, certificates)?));
                    }
                }
            }
        }
        Ok(Ring { epoch, keys })
    }
}

impl Key {
    fn new(bytes: &[u8; 32 + ID], epoch: u64) -> Result<Self, Unspecified> {
        let (key, id) = bytes.split_first_chunk::<32>().ok_or(Unspecified)?;
        let id = id.try_into().map_err(|_| Unspecified)?;
        Ok(Self { id, epoch, aead: RandomizedNonceKey::new(&AES_256_GCM, key)? })
    }

    fn derive(secret: &Secret<[u8; 32]>, epoch: u64, certificates: &[u8; 32]) -> Result<Self, Unspecified> {
        let mut bytes = Zeroizing::new([0; 32 + ID]);
        let info: [&[u8]; 2] = [&epoch.to_be_bytes(), certificates];
        Hkdf::<Sha256>::new(Some(SALT), secret.expose())
            .expand_multi_info(&info, &mut *bytes)
            .map_err(|_| Unspecified)?;
        Self::new(&bytes, epoch)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        EPOCH
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.ring()?;
        let key = ring.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(key.id), &mut sealed).ok()?;
        Some([&key.id[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let ring = self.ring()?;
        let key = ring.keys.iter().find(|key| key.id == *id)?;
        let mut sealed = sealed.to_vec();
        let plain = key.aead.open_in_place(Nonce::from(nonce), Aad::from(*id), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("epoch", &self.ring.load().epoch).finish_non_exhaustive()
    }
}

fn epoch(clock: &dyn Clock) -> u64 {
    clock.now().as_secs() / u64::from(EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;

    use super::*;
    use crate::model::{ManualClock, UnixTime};

    const PLAIN: &[u8] = b"what a session needs to go on";
    const HOUR: Duration = Duration::from_secs(3600);

    /// A clock at the beginning of an epoch.
    fn clock() -> (Arc<ManualClock>, Arc<dyn Clock>) {
        let clock = Arc::new(ManualClock::new(UnixTime::from_secs(u64::from(EPOCH) * 80_000)));
        (Arc::clone(&clock), clock)
    }

    /// Secrets that differ by a number.
    fn secrets(seeds: &[usize]) -> TicketSecrets {
        let line = |seed: &usize| {
            let bytes: [u8; 32] = std::array::from_fn(|index| {
                u8::try_from((index * index * 7 + index * 31 + seed) % 256).unwrap()
            });
            base64::engine::general_purpose::STANDARD.encode(bytes) + "\n"
        };
        TicketSecrets::parse(&seeds.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn a_key_seals_for_six_hours_and_opens_for_six_more() {
        let (hands, clock) = clock();
        let both = [Tickets::own(&clock).unwrap(), Tickets::shared(&clock, secrets(&[1]), [7; 32]).unwrap()];
        let first = both.each_ref().map(|tickets| tickets.encrypt(PLAIN).unwrap());
        let open = |tickets: &Tickets, ticket: &[u8]| tickets.decrypt(ticket).as_deref() == Some(PLAIN);

        hands.advance(HOUR * 6 - Duration::from_secs(1));
        let last = both.each_ref().map(|tickets| tickets.encrypt(PLAIN).unwrap());
        hands.advance(Duration::from_secs(1));
        let next = both.each_ref().map(|tickets| tickets.encrypt(PLAIN).unwrap());

        for (index, tickets) in both.iter().enumerate() {
            assert_eq!(first[index][..ID], last[index][..ID], "the same key for six hours");
            assert_ne!(last[index][..ID], next[index][..ID], "another one after that");
            assert!(
                open(tickets, &first[index]) && open(tickets, &last[index]) && open(tickets, &next[index])
            );
        }
        hands.advance(HOUR * 6);
        for (index, tickets) in both.iter().enumerate() {
            assert!(!open(tickets, &last[index]), "older than one turn");
            assert!(open(tickets, &next[index]));
        }
    }

    #[test]
    fn keys_of_our_own_are_gone_when_the_clock_leaps() {
        let (hands, clock) = clock();
        let tickets = Tickets::own(&clock).unwrap();
        let ticket = tickets.encrypt(PLAIN).unwrap();

        hands.advance(HOUR * 13);
        tickets.encrypt(PLAIN).unwrap();

        assert_eq!(tickets.decrypt(&ticket), None);
        assert_eq!(tickets.ring().unwrap().keys.len(), 1);
    }

    #[test]
    fn nodes_with_one_secret_and_one_set_of_certificates_understand_each_other() {
        let (_, clock) = clock();
        let shared =
            |seeds: &[usize], certificates| Tickets::shared(&clock, secrets(seeds), certificates).unwrap();
        let ticket = shared(&[1], [7; 32]).encrypt(PLAIN).unwrap();

        assert_eq!(shared(&[1], [7; 32]).decrypt(&ticket).as_deref(), Some(PLAIN));
        assert_eq!(
            shared(&[2, 1], [7; 32]).decrypt(&ticket).as_deref(),
            Some(PLAIN),
            "an older secret opens"
        );
        assert_eq!(shared(&[2], [7; 32]).decrypt(&ticket), None, "another secret");
        assert_eq!(shared(&[1], [8; 32]).decrypt(&ticket), None, "another certificate");
        assert_eq!(Tickets::own(&clock).unwrap().decrypt(&ticket), None);
        assert_eq!(
            shared(&[1, 2], [7; 32]).decrypt(&shared(&[2, 1], [7; 32]).encrypt(PLAIN).unwrap()).as_deref(),
            Some(PLAIN)
        );
    }

    #[test]
    fn a_node_whose_clock_is_late_opens_what_a_punctual_one_sealed() {
        let (hands, late) = clock();
        let (ahead, punctual) = clock();
        ahead.advance(HOUR * 6 - Duration::from_secs(5));
        hands.advance(HOUR * 6 - Duration::from_secs(8));
        let shared = |clock: &Arc<dyn Clock>| Tickets::shared(clock, secrets(&[1]), [7; 32]).unwrap();
        let (late, punctual) = (shared(&late), shared(&punctual));
        ahead.advance(Duration::from_secs(6));

        assert_eq!(late.decrypt(&punctual.encrypt(PLAIN).unwrap()).as_deref(), Some(PLAIN));
        assert_eq!(punctual.decrypt(&late.encrypt(PLAIN).unwrap()).as_deref(), Some(PLAIN));
    }

    #[test]
    fn what_was_touched_does_not_open() {
        let (_, clock) = clock();
        let tickets = Tickets::own(&clock).unwrap();
        let ticket = tickets.encrypt(PLAIN).unwrap();

        for place in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[place] ^= 1;
            assert_eq!(tickets.decrypt(&touched), None, "byte {place}");
        }
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..length]), None, "{length} bytes");
        }
    }
}
