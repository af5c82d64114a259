//! The certificate: whether it holds, and for how long.

use std::time::Duration;

use super::finding::{Finding, Outcome};
use super::place::Place;
use crate::agent::{self, now_s};
use crate::cli::units::span as rough;
use crate::cluster::{BACKDATED_S, Folder, FolderError};

/// Whether the certificate on disk holds, and whether it should have been renewed.
pub(super) fn certificate(place: &Place) -> Outcome {
    let papers = match Folder::in_data_dir(&place.data_dir).load() {
        Ok(Some(papers)) => papers,
        Ok(None) => return Err("this data directory belongs to no cluster".to_owned()),
        Err(FolderError::File { source, .. }) => return Err(place.unseen(&source)),
        // The sentence names the command.
        Err(error) => return Ok(vec![Finding::error(error.to_string(), "as it says")]),
    };
    let (trust, certificate) = papers;
    let join = format!(
        "stop the agent; selvedge join TOKEN --data-dir {} with a token from `selvedge invite`; start it",
        place.data_dir.display()
    );
    let Ok(Some(node)) = agent::read_node(&place.data_dir) else {
        return Err("the node's key cannot be read, and the certificate is for its holder".to_owned());
    };
    let claims = match trust.read(&certificate, node) {
        Ok(claims) => claims,
        Err(refusal) => {
            return Ok(vec![Finding::error(format!("no member believes this certificate: {refusal}"), join)]);
        }
    };
    let now = now_s();
    let lifetime = claims.not_after.saturating_sub(claims.not_before.saturating_add(BACKDATED_S));
    let left = claims.not_after.saturating_sub(now);
    let time = |seconds| rough(Duration::from_secs(seconds));
    Ok(if now > claims.not_after {
        vec![Finding::error(format!("the certificate expired {} ago", time(now - claims.not_after)), join)]
    } else if now < claims.not_before {
        let what =
            format!("the certificate holds only in {}: this host's clock is behind", time(claims.not_before - now));
        vec![Finding::error(what, "timedatectl set-ntp true")]
    } else if left < lifetime / 4 {
        let what = format!("the certificate expires in {}, and no authority has renewed it", time(left));
        vec![Finding::warning(what, "an authority has to be in reach: selvedge nodes, selvedge peers")]
    } else {
        Vec::new()
    })
}
