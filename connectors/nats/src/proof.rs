//! Who we are: what the files say at this moment, in the form that the server wants.
//!
//! They are read for each connection, so a corrected or rotated file is used at the next attempt.

use async_nats::Auth;
use connector_core::secret::{Secret, SecretError, SecretFile};

use crate::config::Credentials;

/// Reads the files and proves who we are to the server that sent `nonce`.
pub(crate) fn prove(credentials: &Credentials, nonce: &[u8]) -> Result<Auth, ProofError> {
    let mut auth = Auth::new();
    if let Some(file) = &credentials.credentials {
        let text = file.read()?;
        let (jwt, seed) = decorated(text.expose())
            .ok_or_else(|| ProofError::Credentials(file.path().display().to_string()))?;
        auth.signature = Some(sign(file, &seed, nonce)?);
        auth.jwt = Some(jwt.expose().to_owned());
    }
    if let Some(file) = &credentials.nkey {
        let seed = file.read()?;
        auth.signature = Some(sign(file, &seed, nonce)?);
        auth.nkey = Some(key_pair(file, &seed)?.public_key());
    }
    if let Some(file) = &credentials.token {
        auth.token = Some(file.read()?.expose().to_owned());
    }
    if let Some((user, password)) = &credentials.user {
        auth.username = Some(user.read()?.expose().to_owned());
        auth.password = Some(password.read()?.expose().to_owned());
    }
    Ok(auth)
}

fn key_pair(file: &SecretFile, seed: &Secret) -> Result<nkeys::KeyPair, ProofError> {
    nkeys::KeyPair::from_seed(seed.expose().trim())
        .map_err(|_| ProofError::Seed(file.path().display().to_string()))
}

fn sign(file: &SecretFile, seed: &Secret, nonce: &[u8]) -> Result<Vec<u8>, ProofError> {
    let sign = key_pair(file, seed)?.sign(nonce);
    sign.map_err(|_| ProofError::Seed(file.path().display().to_string()))
}

/// The JWT and the seed of a `.creds` file: each stands below a line that begins with dashes and
/// says what follows.
fn decorated(text: &str) -> Option<(Secret, Secret)> {
    let below = |mark: &str| {
        let mut lines = text.lines().map(str::trim).skip_while(|line| {
            !(line.starts_with("---") && line.contains("BEGIN") && line.contains(mark))
        });
        lines.next()?;
        lines.find(|line| !line.is_empty() && !line.starts_with("---")).map(Secret::new)
    };
    Some((below("JWT")?, below("SEED")?))
}

/// The files do not prove anything as they are now. Heals when somebody puts them right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    #[error(transparent)]
    File(#[from] SecretError),
    #[error("{0} is no credentials file: it lacks a JWT or a seed")]
    Credentials(String),
    #[error("{0} holds no usable seed of an nkey")]
    Seed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jwt_and_seed_are_found_in_a_credentials_file() {
        let text = "-----BEGIN NATS USER JWT-----\neyJ0.abc\n------END NATS USER JWT------\n\n\
                    ************************* IMPORTANT *************************\n\
                    NKEY Seed printed below can be used to sign and prove identity.\n\n\
                    -----BEGIN USER NKEY SEED-----\r\nSUAB\r\n------END USER NKEY SEED------\n";
        let (jwt, seed) = decorated(text).unwrap();
        assert_eq!((jwt.expose(), seed.expose()), ("eyJ0.abc", "SUAB"));
        assert!(decorated("SUAB").is_none());
    }
}
