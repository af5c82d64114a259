//! Whether this agent is well, and what is wrong if not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::id::{Dot, NodeId};

use super::draining::Draining;
use super::standing::{Standing, now_s};
use super::vetting::lifetime;
use crate::cluster::{Claims, ROLE_AUTHORITY, UnixSeconds};
use crate::driver::DriverHandle;
use crate::members::gossip::SharedMembers;
use crate::members::{NodeRecord, Status};
use crate::net::Net;
use crate::placement::DISK_RESERVE_BYTES;
use crate::service;
use crate::spec::WorkloadName;
use crate::store::{Store, TAKEN_AWAY};
use crate::view::{Past, StateView, Summary, millis};
use crate::wasm::WasmHost;
use crate::workloads::{Short, Workloads};

/// Age of the driver's last pass above which it counts as stuck, in milliseconds. It passes every 500 at the least.
const DRIVER_STUCK_MS: u64 = 2_000;

/// Age of the guests' deadline ticker above which deadlines are not kept, in milliseconds. It ticks every millisecond while guests
/// run, and twice a second while none does; a crowded host may hold it up for a while.
const TICKER_STUCK_MS: u64 = 2_000;

/// How long a write may take before the disk counts as hanging: far above a slow sync, far below a member's patience.
const STORE_STALLED: Duration = Duration::from_secs(3);

/// How long too few instances of a workload may be ready before that is noted: a start takes less, with a fetch and a compilation.
const SHORT_AFTER: Duration = Duration::from_secs(10);

/// Things of one sort that are wrong and are told one by one. Others can make many of most sorts, and nobody reads them.
const TOLD_MAX: usize = 3;

/// Free space on the disk of the data directory below which an operator has to hear of it, in bytes. What was set aside for the log
/// is written for a while yet, so a full disk would show only when it is too late.
const DISK_LOW_BYTES: u64 = 32 << 20;

/// Members that write what this release cannot read and are told by name.
const WRITERS_TOLD_MAX: usize = 3;

/// For how long no holder of an authority's key may be away before that is noted, in milliseconds: a restart, or the move of a host, takes
/// less. Certificates are renewed in the last third of their time, so it is no hurry.
const AUTHORITY_AWAY_MS: u64 = 60 * 60 * 1_000;

/// Members that have heard two hosts use one key and are told by name.
const HEARD_BY_TOLD_MAX: usize = 3;

/// Members that do not answer and are told by name.
const SILENT_TOLD_MAX: usize = 3;

/// Looks at the parts that can be unwell. Cheap to clone.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) view: StateView,
    pub(super) driver: DriverHandle,
    pub(super) net: Net,
    pub(super) wasm: WasmHost,
    pub(super) store: Store,
    pub(super) members: SharedMembers,
    pub(super) workloads: Workloads,
    pub(super) draining: Draining,
    /// For members only.
    pub(super) standing: Option<Standing>,
    /// How many transactions the store had finished, and since when it has not finished another.
    pub(super) progress: Arc<Mutex<(u64, Instant)>>,
}

/// What is said of each of the first, and how many more there are.
fn few<T>(all: impl IntoIterator<Item = T>, say: impl Fn(T) -> String, rest: impl Fn(usize) -> String) -> Vec<String> {
    let mut all = all.into_iter();
    let mut said: Vec<String> = all.by_ref().take(TOLD_MAX).map(say).collect();
    let more = all.count();
    if more > 0 {
        said.push(rest(more));
    }
    said
}

/// What is to be said of a certificate that comes to its end: well after its renewal was due, which is in the last third.
fn expiry(own: &Claims, now: UnixSeconds) -> Option<String> {
    let (lifetime, left) = (lifetime(own), own.not_after.saturating_sub(now));
    let left_for_people = humantime::format_duration(Duration::from_secs(left));
    if now > own.not_after {
        Some(
            "this agent's certificate has expired: members refuse it; stop the agent, `selvedge join` with a new token into the same data directory, and start it"
                .to_owned(),
        )
    } else if left < lifetime / 4 {
        Some(format!("this agent's certificate expires in {left_for_people}, and no authority has renewed it yet"))
    } else {
        None
    }
}

