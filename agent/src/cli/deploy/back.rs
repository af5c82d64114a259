//! `rollback`: puts the version before in the place of the present one, and waits until it runs everywhere.

use serde_json::json;

use super::stages::Stages;
use super::wait::{Awaited, watch_ready};
use super::{RUN_PATIENCE_DEFAULT, workload_path};
use crate::cli::args::RollbackArgs;
use crate::cli::client::Client;
use crate::cli::connection::Ask;
use crate::cli::error::CliError;
use crate::cli::output::print_either;
use crate::cli::progress::Progress;

/// Goes back, as the command line says.
///
/// # Errors
/// There is nothing to go back to, the agent refused, or it did not run in time.
pub(in crate::cli) async fn roll_back(args: &RollbackArgs, client: &mut Client) -> Result<(), CliError> {
    let (name, force) = (&args.name, if args.force { "?force=true" } else { "" });
    let ask = Ask::post(format!("{}/rollback{force}", workload_path(name)), &json!({}));
    let committed = client.json(ask).await?;
    if args.no_wait {
        return print_either(args.client.json, &committed, |_| format!("{name} goes back; not waiting for it to run"));
    }
    let patience = args.client.timeout.unwrap_or(RUN_PATIENCE_DEFAULT);
    let mut stages = Stages::on(Progress::of(format!("waiting for {name} to run")), name);
    let awaited = Awaited { name, committed: &committed, instances_min: 1 };
    let ready = watch_ready(client, awaited, patience, &mut stages).await;
    let (workload, ready) =
        ready.map_err(|error| error.after(format!("{name} goes back: the spec before is stored")))?;
    print_either(args.client.json, &workload, |_| format!("{name} runs the version before: {}", ready.told()))
}
