//! The data directory: whose it is, what lies in it, and how much room there is.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::finding::{Finding, Outcome, Severity};
use super::place::Place;
use crate::agent::{self, GroundError, IdentityError};
use crate::cli::{TOKEN_FILE_NAME, read_token};
use crate::wasm;

/// Free bytes below which the agent may not be able to write its next checkpoint.
const FREE_ERROR_BYTES: u64 = 64 << 20;
/// Free bytes below which it is time to look for more.
const FREE_WARN_BYTES: u64 = 512 << 20;
/// Free inodes below which it is time to look for more: each artefact, asset and segment of the log is a file.
const FREE_WARN_INODES: u64 = 1_000;
/// Mode bits of others than the owner who can write.
const OTHERS_WRITE: u32 = 0o022;
/// Where the service's token is, if an operator has chosen one (`LoadCredential=` in the unit): once it runs, and before.
const CREDENTIALS: [&str; 4] = [
    "/run/credentials/selvedge.service/api-token",
    "/etc/credstore/selvedge.api-token",
    "/run/credstore/selvedge.api-token",
    "/etc/credstore.encrypted/selvedge.api-token",
];
/// Files and folders of the data directory whose owner is looked at.
const OWNED: [&str; 8] = ["node.key", "api-token", "cluster", "code", "log", "artifacts", "assets", "agent.json"];

/// Whether there is one, and whether it is the agent's alone.
pub(super) fn directory(place: &Place) -> Outcome {
    let dir = &place.data_dir;
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mend = format!("selvedge init --data-dir {0}, or selvedge join TOKEN --data-dir {0}", dir.display());
            return Ok(vec![Finding::error(format!("there is no {}", dir.display()), mend)]);
        }
        Err(error) => return Err(place.unseen(&error)),
    };
    if !meta.is_dir() {
        return Ok(vec![Finding::error(format!("{} is no folder", dir.display()), "name another with --data-dir")]);
    }
    let mut found = Vec::new();
    match agent::check_ground(dir) {
        Ok(()) if meta.permissions().mode() & OTHERS_WRITE != 0 => found.push(Finding::warning(
            format!("others can write to {}", dir.display()),
            format!("chmod go-w {}", dir.display()),
        )),
        Ok(()) => {}
        Err(GroundError::Open { path, mode }) => {
            let what = format!("everybody can write to {} (mode {mode:o}); the agent will not start", path.display());
            found.push(Finding::error(what, format!("chmod go-w {}", path.display())));
        }
        Err(GroundError::Unseen { source, .. }) => return Err(place.unseen(&source)),
    }
    if let Some(above) = agent::open_above(dir) {
        let (above, dir) = (above.display(), dir.display());
        found.push(Finding::warning(
            format!("everybody can write to {above} and so put another directory in the place of {dir}"),
            format!("chmod o-w {above}, or chmod +t {above}"),
        ));
    }
    let foreign: Vec<PathBuf> = OWNED
        .iter()
        .map(|name| dir.join(name))
        .filter(|path| fs::symlink_metadata(path).is_ok_and(|entry| entry.uid() != meta.uid()))
        .collect();
    if !foreign.is_empty() {
        let names: Vec<String> = foreign.iter().map(|path| path.display().to_string()).collect();
        let what = format!(
            "{} do not belong to the owner of {} and may be closed to the agent",
            names.join(", "),
            dir.display()
        );
        found.push(Finding::error(what, format!("chown -R --reference={0} {0}", dir.display())));
    }
    if place.was_killed {
        found.push(Finding::note(
            "the last agent here did not end in good order; what it acknowledged as durable is there",
            "nothing; the next start removes its agent.json",
        ));
    }
    Ok(found)
}

/// What is said where the agent that answers has lost its directory.
pub(super) fn taken_away(place: &Place) -> Finding {
    let dir = place.data_dir.display();
    let what = format!(
        "the agent at {} runs on, and what lies at {dir} is not the data directory that it has opened: it takes no writes, and a restart would find nothing of its state",
        place.api
    );
    let mend = "put the directory back (mv, mount), and it goes on. If it is gone: leave the agent running until selvedge status says that the others agree, then stop it and join anew with a new token";
    Finding::error(what, mend)
}

