// What is not as it should be, in sentences: what this host complains of, and what it sees of others and of workloads.
// `concerns.rs` writes the same where there is no JavaScript; who changes one changes the other.
const CONCERNED_MAX = 3;

const fate = (names, one, many) => {
  const first = names.slice(0, CONCERNED_MAX).join(", "), more = names.length - CONCERNED_MAX;
  return names.length === 0 ? null : names.length === 1 ? `${first} ${one}` : more <= 0 ? `${first} ${many}` : `${names.length} members ${many}: ${first} and ${more} more`;
};

const workloadTrouble = ({ name, instances, replicas }, names) => {
  const failed = instances.find((instance) => instance.phase === "failed"), ready = instances.filter((instance) => instance.phase === "ready").length;
  if (failed) return `${name} failed on ${names.get(failed.node) ?? "a member"}${failed.reason ? `: ${failed.reason}` : ""}`;
  return ready < replicas ? `${name} is ready on ${ready} of ${replicas}` : null;
};

// What became of a version, until another is deployed.
const rolloutTrouble = ({ name, rollout }) =>
  rollout?.stage === "rolled_back" ? `the new version of ${name} was rolled back${rollout.reason ? `: ${rollout.reason}` : ""}`
    : rollout?.stage === "nowhere" ? `no host may run ${name} at present` : null;

// Whether a member that is there calls itself unwell.
const isUnwell = (node) => node.healthy === false && node.status !== "lost" && node.status !== "left";

// One with its reason, several by name.
const unwell = (nodes, self) => {
  const found = nodes.filter((node) => node.id !== self && isUnwell(node)), of = (node) => node.name || "a member";
  if (found.length === 0) return null;
  if (found.length === 1) return `${of(found[0])} is not well: ${found[0].ailment ?? "ask it"}`;
  const more = found.length - CONCERNED_MAX;
  return `${found.slice(0, CONCERNED_MAX).map(of).join(", ")}${more > 0 ? ` and ${more} more` : ""} are not well: ask them`;
};

const concerns = ({ status, nodes, names }) => {
  const of = (state) => nodes.filter((node) => node.status === state).map((node) => node.name || "a member");
  const alive = new Set(nodes.filter((node) => node.status === "alive").map((node) => node.id));
  const links = status.peers.filter((peer) => alive.has(peer.node) && ["resting", "refused"].includes(peer.link.state));
  return [
    fate(of("lost"), "is lost", "are lost"), fate(of("suspect"), "does not answer", "do not answer"), fate(of("draining"), "is being drained", "are being drained"),
    fate(of("stopping"), "is stopping", "are stopping"),
    unwell(nodes, status.node.id),
    ...links.map((peer) => `no link to ${peer.name}: ${peer.link.reason ?? peer.link.state}`),
    ...status.workloads.flatMap((workload) => [workloadTrouble(workload, names), rolloutTrouble(workload)]),
  ].filter(Boolean);
};

const showHealth = (now) => {
  const { ok, reasons } = now.status.health, found = concerns(now), own = !ok ? reasons : [found.length ? "This host is well." : "All is well."];
  $("health").dataset.state = !ok ? "bad" : found.length ? "warn" : "good";
  const item = (state) => (text) => h("li", { "data-state": state }, text);
  show("health", h("ul", null, own.map(item(ok ? "good" : "bad")), found.map(item("warn"))));
  announce([...own, ...found].join(" "));
};

// Told to screen readers when what is wrong changes, not when a figure in it does.
let said = "";
const announce = (text) => {
  const gist = text.replace(/[\d.:]+\s*(ms|s|m|h|µs)?/g, "");
  if (gist !== said) { said = gist; $("said").textContent = text; }
};
