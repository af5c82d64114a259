//! The parts of an agent, built and bound but not yet running.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use ed25519_dalek::SigningKey;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::AgentError;
use super::beacon::Beacon;
use super::data::Data;
use super::departure::Departure;
use super::draining::Draining;
use super::health::Health;
use super::history::History;
use super::lookout::Lookout;
use super::membership::{Membership, gate, notary, register};
use super::reach::Knocker;
use super::service::AgentService;
use super::settings;
use super::switchboard::Switchboard;
use super::vetting::Vetting;
use super::warning::Warning;
use crate::api::{Api, Credentials, StreamStats, token};
use crate::artifacts::{self, Artifacts};
use crate::assets::{ASSET_BYTES_MAX, Assets, Fetch, Preloader};
use crate::blobs::fetch::Fetcher;
use crate::blobs::serve::{Server, Sort};
use crate::calls::Calls;
use crate::config::Config;
use crate::driver::{Driver, DriverHandle};
use crate::events::{Events, Patience};
use crate::members::Members;
use crate::members::gossip::{Gossip, Heard, SharedMembers};
use crate::metrics::Metrics;
use crate::net::{Net, NetConfig, NetError, NetEvents};
use crate::rates::Rates;
use crate::reconcile::Timing;
use crate::resources::Sampler;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::timing::Timings;
use crate::traces::{About, Exporter, Traces};
use crate::view::{StateView, millis, share};
use crate::wasm::WasmHost;
use crate::workloads::{Chronicle, Workloads};

/// Frames of the members' lane that may wait to be read: one from every member of a mesh of direct links, twice over.
const HEARD_MAX: usize = 64;

/// The parts, by the loop that each of them runs.
pub(super) struct Parts {
    pub(super) api: Api,
    pub(super) service: Arc<AgentService>,
    pub(super) driver: Driver,
    pub(super) gossip: Gossip,
    pub(super) beacon: Beacon,
    pub(super) draining: Draining,
    pub(super) workloads: Workloads,
    pub(super) timing: Timing,
    pub(super) switchboard: Switchboard,
    pub(super) lookout: Lookout,
    pub(super) warning: Warning,
    /// For members only.
    pub(super) vetting: Option<Vetting>,
    pub(super) preloader: Preloader,
    /// Where traces are sent somewhere.
    pub(super) exporter: Option<Exporter>,
    pub(super) history: History,
    pub(super) net: Net,
    pub(super) store: Store,
}

/// Where events come in.
pub(super) struct Inlets {
    pub(super) net: NetEvents,
    pub(super) heard: mpsc::Receiver<Heard>,
}

/// What most parts need.
#[derive(Clone)]
struct Common {
    config: Config,
    view: StateView,
    driver: DriverHandle,
    events: Events,
    store: Store,
    net: Net,
    members: SharedMembers,
    wasm: WasmHost,
    artifacts: Artifacts,
    assets: Assets,
    calls: Calls,
    rates: Arc<Rates>,
    traces: Traces,
    workloads: Workloads,
    health: Health,
    metrics: Arc<Metrics>,
    membership: Option<Membership>,
    departure: Departure,
    key: SigningKey,
    life: u64,
}