/// Whether the node's key can be used.
pub(super) fn key(place: &Place) -> Outcome {
    match agent::read_node(&place.data_dir) {
        Ok(Some(_)) => Ok(Vec::new()),
        Ok(None) => Err("there is none yet; the first start makes it".to_owned()),
        Err(IdentityError::File { source, .. }) => Err(place.unseen(&source)),
        Err(error @ IdentityError::Exposed { .. }) => {
            let mend = format!("chmod 600 {}", place.data_dir.join("node.key").display());
            Ok(vec![Finding::error(error.to_string(), mend)])
        }
        Err(error) => Ok(vec![Finding::error(
            error.to_string(),
            "restore it from a backup, or join anew from an empty data directory",
        )]),
    }
}

/// Whether the token for changes over TCP is one, and a secret.
pub(super) fn token(place: &Place) -> Outcome {
    let usual = place.data_dir.join(TOKEN_FILE_NAME);
    let path = place.config.as_ref().map_or(usual, |config| config.api.token_file.clone());
    if path.file_name().is_none_or(|name| name != TOKEN_FILE_NAME) {
        return Err(format!("{} is not named {TOKEN_FILE_NAME}, so only the agent reads it", path.display()));
    }
    match fs::symlink_metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(match CREDENTIALS.iter().find(|given| fs::symlink_metadata(given).is_ok()) {
                Some(given) => {
                    format!("the service is given one as a credential ({given}), which the agent alone reads")
                }
                None => {
                    "there is none here; the agent makes it when it starts, unless the service is given one".to_owned()
                }
            });
        }
        Err(error) => return Err(place.unseen(&error)),
    }
    let Err(error) = read_token(&path) else { return Ok(Vec::new()) };
    let mend = match fs::metadata(&path) {
        Ok(meta) if meta.permissions().mode() & 0o007 != 0 => format!("chmod 600 {}", path.display()),
        Ok(_) | Err(_) => format!("rm {}; the next start makes a new one", path.display()),
    };
    Ok(vec![Finding::error(format!("{}: {error}", path.display()), mend)])
}

/// Whether the disk was found to be full.
pub(super) fn is_full(disk: &Outcome) -> bool {
    disk.as_ref().is_ok_and(|found| found.iter().any(|finding| finding.severity == Severity::Error))
}

/// Whether there is room on the disk.
pub(super) fn disk(place: &Place) -> Outcome {
    let told = rustix::fs::statvfs(&place.data_dir).map_err(|error| place.unseen(&error.into()))?;
    let free = told.f_bavail.saturating_mul(told.f_frsize);
    let (dir, mend) =
        (place.data_dir.display(), format!("df -h {0}; du -xh {0} | sort -h | tail", place.data_dir.display()));
    let mut found = Vec::new();
    if free < FREE_ERROR_BYTES {
        let what = format!("the disk of {dir} is full: {} MiB are free, and writes fail or are about to", free >> 20);
        found.push(Finding::error(what, mend));
    } else if free < FREE_WARN_BYTES {
        found.push(Finding::warning(format!("the disk of {dir} has only {} MiB left", free >> 20), mend));
    }
    // File systems without a fixed number of inodes say that they have none at all.
    if told.f_files > 0 && told.f_favail < FREE_WARN_INODES {
        found.push(Finding::warning(
            format!("the file system of {dir} has room for {} more files", told.f_favail),
            format!("df -i {dir}; remove what has many small files"),
        ));
    }
    Ok(found)
}

/// Whether compiled code is of another release or CPU, and so only takes room.
pub(super) fn code(place: &Place) -> Outcome {
    let folder = agent::code_folder(&place.data_dir);
    place.looked()?;
    if !folder.exists() {
        return Err("there is none yet".to_owned());
    }
    let survey = wasm::survey_code(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if survey.outdated == 0 {
        return Ok(Vec::new());
    }
    let what = format!(
        "{} of {} compiled components are of another release or CPU ({} MiB); workloads that need them are compiled at the next start",
        survey.outdated,
        survey.outdated + survey.current,
        survey.outdated_bytes >> 20
    );
    Ok(vec![Finding::note(what, format!("nothing, or to free the room: rm {}/*.code", folder.display()))])
}
