// Keeps the page fresh: once a second it reads what programs read and writes what the server wrote the first time. All that
// comes from other hosts goes through textContent, never through markup.
"use strict";
(() => {
  const PERIOD_MS = 1000, HISTORY = 60;
  const $ = (id) => document.getElementById(id);
  const none = "–";
  const rates = [];
  let before = null;

  const whole = (n) => Math.round(n).toLocaleString("en-US").replaceAll(",", "\u202f");
  const bytes = (n) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
    return `${unit ? n.toFixed(1) : n} ${units[unit]}`;
  };
  const micros = (n) => n < 1000 ? `${n} µs` : n < 1e6 ? `${(n / 1000).toFixed(1)} ms` : `${(n / 1e6).toFixed(2)} s`;
  const millis = (n) => n == null ? none : micros(Math.round(n * 1000));
  const uptime = (s) => {
    const two = (n) => String(n).padStart(2, "0");
    const days = Math.floor(s / 86400), rest = s % 86400;
    return `${days ? `${days} d ` : ""}${two(Math.floor(rest / 3600))}:${two(Math.floor(rest / 60) % 60)}:${two(rest % 60)}`;
  };

  const set = (element, text, state) => {
    if (element.textContent !== text) element.textContent = text;
    if (state) { if (element.dataset.state !== state) element.dataset.state = state; }
    else if (element.dataset.state) delete element.dataset.state;
  };
  // Rows are kept by position, so that a selection or a reader's place survives.
  const fill = (table, rows) => {
    const heads = table.tHead.rows[0].cells, body = table.tBodies[0];
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, index) => {
      const row = body.rows[index] ?? body.insertRow();
      while (row.cells.length > cells.length) row.deleteCell(-1);
      cells.forEach(([text, state], column) => {
        let cell = row.cells[column];
        if (!cell) {
          cell = document.createElement(column ? "td" : "th");
          if (!column) cell.scope = "row";
          cell.className = heads[column].className;
          row.append(cell);
        }
        set(cell, text, state);
      });
    });
  };

  const link = (peer) => {
    const state = peer?.link?.state || "none";
    return [state, { connected: "good", refused: "bad" }[state] ?? "warn"];
  };
  const members = (status, nodes) => {
    const peers = new Map(status.peers.map((peer) => [peer.node, peer]));
    const known = new Set(nodes.map((node) => node.id));
    const silent = status.peers.filter((peer) => !known.has(peer.node))
      .map((peer) => ({ id: peer.node, name: peer.name, region: "", status: "unknown" }));
    return [...nodes, ...silent].map((node) => {
      const self = node.id === status.node.id, peer = peers.get(node.id);
      const state = { alive: "good", suspect: "warn", unknown: "warn" }[node.status] ?? "bad";
      return [
        [node.name], [self ? `${node.status}, this host` : node.status, state], self ? [none] : link(peer), [node.region || none],
        [node.load == null ? none : `${Math.round(node.load * 100)} %`],
        [node.resources ? bytes(node.resources.memory_free_bytes) : none],
        [self ? none : millis(peer?.rtt_ms)],
        self || peer?.root_equal ? ["equal", "good"] : [peer?.last_sync_ms == null ? "unheard" : "differs", "warn"],
        [self || peer?.lag_commits == null ? none : whole(peer.lag_commits)],
        [self ? none : millis(peer?.last_sync_ms)],
      ];
    });
  };
  const workloads = (status, names, seconds) => status.workloads.map((workload) => {
    const ready = workload.instances.filter((instance) => instance.phase === "ready").length;
    const failed = workload.instances.some((instance) => instance.phase === "failed");
    const old = before?.workloads.find((other) => other.name === workload.name);
    const rate = old && seconds > 0 ? Math.max(0, workload.calls - old.calls) / seconds : null;
    const instances = workload.instances.map(({ node, phase, reason }) =>
      `${names.get(node) ?? node.slice(-8)} ${phase}${reason ? `: ${reason}` : ""}`);
    return [
      [workload.name], [`${ready} of ${workload.replicas}`, failed ? "bad" : ready < workload.replicas ? "warn" : "good"],
      [instances.join(" · ") || none], [whole(workload.calls)], [rate == null ? none : whole(rate)],
      workload.errors ? [whole(workload.errors), "warn"] : ["0"],
      ...["p50", "p99", "p999", "max"].map((name) => [workload.calls ? micros(workload.latency_us[name]) : none]),
      [workload.digest.slice(0, 12)],
    ];
  });

  const figure = (id, text, note, state) => {
    set($(id), text, state);
    set($(`${id}-note`), note);
  };
  const show = (status, nodes) => {
    const names = new Map([...status.peers.map((peer) => [peer.node, peer.name]), ...nodes.map((node) => [node.id, node.name])]);
    const now = performance.now(), seconds = before ? (now - before.at) / 1000 : 0;
    const gone = new Set(nodes.filter((node) => node.status === "lost" || node.status === "left").map((node) => node.id));
    const live = status.peers.filter((peer) => !gone.has(peer.node));
    const apart = live.filter((peer) => !peer.root_equal);
    const lag = Math.max(0, ...apart.map((peer) => peer.lag_commits ?? 0));
    const calls = status.workloads.reduce((sum, workload) => sum + workload.calls, 0);
    const { node, cluster, state, health } = status;

    set($("about"), `${node.region || "no region"} · version ${node.version} · up ${uptime(node.uptime_s)}`);
    const reasons = health.ok ? ["All is well."] : health.reasons;
    const list = $("health");
    if (list.dataset.reasons !== JSON.stringify(reasons)) {
      list.dataset.reasons = JSON.stringify(reasons);
      list.dataset.state = health.ok ? "good" : "bad";
      const items = reasons.map((reason) => Object.assign(document.createElement("li"), { textContent: reason }));
      list.replaceChildren(Object.assign(document.createElement("ul"), {}));
      list.firstChild.append(...items);
    }
    figure("f-members", `${cluster.alive} of ${cluster.members}`, "members alive", cluster.alive < cluster.members ? "warn" : "good");
    if (apart.length) figure("f-sync", `${live.length + 1 - apart.length} of ${live.length + 1} equal`, `${whole(lag)} commits apart`, "warn");
    else figure("f-sync", "converged", `${live.length + 1} equal roots`, "good");
    figure("f-calls", whole(calls), before && seconds > 0 ? `${whole(Math.max(0, calls - before.calls) / seconds)} per second` : "on this host");
    figure("f-commits", whole(state.commits), "applied, of all writers");
    figure("f-state", whole(state.keys), `keys, ${bytes(state.bytes)}, ${whole(state.garbage)} to forget`);
    set($("root"), state.root);
    fill($("members"), members(status, nodes));
    fill($("workloads"), workloads(status, names, seconds));
    if (before && seconds > 0) spark(Math.max(0, calls - before.calls) / seconds);
    before = { at: now, calls, workloads: status.workloads };
  };
  const spark = (rate) => {
    rates.push(rate);
    if (rates.length > HISTORY) rates.shift();
    const most = Math.max(1, ...rates);
    const point = (value, index) => `${(HISTORY - rates.length + index) / (HISTORY - 1) * 100},${30 - value / most * 28}`;
    $("spark").setAttribute("points", rates.map(point).join(" "));
  };

  const read = async (path) => {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5 * PERIOD_MS) });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
    return answer.json();
  };
  const refresh = async () => {
    if (!document.hidden) {
      try {
        const [status, nodes] = await Promise.all([read("/v1/status"), read("/v1/nodes")]);
        show(status, nodes);
        set($("live"), "live");
      } catch {
        set($("live"), "the agent does not answer", "bad");
      }
      $("live").hidden = false;
    }
    setTimeout(refresh, PERIOD_MS);
  };
  refresh();
})();
