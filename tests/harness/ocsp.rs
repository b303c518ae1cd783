//! A CA that answers for its certificates, played by openssl.

#![allow(unreachable_pub, reason = "two test programs share it")]

use std::{fs, path::PathBuf, process::Command};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A CA, in a folder of its own.
pub struct Responder {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// What a CA says of a certificate.
#[derive(Clone, Copy)]
pub enum Word {
    Good,
    Revoked,
}

impl Responder {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.path().join("ca.key"), key.serialize_pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a certificate with this serial number; returns it with its key, as PEM.
    pub fn issue(&self, serial: u8, hosts: &[&str]) -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        params.serial_number = Some(vec![serial].into());
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Makes an answer for a serial number that holds for a day, or one without an end.
    pub fn answer(&self, serial: u8, word: Word, ends: bool) -> Vec<u8> {
        let number = format!("{serial:02X}");
        let line = match word {
            Word::Good => format!("V\t990101000000Z\t\t{number}\tunknown\t/CN=x\n"),
            Word::Revoked => format!("R\t990101000000Z\t260101000000Z\t{number}\tunknown\t/CN=x\n"),
        };
        fs::write(self.path("index.txt"), line).unwrap();
        let hex = format!("0x{number}");
        self.openssl(&["-issuer", "ca.pem", "-serial", &hex, "-no_nonce", "-reqout", "request.der"]);
        let mut args = vec!["-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key"];
        args.extend(["-reqin", "request.der", "-respout", "answer.der"]);
        args.extend(if ends { vec!["-ndays", "1"] } else { vec![] });
        self.openssl(&args);
        fs::read(self.path("answer.der")).unwrap()
    }

    fn openssl(&self, args: &[&str]) {
        let output =
            Command::new("openssl").arg("ocsp").args(args).current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
