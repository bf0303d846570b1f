//! Certificates for tests: authorities of their own, and what they sign. Made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::unique;

/// A certificate authority, in a folder that goes with it.
pub struct Authority {
    folder: PathBuf,
}

/// What an authority has signed for one name, in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The file with the certificate.
    pub certificate: PathBuf,
    /// The file with its private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, which nobody trusts yet.
    ///
    /// # Panics
    /// When there is no `openssl`.
    #[must_use]
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("authority"));
        fs::create_dir(&folder).expect("the temporary folder is there");
        let authority = Self { folder };
        authority.openssl("req -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem", true);
        // For servers on this machine, and for clients, whose names nobody looks up.
        fs::write(authority.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
            .expect("the folder can be written to");
        authority
    }

    /// The file with the authority's own certificate: what trusts it is given this.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Signs a certificate for this common name. Signed again, it is another one.
    #[must_use]
    pub fn sign(&self, name: &str) -> Certificate {
        self.openssl(&format!("req -subj /CN={name} -keyout {name}.key -out {name}.csr"), true);
        let sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names";
        self.openssl(&format!("{sign} -in {name}.csr -out {name}.pem"), false);
        let [certificate, key] =
            ["pem", "key"].map(|ending| self.path(&format!("{name}.{ending}")));
        Certificate { certificate, key }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn openssl(&self, arguments: &str, makes_key: bool) {
        let key: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .args(if makes_key { key } else { &[] })
            .current_dir(&self.folder)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What is left behind goes with the temporary folder.
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Certificate {
    /// Key and certificate in one file, as Kafka's key stores want them.
    ///
    /// # Panics
    /// When the files are gone.
    #[must_use]
    pub fn together(&self) -> PathBuf {
        let read = |path: &Path| fs::read_to_string(path).expect("it was written");
        let path = self.key.with_extension("store.pem");
        fs::write(&path, read(&self.key) + &read(&self.certificate)).expect("the folder is there");
        path
    }
}
