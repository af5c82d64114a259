//! `init`, `invite`, `join` and `revoke`: who belongs to the cluster.
//!
//! `init` and `join` make a data directory a member's, while no agent runs there; the other two ask an authority's agent.

use std::io::Read;

use serde_json::{Value, json};

use super::args::{ClientArgs, InitArgs, InviteArgs, JoinArgs, NamedNodeArgs, RevokeArgs};
use super::client::Client;
use super::connection::Ask;
use super::error::CliError;
use super::output::print_either;
use crate::agent::{self, FoundingError, Member};
use crate::cluster::Token;
use crate::config::LIFETIME_MS_DEFAULT;

/// Longest token that is read from stdin, in bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// Founds a cluster.
///
/// # Errors
/// The directory is a member's already, or cannot be written.
pub(crate) fn init(args: &InitArgs) -> Result<(), CliError> {
    let named = named(&args.node)?;
    crate::config::check_name(&args.cluster).map_err(|problem| CliError::Usage(format!("--cluster: {problem}")))?;
    let lifetime_s = LIFETIME_MS_DEFAULT / 1_000;
    let member = agent::found(&args.data_dir, &args.cluster, named, lifetime_s, args.node.keep_state)
        .map_err(|error| failed(&error))?;
    let dir = args.data_dir.display();
    print_either(args.json, &document(&member), |_| {
        format!(
            "founded cluster {} ({}); this machine is its first member, {}\n\
             next: selvedge run --data-dir {dir}\n\
             then: selvedge invite",
            member.cluster_name, member.cluster, member.name
        )
    })
}

/// Trades a token for membership.
///
/// # Errors
/// The token is none, nobody let us in, or the directory is a member's already.
pub(crate) async fn join(args: &JoinArgs) -> Result<(), CliError> {
    let text = if args.token == "-" { from_stdin()? } else { args.token.clone() };
    let token: Token = text.parse().map_err(|error| CliError::Usage(format!("TOKEN: {error}")))?;
    let named = named(&args.node)?;
    let member =
        agent::join(&token, &args.data_dir, named, args.node.keep_state).await.map_err(|error| failed(&error))?;
    let dir = args.data_dir.display();
    print_either(args.json, &document(&member), |_| {
        format!(
            "joined cluster {} ({}) as {}\nnext: selvedge run --data-dir {dir}",
            member.cluster_name, member.cluster, member.name
        )
    })
}

/// Makes a token.
///
/// # Errors
/// No agent answers, or it is no authority's.
pub(crate) async fn invite(args: &InviteArgs, client: &mut Client) -> Result<(), CliError> {
    let body = json!({"name": args.name, "region": args.region, "ttl_s": args.ttl.as_secs()});
    let json = client.json(Ask::post("/v1/cluster/invitations", &body)).await?;
    print_either(args.client.json, &json, |json| {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        format!("selvedge join {} --data-dir DIR\n\nfor one machine, once, until {}", text("token"), text("expires"))
    })
}

/// Puts a member out.
///
/// # Errors
/// No agent answers, it is no authority's, or there is no such member.
pub(crate) async fn revoke(args: &RevokeArgs, client: &mut Client) -> Result<(), CliError> {
    let ask = Ask::post("/v1/cluster/revocations", &json!({"node": args.node}));
    let json = client.json(ask).await?;
    print_either(args.client.json, &json, |json| {
        format!("{} is revoked; members disconnect it as they hear of it", json["node"].as_str().unwrap_or_default())
    })
}

/// Puts a new authority in the place of the present one.
///
/// # Errors
/// No agent answers, or it is no authority's.
pub(crate) async fn rotate(args: &ClientArgs, client: &mut Client) -> Result<(), CliError> {
    let json = client.json(Ask::post("/v1/cluster/authority", &json!({}))).await?;
    print_either(args.json, &json, |json| {
        format!("{} signs from now on", json["authority"].as_str().unwrap_or_default())
    })
}

fn named(node: &NamedNodeArgs) -> Result<(String, String), CliError> {
    let name = node.name.clone().unwrap_or_else(crate::config::host_name);
    for (flag, text) in [("--name", &name), ("--region", &node.region)] {
        crate::config::check_name(text).map_err(|problem| CliError::Usage(format!("{flag}: {problem}")))?;
    }
    Ok((name, node.region.clone()))
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| CliError::Usage(format!("TOKEN: stdin cannot be read: {error}")))
}

fn failed(error: &FoundingError) -> CliError {
    CliError::Failed(error.to_string())
}

fn document(member: &Member) -> Value {
    json!({
        "cluster": {"id": member.cluster.to_string(), "name": member.cluster_name},
        "node": {"id": member.node.to_string(), "name": member.name, "region": member.region},
        "not_after": member.not_after,
    })
}
