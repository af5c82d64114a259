//! The files of a member in its data directory: certificate, authorities and, where this host is one, the authority's key.
//!
//! Owns reading and writing them whole. The invariants: what is secret is readable by its owner alone, or it is not used; a
//! file is replaced in one step, so that a crash leaves the old one or the new one.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use selvedge_sync::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Authority, AuthorityId, Certificate, Revocation, Signed, Trust};

const CERTIFICATE_FILE: &str = "certificate";
const TRUST_FILE: &str = "authorities";
const AUTHORITY_FILE: &str = "authority.key";
const CONTACTS_FILE: &str = "contacts";
const REVOCATION_FILE: &str = "revoked";

/// Longest file of ours, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// A file of the cluster folder cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else, or was damaged.
    #[error("{} is damaged ({reason}); restore it, or remove the folder and join again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// Others could read a secret.
    #[error("{0} can be read by others; make it private: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Others could change what is believed.
    #[error("{0} can be changed by others; make it yours alone: chmod go-w {0}", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// There is a cluster here already.
    #[error("{} belongs to cluster {cluster} already; another cluster needs another data directory", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The cluster.
        cluster: AuthorityId,
    },
}

/// What a member knows of its cluster, on disk.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// The authorities, as they are stored: the cluster's name and what they are known by.
#[derive(serde::Deserialize, Serialize)]
struct Kept(AuthorityId, Vec<Signed>);