/// What is said of a key that two live hosts have, however many have heard it.
fn two_live_hosts(whose: NodeId, heard_by: &[NodeId], me: NodeId, called: impl Fn(NodeId) -> String) -> String {
    if whose == me && heard_by.contains(&me) {
        // Lives only grow: what this process says is taken for the rest of one that has ended, until it begins a later life.
        return "a process that was started later than this one has this host's key, and the members listen to that one: a data directory was copied; stop the copy, remove its data directory and have it join anew; then restart this agent".to_owned();
    }
    let called = |node: NodeId| if node == me { "this host".to_owned() } else { called(node) };
    let mut by: Vec<String> = heard_by.iter().take(HEARD_BY_TOLD_MAX).map(|node| called(*node)).collect();
    if heard_by.len() > HEARD_BY_TOLD_MAX {
        by.push(format!("{} more", heard_by.len() - HEARD_BY_TOLD_MAX));
    }
    format!(
        "two live hosts have the key of {}, heard by {}: a data directory was copied; stop the copy, remove its data directory and have it join anew; then restart the other",
        called(whose),
        by.join(" and ")
    )
}

/// What is said of keys that two processes have shown, this host's own first.
fn two_holders(mut holders: Vec<NodeId>, me: NodeId) -> Vec<String> {
    holders.sort_by_key(|node| *node != me);
    let say = |node: NodeId| {
        if node == me {
            "another process runs with this node's key: a copied data directory; stop one of them".to_owned()
        } else {
            format!("two processes have shown the key of {node}: a copied data directory; stop one of them")
        }
    };
    few(holders, say, |more| format!("two processes each have shown the keys of {more} more nodes"))
}

/// What is said of a host that reaches nobody, if it was told where somebody might be.
fn unreached(bootstrap: &[String]) -> Option<String> {
    let addresses = few(bootstrap, String::clone, |more| format!("{more} more")).join(", ");
    (!bootstrap.is_empty())
        .then(|| format!("no member has been reached, at bootstrap address {addresses} or elsewhere; still trying"))
}

/// What this node's own past still owes: a past that differs from what others know of it is mended, but not in silence.
fn past(past: &Past) -> Vec<String> {
    let mut reasons = Vec::new();
    if past.is_fenced {
        reasons
            .push("local writes wait: this node has lost track of its own past and asks the members for it".to_owned());
    }
    let twice = |Dot { replica, seq }: &Dot| {
        let node = replica.node;
        format!(
            "{node} gave the number {seq} to two commits, and what it writes is not taken any more: it lies, or a copy of its data directory runs elsewhere; stop the copy or `selvedge revoke {node}`"
        )
    };
    reasons.extend(few(&past.twice_named, twice, |more| format!("{more} more numbers stand for two commits each")));
    if past.orphans > 0 {
        reasons.push(format!("{} commits of an earlier life of this node wait to be made again", past.orphans));
    }
    reasons
}

/// What is said of members that write what only a later release knows.
fn cannot_read(writers: &[String]) -> Option<String> {
    let mut told: Vec<String> = writers.iter().take(WRITERS_TOLD_MAX).cloned().collect();
    if writers.len() > WRITERS_TOLD_MAX {
        told.push(format!("{} more", writers.len() - WRITERS_TOLD_MAX));
    }
    (!told.is_empty()).then(|| {
        let told = told.join(" and ");
        format!("commits of {told} are of a later release and cannot be read here: they wait, and nothing is lost, until this host is upgraded")
    })
}

