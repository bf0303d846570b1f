//! The binaries under test, built once in each run.
//!
//! Built alone, as they are shipped: in a build of the whole workspace the features of all its
//! members come together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::{env, fs};

use tokio::process::Command;
use tokio::sync::{Mutex, OnceCell};

use crate::root;

/// The binary of a connector, such as `kafka`; built if it is not up to date.
///
/// # Panics
/// When it cannot be built, with what cargo says.
pub async fn binary(kind: &str) -> PathBuf {
    program(&format!("{kind}-connector")).await
}

/// The binary that a package of the workspace is named after; built if it is not up to date.
///
/// Built as the test is; with `TEST_RELEASED_BINARIES` set, as it is shipped.
///
/// # Panics
/// When it cannot be built, with what cargo says.
pub async fn program(package: &str) -> PathBuf {
    once(package, build(package, &[])).await
}

/// The binary of a connector that can be told where to die: see `connector_core::fail_point`.
///
/// It has a name of its own. Cargo knows but one for both, so the plain binary is put back: whoever
/// wants both in one process asks for this one first.
///
/// # Panics
/// When it cannot be built, with what cargo says.
pub async fn mortal_binary(kind: &str) -> PathBuf {
    let package = format!("{kind}-connector");
    let mortal = format!("{package}-with-fail-points");
    once(&mortal, async {
        let built = build(&package, &["--features", "fail-points"]).await;
        let kept = built.with_file_name(&mortal);
        // Beside it first: another process may be running the one from before.
        let copy = kept.with_extension("new");
        let copied = fs::copy(&built, &copy).and_then(|_| fs::rename(&copy, &kept));
        copied.expect("the folder of the binaries is ours");
        build(&package, &[]).await;
        kept
    })
    .await
}

/// Whether a binary can be told where to die: what it would look for is in it.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn is_mortal(binary: &Path) -> bool {
    let bytes = fs::read(binary).expect("the binary can be read");
    let variable = b"FAILPOINTS";
    bytes.windows(variable.len()).any(|part| part == variable)
}

/// Builds what has this name, unless this process has done so before.
async fn once(name: &str, build: impl Future<Output = PathBuf>) -> PathBuf {
    type Built = Arc<OnceCell<PathBuf>>;
    static BINARIES: Mutex<Option<HashMap<String, Built>>> = Mutex::const_new(None);
    let binary = {
        let mut binaries = BINARIES.lock().await;
        Arc::clone(binaries.get_or_insert_default().entry(name.to_owned()).or_default())
    };
    binary.get_or_init(|| build).await.clone()
}

async fn build(package: &str, more: &[&str]) -> PathBuf {
    // A test is <target>/<profile>/deps/<test>, a binary stands beside what it asks for.
    let this = env::current_exe().expect("a process knows its binary");
    let folder = this.parent().expect("a binary is in a folder");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let mut profile = profile.expect("cargo builds into a profile's folder").to_owned();
    let target = profile.parent().expect("a profile has a folder").to_owned();
    // Building the test itself so would take minutes more, and prove nothing more.
    if env::var_os("TEST_RELEASED_BINARIES").is_some() {
        profile = target.join("release");
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--locked", "--package", package])
        .args(more)
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .stdin(Stdio::null());
    // What cargo says of the package under test would look like a changed environment to the build
    // scripts of dependencies, and build those anew each time.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.output().await.expect("cargo can be run");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{package} does not build:\n{said}");
    profile.join(package)
}
