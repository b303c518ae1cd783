//! Project Wycheproof's vectors through every primitive of the room: valid ones pass, invalid ones never.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::{TestResult, aead, ecdsa, eddsa, hkdf as derivation, mac, rsa_pkcs1_verify, rsa_pss_verify};

use super::foreign::{Algorithm, Digest, MacKey, VerifyKey};
use crate::model::Secret;

/// What was tried, and what it ought to be.
#[derive(Default)]
struct Tally {
    valid: usize,
    invalid: usize,
}

impl Tally {
    fn note(&mut self, what: &str, id: usize, expected: TestResult, accepted: bool) {
        match expected {
            TestResult::Valid => {
                assert!(accepted, "{what}: {id} is valid");
                self.valid += 1;
            }
            TestResult::Invalid => {
                assert!(!accepted, "{what}: {id} is invalid");
                self.invalid += 1;
            }
            // A choice of the one who verifies.
            TestResult::Acceptable => {}
        }
    }

    /// Vectors that were skipped by mistake would pass for vectors that hold.
    fn tried_at_least(&self, valid: usize, invalid: usize) {
        assert!(
            self.valid >= valid && self.invalid >= invalid,
            "only {} valid and {} invalid ones",
            self.valid,
            self.invalid
        );
    }
}

#[test]
fn aes_256_gcm_siv() {
    let set = aead::TestSet::load(aead::TestName::AesGcmSiv).unwrap();
    let mut tally = Tally::default();
    for group in set.test_groups.into_iter().filter(|group| group.key_size == 256) {
        for test in group.tests {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &test.key).unwrap());
            let nonce = || Nonce::try_assume_unique_for_key(&test.nonce);
            let mut locked = [&test.ct[..], &test.tag].concat();

            let opened = nonce().and_then(|nonce| {
                key.open_in_place(nonce, Aad::from(&test.aad[..]), &mut locked).map(|plain| plain.to_vec())
            });

            tally.note(
                "open",
                test.tc_id,
                test.result,
                opened.as_deref().is_ok_and(|plain| plain == &test.pt[..]),
            );
            if test.result == TestResult::Valid {
                let mut sealed = test.pt.to_vec();
                key.seal_in_place_append_tag(nonce().unwrap(), Aad::from(&test.aad[..]), &mut sealed)
                    .unwrap();
                assert_eq!(sealed, [&test.ct[..], &test.tag].concat(), "seal: {}", test.tc_id);
            }
        }
    }
    tally.tried_at_least(50, 20);
}

#[test]
fn hkdf_sha_256() {
    let set = derivation::TestSet::load(derivation::TestName::HkdfSha256).unwrap();
    let mut tally = Tally::default();
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let mut derived = vec![0; test.size];

        let fits = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut derived).is_ok();

        tally.note("derive", test.tc_id, test.result, fits && derived == test.okm[..]);
    }
    tally.tried_at_least(50, 1);
}

#[test]
fn hmac() {
    for (name, digest, bits) in [
        (mac::TestName::HmacSha1, Digest::Sha1, 160),
        (mac::TestName::HmacSha256, Digest::Sha256, 256),
        (mac::TestName::HmacSha384, Digest::Sha384, 384),
        (mac::TestName::HmacSha512, Digest::Sha512, 512),
    ] {
        let set = mac::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in set.test_groups {
            for test in group.tests {
                let key = MacKey::new(digest, Secret::new(test.key.to_vec()));
                // A shortened tag is none here, whatever it says.
                let expected = if group.tag_size == bits { test.result } else { TestResult::Invalid };

                tally.note("verify", test.tc_id, expected, key.verify(&test.msg, &test.tag));
            }
        }
        tally.tried_at_least(20, 50);
    }
}

#[test]
fn ecdsa_with_fixed_signatures() {
    for (name, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::Es256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::Es384),
    ] {
        let set = ecdsa::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in set.test_groups {
            let key = VerifyKey::public(algorithm, &group.der).unwrap();
            for test in group.tests {
                tally.note(name_of(algorithm), test.tc_id, test.result, key.verify(&test.msg, &test.sig));
            }
        }
        tally.tried_at_least(50, 50);
    }
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::default();
    for group in set.test_groups {
        let key = VerifyKey::public(Algorithm::EdDsa, &group.der).unwrap();
        for test in group.tests {
            tally.note("EdDSA", test.tc_id, test.result, key.verify(&test.msg, &test.sig));
        }
    }
    tally.tried_at_least(50, 30);
}

#[test]
fn rsa_with_pkcs1_padding() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let key = VerifyKey::public(Algorithm::Rs256, &group.der).unwrap();
            for test in group.tests {
                tally.note("RS256", test.tc_id, test.result, key.verify(&test.msg, &test.sig));
            }
        }
        tally.tried_at_least(5, 100);
    }
}

#[test]
fn rsa_with_pss_padding() {
    use rsa_pss_verify::{TestName, TestSet};
    for name in [
        TestName::RsaPss2048Sha256Mgf1SaltLen32,
        TestName::RsaPss3072Sha256Mgf1SaltLen32,
        TestName::RsaPss4096Sha256Mgf1SaltLen32,
    ] {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let key = VerifyKey::public(Algorithm::Ps256, &group.der).unwrap();
            for test in group.tests {
                tally.note("PS256", test.tc_id, test.result, key.verify(&test.msg, &test.sig));
            }
        }
        tally.tried_at_least(20, 20);
    }
}

fn name_of(algorithm: Algorithm) -> &'static str {
    Algorithm::ALL.iter().find(|(_, known)| *known == algorithm).map_or("", |(name, _)| name)
}
