// Keeps the page fresh. It reads once a second while somebody looks, less and less often while the agent is silent, and not at
// all in a tab that nobody sees; one stream tells what happens.
const PERIOD_MS = 1000, SLOW_MS = 15_000, SLOW_EVERY = 5, DETAIL_EVERY = 2;

const now = { status: null, nodes: [], names: new Map(), events: [], history: { step_s: 5, calls: [], errors: [], commits: [], bytes: [], garbage: [] },
  rates: { calls: null, commits: null, workloads: new Map() }, whys: new Map() };
let view = null, draw = null, ticks = 0, failures = 0, answeredAt = Date.now(), timer = 0, reading = false;

const route = () => {
  const [kind, ...rest] = location.hash.slice(1).split("/");
  if (!VIEWS[kind]) return null;
  try { return { kind, name: decodeURIComponent(rest.join("/")) }; } catch { return null; }
};

// Why each workload runs where it does: what came with the page, then one workload anew at each look, in turn.
document.querySelectorAll("#workloads tbody tr").forEach((row) => {
  const why = row.querySelector(".why");
  if (why) now.whys.set(row.cells[0].textContent, why.textContent);
});
const askWhy = async () => {
  const { workloads } = now.status, unknown = workloads.find(({ name }) => !now.whys.has(name));
  const { name } = unknown ?? workloads[ticks % workloads.length] ?? {};
  if (name) now.whys.set(name, (await read(`/v1/workloads/${encodeURIComponent(name)}/placement`))?.why ?? "");
};

// Rates are what counters rose by over the last seconds; the first look shows none.
const RATE_LOOKS = 6;
let looks = [];
const countRates = (status) => {
  const workloads = new Map(status.workloads.map(({ name, calls }) => [name, calls]));
  const look = { at: performance.now(), calls: [...workloads.values()].reduce((sum, calls) => sum + calls, 0), commits: status.state.commits, workloads };
  looks = [...looks, look].slice(-RATE_LOOKS);
  const [first] = looks, seconds = (look.at - first.at) / 1000;
  const since = (value, old) => old == null || seconds <= 0 ? null : Math.max(0, value - old) / seconds;
  now.rates = { calls: since(look.calls, first.calls), commits: since(look.commits, first.commits),
    workloads: new Map([...workloads].map(([name, calls]) => [name, since(calls, first.workloads.get(name))])) };
};

const render = () => {
  const { status } = now;
  if (!status) return;
  const { node } = status;
  show("about", `${node.region || "no region"} · version ${node.version} · up ${span(node.uptime_s)}`);
  showHealth(now);
  show("root", status.state.root);
  $("overview").hidden = Boolean(view);
  $("detail").hidden = !view;
  if (!view) {
    overview(now);
    show("events", eventList(now.events.slice(0, 100), now.names));
  } else if (draw) {
    const [title, content] = draw(now);
    show("detail-title", title);
    show("detail-content", content);
    document.title = `${title} · ${node.name} · Selvedge`;
  }
  if (!view) document.title = `${node.name} · Selvedge`;
};

const detail = async () => {
  const wanted = view;
  if (!wanted) return;
  const drawn = await VIEWS[wanted.kind](wanted.name);
  if (wanted === view) draw = drawn;
};

const live = (silent) => {
  const text = silent ? `no answer since ${clock(answeredAt)}` : "live";
  if ($("live").textContent !== text) $("live").textContent = text;
  $("live").dataset.state = silent ? "bad" : "good";
  $("live").hidden = false;
  document.body.toggleAttribute("data-stale", silent);
  if (silent) announce("The agent does not answer.");
};

const refresh = async () => {
  clearTimeout(timer);
  if (document.hidden || reading) return;
  reading = true;
  try {
    const slow = ticks % SLOW_EVERY === 0 || failures > 0;
    const [status, nodes, history] = await Promise.all([read("/v1/status"), read("/v1/nodes"), slow ? read("/v1/history") : now.history]);
    countRates(status);
    Object.assign(now, { status, nodes, history,
      names: new Map([...status.peers.map((peer) => [peer.node, peer.name]), ...nodes.map((node) => [node.id, node.name])].filter(([, name]) => name)) });
    if (!stream) await listen();
    if (!view) await askWhy();
    if (view && (!draw || (ticks % DETAIL_EVERY === 0 && (view.kind !== "key" || dirty)))) { dirty = false; await detail(); }
    [ticks, failures, answeredAt] = [ticks + 1, 0, Date.now()];
    render();
  } catch {
    failures += 1;
    looks = [];
  }
  reading = false;
  live(failures > 0);
  timer = setTimeout(refresh, failures ? Math.min(SLOW_MS, PERIOD_MS * 2 ** Math.min(failures, 4)) : PERIOD_MS);
};

// One stream. What happened before it is read at once, and again when it is open, for what came in between.
let stream = null, dirty = false;
const listen = async () => {
  const key = view?.kind === "key" ? view.name : null;
  const opened = new EventSource(`/v1/events?kinds=${KINDS}${key ? `,commit&prefix=${encodeURIComponent(key)}` : ""}`);
  stream = opened;
  const past = async () => { now.events = await read("/v1/events/recent"); };
  const close = () => { opened.close(); if (stream === opened) stream = null; };
  opened.onopen = () => past().then(render).catch(close);
  // The next reading that succeeds opens another: there is one back-off for all.
  opened.onerror = close;
  opened.addEventListener("commit", () => { dirty = true; });
  for (const kind of KINDS.split(",")) opened.addEventListener(kind, ({ data, lastEventId }) => {
    if (now.events.some((event) => event.id === lastEventId)) return;
    now.events = [{ ...JSON.parse(data), kind, id: lastEventId, at_ms: Date.now() }, ...now.events].slice(0, EVENTS_MAX);
    render();
  });
  for (const kind of ["reset", "lagged"]) opened.addEventListener(kind, () => past().catch(close));
  await past();
};
const hush = () => { stream?.close(); stream = null; };

// Who comes back is put where they left: on the link that they had taken, or where that shows something else by now, on another to
// the same.
let left = { link: null, hash: null };
const comeBack = () => {
  const links = [left.link, ...document.querySelectorAll("#overview table a"), ...document.querySelectorAll("#overview a, #health a")];
  (links.find((link) => link?.isConnected && link.hash === left.hash) ?? $("main")).focus();
};

const navigate = () => {
  const to = route();
  if (!to && location.hash && location.hash !== "#") return;
  const key = (of) => of?.kind === "key" ? of.name : null;
  if (key(to) !== key(view)) hush();
  if (to && !view) left = { link: document.activeElement, hash: location.hash };
  [view, draw, ticks] = [to, null, 0];
  show("detail-title", to ? to.name : "");
  show("detail-content", h("p", { class: "quiet" }, "…"));
  render();
  scrollTo(0, 0);
  if (to) $("detail-title").focus(); else comeBack();
  refresh();
};

addEventListener("hashchange", navigate);
document.addEventListener("visibilitychange", () => document.hidden ? hush() : refresh());
document.addEventListener("click", ({ target }) => {
  const go = target.closest?.("[data-go]")?.dataset.go;
  if (go) location.hash = go;
});
document.addEventListener("keydown", ({ key }) => { if (key === "Escape" && view) location.hash = ""; });
document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.dataset.search) location.hash = form.dataset.search + encodeURIComponent(form.elements.prefix.value);
});
document.querySelectorAll("[data-script]").forEach((element) => { element.hidden = false; });
view = route();
refresh();
