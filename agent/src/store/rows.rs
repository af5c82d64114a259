//! Writing rows of the database, and the tally of them.
//!
//! Owns the way in which sealed facts and objects get into a transaction; decides nothing. The invariant: a transaction that was
//! [finished](Rows::finish) says how many rows there are and what their checksums add up to, so that a row that vanishes, or
//! comes back in an older form, is noticed while everything is read anyway.

use redb::{ReadableTable, WriteTransaction};
use selvedge_sync::codec::{self, ObjectRow};
use selvedge_sync::key::Key;
use serde::{Deserialize, Serialize};

use super::layout::{
    self, FACT_DAMAGED, FACT_FORMAT, FACT_OWN_DAMAGED, FACT_TALLY, FACTS, META, OBJECTS, ROW_BYTES_MAX,
};

/// Which facts and objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    facts: Sum,
    objects: Sum,
}

/// How many rows, and the sum of 64 bits of each row's checksum, which wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    rows: u64,
    sum: u64,
}

impl Sum {
    const fn add(&mut self, row: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(word(row));
    }

    const fn take(&mut self, row: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(word(row));
    }
}

/// What a row's checksum begins with. It covers the row's key as well.
const fn word(row: &[u8]) -> u64 {
    match row.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => 0,
    }
}

impl Tally {
    /// Counts a fact, if it is one of those that are sealed.
    pub(super) fn count_fact(&mut self, name: &str, row: &[u8]) {
        if ![FACT_FORMAT, FACT_OWN_DAMAGED, FACT_DAMAGED, FACT_TALLY].contains(&name) {
            self.facts.add(row);
        }
    }

    /// Counts an object.
    pub(super) const fn count_object(&mut self, row: &[u8]) {
        self.objects.add(row);
    }
}

/// Rows of one transaction.
pub(super) struct Rows<'t> {
    transaction: &'t WriteTransaction,
    tally: Tally,
}

impl<'t> Rows<'t> {
    /// Begins with what the database says of its rows. Where it says nothing that can be read, the next start finds out.
    pub(super) fn of(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let facts = transaction.open_table(FACTS)?;
        let row = facts.get(FACT_TALLY)?;
        let content = row.as_ref().and_then(|row| layout::unseal("facts", FACT_TALLY.as_bytes(), row.value()));
        let tally = content.and_then(|content| codec::decode(content, ROW_BYTES_MAX).ok()).unwrap_or_default();
        Ok(Self { transaction, tally })
    }

    /// Writes a fact.
    pub(super) fn put<T: Serialize>(&mut self, name: &str, fact: &T) -> Result<(), redb::Error> {
        let row = layout::seal("facts", name.as_bytes(), &codec::encode(fact));
        self.transaction.open_table(FACTS)?.insert(name, row.as_slice())?;
        Ok(())
    }

    /// Removes a fact.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), redb::Error> {
        self.transaction.open_table(FACTS)?.remove(name)?;
        Ok(())
    }

    /// Writes objects; `None` stands for one that was forgotten.
    pub(super) fn put_objects(&mut self, objects: &[(Key, Option<ObjectRow>)]) -> Result<(), redb::Error> {
        let mut table = self.transaction.open_table(OBJECTS)?;
        for (key, row) in objects {
            let key = layout::object_key(key);
            let before = match row {
                Some(row) => {
                    let row = layout::seal("objects", &key, row.as_bytes());
                    self.tally.objects.add(&row);
                    table.insert(key.as_slice(), row.as_slice())?
                }
                None => table.remove(key.as_slice())?,
            };
            if let Some(before) = before {
                self.tally.objects.take(before.value());
            }
        }
        Ok(())
    }

    /// Removes all objects.
    pub(super) fn clear_objects(&mut self) -> Result<(), redb::Error> {
        self.transaction.delete_table(OBJECTS)?;
        self.transaction.open_table(OBJECTS)?;
        self.tally.objects = Sum::default();
        Ok(())
    }

    /// Counts the objects that are there, whoever wrote them.
    pub(super) fn recount(&mut self) -> Result<(), redb::Error> {
        self.tally.objects = Sum::default();
        for row in self.transaction.open_table(OBJECTS)?.iter()? {
            self.tally.objects.add(row?.1.value());
        }
        Ok(())
    }

    /// Writes a named value; `None` removes it.
    pub(super) fn put_meta(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), redb::Error> {
        let mut meta = self.transaction.open_table(META)?;
        match value {
            Some(value) => drop(meta.insert(name, layout::seal("meta", name.as_bytes(), value).as_slice())?),
            None => drop(meta.remove(name)?),
        }
        Ok(())
    }

    /// Removes named values that are damaged.
    pub(super) fn tidy_meta(&mut self) -> Result<(), redb::Error> {
        let mut meta = self.transaction.open_table(META)?;
        meta.retain(|name, row| layout::unseal("meta", name.as_bytes(), row).is_some())?;
        Ok(())
    }

    /// Writes the tally. Facts are few, and counted anew.
    pub(super) fn finish(mut self) -> Result<(), redb::Error> {
        let mut facts = self.transaction.open_table(FACTS)?;
        self.tally.facts = Sum::default();
        for row in facts.iter()? {
            let (name, row) = row?;
            self.tally.count_fact(name.value(), row.value());
        }
        let row = layout::seal("facts", FACT_TALLY.as_bytes(), &codec::encode(&self.tally));
        facts.insert(FACT_TALLY, row.as_slice())?;
        Ok(())
    }
}