/// What is said of members that do not answer, by their names and how each fares, of so many in all.
fn silent(members: usize, silent: &[(String, Status)]) -> Option<String> {
    let told = |(name, status): &(String, Status)| {
        let status = if *status == Status::Suspect { "suspect" } else { "lost" };
        format!("{} ({status})", name.escape_debug())
    };
    let mut names: Vec<String> = silent.iter().take(SILENT_TOLD_MAX).map(told).collect();
    let rest = silent.len() - names.len();
    names.extend((rest > 0).then(|| format!("{rest} more")));
    let of = format!("{} of {members} members", silent.len());
    (!silent.is_empty()).then(|| format!("{of} do not answer: {}; `selvedge nodes` shows all", names.join(", ")))
}

/// A holder of an authority's key, and whether it is there.
struct Away {
    name: String,
    is_there: bool,
    silent_ms: u64,
}

/// What is said where none of those who are known to hold an authority's key is there; `up_ms` is how long this agent has been looking.
fn authority_away(known: &[Away], up_ms: u64) -> Option<String> {
    let for_ms = known.iter().map(|one| one.silent_ms).min().unwrap_or(up_ms);
    if known.iter().any(|one| one.is_there) || for_ms < AUTHORITY_AWAY_MS {
        return None;
    }
    let names: Vec<&str> = known.iter().take(HEARD_BY_TOLD_MAX).map(|one| one.name.as_str()).collect();
    let who = if names.is_empty() {
        "whoever does has not been seen since this agent started".to_owned()
    } else {
        names.join(", ")
    };
    let lasts = humantime::format_duration(Duration::from_secs(for_ms / 60_000 * 60));
    Some(format!(
        "no member that holds an authority's key has been there for {lasts} ({who}): until one is, nobody can be invited or revoked, and no certificate is renewed"
    ))
}

/// What is said of a disk with so many free bytes.
fn disk_low(free_bytes: u64) -> Option<String> {
    (free_bytes < DISK_LOW_BYTES).then(|| {
        let (free, wanted) = (free_bytes >> 20, DISK_LOW_BYTES >> 20);
        format!("the disk of the data directory has {free} MiB left, less than {wanted}: make room before writes fail")
    })
}

/// What is said of a disk that takes what is here, and nothing that is new.
fn disk_scarce(free_bytes: u64) -> Option<String> {
    (DISK_LOW_BYTES..DISK_RESERVE_BYTES).contains(&free_bytes).then(|| {
        let (free, wanted) = (free_bytes >> 20, DISK_RESERVE_BYTES >> 20);
        format!("the disk of the data directory has {free} MiB left, less than {wanted}: this host is given no new workloads")
    })
}

impl Health {
    /// Everything that is wrong, in sentences, `state` being what the replica looks like. Waits for nobody.
    pub(super) fn report(&self, state: &Summary) -> service::Health {
        let mut reasons = self.ailments();
        let is_apart = state.peers(self.view.now()).iter().any(|peer| peer.connected && !peer.root_equal);
        let diverged = state.counters.diverged;
        if is_apart && diverged > 0 {
            reasons.push(format!("{diverged} times a member with the same commits had another root: a bug or damage"));
        }
        // Where writes fail already, it is too late for that.
        if self.driver.stats().store_failure.is_none() {
            reasons.extend(self.disk_free().and_then(disk_low));
        }
        reasons.extend(past(&state.past));
        reasons.extend(self.twins());
        reasons.extend(self.deployments());
        reasons.extend(self.cut_off());
        if let Some(standing) = &self.standing {
            let way_back =
                "; to join again, take a new token and an empty data directory, since this key is out for ever";
            let fall = standing.own_fall().map(|fall| fall + way_back);
            reasons.extend(fall.or_else(|| expiry(&standing.own(), now_s())));
        }
        // One member that is reached is enough: the others are learnt from it.
        if self.net.peers().is_empty() {
            reasons.extend(unreached(&self.net.unreached_bootstrap()));
        }
        reasons.extend(two_holders(self.net.two_holders(), self.net.node()));
        service::Health { ok: reasons.is_empty(), reasons, notes: self.notes(state) }
    }