impl Folder {
    /// The folder below `data_dir`; nothing is read or made.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self(data_dir.join("cluster"))
    }

    /// What was stored; `None` where this directory belongs to no cluster yet.
    ///
    /// # Errors
    /// A file is damaged or cannot be read.
    pub fn load(&self) -> Result<Option<(Trust, Certificate)>, FolderError> {
        let Some(Kept(cluster, endorsements)) = self.read(TRUST_FILE, false)? else { return Ok(None) };
        let mut trust = Trust::of(cluster);
        trust.learn(&endorsements);
        Ok(self.read(CERTIFICATE_FILE, false)?.map(|certificate| (trust, certificate)))
    }

    /// Makes this directory a member's. The certificate comes last: without it, nothing has happened.
    ///
    /// # Errors
    /// The directory belongs to another cluster, or the disk refuses.
    pub fn enter(&self, trust: &Trust, certificate: &Certificate) -> Result<(), FolderError> {
        if let Some((other, _)) = self.load()?
            && other.cluster() != trust.cluster()
        {
            return Err(FolderError::Taken { path: self.0.clone(), cluster: other.cluster() });
        }
        self.keep_trust(trust)?;
        self.keep_certificate(certificate)
    }

    /// Stores the authorities.
    ///
    /// # Errors
    /// The disk refuses; what was stored before is still there.
    pub fn keep_trust(&self, trust: &Trust) -> Result<(), FolderError> {
        self.write(TRUST_FILE, &codec::encode(&Kept(trust.cluster(), trust.endorsements().cloned().collect())))
    }

    /// Stores the certificate.
    ///
    /// # Errors
    /// The disk refuses; what was stored before is still there.
    pub fn keep_certificate(&self, certificate: &Certificate) -> Result<(), FolderError> {
        self.write(CERTIFICATE_FILE, &codec::encode(certificate))
    }

    /// Where members are to be found, as the token said; empty where nobody joined.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn contacts(&self) -> Result<Vec<String>, FolderError> {
        Ok(self.read(CONTACTS_FILE, false)?.unwrap_or_default())
    }

    /// Stores where members are to be found.
    ///
    /// # Errors
    /// The disk refuses; what was stored before is still there.
    pub fn keep_contacts(&self, addresses: &[String]) -> Result<(), FolderError> {
        self.write(CONTACTS_FILE, &codec::encode(&addresses))
    }

    /// The word that this node was revoked, if it has reached this directory.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn revocation(&self) -> Result<Option<Revocation>, FolderError> {
        self.read(REVOCATION_FILE, false)
    }

    /// Stores that this node was revoked, so that it is known at the next start too.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_revocation(&self, revocation: &Revocation) -> Result<(), FolderError> {
        self.write(REVOCATION_FILE, &codec::encode(revocation))
    }

    /// The authority whose key lies here, if one does.
    ///
    /// # Errors
    /// The key is damaged, exposed, or cannot be read.
    pub fn authority(&self) -> Result<Option<Authority>, FolderError> {
        let seed: Option<serde_bytes::ByteArray<32>> = self.read(AUTHORITY_FILE, true)?;
        Ok(seed.map(|seed| Authority::from_seed(&seed)))
    }

    /// Stores the secret of an authority.
    ///
    /// # Errors
    /// The disk refuses; what was stored before is still there.
    pub fn keep_authority(&self, seed: &[u8; 32]) -> Result<(), FolderError> {
        self.write(AUTHORITY_FILE, &codec::encode(&serde_bytes::ByteArray::new(*seed)))
    }

    fn read<T: DeserializeOwned>(&self, name: &str, is_secret: bool) -> Result<Option<T>, FolderError> {
        let path = self.0.join(name);
        let refused = |source| FolderError::File { path: path.clone(), source };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        let mode = file.metadata().map_err(refused)?.permissions().mode();
        if is_secret && mode & 0o077 != 0 {
            return Err(FolderError::Exposed { path });
        }
        if mode & 0o022 != 0 {
            return Err(FolderError::Writable { path });
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(refused)?;
        match codec::decode(&bytes, FILE_BYTES_MAX) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(FolderError::Damaged { path, reason: error.to_string() }),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.0.join(name);
        let put = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let unfinished = path.with_extension("new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            fs::File::open(&self.0)?.sync_all()
        };
        put().map_err(|source| FolderError::File { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use selvedge_sync::id::NodeId;

    use super::*;
    use crate::cluster::{Claims, Span};

    fn member(seed: u8) -> (Authority, Trust, Certificate) {
        let authority = Authority::from_seed(&[seed; 32]);
        let cluster = authority.id();
        let trust = authority.found("games", Span { from: 0, to: 9 });
        let (name, region, roles) = ("a".to_owned(), "eu".to_owned(), BTreeSet::new());
        let claims = Claims { cluster, node: NodeId([1; 32]), name, region, roles, not_before: 0, not_after: 9 };
        let certificate = authority.certify(&claims);
        (authority, trust, certificate)
    }

    #[test]
    fn what_is_kept_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::in_data_dir(dir.path());
        assert!(folder.load().expect("is empty").is_none() && folder.authority().expect("is empty").is_none());
        let (authority, trust, certificate) = member(1);
        folder.enter(&trust, &certificate).expect("is written");
        folder.keep_authority(&[1; 32]).expect("is written");
        assert_eq!(folder.load().expect("is read"), Some((trust, certificate)));
        assert_eq!(folder.authority().expect("is read").expect("is there").id(), authority.id());
        for name in [CERTIFICATE_FILE, TRUST_FILE, AUTHORITY_FILE] {
            let mode = fs::metadata(folder.0.join(name)).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_folder_stays_with_its_cluster() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::in_data_dir(dir.path());
        let ((_, trust, certificate), (_, other, foreign)) = (member(1), member(2));
        folder.enter(&trust, &certificate).expect("is written");
        assert!(matches!(folder.enter(&other, &foreign), Err(FolderError::Taken { .. })));
        assert_eq!(folder.load().expect("is read"), Some((trust, certificate)));
    }

    #[test]
    fn a_key_that_is_damaged_or_exposed_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::in_data_dir(dir.path());
        folder.keep_authority(&[1; 32]).expect("is written");
        let path = folder.0.join(AUTHORITY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changes");
        assert!(matches!(folder.authority(), Err(FolderError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changes");
        fs::write(&path, b"nonsense").expect("is written");
        assert!(matches!(folder.authority(), Err(FolderError::Damaged { .. })));
    }
}