/// Binds the API and the network and builds everything around them.
pub(super) async fn build(
    config: Config,
    mut data: Data,
    supervisor: Supervisor,
    stop: CancellationToken,
) -> Result<(Parts, Inlets), AgentError> {
    let token_file = config.api.token_file.clone();
    let credentials = Credentials { token: token::load_or_create(&token_file)?, token_file };
    let api = Api::bind(&settings::endpoints(&config.api.listen), credentials).await?;
    let membership = Membership::of(&config, &data)?;
    let expelled = data.replica.expel_barred();
    if expelled > 0 {
        tracing::warn!(
            expelled,
            "what no authority has signed is dropped from the sets through which authorities speak"
        );
    }
    let (admission, registrar) = gate(membership.as_ref());
    let (net, sync_events, net_events) = Net::start_split(NetConfig {
        secret_key: data.key.seed(),
        admission,
        registrar,
        listen: settings::listen(&config.net.listen).map_err(NetError::from)?,
        bootstrap: config.net.bootstrap.clone(),
        advertise: config.net.advertise.clone(),
    })
    .await?;
    let (owner, view) = share(data.replica);
    let store = data.store;
    let events = Events::new(data.life, Patience::default());
    let stores = (store.clone(), data.store_events);
    let (driver, handle) =
        Driver::new(owner, view.clone(), stores, (net.clone(), sync_events), events.clone(), supervisor);
    if let Some(membership) = &membership {
        membership.standing.guard(handle.clone());
    }
    let members = SharedMembers::new(Members::new(net.node(), data.remembered, view.now()));
    let key = SigningKey::from_bytes(&data.key.seed());
    let resumes = data.draining.as_ref().map(|order| order.here.clone()).unwrap_or_default();
    let draining = Draining::new(data.draining, members.clone(), view.clone(), store.clone());
    let departure = Departure::new(members.clone(), view.clone(), draining, stop);
    let identity = (data.life, key, departure);
    let fetcher = Fetcher::new(net.clone());
    let (assets, preloader) =
        Assets::open(&config.node.data_dir, settings::asset_limits(config.assets), fetch_assets(fetcher.clone()))?;
    let blobs = (fetcher, assets);
    let (traces, exporter) = traces(&config, &net);
    let about = (config, traces);
    let common = Common::new(about, view, (handle, events), (store, net, members), (membership, identity), blobs)?;
    common.workloads.resume(resumes);
    let (heard_sender, heard) = mpsc::channel(HEARD_MAX);
    Ok((common.parts(api, driver, heard_sender, preloader, exporter)?, Inlets { net: net_events, heard }))
}

/// Where traces go, if they go anywhere.
fn traces(config: &Config, net: &Net) -> (Traces, Option<Exporter>) {
    let Some(collector) = config.log.otlp.clone() else { return (Traces::default(), None) };
    let (node, version) = (net.node().to_string(), env!("CARGO_PKG_VERSION"));
    let about = About { node: &node, name: &config.node.name, region: &config.node.region, version };
    let (traces, exporter) = Traces::to(collector, &about);
    (traces, Some(exporter))
}

/// What others are given. One that is found to be damaged is fetched again at once: it may be deployed here, and needed after a restart.
fn artifacts_for_others(artifacts: Artifacts, workloads: Workloads) -> artifacts::Given {
    artifacts::Given::new(artifacts, move |digest| {
        let workloads = workloads.clone();
        // Each was on this disk a moment ago and is gone, so there are not many.
        drop(tokio::spawn(async move {
            if let Err(error) = workloads.reach(digest).await {
                tracing::warn!(%digest, %error, "a damaged artefact could not be fetched again");
            }
        }));
    })
}

/// Assets come from whichever member has them.
fn fetch_assets(fetcher: Fetcher) -> Fetch {
    Box::new(move |digest| {
        let fetcher = fetcher.clone();
        Box::pin(async move { fetcher.fetch(Sort::Asset, digest, ASSET_BYTES_MAX).await })
    })
}

impl Common {
    fn new(
        (config, traces): (Config, Traces),
        view: StateView,
        (driver, events): (DriverHandle, Events),
        (store, net, members): (Store, Net, SharedMembers),
        (membership, (life, key, departure)): (Option<Membership>, (u64, SigningKey, Departure)),
        (fetcher, assets): (Fetcher, Assets),
    ) -> Result<Self, AgentError> {
        let (applied, durable) = driver.timings();
        let timings = Timings { applied, durable, written: store.written(), answered: net.answered() };
        let metrics = Arc::new(Metrics::with(env!("CARGO_PKG_VERSION"), timings, config.log.otlp.is_some()));
        let rates = Arc::new(Rates::new(config.api.call_rate, config.net.call_rate));
        let guest_host = settings::guest_host(&config.wasm, &config.node.data_dir, &key);
        let wasm = WasmHost::with_assets(guest_host, Arc::new(view.clone()), Arc::new(assets.clone()))?;
        let artifacts = artifacts::open(&config.node.data_dir)?;
        let calls = Calls::new(
            wasm.clone(),
            assets.clone(),
            driver.clone(),
            view.clone(),
            members.clone(),
            net.clone(),
            (Arc::clone(&metrics), Arc::clone(&rates), traces.clone()),
        )?;
        let policy = settings::policy(&config.placement);
        let workloads = Workloads::new(
            view.clone(),
            driver.clone(),
            members.clone(),
            (Chronicle { me: net.node(), events: events.clone(), metrics: Arc::clone(&metrics) }, fetcher),
            wasm.clone(),
            artifacts.clone(),
            (policy, notary(membership.as_ref(), &key), events.clone()),
        );
        let health = Health {
            view: view.clone(),
            driver: driver.clone(),
            net: net.clone(),
            wasm: wasm.clone(),
            store: store.clone(),
            members: members.clone(),
            workloads: workloads.clone(),
            standing: membership.as_ref().map(|membership| membership.standing.clone()),
            draining: departure.draining.clone(),
            progress: Arc::new(Mutex::new((0, Instant::now()))),
        };
        Ok(Self {
            config,
            view,
            driver,
            events,
            store,
            net,
            members,
            wasm,
            artifacts,
            assets,
            calls,
            rates,
            traces,
            workloads,
            health,
            metrics,
            membership,
            departure,
            key,
            life,
        })
    }

