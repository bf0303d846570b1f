//! What a pod finds of its service account: a folder that is laid out, and renewed, as the kubelet does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use integration::unique;

/// The folder, which goes with it.
pub(super) struct Account {
    folder: PathBuf,
}

impl Account {
    /// The account of a pod in the namespace `openfaas`; `authority` is the file of what vouches for the API server.
    pub(super) fn new(token: &str, authority: Option<&Path>) -> Self {
        let folder = std::env::temp_dir().join(unique("account"));
        fs::create_dir(&folder).expect("the temporary folder is there");
        let account = Self { folder };
        fs::write(account.path("namespace"), "openfaas").expect("the folder can be written to");
        if let Some(authority) = authority {
            fs::copy(authority, account.path("ca.crt")).expect("the authority is there");
        }
        symlink("..data/token", account.path("token")).expect("the folder can be written to");
        account.renew(token);
        account
    }

    /// Puts another token in the place of the one before, at one stroke.
    pub(super) fn renew(&self, token: &str) {
        let version = unique("..version");
        let folder = self.path(&version);
        fs::create_dir(&folder).expect("the folder can be written to");
        fs::write(folder.join("token"), token).expect("the folder can be written to");
        symlink(version, self.path("..data_tmp")).expect("no other renewal runs");
        fs::rename(self.path("..data_tmp"), self.path("..data")).expect("a link can be replaced");
    }

    pub(super) fn folder(&self) -> &str {
        self.folder.to_str().expect("the temporary folder's path is text")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // What is left behind goes with the temporary folder.
        fs::remove_dir_all(&self.folder).ok();
    }
}
