// The world `kills` in JavaScript: counts kills in counters that all hosts share.

import { Gcounter, Lwwmap } from "selvedge:workload/state@0.1.0";
import { write } from "selvedge:workload/log@0.1.0";
import { now } from "selvedge:workload/clock@0.1.0";
import { next } from "selvedge:workload/random@0.1.0";
import { get } from "selvedge:workload/config@0.1.0";
import { invalid } from "selvedge:workload/fault@0.1.0";

export function count(kills) {
  const banned = get("banned-weapon") ?? "";
  return kills.map((kill, index) => {
    if (kill.weapon === banned) {
      write("info", `kill ${index} is by a weapon that is banned`);
      invalid(`kills[${index}].weapon`, "is banned here");
    }
    const counter = new Gcounter(`kills:${kill.killer}`);
    counter.increment(1n);
    const last = new Lwwmap(`death:${kill.victim}`);
    last.put([
      ["by", { tag: "integer", val: kill.killer }],
      ["weapon", { tag: "text", val: kill.weapon }],
      ["at_ms", { tag: "integer", val: now().millis }],
    ]);
    return { player: kill.killer, kills: counter.value(), luck: next() };
  });
}
