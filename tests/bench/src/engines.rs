//! Stores that keep a value durably under a key: the peers, and the plain file that is the limit of all of them.
//!
//! Each in the way its manual names for durable single puts. Measures nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{Durability, TableDefinition};
use rusqlite::params;

/// One durable put at a time.
pub(crate) trait Engine: Send {
    /// Returns when the value is on the disk.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
}

/// The peers by name.
pub(crate) const PEERS: [&str; 3] = ["redb", "fjall", "sqlite"];

/// Opens the engine of that name in an empty folder.
pub(crate) fn open(name: &str, dir: &Path) -> Result<Box<dyn Engine>> {
    Ok(match name {
        "file" => Box::new(Plain(OpenOptions::new().create(true).append(true).open(dir.join("log"))?)),
        "redb" => Box::new(Redb::open(dir)?),
        "fjall" => Box::new(Fjall::open(dir)?),
        "sqlite" => Box::new(Sqlite::open(dir)?),
        other => anyhow::bail!("no engine is called {other}"),
    })
}

/// Append and fdatasync.
struct Plain(File);

impl Engine for Plain {
    fn put(&mut self, _key: &[u8], value: &[u8]) -> Result<()> {
        self.0.write_all(value)?;
        Ok(self.0.sync_data()?)
    }
}

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");

/// Durability::Immediate, which is the default.
struct Redb(redb::Database);

impl Redb {
    fn open(dir: &Path) -> Result<Self> {
        let database = redb::Database::create(dir.join("redb"))?;
        let write = database.begin_write()?;
        write.open_table(TABLE)?;
        write.commit()?;
        Ok(Self(database))
    }
}

impl Engine for Redb {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut write = self.0.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        write.open_table(TABLE)?.insert(key, value)?;
        Ok(write.commit()?)
    }
}

/// PersistMode::SyncData after each insert.
struct Fjall {
    database: fjall::Database,
    items: fjall::Keyspace,
}

impl Fjall {
    fn open(dir: &Path) -> Result<Self> {
        let database = fjall::Database::builder(dir.join("fjall")).open()?;
        let items = database.keyspace("items", KeyspaceCreateOptions::default)?;
        Ok(Self { database, items })
    }
}

impl Engine for Fjall {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.items.insert(key, value)?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }
}

/// Write-ahead log, synchronous=FULL, a prepared statement for each put, one transaction each.
struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(dir: &Path) -> Result<Self> {
        let connection = rusqlite::Connection::open(dir.join("sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("CREATE TABLE items (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")?;
        Ok(Self(connection))
    }
}

impl Engine for Sqlite {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut put = self.0.prepare_cached("INSERT OR REPLACE INTO items VALUES (?1, ?2)")?;
        put.execute(params![key, value])?;
        Ok(())
    }
}
