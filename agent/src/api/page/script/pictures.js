// Pictures, drawn by hand in SVG. Each has its figures in words beside it or in its label.

// A line over time; the newest value is at the right, and a gap at the left is the time before the agent began to count.
const spark = (values) => {
  const height = 28, slots = Math.max(30, values.length);
  const most = Math.max(1, ...values), step = 100 / (slots - 1), first = slots - values.length;
  const points = values.map((value, at) => `${((first + at) * step).toFixed(2)},${(height - 1 - value / most * (height - 3)).toFixed(2)}`);
  const area = points.length ? `M${(first * step).toFixed(2)},${height}L${points.join("L")}L100,${height}Z` : "";
  return h("svg", { class: "spark", viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    h("path", { d: area }), h("polyline", { points: points.join(" "), "vector-effect": "non-scaling-stroke" }));
};

// The bounds of buckets are 1, 2, 5, 10 …, so equal steps are a logarithmic axis.
const bucketPlace = (us) => {
  const decade = Math.floor(Math.log10(us) + 1e-9), step = us / 10 ** decade;
  return decade * 3 + (step >= 5 ? 2 : step >= 2 ? 1 : 0);
};
const within = (us) => us < 1000 ? `${us} µs` : us < 1e6 ? `${us / 1000} ms` : `${us / 1e6} s`;

const histogramSmall = (buckets) => {
  if (!buckets.length) return NONE;
  const most = Math.max(...buckets.map((bucket) => bucket.calls)), wide = 6, high = 20;
  const bar = ({ calls }, at) => {
    const tall = calls ? Math.max(1.5, Math.sqrt(calls / most) * high) : 0;
    return h("rect", { x: at * wide, y: high - tall, width: wide - 1, height: tall });
  };
  const width = Math.max(8, buckets.length) * wide;
  return h("svg", { class: "bars", width, height: high, viewBox: `0 0 ${width} ${high}`, "aria-hidden": "true" }, buckets.map(bar));
};

// Shares by latency, with the bounds below and the percentiles above.
const histogram = (buckets, latency) => {
  const all = buckets.reduce((sum, bucket) => sum + bucket.calls, 0);
  const first = bucketPlace(buckets[0].le_us), columns = Math.max(6, buckets.length), wide = 612 / columns, high = 120, top = 34;
  const most = Math.max(...buckets.map((bucket) => bucket.calls));
  const bar = ({ le_us, calls }, at) => {
    const tall = calls ? Math.max(1.5, calls / most * high) : 0, share = calls / all * 100;
    const x = at * wide, label = share >= 0.1 ? `${share.toFixed(share < 10 ? 1 : 0)} %` : calls ? "< 0.1 %" : "";
    return h("g", null,
      h("rect", { class: "calls", x: x + 1, y: top + high - tall, width: wide - 2, height: tall }),
      h("text", { class: "share", x: x + wide / 2, y: top + high - tall - 4, "text-anchor": "middle" }, label),
      h("text", { x: x + wide, y: top + high + 15, "text-anchor": "middle" }, within(le_us)));
  };
  // Where a latency lies in its bucket: by the logarithm, as the axis goes.
  const place = (us) => {
    const le = buckets.findIndex((bucket) => us <= bucket.le_us), to = buckets[le < 0 ? buckets.length - 1 : le].le_us;
    const from = [1, 2, 5].map((step) => step * 10 ** Math.floor(Math.log10(to) + 1e-9)).filter((bound) => bound < to).pop() ?? to / 2;
    const part = Math.log(Math.max(us, from) / from) / Math.log(to / from);
    return (bucketPlace(to) - first + Math.min(1, part)) * wide;
  };
  let free = -Infinity, level = 0;
  const percentile = ([name, us]) => {
    const x = place(us);
    level = x < free ? level + 1 : 0;
    free = x + 84;
    const y = 10 + level % 2 * 12, end = x > 540;
    return h("g", { class: "percentile" },
      h("line", { x1: x, x2: x, y1: y + 3, y2: top + high }),
      h("text", { x: end ? x - 4 : x + 4, y, "text-anchor": end ? "end" : "start" }, `${name} ${micros(us)}`));
  };
  const label = `Latency of ${count(all, "call")}: half within ${micros(latency.p50)}, 99 of 100 within ${micros(latency.p99)}, the slowest ${micros(latency.max)}.`;
  return h("svg", { class: "histogram", viewBox: `0 0 640 ${top + high + 22}`, role: "img", "aria-label": label },
    h("line", { class: "axis", x1: 0, x2: 640, y1: top + high, y2: top + high }),
    buckets.map(bar), [["p50", latency.p50], ["p99", latency.p99], ["max", latency.max]].map(percentile));
};

// A score, term by term: the width of each part is what the term adds.
const TERMS = ["resource", "latency", "load", "affinity"];
const scoreBar = (terms, weights) => {
  let x = 0;
  const part = (name) => {
    const wide = Math.max(0, (weights[name] ?? 0) * (terms[name] ?? 0)) * 100, at = x;
    x += wide;
    return h("rect", { class: name, x: at, y: 0, width: Math.max(0, wide - 0.4), height: 10 });
  };
  return h("svg", { class: "score", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    h("rect", { class: "all", x: 0, y: 0, width: 100, height: 10 }), TERMS.map(part));
};
