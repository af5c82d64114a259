//! stub
use std::sync::Arc; use axum::extract::State; use super::routes::App; use crate::service::Service;
pub(super) async fn show<S: Service>(State(_app): State<Arc<App<S>>>) -> &'static str { "" }
