//! Listening to events: a place on the bus, a watch in the replica, and then the events.

use selvedge_sync::replica::KeyPrefix;

use crate::driver::{DriverHandle, ListenError};
use crate::events::Events;
use crate::service::{EventsWanted, Fault, Notices, ServiceError};

/// After how many seconds a listener that found no room may try again.
const RETRY_AFTER_S: u32 = 5;

/// Begins to listen. The watch comes first, so that whatever is committed after this has answered is told.
pub(super) async fn listen(
    events: &Events,
    driver: &DriverHandle,
    wanted: EventsWanted,
) -> Result<Notices, ServiceError> {
    let kinds = wanted.kinds();
    let prefix = kinds.has_commits().then(|| wanted.prefix.unwrap_or_else(KeyPrefix::everything));
    let interest = events.interest(prefix, wanted.by_right).map_err(|error| busy(error.to_string()))?;
    driver.watch(&interest).await.map_err(|error| match error {
        ListenError::Refused(_) | ListenError::Busy => busy(error.to_string()),
        ListenError::NoAnswer => ServiceError::new(Fault::TimedOut, "no_answer", error.to_string()).hint("try again"),
    })?;
    Ok(interest.listen(wanted.after.as_deref(), kinds))
}

fn busy(message: String) -> ServiceError {
    ServiceError::new(Fault::Busy { retry_after_s: RETRY_AFTER_S }, "busy", message)
        .hint("try again later, or let one listener serve several readers")
}