    /// What is free on the disk of the data directory, in bytes, by this node's last record.
    fn disk_free(&self) -> Option<u64> {
        let own = self.members.with(|members| members.get(&self.net.node(), self.view.now()));
        own?.record?.resources.disk_free
    }

    /// What this host is well with and should not be forgotten: what is meant to be so, and what is amiss in the mesh. A probe that restarts
    /// hosts, or takes them out, by their health would make that worse.
    fn notes(&self, state: &Summary) -> Vec<String> {
        let note = |drained: service::Drained| {
            let since = drained.since.map_or_else(String::new, |since| format!(" since {since}"));
            let here: Vec<&str> = drained.remaining.iter().map(|one| one.workload.as_str()).collect();
            let left = if here.is_empty() { "nothing".to_owned() } else { here.join(", ") };
            format!("this agent is draining{since}; still here: {left}; `selvedge drain --off` ends that")
        };
        let drained = self.draining.show(&self.workloads);
        let drained = drained.draining.then(|| note(drained));
        drained
            .into_iter()
            .chain(self.disk_free().and_then(disk_scarce))
            .chain(self.unread(&state.unread))
            .chain(self.short())
            .chain(self.workloads.crowded())
            .chain(self.members.counters().left_out.note())
            .chain(self.silent())
            .chain(self.no_authority())
            .collect()
    }

    /// That members write what only a later release knows.
    fn unread(&self, unread: &[Dot]) -> Option<String> {
        let writers: BTreeSet<NodeId> = unread.iter().map(|dot| dot.replica.node).collect();
        let now = self.view.now();
        self.members.with(|members| {
            let called = |node: &NodeId| {
                let name = members.get(node, now).and_then(|member| member.record).map(|record| record.name);
                name.unwrap_or_else(|| node.to_string())
            };
            cannot_read(&writers.iter().map(called).collect::<Vec<_>>())
        })
    }

    /// Members that do not answer, from the first doubt on.
    fn silent(&self) -> Option<String> {
        self.members.with(|members| {
            let called = |(node, status, record): (NodeId, Status, Option<&NodeRecord>)| {
                (record.map_or_else(|| node.to_string(), |record| record.name.clone()), status)
            };
            silent(members.sight().1, &members.silent().map(called).collect::<Vec<_>>())
        })
    }

    /// That nobody is there who could invite, renew or revoke.
    fn no_authority(&self) -> Option<String> {
        let standing = self.standing.as_ref()?;
        if standing.own().roles.contains(ROLE_AUTHORITY) {
            return None;
        }
        let (holders, now) = (standing.with_role(ROLE_AUTHORITY), self.view.now());
        let known: Vec<Away> = self.members.with(|members| {
            let away = |node: &NodeId| {
                let member = members.get(node, now)?;
                let name = member.record.map_or_else(|| node.to_string(), |record| record.name);
                Some(Away {
                    name,
                    is_there: matches!(member.status, Status::Alive | Status::Suspect),
                    silent_ms: member.silent_ms,
                })
            };
            holders.iter().filter_map(away).collect()
        });
        authority_away(&known, now.mono_ms)
    }

    /// Keys that two live hosts have: everything that one of them says counts as the other's.
    fn twins(&self) -> Vec<String> {
        let (me, now) = (self.net.node(), self.view.now());
        self.members.with(|members| {
            let called = |node: NodeId| {
                let name = members.get(&node, now).and_then(|member| member.record).map(|record| record.name);
                name.map_or_else(|| node.to_string(), |name| format!("{name} ({node})"))
            };
            let mut heard_by: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
            for twin in members.twins() {
                heard_by.entry(twin.node).or_default().push(twin.heard_by);
            }
            // This host's own is what this host can do something about.
            let mut all: Vec<_> = heard_by.into_iter().collect();
            all.sort_by_key(|(node, _)| *node != me);
            few(
                all,
                |(node, by)| two_live_hosts(node, &by, me, called),
                |more| format!("two live hosts each have the keys of {more} more members"),
            )
        })
    }

