//! What comes from the network, to the part that it is for.
//!
//! Decodes nothing. A frame that its part has no room for waits here, and with it the network, which then pushes back on the
//! sender: that is the bound.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clocks;
use super::office::Office;
use super::reach::{self, Knocker};
use super::vetting;
use crate::blobs::serve::{ServeError, Server};
use crate::calls::Calls;
use crate::members::gossip::Heard;
use crate::net::{Lane, Net, NetEvent, NetEvents, Offence, Reply};

/// The parts that listen.
pub(super) struct Switchboard {
    pub(super) heard: mpsc::Sender<Heard>,
    pub(super) calls: Calls,
    pub(super) blobs: Server,
    pub(super) net: Net,
    pub(super) knocker: Knocker,
    pub(super) office: Option<Office>,
}

impl Switchboard {
    /// Passes events on until `stop`, or the network ends.
    pub(super) async fn run(self, mut events: NetEvents, stop: CancellationToken) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.pass_on(event).await,
                    None => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn pass_on(&self, event: NetEvent) {
        match event {
            NetEvent::Up { node } => {
                tracing::info!(%node, "connected");
                self.tell(Heard::Up(node)).await;
            }
            NetEvent::Down { node } => tracing::info!(%node, "disconnected"),
            NetEvent::Message { from, lane, bytes, reply } => match lane {
                // The driver takes these itself; a question on that lane is nobody's, and ends unanswered.
                Lane::Sync => drop(reply),
                Lane::Members if reply.is_wanted() && clocks::is_asked(&bytes) => reply.send(clocks::answer()),
                Lane::Members if reply.is_wanted() && reach::is_asked(&bytes) => {
                    self.knocker.answer(from, &bytes, reply);
                }
                Lane::Members if reply.is_wanted() => match vetting::answer(self.office.as_ref(), from, &bytes) {
                    Ok(Some(answer)) => reply.send(answer),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%from, %error, "a question was not answered");
                        self.net.penalise(from, Offence::Flood);
                    }
                },
                Lane::Members => {
                    self.tell(Heard::Frame { from, bytes }).await;
                    drop(reply);
                }
                Lane::Call => self.serve_call(from, bytes, reply),
                Lane::Artifact => {
                    let (blobs, net) = (self.blobs.clone(), self.net.clone());
                    tokio::spawn(async move {
                        match blobs.serve(from, &bytes, reply).await {
                            Ok(()) => {}
                            Err(ServeError::Undecodable(error)) => {
                                net.unreadable(from, Offence::Undecodable, error.is_of_a_later_release());
                            }
                            Err(ServeError::Flood) => net.penalise(from, Offence::Flood),
                        }
                    });
                }
            },
        }
    }

    /// In a task of its own: the network bounds how many of one peer's calls are open at a time.
    fn serve_call(&self, from: selvedge_sync::id::NodeId, bytes: Vec<u8>, reply: Reply) {
        let calls = self.calls.clone();
        tokio::spawn(async move { calls.serve(from, bytes, reply).await });
    }

    async fn tell(&self, heard: Heard) {
        // Closed means that the agent stops.
        drop(self.heard.send(heard).await);
    }
}
