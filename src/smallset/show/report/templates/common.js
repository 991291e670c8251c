"use strict";
const D = JSON.parse(document.getElementById("data").textContent);

/* Language: sentences are written twice and one is hidden; what scripts write is written again. */
const zh = () => document.documentElement.lang.startsWith("zh");
function T(template, values = {}) {
  const said = (zh() && D.words[template]) || template;
  return said.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
const redraws = [];
function onRedraw(draw) {
  redraws.push(draw);
  draw();
}
document.getElementById("language").addEventListener("click", (event) => {
  document.documentElement.lang = zh() ? "en" : "zh-CN";
  event.target.textContent = zh() ? "English" : "中文";
  redraws.forEach((draw) => draw());
});

const percent = (share, digits = 1) => (share == null ? "–" : (100 * share).toFixed(digits) + "%");
function make(tag, { text, cls, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text != null) element.textContent = text;
  if (cls) element.className = cls;
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const byId = (id) => document.getElementById(id);
const thumb = (row) =>
  D.thumbs && D.thumbs[row] ? "data:image/webp;base64," + D.thumbs[row] : null;

/* A row of buttons of which one is pressed. */
function choice(place, options, chosen, onChoose) {
  const group = make("span", { role: "group" });
  const buttons = options.map(([value, label]) => {
    const button = make("button", {
      type: "button",
      "aria-pressed": value === chosen,
      "data-value": value,
    });
    button.append(label());
    button.addEventListener("click", () => {
      buttons.forEach((b) => b.setAttribute("aria-pressed", b === button));
      onChoose(value);
    });
    group.append(button);
    redraws.push(() => button.replaceChildren(label()));
    return button;
  });
  place.append(group);
  return group;
}

/* Charts are drawn when they come near the screen, and again in another language or light. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SERIES = [
  "#0072B2",
  "#E69F00",
  "#009E73",
  "#CC79A7",
  "#56B4E9",
  "#D55E00",
  "#7F7F7F",
  "#8C6D1F",
  "#7B61C9",
  "#B8B000",
];
const MARKS = ["circle", "square", "triangle-up", "diamond", "cross"];
function layout(more = {}) {
  const ink = colour("--ink"),
    line = colour("--line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, size: 12 },
    margin: { l: 50, r: 14, t: 66, b: 46 },
    hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", itemsizing: "constant" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") },
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: line, font: { color: ink } },
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
}
const SETTINGS = {
  responsive: true,
  displaylogo: false,
  displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
};
const waiting = new Map();
const watcher = new IntersectionObserver(
  (entries) =>
    entries.forEach((entry) => {
      if (entry.isIntersecting) show(entry.target);
    }),
  { rootMargin: "300px" },
);
function show(place) {
  const draw = waiting.get(place);
  if (!draw) return;
  waiting.delete(place);
  watcher.unobserve(place);
  onRedraw(draw);
}
/* `build` returns [traces, layout]. */
function chart(id, build, after) {
  const place = byId(id);
  if (!place) return;
  let first = true;
  const draw = () => {
    const [traces, laid] = build();
    // Beside each other there is no room for the legend's lines above a narrow chart.
    if (place.clientWidth < 480 && laid.legend.yanchor === "bottom") {
      // Below the title of the axis: that is a third of a tall plot, and more of a flat one.
      const y = -Math.max(0.34, 70 / Math.max(place.clientHeight - 60, 1));
      laid.legend = { ...laid.legend, y, yanchor: "top" };
      laid.margin = { ...laid.margin, t: laid.title ? 40 : 14 };
    }
    Plotly.react(place, traces, laid, SETTINGS);
    if (first && after) after(place);
    first = false;
  };
  draw.place = place;
  waiting.set(place, draw);
}
function loadPlotly() {
  const source = new Blob([byId("plotly").textContent], { type: "text/javascript" });
  const script = make("script", { src: URL.createObjectURL(source) });
  script.addEventListener("load", () => {
    waiting.forEach((_, place) => watcher.observe(place));
    document.documentElement.dataset.charts = "yes";
  });
  document.head.append(script);
}
/* Draw one chart again, if it was drawn at all. */
const redraw = (id) => redraws.filter((draw) => draw.place === byId(id)).forEach((draw) => draw());
/* Plotly reads some HTML in its texts; names have none. */
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
addEventListener("beforeprint", () => [...waiting.keys()].forEach(show));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  redraws.forEach((draw) => draw()),
);

/* Columns sorted by their buttons. */
document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0];
  table.querySelectorAll("th[data-sort]").forEach((head) =>
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const value =
          row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
        return head.dataset.sort === "number" ? (value === "" ? -1 : Number(value)) : value;
      };
      const rows = [...body.rows].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
      body.append(...(up ? rows : rows.reverse()));
    }),
  );
});

/* A name that may break after an underscore, as file and class names have them. */
const named = (text) =>
  text.split(/(?<=[_/-])/).flatMap((part, n) => (n ? [make("wbr"), part] : [part]));
const short = (text, most = 26) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

/* A picture that opens larger, and what stands below it; each page has a `closer` of its own. */
function framed(row, path, caption, cls = "tile") {
  const source = thumb(row);
  const picture = source
    ? make("img", { src: source, alt: path, loading: "lazy" })
    : make("span", { cls: "gone", text: path });
  const open = { type: "button", onclick: () => closer(row), "aria-label": path };
  const below = make("figcaption", {}, ...caption);
  return make("figure", { cls, "data-row": row }, make("button", open, picture), below);
}
/* A class with its probability. */
function bar(name, share) {
  const length = make("i");
  length.style.width = `${100 * share}%`;
  const label = make("span", { text: name, title: name });
  return make("div", { cls: "bar" }, label, length, make("span", { text: percent(share) }));
}

/* A long list, some at a time; `build` returns what shows a part, told how many came before. */
function inParts(place, list, most, build) {
  let shown = 0;
  const add = () => {
    place.append(...build(list.slice(shown, shown + most), shown));
    shown += most;
    if (list.length <= shown) return;
    const more = make("button", {
      type: "button",
      text: T("{count} more", { count: list.length - shown }),
      onclick: () => {
        more.remove();
        add();
      },
    });
    place.append(more);
  };
  place.replaceChildren();
  add();
}
/* Images; each page has a `tile` of its own. */
const gallery = (place, list) => inParts(place, list, 200, (part) => part.map((row) => tile(row)));

/* On a phone a section is its heading, until it is opened; a link to it opens it. */
const phone = matchMedia("(max-width: 640px)"); // as in page.css
document.querySelectorAll("section[data-fold]").forEach((section) => {
  const head = section.querySelector("h2"),
    words = [...head.childNodes],
    opens = make("button", { type: "button", cls: "fold" });
  const fold = (isFolded) => {
    section.classList.toggle("folded", isFolded);
    opens.setAttribute("aria-expanded", !isFolded);
  };
  const fit = () => {
    if (phone.matches) opens.append(...words);
    head.replaceChildren(...(phone.matches ? [opens] : words));
  };
  fit();
  phone.addEventListener("change", fit);
  fold(true);
  opens.addEventListener("click", () => fold(!section.classList.contains("folded")));
  const follow = () => location.hash === `#${section.id}` && fold(false);
  addEventListener("hashchange", follow);
  document
    .querySelectorAll(`nav a[href="#${section.id}"]`)
    .forEach((link) => link.addEventListener("click", () => fold(false)));
  follow();
});
