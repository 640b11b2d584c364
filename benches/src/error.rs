//! Why a measurement could not be made.

/// What was missing or failed; each text says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The load generator could not start.
    #[error(transparent)]
    Load(#[from] loadgen::Error),
    /// A file or process of the system.
    #[error("{what}: {error}")]
    System {
        /// What was attempted.
        what: String,
        /// The system's own words.
        error: std::io::Error,
    },
    /// The server under test did not come up.
    #[error("{0}")]
    Server(String),
    /// A world had no answer.
    #[error(transparent)]
    Sim(#[from] sim::SimError),
    /// The model could not be run without the server.
    #[error("{0}")]
    Raw(String),
}

impl Error {
    /// Says what was attempted when the system refused.
    pub fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |error| Self::System { what, error }
    }
}
