// The mesh as this host sees it: itself in the middle, every member at a distance that grows with the logarithm of its round
// trip, neighbours by region. Who is not connected stands outside.

// Pixels beside the picture for names, above and below it, and for who stands outside; how many members are named.
const NAMES = 110, MARGIN = 30, OUTSIDE = 22, NAMED_MAX = 24;
const NAME_CHARS = 22, CHAR_WIDE = 7, LINE_HIGH = 13;

const meshMember = (node, peer, self) => {
  const gone = node.status === "lost" || node.status === "left", link = peer?.link?.state || "none";
  const connected = (link === "connected" || link === "slowed") && !gone;
  const own = memberState(node), state = link === "refused" ? "bad" : own === "good" && (!connected || apart(peer) === "warn") ? "warn" : own;
  return { id: node.id, name: node.name || short(node.id), region: node.region, self, connected, state, rtt: connected ? peer.rtt_ms : null,
    words: [isUnwell(node) ? "not well" : node.status, connected ? millis(peer.rtt_ms) : gone ? null : link === "none" ? "no link" : link].filter(Boolean) };
};

// Where everything is: the frame, the rings of whole decades, and the members by angle.
const meshLayout = (others, width) => {
  const many = others.length > NAMED_MAX, high = others.length <= 6 ? 290 : many ? 420 : 380, wide = Math.min(860, Math.max(320, width));
  const isOut = others.some((member) => !member.connected), outside = high / 2 - MARGIN - (isOut ? 10 : 0), outer = outside - (isOut ? OUTSIDE : 0), inner = outer * 0.4, flat = Math.min(2, Math.max(0.7, (wide / 2 - NAMES) / outside));
  const at = (radius, angle) => [wide / 2 + radius * flat * Math.cos(angle), high / 2 + radius * Math.sin(angle)];

  const trips = others.map((member) => member.rtt).filter((ms) => ms > 0);
  const decade = (round, ms) => Number.isFinite(ms) ? round(Math.log10(ms)) : 0;
  const least = decade(Math.floor, Math.min(...trips)), most = Math.max(least + 1, decade(Math.ceil, Math.max(...trips)));
  const reach = (ms) => inner + Math.min(1, Math.max(0, (Math.log10(ms) - least) / (most - least))) * (outer - inner);
  const decades = Array.from({ length: most - least + 1 }, (_, step) => 10 ** (least + step));

  // From the right on, so that two stand at either side, where there is room for names; a gap between regions.
  const regions = new Set(others.map((member) => member.region)), gap = regions.size > 1 ? 0.6 : 0;
  const turn = 2 * Math.PI / Math.max(1, others.length + regions.size * gap);
  let slot = 0, region = others[0]?.region;
  const placed = others.map((member) => {
    if (member.region !== region) { slot += gap; region = member.region; }
    const angle = slot * turn;
    slot += 1;
    const [x, y] = at(member.connected ? member.rtt > 0 ? reach(member.rtt) : inner : outside, angle);
    return { ...member, angle, x, y };
  });
  // The rings are named in the gap between two members that is nearest to the foot of the picture.
  const feet = many || !placed.length ? [Math.PI / 2] : placed.map(({ angle }) => angle + turn / 2);
  const foot = feet.reduce((best, angle) => Math.abs(angle - Math.PI / 2) < Math.abs(best - Math.PI / 2) ? angle : best);
  const rings = trips.length === 0 ? [] : decades.map((ms) => {
    const [x, y] = at(reach(ms), foot);
    return { radius: reach(ms), x, y, text: within(ms * 1000) };
  });
  return { many, high, wide, outside, flat, at, rings, placed };
};

const meshRings = ({ high, wide, flat, rings }) => h("g", { class: "ring" },
  rings.map(({ radius }) => h("ellipse", { cx: wide / 2, cy: high / 2, rx: radius * flat, ry: radius })));
const meshRingNames = ({ rings }) => h("g", { class: "ring" }, rings.map(({ x, y, text }) => h("text", { x, y: y + 3, "text-anchor": "middle" }, text)));

