//! What an encrypted connection trusts, and how it proves itself.
//!
//! Everything is read anew at each connect: a certificate that was renewed in place is used at the
//! next one.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::MqttConfig;

/// Reads certificates and key. Blocks for as long as the file system does.
///
/// # Errors
/// A sentence naming the setting whose file cannot be used. A person must act.
pub(crate) fn client_config(config: &MqttConfig) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots(config.ca_file.as_deref())?);
    let Some((certificate, key)) = &config.identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates("cert_file", certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("key_file: {}: {error}", key.display()))?;
    let config = builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("cert_file and key_file: {error}"))?;
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = ca_file {
        for certificate in certificates("ca_file", file)? {
            roots.add(certificate).map_err(|error| format!("ca_file: {error}"))?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err("no certificate authorities to trust are found; set ca_file".to_owned());
    }
    Ok(roots)
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: String| format!("{setting}: {}: {why}", file.display());
    let all = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    if all.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(all) }
}
