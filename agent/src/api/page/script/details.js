// The views of one member, one workload, and the state. Each reads what it needs beyond the first view, and gives a heading
// and what stands below it.
const read = async (path) => {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(READ_MS) });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
};
const READ_MS = 5000;

const section = (title, ...content) => h("section", { class: "part" }, h("h3", null, title), ...content);
const missing = (what) => [h("p", null, what)];

const nodeView = async (id) => {
  const detail = await read(`/v1/nodes/${encodeURIComponent(id)}`);
  return (now) => {
    const { status, nodes, names, events } = now;
    const node = everybody(status, nodes).find((other) => other.id === id) ?? detail;
    if (!node) return ["Member", missing(`There is no member ${id}.`)];
    const self = id === status.node.id, peer = status.peers.find((other) => other.node === id);
    const link = peer?.link, traffic = link?.traffic, have = node.resources;
    const here = status.workloads.flatMap((workload) => workload.instances.filter((instance) => instance.node === id)
      .map(({ phase, reason }) => [workloadLink(workload.name), mark(phaseState(phase), phase), reason || NONE]));
    const trips = Object.entries(detail?.round_trips_ms ?? {}).sort(([, a], [, b]) => a - b)
      .map(([other, ms]) => [nodeLink(other, names.get(other)), millis(ms)]);
    const drops = Object.entries(traffic?.drops ?? {}).map(([reason, n]) => `${reason} ${whole(n)}`).join(", ");
    return [`Member ${node.name || short(id)}`, [
      h("div", { class: "columns" },
        section("Host", facts([
          ["status", mark(memberState(node), self ? `${node.status}, this host` : node.status)],
          isUnwell(node) && node.ailment && ["not well", node.ailment],
          ["region", node.region || NONE],
          node.location && ["location", `${node.location.lat}, ${node.location.lon}`],
          ["capabilities", node.capabilities?.join(", ") || NONE],
          ["load", percent(node.load)],
          have && ["processors", String(have.cpus)],
          have && ["free memory", `${bytes(have.memory_free_bytes)} of ${bytes(have.memory_bytes)}`],
          have && ["free disk", bytes(have.disk_free_bytes)],
          ["version", detail?.release || NONE],
          ["said so", ago(detail?.age_ms)],
          ["id", h("code", null, id)],
          detail?.addresses.length ? ["addresses", h("ul", { class: "plain" }, detail.addresses.map((address) => h("li", null, h("code", null, address))))] : null,
        ])),
        self ? section("State", facts([
          ["root", h("code", null, status.state.root)], ["keys", whole(status.state.keys)], ["commits", whole(status.state.commits)],
          ["incarnation", h("code", null, String(status.node.incarnation))], ["membership epoch", whole(status.cluster.epoch)],
          ["certificate", status.cluster.certificate_seconds_left == null ? "none" : `for ${span(status.cluster.certificate_seconds_left)}`],
        ])) : section("Link from this host", facts([
          ["state", mark(linkState(link?.state), link?.state || "none")],
          link?.reason && ["reason", link.reason],
          link?.next_try_ms != null && ["next try", `in ${millis(link.next_try_ms)}`],
          ["round trip", millis(peer?.rtt_ms)],
          traffic && ["transport", `${traffic.transport}, for ${span(traffic.connected_s)}`],
          traffic && ["remote", h("code", null, traffic.remote)],
          traffic && ["in and out", `${bytes(traffic.bytes_in)}, ${bytes(traffic.bytes_out)}`],
          traffic && ["waiting", `${count(traffic.queued_hints, "hint")}, ${bytes(traffic.queued_bytes)}`],
          traffic && ["conduct", `${traffic.score} of 100`],
          traffic && ["dropped", drops || "nothing"],
          ["state root", mark(apart(peer), stateWord(peer))],
          ["commits apart", peer?.lag_commits == null ? NONE : whole(peer.lag_commits)],
          ["last equal", ago(peer?.last_sync_ms)],
          detail?.unseen && ["may not have seen", detail.unseen.keys.map((key, at) => [at ? ", " : "", keyLink(key)]), detail.unseen.more && " and more"],
        ]))),
      h("div", { class: "columns" },
        table("runs", "Runs", [["workload"], ["phase"], ["reason", "wrap"]], here),
        table("trips", "Round trips that it measured", [["member"], ["round trip", "n"]], trips)),
      section("Events", eventList(events.filter((event) => event.node === id).slice(0, 20), names)),
    ]];
  };
};