// Names beside their members, each moved down where it would cover another. In a large mesh only those in trouble have one.
const cut = (text, room) => {
  const chars = Math.max(6, Math.min(NAME_CHARS, Math.floor(room / CHAR_WIDE)));
  return text.length > chars ? `${text.slice(0, chars - 1)}…` : text;
};
const meshNames = ({ many, high, wide: whole, placed, rings }) => {
  const troubled = placed.filter(({ state }) => state !== "good"), named = !many ? placed : troubled.length <= NAMED_MAX ? troubled : [];
  const place = (x, y, wide) => ({ left: x - wide / 2, right: x + wide / 2, top: y - 8, high: LINE_HIGH });
  const taken = [place(whole / 2, high / 2 - 20, 60), ...rings.map(({ x, y, text }) => place(x, y, text.length * CHAR_WIDE))];
  return new Map(named.map((member) => {
    const side = Math.cos(member.angle), aside = Math.abs(side) > 0.15, anchor = !aside ? "middle" : side < 0 ? "end" : "start";
    const x = aside ? member.x + (side < 0 ? -10 : 10) : member.x, room = !aside ? whole : side < 0 ? x : whole - x;
    const text = cut(member.name, room), wide = text.length * CHAR_WIDE, left = x - { start: 0, middle: wide / 2, end: wide }[anchor];
    const base = aside ? member.y + 1 : member.y + (member.y < high / 2 ? -22 : 18);
    const box = { left, right: left + wide, top: base - 10, high: (many ? 1 : 2) * LINE_HIGH };
    const covered = () => taken.find((other) => other.left < box.right && box.left < other.right && other.top < box.top + box.high && box.top < other.top + other.high);
    for (let other = covered(); other; other = covered()) box.top = other.top + other.high;
    taken.push(box);
    return [member.id, h("text", { x, y: box.top + 10, "text-anchor": anchor }, h("tspan", null, text),
      !many && h("tspan", { class: "quiet", x, dy: LINE_HIGH }, cut(member.state === "good" ? member.words[1] : member.words.join(", "), room * 1.1)))];
  }));
};

const meshRegions = ({ many, high, wide, outside, at, placed }) => {
  const regions = new Map();
  for (const { region, angle } of placed) regions.set(region, [...(regions.get(region) ?? []), angle]);
  return many && regions.size > 1 && [...regions].map(([name, angles]) => {
    const middle = (angles[0] + angles.at(-1)) / 2, [x, y] = at(outside + 14, middle), side = Math.cos(middle);
    const [edge, anchor] = side > 0.5 ? [wide - 8, "end"] : side < -0.5 ? [8, "start"] : [x, "middle"];
    return h("text", { class: "region", x: edge, y: Math.min(high - 6, Math.max(14, y + 4)), "text-anchor": anchor }, name || "no region");
  });
};

const mesh = (status, nodes, width) => {
  const peers = new Map(status.peers.map((peer) => [peer.node, peer]));
  const members = everybody(status, nodes).map((node) => meshMember(node, peers.get(node.id), node.id === status.node.id));
  const others = members.filter((member) => !member.self)
    .sort((a, b) => a.region.localeCompare(b.region) || a.name.localeCompare(b.name, undefined, { numeric: true }));
  const layout = meshLayout(others, width), names = meshNames(layout), { many, high, wide, placed } = layout, middle = { cx: wide / 2, cy: high / 2 };
  const links = placed.filter((member) => member.connected)
    .map(({ x, y, state }) => h("line", { class: "link", "data-state": state, x1: wide / 2, y1: high / 2, x2: x, y2: y }));
  const dots = placed.map((member) => h("g", { class: "member", "data-state": member.state, "data-go": `#node/${member.id}` },
    h("title", null, `${member.name}, ${member.region || "no region"}: ${member.words.join(", ")}`),
    h("circle", { class: member.connected ? "" : "hollow", cx: member.x, cy: member.y, r: !many ? 6 : placed.length <= 60 ? 4.5 : 3.5 }), names.get(member.id)));
  const self = h("g", { class: "member self", "data-go": `#node/${status.node.id}` }, h("title", null, `${status.node.name}, this host`),
    h("circle", { ...middle, r: 9 }), h("text", { x: wide / 2, y: high / 2 - 16, "text-anchor": "middle" }, status.node.name));
  if (others.length === 0) return h("p", { class: "empty" }, "This host is the only member. ", h("code", null, "selvedge invite"), " makes a token that another joins with.");
  const trouble = others.filter((member) => member.state !== "good").slice(0, 10).map((member) => `${member.name}, ${member.words.join(", ")}`);
  const words = trouble.length ? `Not well: ${trouble.join("; ")}.` : "All are connected and well.";
  const label = `${count(members.length, "member")} as ${status.node.name} sees them. ${words} The table of members has the same in figures.`;
  return h("svg", { class: many ? "mesh many" : "mesh", viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": label },
    meshRings(layout), links, meshRegions(layout), self, dots, meshRingNames(layout));
};
