// How a deployment goes on, in a few words. `workloads.rs` writes the same where there is no JavaScript.
const rolloutState = (stage) => ({ done: "good", nowhere: "bad", fenced: "bad", rolled_back: "warn" })[stage] ?? "busy";

const canaryWords = ({ canary, calls, calls_wanted, remaining_ms, latest_ms, canary_p99_us, old_p99_us }, names) => {
  const waits = remaining_ms === 0 && calls < calls_wanted;
  const p99 = canary_p99_us == null ? "" : `, p99 ${micros(canary_p99_us)} beside ${micros(old_p99_us)} of the old one`;
  const left = waits ? `at the latest in ${span(Math.ceil(latest_ms / 1000))}` : `${span(Math.ceil(remaining_ms / 1000))} to go`;
  return `${names.get(canary) || short(canary)} tries the new version: ${whole(calls)} of ${whole(calls_wanted ?? 0)} calls${p99}, ${left}`;
};
const rolloutWords = (rollout, names) => {
  const of = (nodes) => (nodes ?? []).map((node) => names.get(node) || short(node)).join(", "), why = rollout.reason ? `: ${rollout.reason}` : "";
  switch (rollout.stage) {
    case "pending": return "the new version has not begun";
    case "canary": return canaryWords(rollout, names);
    case "following": return `the others follow: ${rollout.done} of ${rollout.of} serve the new version${rollout.behind?.length ? `; not waiting for ${of(rollout.behind)}` : ""}`;
    case "switching": return `the old version stops first: ${count(rollout.old, "instance")} to go${rollout.old_on?.length ? `, on ${of(rollout.old_on)}` : ""}`;
    case "nowhere": return "no host may run the new version";
    case "fenced": return `does not run${why}`;
    case "rolled_back": return `the new version was rolled back${why}`;
    default: return null;
  }
};