const inputWords = (inputs) => [
  inputs.round_trip_ms == null ? NONE : `${millis(inputs.round_trip_ms)} of ${millis(inputs.round_trip_limit_ms)}`,
  whole(inputs.callers ?? 0), percent(inputs.cpu_used_share), percent(inputs.memory_left_share), percent(inputs.load),
  inputs.rules ? `${inputs.rules_held} of ${inputs.rules}` : NONE, ago(inputs.age_ms), inputs.doubted ? "doubted" : percent(inputs.freshness),
];
const scored = (explanation) => {
  const { candidates, weights } = explanation;
  const rows = candidates.map((candidate) => [
    nodeLink(candidate.node, candidate.name),
    candidate.chosen ? mark("good", "chosen") : NONE,
    candidate.inputs?.phase || NONE,
    scoreBar(candidate.terms, weights),
    candidate.score.toFixed(3),
    ...TERMS.map((name) => candidate.terms[name]?.toFixed(2) ?? NONE),
  ]);
  const heads = [["host"], ["choice"], ["phase"], ["score by term", "bar"], ["score", "n"],
    ...TERMS.map((name) => [h("span", { class: `key ${name}` }, `${name} × ${+(weights[name] ?? 0).toFixed(2)}`), "n"])];
  const inputs = candidates.filter((candidate) => candidate.inputs).map((candidate) => [nodeLink(candidate.node, candidate.name), ...inputWords(candidate.inputs)]);
  return [
    candidates.length === 0 ? section("Why there", h("p", null, "No host may run it.")) : table("scores", "Why there: the score of every host", heads, rows),
    explanation.rejected.length > 0 && table("rejected", "Rejected before scoring", [["host"], ["reason", "wrap"]],
      explanation.rejected.map(({ node, name, message }) => [nodeLink(node, name), message])),
    inputs.length > 0 && table("inputs", "What the scores come from", [["host"], ["round trip of limit", "n"], ["callers", "n"], ["processor used", "n"],
      ["memory left", "n"], ["load", "n"], ["rules held", "n"], ["age", "n"], ["trust", "n"]], inputs),
  ];
};

const nodeLinks = (nodes, names) => nodes.flatMap((node, place) => [place ? ", " : "", nodeLink(node, names.get(node))]);

// A rollout that is over says nothing of instances that failed since.
const rolloutFacts = (rollout, isShort, names) => !rollout ? [] : [
  ["rollout", rollout.stage === "done" ? mark(isShort ? "warn" : "good", isShort ? "complete, yet too few instances are ready" : "complete")
    : mark(rolloutState(rollout.stage), rolloutWords(rollout, names) ?? rollout.stage.replace("_", " "))],
  rollout.canary && ["tried first on", nodeLink(rollout.canary, names.get(rollout.canary))],
  rollout.behind?.length > 0 && ["not waited for", ...nodeLinks(rollout.behind, names)],
  rollout.old_on?.length > 0 && ["still have the old version", ...nodeLinks(rollout.old_on, names)],
  rollout.deployed_by && ["deployed by", nodeLink(rollout.deployed_by, names.get(rollout.deployed_by)), rollout.deployed_at_ms != null && `, ${clock(rollout.deployed_at_ms)}`],
  rollout.previous && ["goes back to", h("code", null, rollout.previous)],
];

