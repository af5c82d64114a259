// What happens, in sentences. The latest stands first.
const EVENTS_MAX = 200;
const KINDS = $("main").dataset.kinds;

const eventState = ({ kind, status, change, phase, stage }) => kind === "fraud" ? "bad"
  : kind === "member" ? { joined: "good", refuted: "good", returned: "good", lost: "bad" }[status] ?? "warn"
  : kind === "link" ? { up: "good", refused: "bad", two_holders: "bad" }[change] ?? "warn"
  : kind === "placement" ? phaseState(phase)
  : kind === "decision" ? { ready: "good", claimed: "good", failed: "bad", given_up: "bad" }[change] ?? "busy"
  : kind === "rollout" ? { completed: "good", promoted: "good", deployed: "good", rolled_back: "bad", nowhere: "bad" }[stage] ?? "busy" : "warn";

const eventWords = (event, names) => {
  const node = () => nodeLink(event.node, names.get(event.node) ?? event.name);
  const why = event.reason ? h("span", { class: "quiet" }, ` ${event.reason}`) : null;
  const member = { joined: "joined", suspect: "does not answer", refuted: "answers again", lost: "is lost", returned: "is back", left: "has left", retired: "was retired" };
  const link = { up: "is up", down: "is down", slowed: "is slowed for its conduct:", refused: "is refused for its conduct:", two_holders: "shows two holders of one key:" };
  switch (event.kind) {
    case "member": return [node(), ` ${member[event.status] ?? event.status}`];
    case "link": return ["link to ", node(), ` ${link[event.change] ?? event.change}`, why];
    case "fraud": return [node(), ` gave one name to two commits (${event.seq}): what it writes is not taken any more`];
    case "placement": return [workloadLink(event.workload), ` ${event.phase} on `, node(), why];
    case "decision": return [workloadLink(event.workload), ` ${event.change.replace("_", " ")} on `, node(),
      event.from && event.to && [": from ", nodeLink(event.from, names.get(event.from)), " to ", nodeLink(event.to, names.get(event.to))], why];
    case "rollout": return [workloadLink(event.workload), ` ${event.stage.replace("_", " ")}`, event.node && [" on ", node()], why];
    default: return [event.kind];
  }
};

const eventItem = (event, names) => h("li", null, h("time", { datetime: new Date(event.at_ms).toISOString() }, clock(event.at_ms)),
  h("span", null, mark(eventState(event)), eventWords(event, names)));
// A start tells of each of its steps; the first of them is enough.
const withoutRepeats = (events) => events.filter((event, at) => {
  // Placements tell these steps too, of every host.
  if (event.kind === "decision") return !["started", "ready", "failed", "stopped"].includes(event.change);
  if (event.kind !== "placement" || event.reason) return true;
  const earlier = events.slice(at + 1).find((other) => other.kind === "placement" && other.workload === event.workload && other.node === event.node);
  return earlier?.phase !== event.phase || earlier.digest !== event.digest;
});
const eventList = (events, names) => events.length ? h("ol", { class: "events" }, withoutRepeats(events).map((event) => eventItem(event, names)))
  : h("p", { class: "quiet" }, "Nothing since this agent started.");
