//! Whoever started this agent and watches over it: systemd, by its notification protocol (`sd_notify(3)`), where there is one.
//!
//! Tells it when the agent serves, and that its driver still turns. Measures and decides nothing. The invariant: a sign of life is sent
//! from the driver's own loop and from nowhere else, so that a loop that is stuck is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Signs of life in the time in which the supervisor wants one: with four, a single late one is no reason for a restart.
const SIGNS_PER_PERIOD: u32 = 4;

/// The supervisor, or nobody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How long it waits between two signs of life; `None` where it waits for none.
    pause: Option<Duration>,
    began: Instant,
    /// When the last sign was given, in milliseconds after `began`.
    signed_ms: AtomicU64,
}

impl Supervisor {
    /// Whoever the environment names: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` where it wants signs of life.
    #[must_use]
    pub fn of_environment() -> Self {
        let mut usec = 0;
        let period = sd_notify::watchdog_enabled(false, &mut usec).then(|| Duration::from_micros(usec));
        Self::waiting(period)
    }

    fn waiting(period: Option<Duration>) -> Self {
        let pause = period.map(|period| period / SIGNS_PER_PERIOD);
        Self(Arc::new(Inner { pause, began: Instant::now(), signed_ms: AtomicU64::new(0) }))
    }

    /// The agent serves, and how it is, for people (`systemctl status` shows it).
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// How it is.
    pub fn status(&self, status: &str) {
        tell(&[NotifyState::Status(status)]);
    }

    /// It reads its configuration again; [`Supervisor::ready`] says that it has.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// It is on its way down.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("stopping: what was acknowledged becomes durable")]);
    }

    /// The driver has made a pass. Costs next to nothing while no sign is due.
    pub fn turned(&self) {
        if self.is_due() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn is_due(&self) -> bool {
        let Inner { pause: Some(pause), began, signed_ms } = &*self.0 else { return false };
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_ms = now_ms.saturating_sub(signed_ms.load(Ordering::Relaxed));
        let is_due = u128::from(since_ms) >= pause.as_millis();
        if is_due {
            signed_ms.store(now_ms, Ordering::Relaxed);
        }
        is_due
    }
}

/// A supervisor that cannot be told is no reason to stop: if it wanted a sign and gets none, it acts.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(%error, "the supervisor could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_given_as_often_as_they_are_wanted() {
        assert!(!Supervisor::waiting(None).is_due(), "nobody waits for any");
        let patient = Supervisor::waiting(Some(Duration::from_secs(3_600)));
        assert!(!patient.is_due());
        let hurried = Supervisor::waiting(Some(Duration::ZERO));
        assert!(hurried.is_due() && hurried.is_due());
    }
}
