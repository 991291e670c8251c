"use strict";
const D = JSON.parse(document.getElementById("data").textContent);

/* Language: sentences are written twice and one is hidden; what scripts write is written again. */
const zh = () => document.documentElement.lang.startsWith("zh");
function T(template, values = {}) {
  const said = (zh() && D.words[template]) || template;
  const written = (value) => (typeof value === "number" ? value.toLocaleString("en") : value);
  const whole = said.replace(/\{(\w+)\}/g, (_, name) => written(values[name]));
  // As `singular` of words.py; scripts count few things.
  return zh() ? whole : whole.replace(/(?<![\d.,])\b1 (image|picture|class)(es|s)\b/g, "1 $1");
}
/* What a file says, in Chinese where that is known. */
const known = (said) => (zh() && D.words[said]) || said;
/* An English sentence from a table, of which `D.reasons` has the template, in the language of now;
   what has none stays as it is. */
function again(said) {
  for (const template of D.reasons) {
    const names = [...template.matchAll(/\{(\w+)\}/g)].map((place) => place[1]),
      pieces = template.split(/\{\w+\}/).map((piece) => piece.replace(/[^\w ]/g, "\\$&")),
      found = said.match(new RegExp(`^${pieces.join("(.*)")}$`));
    if (found)
      return T(template, Object.fromEntries(names.map((name, n) => [name, again(found[n + 1])])));
  }
  return said;
}
const listed = (names) => names.join(zh() ? "、" : ", ");
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

/* As `percent` of render.py: what is not quite all reads as no 100%, and what is not quite nothing
   as no 0%. */
function percent(share, digits = 1) {
  if (share == null) return "–";
  const said = (100 * share).toFixed(digits),
    least = 10 ** -digits;
  if (share > 0 && Number(said) === 0) return `<\u00a0${least.toFixed(digits)}%`;
  if (share < 1 && Number(said) === 100) return `>\u00a0${(100 - least).toFixed(digits)}%`;
  return said + "%";
}
/* What a network says of a class: never quite all or nothing, though its file may round to that. */
const probability = (p, digits = 1) => percent(Math.min(Math.max(p, 1e-9), 1 - 1e-9), digits);
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

/* Where a table goes on beyond an edge, this is seen. */
document.querySelectorAll(".scroll").forEach((box) => {
  const look = () => {
    box.classList.toggle("more-before", box.scrollLeft > 1);
    box.classList.toggle("more-after", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  };
  box.addEventListener("scroll", look, { passive: true });
  const sizes = new ResizeObserver(look);
  [box, ...box.children].forEach((each) => sizes.observe(each));
});

/* A name that may break after an underscore, as file and class names have them, and after a plus,
   as joined networks have; a number stays with what it counts. */
const BREAKS = /(?<=[_/-])(?!\d)|(?<=\w\+)(?=\w)/;
const named = (text) =>
  text.split(BREAKS).flatMap((part, n) => (n ? [make("wbr"), part] : [part]));
const short = (text, most = 26) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

/* A picture that opens larger, and what stands below it; each page has a `closer` of its own. */
function framed(row, path, caption, cls = "tile") {
  const source = thumb(row);
  const picture = source
    ? make("img", { src: source, alt: path, loading: "lazy" })
    : make("span", { cls: "gone", text: path });
  // Those that stand beside it, in their order, are what arrow keys go through.
  const onclick = ({ currentTarget }) => {
    const figure = currentTarget.parentNode,
      all = [...figure.parentNode.children].filter((each) => each.dataset.row != null);
    closer(row, all.length ? all.map((each) => Number(each.dataset.row)) : [row]);
  };
  const open = { type: "button", onclick, "aria-label": path };
  const below = make("figcaption", {}, ...caption);
  return make("figure", { cls, "data-row": row }, make("button", open, picture), below);
}
/* One picture in the dialog, with what its page says of it. Two buttons and the arrow keys go
   through the pictures that stood beside it. */
let around = [];
function enlarge(row, beside = [row], path, said) {
  around = beside;
  const content = byId("closer-content"),
    dialog = byId("closer"),
    at = around.indexOf(row),
    source = thumb(row);
  content.replaceChildren();
  // A button at the end keeps the focus, so that arrow keys and Enter go on.
  const stepper = (by, text, name) =>
    make("button", {
      ...{ type: "button", text, "aria-label": name, "data-by": by },
      "aria-disabled": around[at + by] == null,
      onclick: () => {
        step(by);
        content.querySelector(`[data-by="${by}"]`).focus();
      },
    });
  if (around.length > 1)
    content.append(
      make(
        "p",
        { cls: "steps-row" },
        stepper(-1, "‹", T("previous")),
        make("span", { cls: "soft", text: `${at + 1} / ${around.length}` }),
        stepper(1, "›", T("next")),
      ),
    );
  if (source) content.append(make("img", { src: source, alt: path }));
  content.append(...said);
  dialog.dataset.row = row;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
function step(by) {
  const next = around[around.indexOf(Number(byId("closer").dataset.row)) + by];
  if (next != null) closer(next, around);
}
// Of the window: what had the focus inside may be gone with the picture before.
addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && byId("closer")?.open) step(by);
});
/* A class with its probability. */
function bar(name, share) {
  const length = make("i");
  length.style.width = `${100 * share}%`;
  const label = make("span", { title: name }, ...named(name));
  return make("div", { cls: "bar" }, label, length, make("span", { text: probability(share) }));
}

/* A long list, some at a time; `build` returns what shows a part, told how many came before. */
function inParts(place, list, most, build, first = most) {
  let shown = 0;
  const add = () => {
    const end = shown ? shown + most : first;
    place.append(...build(list.slice(shown, end), shown));
    shown = end;
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
/* What findings say is printed; what is not open has no height to print. */
addEventListener("beforeprint", () =>
  document.querySelectorAll("details.lines").forEach((each) => (each.open = true)),
);
/* Images; each page has a `tile` of its own. */
const gallery = (place, list, first) =>
  inParts(place, list, 200, (part) => part.map((row) => tile(row)), first);

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
