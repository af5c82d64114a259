//! What flags and the environment say in place of the file.
//!
//! Owns the list of what can be said there; the command line fills it. Texts are as the user wrote them: they are read by the
//! same code as those of the file.

use std::path::PathBuf;

/// What flags and the environment say. `None` leaves the file's value, or else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `node.name`
    pub name: Option<String>,
    /// `node.region`
    pub region: Option<String>,
    /// `node.data_dir`
    pub data_dir: Option<PathBuf>,
    /// `net.listen`, all of it
    pub listen: Option<Vec<String>>,
    /// `net.bootstrap`, all of it
    pub bootstrap: Option<Vec<String>>,
    /// `net.advertise`, all of it
    pub advertise: Option<Vec<String>>,
    /// `api.listen` and `api.socket` together: where the API listens, and nowhere else
    pub api: Option<Vec<String>>,
    /// `api.token_file`
    pub token_file: Option<PathBuf>,
    /// `log.format`
    pub log_format: Option<String>,
    /// `log.level`
    pub log_level: Option<String>,
}
