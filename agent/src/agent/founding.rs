//! Becoming a member, before an agent runs: found a cluster, join one by a token, or be enrolled by the authority's own host.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use selvedge_sync::id::NodeId;

use super::ground::{self, GroundError};
use super::identity::{self, IdentityError, NodeKey};
use super::standing::now_s;
use crate::cluster::{
    Authority, AuthorityId, BACKDATED_S, Claims, Folder, FolderError, JoinError, Joining, ROLE_AUTHORITY,
    ROLE_DEPLOYER, ROLE_MEMBER, Span, Token,
};
use crate::net::{self, JoinFailed};
use crate::store::{Holder, Store, StoreError};

/// How long an authority may sign, in seconds: ten years, with a successor endorsed long before.
pub(super) const AUTHORITY_LIFETIME_S: u64 = 10 * 365 * 86_400;

/// Who became a member of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The cluster, by the key of its first authority.
    pub cluster: AuthorityId,
    /// The cluster's name for people.
    pub cluster_name: String,
    /// The node.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Until when its certificate holds, in seconds since 1970.
    pub not_after: u64,
}

/// Why a data directory did not become a member's.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The directory cannot be made.
    #[error("the data directory {}: {source}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a member's already.
    #[error("{} is a member's already, of cluster {cluster}", path.display())]
    Member {
        /// Which.
        path: PathBuf,
        /// Of which cluster.
        cluster: AuthorityId,
    },
    /// An agent runs in it.
    #[error("an agent runs in {}{}; stop it first", path.display(), pid.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    Running {
        /// Which.
        path: PathBuf,
        /// Its process, where it could be noted.
        pid: Option<u32>,
    },
    /// It holds the state of an agent that belonged to no cluster, all of which it would bring along.
    #[error(
        "{} holds the state of an agent without a cluster, which would become everybody's; take an empty folder, or bring it \
         along with --keep-state",
        path.display()
    )]
    HoldsState {
        /// Which.
        path: PathBuf,
    },
    /// What it holds of state cannot be looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds no authority's key.
    #[error("{} holds no authority's key", path.display())]
    NoAuthority {
        /// Which.
        path: PathBuf,
    },
    /// It is not this agent's alone.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The node's key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The cluster's files.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// None of the token's addresses led in; what happened at each.
    #[error("{}", join_failed(.0))]
    NotJoined(Vec<(String, JoinFailed<JoinError>)>),
}

impl FoundingError {
    /// Whether somebody answered and does not want us, or the token names no address at all, so that the same token leads nowhere a
    /// second time either. A certificate whose time has not come or is over is no refusal: a host may have to be told first what time it is.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let Self::NotJoined(tried) = self else { return false };
        let refuses = |error: &JoinFailed<JoinError>| match error {
            JoinFailed::NotInvited => true,
            JoinFailed::Ended(JoinError::FalseMember(refusal)) => !refusal.is_of_time(),
            JoinFailed::Ended(_) => true,
            JoinFailed::Address(_) | JoinFailed::Unreached(_) | JoinFailed::Later | JoinFailed::Meeting(_) => false,
        };
        tried.iter().any(|(_, error)| refuses(error))
            || tried.iter().all(|(_, error)| matches!(error, JoinFailed::Address(_)))
    }

    /// Whether an authority has looked at the token and said in its answer what to do instead: a second instruction could contradict it.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let Self::NotJoined(tried) = self else { return false };
        tried.iter().any(|(_, error)| matches!(error, JoinFailed::Ended(JoinError::Denied(_))))
    }
}

fn join_failed(tried: &[(String, JoinFailed<JoinError>)]) -> String {
    let tried: Vec<String> = tried.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    format!("nobody let this machine in; {}", tried.join("; "))
}

/// Makes `data_dir` the first member of a new cluster, and its authority.
///
/// # Errors
/// It is a member's already, or the disk refuses.
pub fn found(
    data_dir: &Path,
    cluster_name: &str,
    (name, region): (String, String),
    lifetime_s: u64,
    keep_state: bool,
) -> Result<Member, FoundingError> {
    let (folder, key) = prepare(data_dir, None, keep_state)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let authority = Authority::from_seed(&seed);
    let from = now_s().saturating_sub(BACKDATED_S);
    let trust = authority.found(cluster_name, Span { from, to: now_s().saturating_add(AUTHORITY_LIFETIME_S) });
    let roles = [ROLE_MEMBER, ROLE_AUTHORITY, ROLE_DEPLOYER];
    let claims = claims(trust.cluster(), key.node(), (name, region), &roles, lifetime_s);
    // The certificate last: before it, this is nobody's directory, and founding it again starts over.
    folder.keep_authority(&seed)?;
    folder.enter(&trust, &authority.certify(&claims))?;
    Ok(member(claims, trust.name()))
}

/// Makes `data_dir` a member of the cluster whose authority lies in `authority_dir`, on the same host and without a network.
///
/// # Errors
/// There is no authority, `data_dir` is a member's already, or the disk refuses.
pub fn enroll(
    authority_dir: &Path,
    data_dir: &Path,
    named: (String, String),
    lifetime_s: u64,
) -> Result<Member, FoundingError> {
    let office = Folder::in_data_dir(authority_dir);
    let (Some(authority), Some((trust, _))) = (office.authority()?, office.load()?) else {
        return Err(FoundingError::NoAuthority { path: authority_dir.to_owned() });
    };
    let (folder, key) = prepare(data_dir, None, false)?;
    let claims = claims(trust.cluster(), key.node(), named, &[ROLE_MEMBER, ROLE_DEPLOYER], lifetime_s);
    folder.enter(&trust, &authority.certify(&claims))?;
    Ok(member(claims, trust.name()))
}

