//! What kind of command it is: for whom it prints, and whether it is there to change something.
//!
//! Owns two answers for each command. The invariant: a new command cannot be forgotten here.

use super::Command;

impl Command {
    /// Whether it was asked to speak to a script.
    pub(crate) fn as_json(&self) -> bool {
        match self {
            Self::Demo(args) => args.json,
            Self::Bench(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Init(args) => args.json,
            Self::Join(args) => args.json,
            Self::New(args) => args.json,
            Self::Replay(args) => args.json,
            Self::CheckConfig(args) => args.json,
            Self::Version(args) => args.json,
            Self::Invitations(args)
            | Self::Status(args)
            | Self::Nodes(args)
            | Self::Peers(args)
            | Self::Workloads(args) => args.client.json,
            Self::Invite(args) => args.client.json,
            Self::Deploy(args) => args.client.json,
            Self::Undeploy(args) => args.client.json,
            Self::Rollback(args) => args.client.json,
            Self::Call(args) => args.client.json,
            Self::Explain(args) => args.client.json,
            Self::Get(args) => args.client.json,
            Self::Put(args) => args.client.json,
            Self::Watch(args) => args.client.json,
            Self::Converged(args) => args.client.json,
            Self::Diff(args) => args.client.json,
            Self::Drain(args) => args.client.json,
            Self::Leave(args) => args.client.json,
            Self::RotateAuthority(args) | Self::Top(args) => args.json,
            Self::Revoke(args) => args.client.json,
            Self::Run(_) | Self::Completions(_) | Self::PackageFiles(_) | Self::CompileComponent(_) => false,
        }
    }

    /// Whether it is there to change something, so that its failure has to say whether it did.
    pub(crate) const fn is_change(&self) -> bool {
        match self {
            Self::Init(_)
            | Self::Invite(_)
            | Self::Join(_)
            | Self::New(_)
            | Self::Deploy(_)
            | Self::Undeploy(_)
            | Self::Rollback(_)
            | Self::Call(_)
            | Self::Put(_)
            | Self::Drain(_)
            | Self::Leave(_)
            | Self::Revoke(_)
            | Self::RotateAuthority(_) => true,
            Self::Demo(_)
            | Self::Bench(_)
            | Self::Top(_)
            | Self::Doctor(_)
            | Self::Invitations(_)
            | Self::Run(_)
            | Self::Status(_)
            | Self::Nodes(_)
            | Self::Peers(_)
            | Self::Workloads(_)
            | Self::Replay(_)
            | Self::Explain(_)
            | Self::Get(_)
            | Self::Watch(_)
            | Self::Converged(_)
            | Self::Diff(_)
            | Self::CheckConfig(_)
            | Self::Completions(_)
            | Self::PackageFiles(_)
            | Self::Version(_)
            | Self::CompileComponent(_) => false,
        }
    }
}
