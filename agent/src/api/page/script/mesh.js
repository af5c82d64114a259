// The mesh as this host sees it: itself in the middle, every member at a distance that grows with the logarithm of its round
// trip, neighbours by region. Who is not connected stands outside.
// Pixels beside the picture for names, and pixels above and below it; how many members are named.
const NAMES = 110, MARGIN = 26, NAMED_MAX = 24;

const meshMember = (node, peer, self) => {
  const gone = node.status === "lost" || node.status === "left", link = peer?.link?.state || "none";
  const connected = (link === "connected" || link === "slowed") && !gone;
  const state = gone || link === "refused" ? "bad" : node.status !== "alive" || !connected || apart(peer) === "warn" ? "warn" : "good";
  return { id: node.id, name: node.name || short(node.id), region: node.region, self, connected, state, rtt: connected ? peer.rtt_ms : null,
    words: [node.status, connected ? millis(peer.rtt_ms) : link === "none" ? "no link" : link] };
};

const mesh = (status, nodes, width) => {
  const peers = new Map(status.peers.map((peer) => [peer.node, peer]));
  const members = everybody(status, nodes).map((node) => meshMember(node, peers.get(node.id), node.id === status.node.id));
  const others = members.filter((member) => !member.self)
    .sort((a, b) => a.region.localeCompare(b.region) || a.name.localeCompare(b.name, undefined, { numeric: true }));
  // Few members need little room, and many none for names.
  const HIGH = others.length <= 6 ? 300 : others.length <= NAMED_MAX ? 380 : 420;
  const WIDE = Math.min(860, Math.max(320, width));
  const OUTSIDE = HIGH / 2 - MARGIN, OUTER = OUTSIDE - 20, INNER = OUTER * 0.4;
  const FLAT = Math.min(2, Math.max(0.7, (WIDE / 2 - NAMES) / OUTSIDE));
  const trips = others.map((member) => member.rtt).filter((ms) => ms > 0);
  const decade = (round, ms) => Number.isFinite(ms) ? round(Math.log10(ms)) : 0;
  const low = decade(Math.floor, Math.min(...trips)), high = Math.max(low + 1, decade(Math.ceil, Math.max(...trips)));
  const reach = (ms) => INNER + Math.min(1, Math.max(0, (Math.log10(ms) - low) / (high - low))) * (OUTER - INNER);
  const at = (radius, angle) => [WIDE / 2 + radius * FLAT * Math.cos(angle), HIGH / 2 + radius * Math.sin(angle)];

  const rings = Array.from({ length: high - low + 1 }, (_, step) => {
    const ms = 10 ** (low + step), radius = reach(ms);
    return h("g", { class: "ring" }, h("ellipse", { cx: WIDE / 2, cy: HIGH / 2, rx: radius * FLAT, ry: radius }),
      h("text", { x: WIDE / 2, y: HIGH / 2 + radius - 3, "text-anchor": "middle" }, ms < 1 ? `${ms * 1000} µs` : ms < 1000 ? `${ms} ms` : `${ms / 1000} s`));
  });

  // A gap between regions, of the size of half a member.
  const regions = new Set(others.map((member) => member.region)), gap = regions.size > 1 ? 0.6 : 0;
  const slots = others.length + regions.size * gap, turn = 2 * Math.PI / Math.max(1, slots);
  const named = (member) => others.length <= NAMED_MAX || (member.state !== "good" && others.filter(({ state }) => state !== "good").length <= NAMED_MAX);
  const size = others.length <= NAMED_MAX ? 6 : others.length <= 60 ? 4.5 : 3.5;
  // From the right on, so that two stand at either side, where there is room for names.
  let slot = 0, region = others[0]?.region;
  const sectors = new Map();
  const placed = others.map((member) => {
    if (member.region !== region) { slot += gap; region = member.region; }
    const angle = slot * turn;
    slot += 1;
    sectors.set(region, [...(sectors.get(region) ?? []), angle]);
    const [x, y] = at(member.connected ? member.rtt > 0 ? reach(member.rtt) : INNER : OUTSIDE, angle);
    return { ...member, x, y, side: Math.cos(angle) };
  });
  const links = placed.filter((member) => member.connected)
    .map(({ x, y, state }) => h("line", { class: "link", "data-state": state, x1: WIDE / 2, y1: HIGH / 2, x2: x, y2: y }));
  // Names beside their members, each moved down where it would cover another.
  const taken = [];
  const labels = placed.filter(named).map((member) => {
    const end = member.side < -0.15, aside = Math.abs(member.side) > 0.15, lines = others.length <= NAMED_MAX ? 2 : 1;
    const text = member.name.length > 22 ? `${member.name.slice(0, 21)}…` : member.name, wide = text.length * 7;
    const x = aside ? member.x + (end ? -10 : 10) : member.x, left = aside ? end ? x - wide : x : x - wide / 2;
    const box = { left, right: left + wide, top: (aside ? member.y + 1 : member.y + (member.y < HIGH / 2 ? -22 : 18)) - 10, high: lines * 13 };
    const covered = () => taken.find((other) => other.left < box.right && box.left < other.right && other.top < box.top + box.high && box.top < other.top + other.high);
    for (let other = covered(); other; other = covered()) box.top = other.top + other.high;
    taken.push(box);
    return [member.id, h("text", { x, y: box.top + 10, "text-anchor": aside ? end ? "end" : "start" : "middle" }, h("tspan", null, text),
      lines > 1 && h("tspan", { class: "quiet", x, dy: 13 }, member.state === "good" ? member.words[1] : member.words.join(", ")))];
  });
  const label = new Map(labels);
  const dots = placed.map((member) => h("g", { class: "member", "data-state": member.state, "data-go": `#node/${member.id}` },
    h("title", null, `${member.name}, ${member.region || "no region"}: ${member.words.join(", ")}`),
    h("circle", { class: member.connected ? "" : "hollow", cx: member.x, cy: member.y, r: size }), label.get(member.id)));
  const sector = ([name, angles]) => {
    const middle = (angles[0] + angles.at(-1)) / 2, [x, y] = at(OUTSIDE + 14, middle), side = Math.cos(middle);
    return h("text", { class: "region", x: side > 0.5 ? WIDE - 8 : side < -0.5 ? 8 : x, y: Math.min(HIGH - 6, Math.max(14, y + 4)),
      "text-anchor": side > 0.5 ? "end" : side < -0.5 ? "start" : "middle" }, name || "no region");
  };
  const trouble = others.filter((member) => member.state !== "good");
  const summary = `${count(members.length, "member")} as ${status.node.name} sees them. ${trouble.length ? `Not well: ${trouble.slice(0, 10).map((member) => `${member.name}, ${member.words.join(", ")}`).join("; ")}.` : "All are connected and well."} The table of members has the same in figures.`;
  return h("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, height: HIGH, role: "img", "aria-label": summary, class: others.length > NAMED_MAX ? "mesh many" : "mesh" },
    rings, links, others.length > NAMED_MAX && regions.size > 1 && [...sectors].map(sector),
    h("g", { class: "member self", "data-go": `#node/${status.node.id}` }, h("title", null, `${status.node.name}, this host`),
      h("circle", { cx: WIDE / 2, cy: HIGH / 2, r: 9 }),
      h("text", { x: WIDE / 2, y: HIGH / 2 - 16, "text-anchor": "middle" }, status.node.name)),
    dots);
};
