//! Format 2 did not say which rows there are, and wrote longer frames; its segments are read as they are.

use redb::WriteTransaction;

use super::Ground;
use crate::store::contents::guarded;
use crate::store::error::StoreError;
use crate::store::layout::{FACT_FORMAT, FACTS};
use crate::store::rows::Rows;
use crate::store::writer;

pub(super) fn run(ground: &Ground<'_>) -> Result<(), StoreError> {
    let write = || -> Result<(), redb::Error> {
        let transaction = writer::begin(ground.database)?;
        finish(&transaction)?;
        Ok(transaction.commit()?)
    };
    guarded(|| write().map_err(StoreError::failed))
}

/// Counts the rows that are there, the damaged ones among them, and says that this is format 3.
pub(super) fn finish(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut rows = Rows::of(transaction)?;
    rows.recount()?;
    rows.finish()?;
    transaction.open_table(FACTS)?.insert(FACT_FORMAT, 3_u32.to_le_bytes().as_slice())?;
    Ok(())
}
