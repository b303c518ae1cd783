//! Certificate authorities of customers, made with openssl as customers make them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A CA with its folder.
pub struct Ca {
    dir: PathBuf,
}

/// What a client certificate is to say.
pub struct Wanted<'a> {
    pub subject: &'a str,
    /// As openssl writes alternative names: `DNS:a.test,URI:spiffe://a`.
    pub san: Option<&'a str>,
    /// `YYYYMMDDHHMMSSZ`.
    pub until: &'a str,
    pub usage: &'a str,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { subject: "/CN=robot-1/O=Acme", san: None, until: "20991231000000Z", usage: "clientAuth" }
    }
}

/// Runs openssl in a folder.
pub fn openssl(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CONFIG: &str = "
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = any
unique_subject = no
default_crl_days = 30
[any]
commonName = optional
organizationName = optional
organizationalUnitName = optional
[req]
distinguished_name = dn
[dn]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
";

impl Ca {
    /// Makes a root.
    pub fn root(dir: &Path, name: &str) -> Self {
        let ca = Self::folder(dir, name);
        let subject = format!("/CN={name}");
        openssl(
            &ca.dir,
            &[
                "req",
                "-x509",
                "-new",
                "-key",
                "ca.key",
                "-subj",
                &subject,
                "-days",
                "300",
                "-extensions",
                "authority",
                "-config",
                "ca.cnf",
                "-out",
                "ca.pem",
            ],
        );
        ca
    }

    /// Makes a CA below this one.
    pub fn below(&self, name: &str) -> Self {
        let ca = Self::folder(self.dir.parent().unwrap(), name);
        openssl(
            &ca.dir,
            &[
                "req",
                "-new",
                "-key",
                "ca.key",
                "-subj",
                &format!("/CN={name}"),
                "-config",
                "ca.cnf",
                "-out",
                "ca.csr",
            ],
        );
        let (csr, out) = (ca.dir.join("ca.csr"), ca.dir.join("ca.pem"));
        self.sign(&csr, &out, "authority", "20991231000000Z", &[]);
        ca
    }

    /// Gives it a certificate that ended long ago, for the same key and name.
    pub fn end(&self) {
        self.end_at("20210101000000Z");
    }

    /// Gives it one that ends then.
    pub fn end_at(&self, until: &str) {
        openssl(
            &self.dir,
            &[
                "req",
                "-new",
                "-key",
                "ca.key",
                "-subj",
                &self.subject(),
                "-config",
                "ca.cnf",
                "-out",
                "ca.csr",
            ],
        );
        let (csr, out) = (self.dir.join("ca.csr"), self.dir.join("ca.pem"));
        self.sign(&csr, &out, "authority", until, &["-selfsign"]);
    }

    fn subject(&self) -> String {
        format!("/CN={}", self.dir.file_name().unwrap().to_str().unwrap())
    }

    fn folder(dir: &Path, name: &str) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in
            [("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "01\n"), ("ca.cnf", CONFIG)]
        {
            fs::write(dir.join(file), text).unwrap();
        }
        openssl(&dir, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key"]);
        Self { dir }
    }

    fn sign(&self, csr: &Path, out: &Path, extensions: &str, until: &str, more: &[&str]) {
        let (csr, out) = (csr.to_str().unwrap(), out.to_str().unwrap());
        let args = [
            "ca",
            "-batch",
            "-notext",
            "-preserveDN",
            "-config",
            "ca.cnf",
            "-in",
            csr,
            "-out",
            out,
            "-startdate",
            "20200101000000Z",
            "-enddate",
            until,
            "-extensions",
            extensions,
        ];
        openssl(&self.dir, &[&args[..], more].concat());
    }

    /// Makes a client's certificate. Returns a file with the certificate, the chain up to (not with) the root, and the key.
    pub fn client(&self, name: &str, wanted: &Wanted<'_>) -> PathBuf {
        let file = |end: &str| self.dir.join(format!("{name}.{end}"));
        let san = wanted.san.map(|san| format!("subjectAltName = {san}\n")).unwrap_or_default();
        let extensions = format!(
            "[client]\nbasicConstraints = CA:FALSE\nkeyUsage = digitalSignature\nextendedKeyUsage = {}\n{san}",
            wanted.usage
        );
        fs::write(file("ext"), extensions).unwrap();
        let at = |end: &str| file(end).to_str().unwrap().to_owned();
        openssl(&self.dir, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &at("key")]);
        openssl(
            &self.dir,
            &[
                "req",
                "-new",
                "-key",
                &at("key"),
                "-subj",
                wanted.subject,
                "-config",
                "ca.cnf",
                "-out",
                &at("csr"),
            ],
        );
        self.sign(&file("csr"), &file("crt"), "client", wanted.until, &["-extfile", &at("ext")]);
        let parts = [file("crt"), file("key")].map(|path| fs::read_to_string(path).unwrap());
        fs::write(file("pem"), parts.concat()).unwrap();
        file("pem")
    }

    /// Puts the chain between a client's certificate and its key.
    pub fn with_chain(&self, client: &Path) -> PathBuf {
        let text = fs::read_to_string(client).unwrap();
        let (cert, key) = text.split_at(text.find("-----BEGIN EC PRIVATE KEY").unwrap());
        let path = client.with_extension("chain.pem");
        fs::write(&path, [cert, &self.pem(), key].concat()).unwrap();
        path
    }

    /// Returns the CA's own certificate.
    pub fn pem(&self) -> String {
        fs::read_to_string(self.dir.join("ca.pem")).unwrap()
    }

    /// Revokes a certificate.
    pub fn revoke(&self, client: &Path) {
        openssl(
            &self.dir,
            &["ca", "-config", "ca.cnf", "-revoke", client.with_extension("crt").to_str().unwrap()],
        );
    }

    /// Revokes the CA below.
    pub fn revoke_ca(&self, below: &Self) {
        openssl(
            &self.dir,
            &["ca", "-config", "ca.cnf", "-revoke", below.dir.join("ca.pem").to_str().unwrap()],
        );
    }

    /// Makes the revocation list of now, for so many seconds.
    pub fn crl(&self, seconds: u32) -> String {
        openssl(
            &self.dir,
            &["ca", "-config", "ca.cnf", "-gencrl", "-crlsec", &seconds.to_string(), "-out", "own.crl"],
        );
        fs::read_to_string(self.dir.join("own.crl")).unwrap()
    }

    /// Makes a list that has ended.
    pub fn old_crl(&self) -> String {
        openssl(
            &self.dir,
            &[
                "ca",
                "-config",
                "ca.cnf",
                "-gencrl",
                "-crl_lastupdate",
                "20200101000000Z",
                "-crl_nextupdate",
                "20200201000000Z",
                "-out",
                "own.crl",
            ],
        );
        fs::read_to_string(self.dir.join("own.crl")).unwrap()
    }
}
