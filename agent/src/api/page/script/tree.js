// Elements as values, and the little that is needed to turn what is shown into what is to be shown. Texts from other hosts
// become text nodes and values of attributes, never markup.
const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "circle", "ellipse", "line", "path", "polyline", "rect", "text", "tspan", "title"]);

// h("td", { class: "n" }, "5"): null and false are left out, of attributes and of children.
const h = (tag, attributes, ...children) => {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value != null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
};

// Makes `from` like `to` and touches only what differs, so that a selection, the focus and a reader's place survive.
const morph = (from, to) => {
  if (from.nodeName !== to.nodeName) return from.replaceWith(to);
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  // What the reader has opened stays open.
  for (const { name } of [...from.attributes]) if (name !== "open" && !to.hasAttribute(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  morphChildren(from, [...to.childNodes]);
};
const morphChildren = (parent, wanted) => {
  const there = [...parent.childNodes];
  wanted.forEach((child, index) => index < there.length ? morph(there[index], child) : parent.append(child));
  there.slice(wanted.length).forEach((child) => child.remove());
};

const $ = (id) => document.getElementById(id);
const show = (id, ...children) => morphChildren($(id), [...h("div", null, ...children).childNodes]);

// What a colour says is said in a word too.
const mark = (state, ...text) => h("span", { class: "mark", "data-state": state }, ...text);
const facts = (pairs) => h("dl", { class: "facts" },
  pairs.filter(Boolean).map(([name, ...value]) => h("div", null, h("dt", null, name), h("dd", null, ...value))));
const table = (id, caption, heads, rows) => h("div", { class: "table", role: "region", "aria-labelledby": `${id}-title`, tabindex: "0" },
  h("table", { id }, h("caption", { id: `${id}-title` }, caption),
    h("thead", null, h("tr", null, heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
    h("tbody", null, rows.length ? rows.map((cells) => row(heads, cells)) :
      h("tr", null, h("td", { colspan: heads.length, class: "quiet" }, "none")))));
const row = (heads, cells) => h("tr", null, cells.map((cell, at) =>
  h(at ? "td" : "th", { scope: at ? null : "row", class: heads[at]?.[1] }, cell)));

const nodeLink = (id, name) => h("a", { href: `#node/${id}` }, name || short(id));
const workloadLink = (name) => h("a", { href: `#workload/${encodeURIComponent(name)}` }, name);
const keyLink = (key) => h("a", { href: `#key/${encodeURIComponent(key)}` }, key);
