//! A chain as public authorities issue them: a root that is trusted, an intermediate that signs, and a server's certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use integration::unique;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::choose_cryptography;
use crate::container::bundle;

/// A server's certificate with its chain, in a folder that goes with it.
pub(crate) struct Chain {
    folder: PathBuf,
}

impl Chain {
    /// A new chain whose certificate is for this name.
    pub(crate) fn of(name: &str) -> Self {
        let folder = std::env::temp_dir().join(unique("chain"));
        fs::create_dir(&folder).expect("the temporary folder is there");
        let chain = Self { folder };
        chain.write("ca", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n");
        chain.write("names", &format!("subjectAltName=DNS:{name}\n"));
        chain.openssl("req -x509 -days 2 -subj /CN=root -keyout root.key -out root.pem -newkey rsa:2048 -nodes");
        chain.sign("intermediate", "root", "ca");
        chain.sign("server", "intermediate", "names");
        let presented = chain.read("server.pem") + &chain.read("intermediate.pem");
        chain.write("chain.pem", &presented);
        // Key and chain in one file, as Kafka wants them.
        chain.write("store.pem", &(chain.read("server.key") + &presented));
        chain
    }

    /// The file with the server's certificate and the intermediate one.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("chain.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store.pem")
    }

    /// The image's own bundle with this root among the public ones.
    pub(crate) fn bundle(&self, connector: &str) -> PathBuf {
        let public =
            fs::read_to_string(bundle(connector)).expect("the image was made here: make images");
        self.write("bundle.pem", &(public + &self.read("root.pem")));
        self.folder.join("bundle.pem")
    }

    /// Another file for containers to mount.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        self.write(name, content);
        self.folder.join(name)
    }

    /// For a server in this process.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        choose_cryptography();
        let certificates =
            CertificateDer::pem_file_iter(self.certificates()).expect("it was written");
        let certificates = certificates.map(|certificate| certificate.expect("openssl wrote it"));
        let key = PrivateKeyDer::from_pem_file(self.key()).expect("openssl wrote it");
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(
            config
                .with_single_cert(certificates.collect(), key)
                .expect("the key is that of the certificate"),
        )
    }

    fn sign(&self, name: &str, by: &str, extensions: &str) {
        self.openssl(&format!(
            "req -subj /CN={name} -keyout {name}.key -out {name}.csr -newkey rsa:2048 -nodes"
        ));
        self.openssl(&format!(
            "x509 -req -days 2 -in {name}.csr -out {name}.pem -CA {by}.pem -CAkey {by}.key -CAcreateserial -extfile {extensions}"
        ));
    }

    fn openssl(&self, arguments: &str) {
        let made =
            Command::new("openssl").args(arguments.split(' ')).current_dir(&self.folder).output();
        let made = made.expect("openssl is installed");
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).expect("it was written")
    }

    fn write(&self, file: impl AsRef<Path>, content: &str) {
        fs::write(self.folder.join(file), content).expect("the folder can be written to");
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}
