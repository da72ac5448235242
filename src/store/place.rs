//! Where the store is.

use std::path::{Path, PathBuf};

use super::sql::Endpoint;

/// What `store:` names.
#[derive(Clone, Debug)]
pub enum Place {
    Sqlite(PathBuf),
    /// A database that several replicas share.
    Server(Box<Endpoint>),
}

impl Place {
    /// Reads `postgres://…`; the error says what is wrong with it, without the password.
    pub fn server(address: &str) -> Result<Self, String> {
        Endpoint::parse(address).map(|endpoint| Self::Server(Box::new(endpoint)))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(out, "{}", path.display()),
            Self::Server(endpoint) => write!(out, "{endpoint}"),
        }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}
