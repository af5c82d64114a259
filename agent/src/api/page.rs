//! stub
use super::routes::App;
use crate::service::Service;
use axum::extract::State;
use std::sync::Arc;
pub(super) async fn show<S: Service>(State(_app): State<Arc<App<S>>>) -> &'static str {
    ""
}
