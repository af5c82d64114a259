// The first view: what is wrong, the figures at a glance, who is there, and what runs where.

// Whether a member's state is the same as ours. Under writes two members are never equal for long; that they were a moment
// ago is as good. Only a difference that lasts is worth a colour.
const APART_MS = 5000;
const apart = (peer) => !peer || (!peer.root_equal && (peer.last_sync_ms == null || peer.last_sync_ms > APART_MS)) ? "warn" : "good";
const stateWord = (peer) => peer?.root_equal ? "equal" : peer?.last_sync_ms == null ? "unheard" : apart(peer) === "warn" ? "differs" : "in step";
const nodeState = (status) => ({ alive: "good", suspect: "warn", draining: "busy", stopping: "busy", unknown: "warn" })[status] ?? "bad";
const linkState = (link) => ({ connected: "good", refused: "bad" })[link] ?? "warn";
const phaseState = (phase) => ({ ready: "good", failed: "bad", suspect: "warn" })[phase] ?? "busy";

const memberState = (node) => isUnwell(node) ? "warn" : nodeState(node.status);

// Members, and those whom only their link has told of, as in the first second.
const everybody = (status, nodes) => {
  const known = new Set(nodes.map((node) => node.id));
  const all = [...nodes, ...status.peers.filter((peer) => !known.has(peer.node))
    .map((peer) => ({ id: peer.node, name: peer.name, region: "", status: peer.status || "unknown", capabilities: [] }))];
  // Who is not well comes first.
  const rank = (node) => ({ bad: 0, warn: 1, busy: 2, good: 3 })[memberState(node)];
  return all.sort((a, b) => rank(a) - rank(b));
};

const figure = (name, value, note, { state, picture, href } = {}) => h("div", null,
  h("dt", null, href ? h("a", { href }, name) : name), h("dd", { "data-state": state }, value), h("dd", null, note), picture);

const figures = ({ status, nodes, history, rates }) => {
  const { cluster, state } = status;
  const gone = new Set(nodes.filter((node) => node.status === "lost" || node.status === "left").map((node) => node.id));
  const live = status.peers.filter((peer) => !gone.has(peer.node));
  const unequal = live.filter((peer) => !peer.root_equal), late = unequal.filter((peer) => apart(peer) === "warn");
  const lag = Math.max(0, ...unequal.map((peer) => peer.lag_commits ?? 0)), roots = live.length + 1;
  // Nobody knows what they hold, so "converged" is not said.
  const lost = nodes.filter((node) => node.status === "lost").length, equal = `${roots - unequal.length} of ${roots + lost} equal`;
  const convergence = late.length ? [equal, `${count(lag, "commit")} apart`, "warn"]
    : lost ? [equal, `${count(lost, "lost member")} awaited`, "warn"]
    : roots === 1 ? ["alone", "nobody to compare with"]
    : unequal.length ? ["in step", `${count(lag, "commit")} on the way`] : ["converged", count(roots, "equal root")];
  const recent = status.workloads.map((workload) => workload.recent);
  const calls = recent.reduce((sum, one) => sum + one.calls, 0), errors = recent.reduce((sum, one) => sum + one.errors, 0);
  const lately = `in ${about(Math.max(1, ...recent.map((one) => one.window_s)))}`;
  return [
    figure("cluster", `${cluster.alive} of ${cluster.members}`, "members alive", { state: cluster.alive < cluster.members ? "warn" : null }),
    figure("convergence", convergence[0], convergence[1], { state: convergence[2] }),
    figure("calls per second", rate(rates.calls), calls ? `${errors ? whole(errors) : "none"} failed ${lately}` : "nobody calls",
      { picture: spark(history.calls) }),
    figure("commits per second", rate(rates.commits), `${whole(state.commits)} applied`, { picture: spark(history.commits) }),
    figure("state", bytes(state.bytes), `in ${count(state.keys, "key")}`, { href: "#keys/", picture: spark(history.bytes) }),
    figure("garbage", whole(state.garbage), "kept until all have seen", { picture: spark(history.garbage) }),
  ];
};

