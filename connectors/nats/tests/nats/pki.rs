//! Certificates, made by the system's `openssl`.

use std::fs;
use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;

use crate::support::directory;

/// A certificate authority.
pub(crate) struct Authority(PathBuf);

impl Authority {
    pub(crate) fn new() -> Self {
        let authority = Self(directory());
        authority.openssl(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        );
        fs::write(authority.0.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
        authority
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> String {
        fs::read_to_string(self.0.join("ca.pem")).unwrap()
    }

    /// A certificate and its key.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let (cert, key) = self.files(name);
        (fs::read_to_string(cert).unwrap(), fs::read_to_string(key).unwrap())
    }

    /// What makes a server speak TLS with a certificate of this authority.
    pub(crate) fn server_tls(&self, more: &str) -> String {
        let (cert, key) = self.files("server");
        let ca = self.0.join("ca.pem");
        let path = |path: &Path| format!("\"{}\"", path.display());
        let (cert, key, ca) = (path(&cert), path(&key), path(&ca));
        format!("tls {{ cert_file: {cert}, key_file: {key}, ca_file: {ca}, {more} }}")
    }

    /// A client that trusts it.
    pub(crate) fn client(&self) -> ConnectOptions {
        drop(rustls::crypto::ring::default_provider().install_default());
        ConnectOptions::new().require_tls(true).add_root_certificates(self.0.join("ca.pem"))
    }

    /// A client that trusts it, and has a certificate.
    pub(crate) fn client_with_certificate(&self) -> ConnectOptions {
        let (cert, key) = self.files("test");
        self.client().add_client_certificate(cert, key)
    }

    fn files(&self, name: &str) -> (PathBuf, PathBuf) {
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile names"
        ));
        (self.0.join(format!("{name}.pem")), self.0.join(format!("{name}.key")))
    }

    fn openssl(&self, args: &str) {
        let mut command = std::process::Command::new("openssl");
        let done = command.args(args.split(' ')).current_dir(&self.0).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
