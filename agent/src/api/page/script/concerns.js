// What is not as it should be, in sentences: what this host complains of, and what it sees of others and of workloads.
// `concerns.rs` writes the same where there is no JavaScript; who changes one changes the other.
const NAMED_IN_ONE = 3, CONCERNS_SHOWN = 8;

// About whom (links), what, and how bad: `bad` keeps somebody from working, `warn` wants a look, `busy` is meant to be so or passes.
const concern = (state, about, text) => ({ state, about, text });
const nodeOf = (node) => nodeLink(node.id, node.name || "a member");

const fate = (state, nodes, one, many) => {
  if (nodes.length === 0) return null;
  const more = nodes.length - NAMED_IN_ONE, about = nodes.slice(0, NAMED_IN_ONE).map(nodeOf);
  return concern(state, about, `${more > 0 ? `and ${more} more ` : ""}${nodes.length === 1 ? one : many}`);
};

// Which workloads lack instances, as the agent notes it once that lasts: "`combat` has 1 of 2 instances ready, for 42s now: …". What
// runs on each host that may is complete with fewer than there are members.
const SHORT_NOTE = /^`([^`]+)` (has .* instances ready.*)$/s, MORE_NOTED = " more workloads have too few instances ready";
const shortOf = ({ health }) => {
  const notes = health.notes ?? [], told = new Map(notes.map((note) => SHORT_NOTE.exec(note)).filter(Boolean).map(([, name, text]) => [name, text]));
  return { told, more: notes.some((note) => note.endsWith(MORE_NOTED)), others: notes.filter((note) => !SHORT_NOTE.test(note) && !note.endsWith(MORE_NOTED)) };
};
const workloadState = (workload, short) => {
  const ready = readyOf(workload), is = (...phases) => workload.instances.some(({ phase }) => phases.includes(phase));
  if (is("failed")) return "bad";
  if (ready >= workload.replicas) return "good";
  if (short.told.has(workload.name)) return ready === 0 ? "bad" : "warn";
  if (is("pending", "starting")) return "busy";
  return ready === 0 ? "bad" : short.more ? "warn" : "good";
};
const workloadTrouble = (workload, names, short) => {
  const { name, instances, replicas } = workload, ready = readyOf(workload), about = [workloadLink(name)], state = workloadState(workload, short);
  const failed = instances.find((instance) => instance.phase === "failed");
  if (failed) return concern(ready === 0 ? "bad" : "warn", about, `failed on ${names.get(failed.node) || "a member"}${failed.reason ? `: ${failed.reason}` : ""}`);
  if (state === "good") return null;
  return concern(state, about, short.told.get(name) ?? `is ready on ${ready} of ${replicas}${state === "busy" ? ", and starting" : ""}`);
};

// What became of a version, until another is deployed.
const rolloutTrouble = ({ name, rollout }) => {
  const why = rollout?.reason ? `: ${rollout.reason}` : "", about = [workloadLink(name)];
  switch (rollout?.stage) {
    case "rolled_back": return concern("warn", about, `was rolled back to the version before${why}`);
    case "nowhere": return concern("bad", about, "may not run on any host at present");
    case "fenced": return concern("bad", about, `does not run${why}`);
    default: return null;
  }
};

// Whether a member that is there calls itself unwell.
const isUnwell = (node) => node.healthy === false && node.status !== "lost" && node.status !== "left";

// One with its reason, several by name.
const unwell = (nodes, self) => {
  const found = nodes.filter((node) => node.id !== self && isUnwell(node));
  return fate("warn", found, `is not well: ${found[0]?.ailment ?? "ask it"}`, "are not well: ask them");
};

const BADNESS = { bad: 0, warn: 1, busy: 2 };
const concerns = ({ status, nodes, names }) => {
  const self = status.node.id, of = (state) => nodes.filter((node) => node.status === state && node.id !== self);
  const alive = new Set(of("alive").map((node) => node.id)), short = shortOf(status);
  const links = status.peers.filter((peer) => alive.has(peer.node) && ["resting", "refused"].includes(peer.link.state));
  return [
    ...status.health.reasons.map((reason) => concern("bad", [], reason)),
    fate("bad", of("lost"), "is lost", "are lost"), fate("warn", of("suspect"), "does not answer", "do not answer"),
    unwell(nodes, self),
    ...links.map((peer) => concern("warn", [nodeLink(peer.node, peer.name)], `has no link to this host: ${peer.link.reason ?? peer.link.state}`)),
    ...status.workloads.flatMap((workload) => [workloadTrouble(workload, names, short), rolloutTrouble(workload)]),
    fate("busy", of("draining"), "is being drained", "are being drained"), fate("busy", of("stopping"), "is stopping", "are stopping"),
    ...short.others.map((note) => concern("busy", [], note)),
  ].filter(Boolean).sort((a, b) => BADNESS[a.state] - BADNESS[b.state]);
};

const verdict = (health, found) => {
  const faults = found.filter(({ state }) => state !== "busy").length;
  return !health.ok ? "This host is not well." : faults === 0 ? "All is well."
    : `This host is well. ${faults === 1 ? "One thing in the mesh wants" : `${faults} things in the mesh want`} a look.`;
};

const showHealth = (now) => {
  const { health } = now.status, found = concerns(now), told = verdict(health, found), worst = health.ok ? found[0]?.state : "bad";
  const shade = worst === "bad" || worst === "warn" ? worst : "good";
  $("health").dataset.state = shade;
  const item = ({ state, about, text }) => h("li", { "data-state": state },
    about.flatMap((link, at) => [at ? ", " : "", h("b", null, link)]), about.length > 0 && " ", h("span", null, text));
  const rest = found.slice(CONCERNS_SHOWN);
  show("health", h("p", null, told), found.length > 0 && h("ul", null, found.slice(0, CONCERNS_SHOWN).map(item)),
    rest.length > 0 && h("details", null, h("summary", null, `and ${rest.length} more`), h("ul", null, rest.map(item))));
  const icon = $("icon"), colour = { good: "5068b8", warn: "c98a00", bad: "d0352b" }[shade];
  if (!icon.href.endsWith(`%23${colour}'/%3E%3C/svg%3E`)) icon.href = icon.href.replace(/[0-9a-f]{6}('\/%3E%3C\/svg%3E)$/, `${colour}$1`);
  announce([told, ...found.map(({ about, text }) => [...about.map((link) => link.textContent), text].join(" "))].join(" "));
};

// Told to screen readers when what is wrong changes, not when a figure in it does.
let said = "";
const announce = (text) => {
  const gist = text.replace(/[\d.:]+\s*(ms|min|s|m|h|d|µs)?/g, "");
  if (gist !== said) { said = gist; $("said").textContent = text; }
};