    /// Specs that are stored and not carried out. Any member can store more of them than anybody wants to read.
    fn deployments(&self) -> Vec<String> {
        let refused = self.workloads.known().refused;
        let sentence = |(name, why): (&String, &String)| {
            let name = name.escape_debug();
            format!(
                "the deployment of `{name}` is not carried out: {why}; deploy it again, or `selvedge undeploy {name}`"
            )
        };
        few(&*refused, sentence, |rest| format!("{rest} more deployments are not carried out"))
    }

    /// Workloads of which too few instances run. Every agent says so: whoever asks any of them is to know.
    fn short(&self) -> Vec<String> {
        let (short, now_ms) = (self.workloads.short(SHORT_AFTER), self.view.now().mono_ms);
        let sentence = |(name, Short { ready, wanted, since_ms, why }): (&WorkloadName, &Short)| {
            let lasts = humantime::format_duration(Duration::from_secs(now_ms.saturating_sub(*since_ms) / 1_000));
            format!("`{name}` has {ready} of {wanted} instances ready, for {lasts} now: {why}")
        };
        few(&short, sentence, |rest| format!("{rest} more workloads have too few instances ready"))
    }

    /// That this host sees the smaller part of the members. Of two equal halves neither is taken for the one that is cut off.
    fn cut_off(&self) -> Option<String> {
        let (seen, members) = self.members.with(|members| members.sight());
        (seen * 2 < members).then(|| {
            format!(
                "this host sees {seen} of {members} members, itself included: the others are down, or it is cut off from them; `selvedge peers` shows the links"
            )
        })
    }

    /// For how long the store has had something to write and has written nothing, once that is too long.
    fn store_stalled(&self) -> Option<Duration> {
        let stats = self.store.stats();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if stats.queue_jobs == 0 || stats.transactions != progress.0 {
            *progress = (stats.transactions, Instant::now());
        }
        Some(progress.1.elapsed()).filter(|silent| *silent > STORE_STALLED)
    }

    /// Why no new work may be placed here, as short as a record holds it; `None` while it may. An unreachable neighbour is no
    /// reason against it.
    pub(super) fn ailment(&self) -> Option<String> {
        let mut why = self.unfit().into_iter().next()?;
        why.truncate(why.floor_char_boundary(NodeRecord::TEXT_BYTES_MAX));
        Some(why)
    }

    /// Why this host can answer for nothing, in sentences: others should.
    pub(super) fn unfit(&self) -> Vec<String> {
        let fall = self.standing.as_ref().and_then(Standing::own_fall);
        fall.into_iter().chain(self.ailments()).collect()
    }

    fn ailments(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let stats = self.driver.stats();
        let stalled = self.store_stalled();
        // A store that has failed writes no more, which is no sign of a disk that hangs.
        match stats.store_failure {
            Some(reason) if reason == TAKEN_AWAY => {
                reasons.push(format!("read-only: {reason}; put it back, or stop this agent"));
            }
            Some(reason) => reasons.push(format!("read-only: the store cannot write ({reason})")),
            None => reasons.extend(stalled.map(|silent| {
                format!("the store has not finished a write for {} s: its disk hangs", silent.as_secs())
            })),
        }
        let silent_ms = self.view.now().mono_ms.saturating_sub(stats.passed_ms);
        if silent_ms > DRIVER_STUCK_MS {
            reasons.push(format!("the driver has made no pass for {silent_ms} ms"));
        }
        let ticker_ms = millis(self.wasm.ticker_age());
        if ticker_ms > TICKER_STUCK_MS {
            reasons.push(format!("the ticker of guest deadlines has stood still for {ticker_ms} ms"));
        }
        reasons
    }
}

#[cfg(test)]
mod tests;
