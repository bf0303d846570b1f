//! An operator with an account, as a server in operator mode knows them, and users' `.creds`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with the system account and one for users.
pub(crate) struct Operator {
    own: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (system, account) = (KeyPair::new_account(), KeyPair::new_account());
        Self { own: KeyPair::new_operator(), system, account }
    }

    /// What a server is configured with to know them.
    pub(crate) fn configuration(&self) -> String {
        let operator = signed(&self.own, &self.own, "operator", json!({}));
        let limits = json!({ "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1
        } });
        let account = |pair: &KeyPair| {
            let jwt = signed(&self.own, pair, "account", limits.clone());
            format!("{}: {jwt}", pair.public_key())
        };
        format!(
            "operator: {operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}",
            self.system.public_key(),
            account(&self.system),
            account(&self.account),
        )
    }

    /// The `.creds` of a new user.
    pub(crate) fn user(&self) -> String {
        let user = KeyPair::new_user();
        let rights = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
        let jwt = signed(&self.account, &user, "user", rights);
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        )
    }
}

/// What `issuer` says of `subject`.
fn signed(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut nats: Value) -> String {
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let claims = json!({
        "jti": subject.public_key(),
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": kind,
        "nats": nats,
    });
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let said =
        format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
    let signature = issuer.sign(said.as_bytes()).unwrap();
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature))
}
