//! The file that says where this agent is to be found, for as long as it runs.
//!
//! Owns when it is written and removed; `runtime_info` knows its form. The invariants: a disk that takes no file keeps no agent from
//! running, and hides from nobody why one has ended; what another agent has put up, where the directory was replaced under this one, stays.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::runtime_info::RuntimeInfo;

/// How long to wait before what the disk did not take is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The file, or what still tries to write it.
pub(super) struct Signpost {
    data_dir: PathBuf,
    /// Of this agent.
    pid: u32,
    trying: Option<AbortOnDropHandle<()>>,
}

impl Signpost {
    /// Puts it up: at once, or as soon as the disk takes it and the directory is not away by `is_away`.
    pub(super) fn put_up(info: RuntimeInfo, data_dir: PathBuf, is_away: impl Fn() -> bool + Send + 'static) -> Self {
        let pid = info.pid;
        let trying = info.write(&data_dir).err().map(|error| {
            tracing::warn!(%error, "nobody finds this agent by its data directory until that can be written");
            // What an agent that was killed has left leads nowhere, and takes room.
            RuntimeInfo::remove(&data_dir).unwrap_or_else(|error| tracing::debug!(%error, "an old one stays"));
            let data_dir = data_dir.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                while is_away() || info.write(&data_dir).is_err() {
                    tokio::time::sleep(AGAIN).await;
                }
            }))
        });
        Self { data_dir, pid, trying }
    }

    /// Takes it down.
    pub(super) async fn take_down(self) {
        if let Some(trying) = self.trying {
            trying.abort();
            // Once it has ended, it writes no more; how it ended is all the same.
            drop(trying.await);
        }
        let removed = RuntimeInfo::read(&self.data_dir).and_then(|found| match found {
            Some(found) if found.pid == self.pid => RuntimeInfo::remove(&self.data_dir),
            Some(_) | None => Ok(()),
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "whoever looks for this agent finds one that is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> RuntimeInfo {
        let (pid, node, started) = (1, "12D3KooW".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        RuntimeInfo { pid, node, api: Vec::new(), listen: Vec::new(), started }
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_is_put_up_once_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("later");
        let signpost = Signpost::put_up(info(), data_dir.clone(), || false);
        assert!(signpost.trying.is_some(), "there is no such folder yet");
        std::fs::create_dir(&data_dir).expect("is made");
        let is_up = async {
            while RuntimeInfo::read(&data_dir).expect("is whole or not there") != Some(info()) {
                tokio::time::sleep(AGAIN / 100).await;
            }
        };
        tokio::time::timeout(AGAIN * 30, is_up).await.expect("it is put up");
        signpost.take_down().await;
        assert_eq!(RuntimeInfo::read(&data_dir).expect("is read"), None);
        let signpost = Signpost::put_up(info(), folder.path().join("never"), || false);
        signpost.take_down().await;
    }

    #[tokio::test]
    async fn what_another_agent_has_put_up_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let signpost = Signpost::put_up(info(), folder.path().to_owned(), || false);
        let other = RuntimeInfo { pid: 2, ..info() };
        other.write(folder.path()).expect("is written");
        signpost.take_down().await;
        assert_eq!(RuntimeInfo::read(folder.path()).expect("is read"), Some(other));
    }
}