const memberRows = ({ status, nodes }) => {
  const peers = new Map(status.peers.map((peer) => [peer.node, peer]));
  const runs = new Map();
  for (const { instances } of status.workloads) for (const { node } of instances) runs.set(node, (runs.get(node) ?? 0) + 1);
  return everybody(status, nodes).map((node) => {
    const self = node.id === status.node.id, peer = peers.get(node.id), link = peer?.link?.state || "none";
    // What somebody holds who is gone is the past.
    const silent = self || node.status === "lost" || node.status === "left";
    return [
      nodeLink(node.id, node.name),
      mark(memberState(node), `${node.status}${isUnwell(node) ? ", not well" : ""}${self ? ", this host" : ""}`),
      self ? NONE : mark(linkState(link), link),
      node.region || NONE,
      self ? NONE : millis(peer?.rtt_ms),
      silent ? NONE : mark(apart(peer), stateWord(peer)),
      silent || peer?.lag_commits == null ? NONE : whole(peer.lag_commits),
      self ? NONE : ago(peer?.last_sync_ms),
      percent(node.load),
      node.resources ? bytes(node.resources.memory_free_bytes) : NONE,
      whole(runs.get(node.id) ?? 0),
    ];
  });
};

// Where instances are; a host that has nothing to say but that it is ready is only named.
const PLACES_MAX = 12;
const rolloutPlace = (rollout, names) => {
  const words = rollout && rolloutWords(rollout, names);
  return words && h("p", { class: "mark", "data-state": rolloutState(rollout.stage) }, words);
};
const places = (workload, names) => {
  const order = { failed: 0, pending: 1, starting: 2, stopping: 3, suspect: 4, ready: 5 };
  const sorted = [...workload.instances].sort((a, b) => order[a.phase] - order[b.phase]);
  const place = ({ node, phase, reason }) => h("li", null, mark(phaseState(phase), nodeLink(node, names.get(node))),
    phase === "ready" ? h("span", { class: "hidden" }, " ready") : ` ${phase}`, reason && `: ${reason}`);
  const why = now.whys.get(workload.name);
  return [
    rolloutPlace(workload.rollout, names),
    sorted.length === 0 ? h("p", null, "nowhere") : h("ul", { class: "places" }, sorted.slice(0, PLACES_MAX).map(place),
      sorted.length > PLACES_MAX && h("li", null, h("a", { href: `#workload/${encodeURIComponent(workload.name)}` }, `and ${sorted.length - PLACES_MAX} more`))),
    why && h("p", { class: "why" }, why),
  ];
};
const readyOf = (workload) => workload.instances.filter((instance) => instance.phase === "ready").length;
// What is not well comes first.
const ranked = (workloads, short) => {
  const rank = (workload) => ({ ...BADNESS, good: 3 })[workloadState(workload, short)];
  return [...workloads].sort((a, b) => rank(a) - rank(b));
};

const workloadRows = ({ status, rates, names }) => ranked(status.workloads, shortOf(status)).map((workload) => {
  const { recent } = workload, ready = readyOf(workload);
  const latency = (us) => recent.calls ? micros(us) : NONE;
  return [
    workloadLink(workload.name),
    mark(workloadState(workload, shortOf(status)), `${ready} of ${workload.replicas}`),
    places(workload, names),
    whole(recent.calls),
    rate(rates.workloads.get(workload.name)),
    recent.errors ? mark("warn", whole(recent.errors)) : "0",
    latency(recent.latency_us.p50), latency(recent.latency_us.p99), latency(recent.latency_us.p999), latency(recent.latency_us.max),
    histogramSmall(workload.latency_buckets ?? []),
  ];
});

const fillTable = (id, rows, empty) => {
  const heads = [...$(id).tHead.rows[0].cells].map((cell) => [cell.textContent, cell.className || null]);
  morphChildren($(id).tBodies[0], rows.length ? rows.map((cells) => row(heads, cells)) : [h("tr", null, h("td", { colspan: heads.length, class: "empty" }, empty))]);
};

const overview = (now) => {
  show("figures", figures(now));
  const scale = parseFloat(getComputedStyle(document.body).fontSize) / 14;
  show("mesh", mesh(now.status, now.nodes, $("mesh").clientWidth / scale));
  fillTable("members", memberRows(now));
  fillTable("workloads", workloadRows(now), "Nothing is deployed. selvedge deploy FILE.wasm --name NAME does that.");
};