const workloadView = async (name) => {
  const path = `/v1/workloads/${encodeURIComponent(name)}`;
  const [workload, explanation] = await Promise.all([read(path), read(`${path}/placement`)]);
  return (now) => {
    const status = now.status.workloads.find((other) => other.name === name);
    if (!status) return ["Workload", missing(`Nobody has deployed a workload ${name}.`)];
    const ready = readyOf(status), { recent } = status;
    const { name: _, status: __, ...spec } = workload ?? {};
    const instances = status.instances.map(({ node, phase, reason }) => [nodeLink(node, now.names.get(node)), mark(phaseState(phase), phase), reason || NONE]);
    const buckets = status.latency_buckets ?? [];
    return [`Workload ${name}`, [
      h("div", { class: "columns" },
        section("Now", facts([
          ["ready", mark(workloadState(status, shortOf(now.status)), `${ready} of ${status.replicas}`)],
          explanation?.why && ["why there", explanation.why],
          ...rolloutFacts(status.rollout, ["bad", "warn"].includes(workloadState(status, shortOf(now.status))), now.names),
          ["calls per second", rate(now.rates.workloads.get(name))],
          [`calls in ${about(Math.max(1, recent.window_s))}`, recent.calls ? `${whole(recent.calls)}, p50 ${micros(recent.latency_us.p50)}, p99 ${micros(recent.latency_us.p99)}` : "none"],
          ["of them failed", recent.errors ? mark("warn", whole(recent.errors)) : "none"],
          ["calls since the start", `${whole(status.calls)}, ${status.errors ? whole(status.errors) : "none"} failed, ${status.refused ? whole(status.refused) : "none"} refused as mistaken`],
          status.last_start && ["last start here", `${millis(status.last_start.total_ms)}: ${status.last_start.stages.map(({ stage, ms }) => `${stage} ${millis(ms)}`).join(", ")}`,
            status.last_start.error && `; ${status.last_start.error}`],
          explanation?.partition && ["when cut off", explanation.partition],
          explanation?.moves?.length ? ["moves ahead", explanation.moves.map(({ from, to, gain }) => `${now.names.get(from) ?? short(from)} → ${now.names.get(to) ?? short(to)}, better by ${gain.toFixed(2)}`).join("; ")] : null,
          ["revision", h("code", null, status.revision)],
          ["artefact", h("code", null, status.digest)],
        ])),
        section("Latency on this host, since it started", buckets.length ? histogram(buckets, status.latency_us) : h("p", { class: "quiet" }, "No calls came in here."))),
      explanation && scored(explanation),
      h("div", { class: "columns" },
        table("instances", "Instances", [["host"], ["phase"], ["reason", "wrap"]], instances),
        section("Spec", h("pre", { tabindex: "0" }, JSON.stringify(spec, null, 2)))),
      section("Events", eventList(now.events.filter((event) => event.workload === name).slice(0, 20), now.names)),
    ]];
  };
};

// A value of any of the types: a number, members of a set, fields of a map.
const MEMBERS_SHOWN = 500;
const plain = (value) => typeof value === "string" ? value : JSON.stringify(value);
const valueOf = (value) => {
  if (Array.isArray(value)) return section(count(value.length, "member"),
    h("ul", { class: "values" }, value.slice(0, MEMBERS_SHOWN).map((member) => h("li", null, h("code", null, plain(member))))));
  if (value && typeof value === "object") return table("fields", count(Object.keys(value).length, "field"), [["field"], ["value", "wrap"]],
    Object.entries(value).slice(0, MEMBERS_SHOWN).map(([field, held]) => [field, h("code", null, plain(held))]));
  return section("Value", h("p", { class: "large" }, typeof value === "number" ? whole(value) : plain(value)));
};
// A replica begins a life with the time of day as its number.
const lifeWords = (life) => life > 1e12 ? `since ${clock(Number(life))}` : life;
const keyView = async (key) => {
  const entry = await read(`/v1/state/${key.split("/").map(encodeURIComponent).join("/")}`);
  return ({ status, names }) => entry == null ? [`Key ${key}`, missing("Nobody has written this key, or it has been emptied and forgotten.")] : [`Key ${key}`, [
    valueOf(entry.value),
    h("div", { class: "columns" },
      section("As this host holds it", facts([
        ["read on", nodeLink(status.node.id, status.node.name)],
        ["type", key.split("/")[0]],
        ["root of the state", h("code", null, entry.root)],
      ])),
      table("writers", h("span", null, "Up to date with ", h("small", null, "commits of any key that this host had applied when it read this one")),
        [["writer"], ["life"], ["up to its commit", "n"]], Object.entries(entry.clock).map(([replica, seq]) => {
          const [node, life] = replica.split(".");
          return [nodeLink(node, names.get(node)), lifeWords(life), whole(seq)];
        }))),
    h("p", null, h("a", { href: `#keys/${encodeURIComponent(key.split(":")[0])}` }, "Keys beside it")),
  ]];
};

const KEYS_SHOWN = 200;
const keysView = async (prefix) => {
  const page = await read(`/v1/state?limit=${KEYS_SHOWN}&prefix=${encodeURIComponent(prefix)}`);
  return ({ status }) => ["State", [
    h("form", { class: "search", "data-search": "#keys/" },
      h("label", { for: "prefix" }, "Keys that begin with"),
      h("input", { id: "prefix", name: "prefix", value: prefix, autocomplete: "off", spellcheck: "false", placeholder: "gcounter/" }),
      h("button", null, "List")),
    table("keys", `${page.keys.length}${page.next ? " and more" : ""} of ${count(status.state.keys, "key")}`, [["key"], ["type"]],
      page.keys.map(({ key, type }) => [keyLink(key), type])),
    page.next && h("p", { class: "quiet" }, "A longer prefix shows the rest."),
  ]];
};

const VIEWS = { node: nodeView, workload: workloadView, key: keyView, keys: keysView };
