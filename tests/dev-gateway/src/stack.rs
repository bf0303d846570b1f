//! Reads an OpenFaaS `stack.yml`: the functions it declares, and how each of them runs here.
//!
//! The file stays one that `faas-cli` accepts: what it has no key for is said by annotations of ours, `dev.exec` or
//! `dev.upstream`. Keys that say nothing to this gateway (handlers, build options, limits) are passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use serde::Deserialize;
use serde_norway::Value;
use thiserror::Error;

use crate::functions::{Function, is_legal_name};

/// Annotation: a command run with `sh -c` for each call.
pub(crate) const EXEC: &str = "dev.exec";
/// Annotation: a server that the calls are passed on to.
pub(crate) const UPSTREAM: &str = "dev.upstream";

/// Why a stack file cannot be used.
#[derive(Debug, Error)]
pub enum StackError {
    /// It cannot be read.
    #[error("cannot read the stack file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is not YAML, or not a stack file.
    #[error("{} is not a stack file", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_norway::Error,
    },
    /// A function in it cannot be run.
    #[error("{}: function {function}: {reason}", path.display())]
    Function {
        /// The file.
        path: PathBuf,
        /// The function's name in it.
        function: String,
        /// What is wrong.
        reason: String,
    },
}

/// A stack file, and the state of it that was read last.
pub(crate) struct StackFile {
    path: PathBuf,
    seen: Option<Stamp>,
}

#[derive(PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl StackFile {
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Function>), StackError> {
        let mut file = Self { path: path.to_owned(), seen: None };
        let functions = file.read_if_changed()?.unwrap_or_default();
        Ok((file, functions))
    }

    /// The functions if the file has changed since the last look, `None` if not. An error is returned once for each
    /// change, too.
    pub(crate) fn read_if_changed(&mut self) -> Result<Option<Vec<Function>>, StackError> {
        let failed = |source| StackError::Read { path: self.path.clone(), source };
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            // An editor may be putting a new file into its place; a file missing at the start is an error.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.seen.is_some() => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let stamp = Stamp { modified: metadata.modified().ok(), length: metadata.len() };
        if self.seen.as_ref() == Some(&stamp) {
            return Ok(None);
        }
        let text = fs::read_to_string(&self.path).map_err(failed)?;
        self.seen = Some(stamp);
        self.parse(&text).map(Some)
    }

    fn parse(&self, text: &str) -> Result<Vec<Function>, StackError> {
        let stack: Stack = serde_norway::from_str(text)
            .map_err(|source| StackError::Parse { path: self.path.clone(), source })?;
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let functions = stack.functions.unwrap_or_default().into_iter();
        functions
            .map(|(name, declared)| {
                declared.unwrap_or_default().into_function(&name, directory).map_err(|reason| {
                    StackError::Function { path: self.path.clone(), function: name, reason }
                })
            })
            .collect()
    }
}

#[derive(Deserialize)]
struct Stack {
    functions: Option<BTreeMap<String, Option<Declared>>>,
}

/// A function as a stack file declares it.
#[derive(Default, Deserialize)]
pub(crate) struct Declared {
    namespace: Option<String>,
    image: Option<String>,
    pub(crate) annotations: Option<BTreeMap<String, Value>>,
    labels: Option<BTreeMap<String, Value>>,
    environment: Option<BTreeMap<String, Value>>,
}

impl Declared {
    pub(crate) fn into_function(self, name: &str, directory: &Path) -> Result<Function, String> {
        if !is_legal_name(name) {
            return Err("a name has letters, digits, hyphens, underscores and dots only".to_owned());
        }
        let mut function = Function::named(name);
        if let Some(namespace) = self.namespace.filter(|namespace| !namespace.is_empty()) {
            function = function.namespace(&namespace);
        }
        if let Some(image) = self.image {
            function.image = image;
        }
        function.annotations = texts("annotation", self.annotations)?;
        function.labels = texts("label", self.labels)?;
        function.environment = texts("environment variable", self.environment)?;
        let annotated =
            |key| function.annotations.get(key).filter(|value| !value.is_empty()).cloned();
        match (annotated(EXEC), annotated(UPSTREAM)) {
            (Some(_), Some(_)) => Err(format!("has both {EXEC} and {UPSTREAM}")),
            (Some(command), None) => Ok(function.exec(&command, directory)),
            (None, Some(url)) if url.starts_with("http://") => Ok(function.upstream(&url)),
            (None, Some(url)) => {
                Err(format!("{UPSTREAM} is {url:?}, and has to begin with http://"))
            }
            (None, None) => Ok(function),
        }
    }
}

/// Numbers and booleans stand for their text, as Go's YAML reader takes them.
fn texts(
    what: &str,
    values: Option<BTreeMap<String, Value>>,
) -> Result<BTreeMap<String, String>, String> {
    let values = values.unwrap_or_default().into_iter();
    values
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Bool(value) => value.to_string(),
                Value::Number(value) => value.to_string(),
                Value::Null => String::new(),
                _ => return Err(format!("{what} {name} is not a plain value")),
            };
            Ok((name, text))
        })
        .collect()
}
