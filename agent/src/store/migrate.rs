//! Data of earlier releases becomes data of this one, one numbered step after the other.
//!
//! Owns the layouts of earlier formats and the steps between them. The invariants: a step is one transaction, whose last act
//! is the new number, so that a crash finds the old data or the new; it loses nothing, and what is damaged stays damaged.

pub(super) mod one_to_three;
mod two_to_three;

use redb::Database;

use super::contents::damaged;
use super::error::StoreError;
use super::layout::FORMAT;
use super::log::Folder;

/// What a step works on.
pub(super) struct Ground<'a> {
    database: &'a Database,
    folder: &'a Folder,
}

/// From one format to the next.
struct Step {
    from: u32,
    to: u32,
    run: fn(&Ground<'_>) -> Result<(), StoreError>,
}

const STEPS: &[Step] =
    &[Step { from: 1, to: 3, run: one_to_three::run }, Step { from: 2, to: 3, run: two_to_three::run }];

/// Takes the database from the format `found` to the present one.
///
/// # Errors
/// No step begins at the format, or the disk fails; what was there is still there.
pub(super) fn to_present(database: &Database, folder: &Folder, found: u32) -> Result<(), StoreError> {
    let ground = Ground { database, folder };
    let mut format = found;
    while format != FORMAT {
        let step = STEPS.iter().find(|step| step.from == format);
        let step = step.ok_or_else(|| damaged(format!("no release wrote format {format}")))?;
        (step.run)(&ground)?;
        tracing::info!(from = step.from, to = step.to, "the stored data was brought to a newer format");
        format = step.to;
    }
    Ok(())
}