    fn gossip(self) -> Result<Gossip, AgentError> {
        Ok(Gossip {
            register: register(self.membership.as_ref()),
            key: self.key,
            life: self.life,
            seed: getrandom::u64()?,
            retire_after_ms: millis(self.config.state.retire_after),
            members: self.members,
            net: self.net,
            driver: self.driver,
            events: self.events,
            store: self.store,
            view: self.view,
        })
    }

    fn parts(
        self,
        api: Api,
        driver: Driver,
        heard: mpsc::Sender<Heard>,
        preloader: Preloader,
        exporter: Option<Exporter>,
    ) -> Result<Parts, AgentError> {
        let this = self.clone();
        let beacon = Beacon {
            life: this.life,
            sampler: Mutex::new(Sampler::new(&this.config.node.data_dir)?),
            config: this.config,
            view: this.view,
            net: this.net,
            calls: this.calls,
            workloads: this.workloads,
            wasm: this.wasm,
            health: this.health,
            departure: this.departure,
        };
        let gossip = self.clone().gossip()?;
        let this = self.clone();
        let blobs = Server::new(artifacts_for_others(this.artifacts, this.workloads), this.assets);
        let office = this.membership.as_ref().and_then(|membership| membership.office.clone());
        let served = blobs.clone();
        let knocker = Knocker::new(this.net.clone());
        let switchboard = Switchboard { heard, calls: this.calls, blobs, net: this.net.clone(), knocker, office };
        let vetting =
            this.membership.map(|membership| membership.vetting(this.view, this.net, this.members, this.store));
        let this = self.clone();
        let warning = Warning { wasm: this.wasm, members: this.members.clone() };
        let (changes, members) = (this.net.changes(), this.members);
        let lookout = Lookout { changes, members, view: this.view, events: this.events, metrics: this.metrics };
        let (net, store, workloads) = (self.net.clone(), self.store.clone(), self.workloads.clone());
        let timing = settings::timing(&self.config.placement);
        let (draining, history) = (self.departure.draining.clone(), History::default());
        let service = Arc::new(self.service(api.streams(), served, history.clone()));
        Ok(Parts {
            api,
            service,
            driver,
            gossip,
            beacon,
            draining,
            workloads,
            timing,
            switchboard,
            lookout,
            warning,
            vetting,
            preloader,
            exporter,
            history,
            net,
            store,
        })
    }

    /// What answers callers.
    fn service(self, streams: Arc<StreamStats>, served: Server, history: History) -> AgentService {
        AgentService {
            started: Instant::now(),
            config: self.config,
            view: self.view,
            driver: self.driver,
            events: self.events,
            store: self.store,
            net: self.net,
            members: self.members,
            wasm: self.wasm,
            artifacts: self.artifacts,
            assets: self.assets,
            served,
            workloads: self.workloads,
            calls: self.calls,
            rates: self.rates,
            traces: self.traces,
            health: self.health,
            metrics: self.metrics,
            streams,
            membership: self.membership,
            departure: self.departure,
            history,
        }
    }
}
