//! The status page: one document with everything in it, complete without JavaScript, kept fresh by a little of it.
//!
//! Owns the document, its headers and the text of its cells. Asks the service what `/v1/status` asks. The invariants: what
//! comes from other hosts is escaped, and the policy in the header lets nothing run that did not come with the page.

mod cells;
mod concerns;
mod markup;
mod text;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use self::cells::{about, figures, members};
use self::markup::{escape, fill};
use self::workloads::workloads;
use super::problem::Problem;
use super::routes::App;
use crate::service::{COMMIT, Fault, Kinds, Node, Service, ServiceError, Status, WorkloadStatus};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One module: each file uses what the files above it name.
const SCRIPT: &str = concat!(
    include_str!("page/script/text.js"),
    include_str!("page/script/tree.js"),
    include_str!("page/script/pictures.js"),
    include_str!("page/script/mesh.js"),
    include_str!("page/script/rollouts.js"),
    include_str!("page/script/overview.js"),
    include_str!("page/script/concerns.js"),
    include_str!("page/script/events.js"),
    include_str!("page/script/details.js"),
    include_str!("page/script/live.js"),
);

/// Workloads of which the page says by itself why they run where they do; its script asks about the others, one a second.
const WHYS_MAX: usize = 24;

/// Random bytes in the nonce that a page's own style and script carry.
const NONCE_BYTES: usize = 16;

pub(super) async fn show<S: Service>(State(app): State<Arc<App<S>>>) -> Result<Response, Problem> {
    let nonce = nonce()?;
    let (status, nodes) = (app.service().status(), app.service().nodes());
    let page = render(&status, &nodes, &whys(app.service(), &status).await, &nonce);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, page).into_response())
}

/// Why workloads run where they do, by name. Placement answers from what it last decided, and waits for nobody.
async fn whys(service: &impl Service, status: &Status) -> BTreeMap<String, String> {
    let mut whys = BTreeMap::new();
    for WorkloadStatus { name, .. } in status.workloads.iter().take(WHYS_MAX) {
        // One that has just been removed has none.
        if let Ok(placement) = service.placement(name).await
            && let Some(why) = placement["why"].as_str()
        {
            whys.insert(name.clone(), why.to_owned());
        }
    }
    whys
}

pub(super) fn render(status: &Status, nodes: &[Node], whys: &BTreeMap<String, String>, nonce: &str) -> String {
    let (state, health) = concerns::health(status, nodes);
    fill(HTML, |name| match name {
        "nonce" => nonce.to_owned(),
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "title" => escape(&format!("{} · Selvedge", status.node.name)),
        "node" => escape(&status.node.name),
        "about" => escape(&about(status)),
        "health_state" => state.attribute().to_owned(),
        "health" => health.clone(),
        "figures" => figures(status, nodes),
        "members" => members(status, nodes),
        "workloads" => workloads(status, nodes, whys),
        "root" => escape(&status.state.root),
        "kinds" => kinds(),
        "id" => escape(&status.node.id.to_string()),
        unknown => unreachable!("the page has a place for `{unknown}`, which nothing fills"),
    })
}

/// The kinds of events that the page listens to: all but the many that change the state.
fn kinds() -> String {
    let listed = Kinds::ALL.into_iter().filter(|kind| *kind != COMMIT);
    listed.collect::<Vec<_>>().join(",")
}

fn nonce() -> Result<String, Problem> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        ServiceError::new(Fault::Unavailable, "no_randomness", format!("the host gives no randomness: {error}"))
    })?;
    Ok(BASE64.encode(bytes))
}
