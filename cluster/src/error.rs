//! What is wrong with a manifest, in one line that says where and how to mend it.

use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// One fault of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestError {
    pub file: PathBuf,
    pub line: Option<u64>,
    /// Kind and name, as far as they are known.
    pub object: Option<String>,
    /// The field's path, as `kubectl explain` takes it, with indices.
    pub field: Option<String>,
    pub problem: String,
}

impl ManifestError {
    /// A fault of a file as a whole.
    pub(crate) fn of_file(file: PathBuf, problem: impl Into<String>) -> Self {
        Self { file, line: None, object: None, field: None, problem: problem.into() }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ManifestError {}

/// A folder that cannot be followed.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("cannot read the folder of manifests {}: {source}; name a folder that exists and can be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Every fault of every file.
    #[error("the manifests in {} cannot be used:\n{}", path.display(), lines(errors))]
    Invalid { path: PathBuf, errors: Vec<ManifestError> },
}

fn lines(errors: &[ManifestError]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}

/// A field that cannot be used. `pointer` is a JSON pointer (RFC 6901) into the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) pointer: String,
    pub(crate) problem: String,
}

impl FieldError {
    pub(crate) fn new(pointer: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { pointer: pointer.into(), problem: problem.to_string() }
    }

    /// `spec.ports[0].port` of `/spec/ports/0/port`.
    pub(crate) fn path(&self) -> Option<String> {
        let mut path = String::new();
        for step in self.pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            if !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit()) {
                path += &format!("[{step}]");
            } else {
                path += if path.is_empty() { "" } else { "." };
                path += &step;
            }
        }
        Some(path).filter(|path| !path.is_empty())
    }
}
