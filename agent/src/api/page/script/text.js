// How figures are written. `text.rs` writes the same where there is no JavaScript; who changes one changes the other.
const NONE = "–";

const whole = (n) => Math.round(n).toLocaleString("en-US").replaceAll(",", "\u202f");
// A rate below ten is worth a digit behind the point.
const rate = (n) => n == null ? NONE : n > 0 && n < 10 ? n.toFixed(1) : whole(n);
const bytes = (n) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${unit ? n.toFixed(1) : n} ${units[unit]}`;
};
const micros = (n) => n < 1000 ? `${Math.round(n)} µs` : n < 1e6 ? `${(n / 1000).toFixed(1)} ms` : `${(n / 1e6).toFixed(2)} s`;
const millis = (n) => n == null ? NONE : n < 60_000 ? micros(n * 1000) : span(n / 1000);
const percent = (n) => n == null ? NONE : `${Math.round(n * 100)} %`;
const count = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;
// A time that has passed or is left, in its two greatest units; `about` is the greatest alone.
const SPANS = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
const span = (s) => {
  const at = SPANS.findIndex(([, unit]) => s >= unit), [name, unit] = SPANS.at(at), next = at >= 0 && SPANS[at + 1];
  return `${Math.floor(s / unit)} ${name}${next ? ` ${Math.floor(s % unit / next[1])} ${next[0]}` : ""}`;
};
const about = (s) => span(s).split(" ", 2).join(" ");
const ago = (ms) => ms == null ? NONE : ms < 1000 ? "now" : `${about(ms / 1000)} ago`;
const clock = (ms) => {
  const at = new Date(ms), time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString("en-CA")} ${time}`;
};
const short = (id) => id.slice(-8);