/// How far joining has come, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinStage<'a> {
    /// Somebody is sought at this address of the token.
    Reaching(&'a str),
    /// Somebody answers there, and is asked for what proves that it belongs to the cluster.
    Checking(&'a str),
    /// It does, and is asked for a certificate.
    Asking(&'a str),
    /// The certificate was issued, and is written to disk.
    Storing,
}

impl fmt::Display for JoinStage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reaching(address) => write!(f, "reaching {address}"),
            Self::Checking(address) => write!(f, "{address} answers; checking that it is of the token's cluster"),
            Self::Asking(address) => write!(f, "{address} is of the cluster; asking it for a certificate"),
            Self::Storing => f.write_str("admitted; storing the certificate"),
        }
    }
}

/// Trades a token for membership: tries the addresses in it one after the other, and tells each stage.
///
/// # Errors
/// Nobody let us in, `data_dir` is a member's already, or the disk refuses. A token whose answer was lost can be used again from
/// the same data directory.
pub async fn join(
    token: &Token,
    data_dir: &Path,
    (name, region): (String, String),
    keep_state: bool,
    mut tell: impl FnMut(JoinStage<'_>),
) -> Result<Member, FoundingError> {
    let (folder, key) = prepare(data_dir, Some(token.cluster), keep_state)?;
    let mut tried = Vec::new();
    for address in &token.addresses {
        let mut joining = Joining::new(token.clone(), key.node(), name.clone(), region.clone());
        tell(JoinStage::Reaching(address));
        let ask = |other, answer: Option<&[u8]>| {
            let question = joining.next(other, answer, now_s())?;
            match (answer, &question) {
                (None, _) => tell(JoinStage::Checking(address)),
                (Some(_), Some(_)) => tell(JoinStage::Asking(address)),
                (Some(_), None) => {}
            }
            Ok(question)
        };
        match net::join(key.seed(), address, ask).await {
            Ok(()) => {
                tell(JoinStage::Storing);
                let Some((trust, certificate)) = joining.finish() else { continue };
                let claims = trust.read(&certificate, key.node()).map_err(|refusal| {
                    let error = JoinFailed::Ended(JoinError::FalseMember(refusal));
                    FoundingError::NotJoined(vec![(address.clone(), error)])
                })?;
                folder.keep_contacts(&token.addresses)?;
                folder.enter(&trust, &certificate)?;
                return Ok(member(claims, trust.name()));
            }
            Err(error) => tried.push((address.clone(), error)),
        }
    }
    Err(FoundingError::NotJoined(tried))
}

/// A data directory with a key that may become a member's of `cluster`, or of a new one: in which no agent runs, and which is
/// nobody's yet, or a member's of the same cluster that joins again.
fn prepare(
    data_dir: &Path,
    cluster: Option<AuthorityId>,
    keep_state: bool,
) -> Result<(Folder, NodeKey), FoundingError> {
    let path = data_dir.to_owned();
    let refused = |source| FoundingError::DataDir { path: path.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(refused)?;
    ground::check(data_dir)?;
    if let Some(Holder { pid }) = Store::holder(data_dir).map_err(refused)? {
        return Err(FoundingError::Running { path, pid });
    }
    let folder = Folder::in_data_dir(data_dir);
    match folder.load()? {
        Some((trust, _)) if Some(trust.cluster()) != cluster => {
            return Err(FoundingError::Member { path, cluster: trust.cluster() });
        }
        None if !keep_state && Store::holds_state(data_dir)? => return Err(FoundingError::HoldsState { path }),
        Some(_) | None => {}
    }
    Ok((folder, identity::load_or_create(data_dir)?))
}

fn claims(
    cluster: AuthorityId,
    node: NodeId,
    (name, region): (String, String),
    roles: &[&str],
    lifetime_s: u64,
) -> Claims {
    let now = now_s();
    let roles: BTreeSet<String> = roles.iter().map(ToString::to_string).collect();
    let (not_before, not_after) = (now.saturating_sub(BACKDATED_S), now.saturating_add(lifetime_s));
    Claims { cluster, node, name, region, roles, not_before, not_after }
}

fn member(claims: Claims, cluster_name: &str) -> Member {
    let Claims { cluster, node, name, region, not_after, .. } = claims;
    Member { cluster, cluster_name: cluster_name.to_owned(), node, name, region, not_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> (String, String) {
        (name.to_owned(), "eu".to_owned())
    }

    #[test]
    fn a_cluster_is_founded_once_and_enrols_members() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let founder = found(&first, "games", named("a"), 60, false).expect("is founded");
        assert!(matches!(found(&first, "games", named("a"), 60, false), Err(FoundingError::Member { .. })));
        let member = enroll(&first, &second, named("b"), 60).expect("is enrolled");
        assert_eq!((member.cluster, member.cluster_name.as_str()), (founder.cluster, "games"));
        assert_ne!(member.node, founder.node);
        let (trust, certificate) = Folder::in_data_dir(&second).load().expect("is read").expect("is there");
        let claims = trust.judge(&certificate, member.node, false, now_s()).expect("is believed");
        assert!(claims.name == "b" && !claims.roles.contains(ROLE_AUTHORITY));
        assert!(matches!(enroll(&first, &second, named("b"), 60), Err(FoundingError::Member { .. })));
        assert!(matches!(
            enroll(&second, &dir.path().join("c"), named("c"), 60),
            Err(FoundingError::NoAuthority { .. })
        ));
    }
}
