/* Pictures, and their answers as cards and as a table. Who answers is another script's business:
   it has `answer(item)`, which puts a row like those of `smallset predict` into the item, `extras`
   of a card, and `AT_ONCE`; and it sets `M`. */
const BARS = 5,
  LEAST = 0.0005, // is shown as 0.1%
  CARDS = 60;
let M = null; // {classes, top, sets, reject}; once it is there, there are answers
let items = []; // {file, name, row: what was answered, why: as `problem`, card, line}
let unasked = [];
let asking = 0;
let shown = CARDS;
let order = "given";

/* A line that is said again when the language changes. */
const lines = new Map();
function say(id, sentence) {
  lines.set(id, sentence);
  byId(id).hidden = !sentence;
  byId(id).textContent = sentence ? sentence() : "";
}
redraws.push(() => lines.forEach((sentence, id) => say(id, sentence)));

function add(files) {
  for (const [file, name] of files) {
    const item = { file, name };
    items.push(item);
    unasked.push(item);
  }
  later();
  if (M) work();
}
function work() {
  while (asking < AT_ONCE && unasked.length) {
    asking += 1;
    answer(unasked.shift()).finally(() => {
      asking -= 1;
      later();
      work();
    });
  }
}

/* One picture. */
const isUnknown = (row) => row.unknown && row.unknown.length > 0;
const ranked = (row) => Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]);
/* `why` says in the language of now what `row.error` cannot. */
const problem = (item) => (item.why ? item.why() : again(item.row.error));
function remarks(row) {
  const reasons = { probability: T("probability too low"), distance: T("unlike the training") };
  const said = [];
  if (isUnknown(row)) said.push(listed(row.unknown.map((why) => reasons[why])));
  if (row.set && row.set.length > 1) said.push(T("may be: {names}", { names: listed(row.set) }));
  if (row.seen_in === "train") said.push(T("trained on"));
  else if (row.seen_in)
    said.push(T("also a picture of the run: {split}", { split: T(row.seen_in) }));
  return said;
}
/* A promise of the address of a thumbnail; null where the browser cannot show the picture. */
async function thumbnail(item) {
  try {
    const bitmap = await createImageBitmap(item.file),
      scale = Math.min(1, 224 / Math.min(bitmap.width, bitmap.height)),
      canvas = make("canvas", {
        width: Math.max(1, Math.round(bitmap.width * scale)),
        height: Math.max(1, Math.round(bitmap.height * scale)),
      });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return URL.createObjectURL(await new Promise((done) => canvas.toBlob(done)));
  } catch {
    return null; // what is said of it stands beside it
  }
}
async function draw(item, image) {
  item.thumb ??= thumbnail(item);
  const source = await item.thumb;
  if (source) image.src = source;
}
function bars(row) {
  const said = ranked(row).slice(0, BARS);
  return said.filter(([, p], k) => k === 0 || p >= LEAST).map(([name, p]) => bar(name, p));
}
function card(item) {
  if (item.card) return item.card;
  const image = make("img", { cls: "shown", alt: "" }),
    box = make("div"),
    name = make("div", { cls: "name", text: item.name, title: item.name });
  image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
  draw(item, image);
  const whole = make("figure", { cls: "answer" }, image, box);
  whole.style.margin = 0;
  box.append(name);
  if (!item.row) {
    box.append(make("p", { cls: "soft", text: T("waits …") }));
    return whole;
  }
  item.card = whole;
  if (item.row.error !== null) {
    box.append(make("p", { cls: "wrong", text: problem(item) }));
    return whole;
  }
  const head = make("h3", {}, ...named(item.row.predicted));
  if (isUnknown(item.row)) {
    head.className = "soft";
    box.append(make("span", { cls: "badge", text: T("unknown") }));
  }
  box.append(head);
  box.append(...bars(item.row));
  for (const text of remarks(item.row)) box.append(make("p", { cls: "soft", text }));
  whole.append(...extras(item));
  return whole;
}
function line(item) {
  if (item.line) return item.line;
  const { row } = item,
    cells = [make("td", {}, ...named(item.name))];
  if (row.error !== null) {
    cells.push(make("td"), make("td", { cls: "n", "data-value": "" }), make("td"));
    cells.push(make("td", { cls: "wrong", text: problem(item) }));
  } else {
    const [, second] = ranked(row),
      other =
        second && second[1] >= LEAST ? [...named(second[0]), ` ${probability(second[1])}`] : [];
    const notes = [...(isUnknown(row) ? [T("unknown")] : []), ...remarks(row)],
      said = notes.join(zh() ? "；" : "; ");
    cells.push(make("td", {}, ...named(row.predicted)));
    cells.push(
      make("td", { cls: "n", "data-value": row.probability, text: probability(row.probability) }),
    );
    cells.push(make("td", {}, ...other), make("td", { text: said }));
  }
  return (item.line = make("tr", {}, ...cells));
}

/* All pictures. */
const doubt = (a, b) => (a.row.probability ?? -1) - (b.row.probability ?? -1);
const byName = (a, b) => {
  const [x, y] = [a, b].map((item) => item.row.predicted || "");
  return x < y ? -1 : x > y ? 1 : doubt(a, b);
};
const ORDERS = {
  given: () => items,
  doubt: () => items.filter((item) => item.row).sort(doubt),
  class: () => items.filter((item) => item.row).sort(byName),
};
function fill() {
  const done = items.filter((item) => item.row),
    unread = done.filter((item) => item.row.error !== null).length,
    unknown = done.filter((item) => isUnknown(item.row)).length,
    list = ORDERS[order]();
  byId("results").hidden = !items.length;
  byId("table").hidden = !done.length;
  const counts = [T("{count} of {all} answered", { count: done.length, all: items.length })];
  if (unknown) counts.push(T("{count} unknown", { count: unknown }));
  if (unread) counts.push(T("{count} unreadable", { count: unread }));
  byId("count").textContent = counts.join(" · ");
  byId("answers").replaceChildren(...list.slice(0, shown).map(card));
  if (list.length > shown)
    byId("answers").append(
      make("button", {
        type: "button",
        text: T("{count} more", { count: list.length - shown }),
        onclick: () => {
          shown += CARDS;
          fill();
        },
      }),
    );
  // Rows that are there stay where the reader's sorting put them.
  byId("lines").append(...done.filter((item) => !item.line).map(line));
  byId("csv").disabled = !done.length;
  document.documentElement.dataset.done = done.length;
}
let due = null;
function later() {
  due ??= setTimeout(() => {
    due = null;
    fill();
  }, 100);
}
onRedraw(() => {
  items.forEach((item) => (item.card = item.line = null));
  byId("lines").replaceChildren();
  fill();
});
choice(
  byId("order"),
  [
    ["given", () => T("as given")],
    ["doubt", () => T("least sure first")],
    ["class", () => T("by class")],
  ],
  order,
  (value) => {
    order = value;
    fill();
  },
);
byId("clear").addEventListener("click", () => {
  for (const { thumb } of items) thumb?.then((source) => source && URL.revokeObjectURL(source));
  items = [];
  unasked = [];
  shown = CARDS;
  byId("lines").replaceChildren();
  fill();
});

/* The table as `smallset predict --out FILE.csv` writes it. */
function cell(value) {
  const text = value == null ? "" : Array.isArray(value) ? value.join("|") : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}
function table() {
  const usual = ["id", "predicted", "probability", "seen_in", "error"],
    more = [...(M.sets === null ? [] : ["set"]), ...(M.reject === null ? [] : ["unknown"])],
    numbers = M.top === null ? [] : Array.from({ length: M.top }, (_, k) => k + 1),
    columns = M.top === null ? M.classes.map((name) => `p_${name}`) : [];
  for (const k of numbers) columns.push(`class_${k}`, `probability_${k}`);
  const lines = [["path", ...usual, ...more, ...columns]];
  for (const item of items.filter((each) => each.row)) {
    const { row } = item,
      said = { ...row, error: row.error === null ? null : problem(item) };
    let probs = columns.map(() => null);
    if (row.probabilities)
      probs =
        M.top === null ? M.classes.map((name) => row.probabilities[name]) : ranked(row).flat();
    lines.push([item.name, ...[...usual, ...more].map((name) => said[name]), ...probs]);
  }
  return lines.map((cells) => cells.map(cell).join(",") + "\n").join("");
}
byId("csv").addEventListener("click", () => {
  const link = make("a", { download: "predictions.csv" });
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

/* Where pictures come from. */
const chosen = (list) =>
  [...list].map((file) => [file, file.webkitRelativePath || file.name || "picture"]);
for (const id of ["files", "folder"])
  byId(id).addEventListener("change", (event) => {
    add(chosen(event.target.files));
    event.target.value = ""; // the same picture may be chosen again
  });
async function inside(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [[file, entry.fullPath.replace(/^\//, "")]];
  }
  const reader = entry.createReader(),
    found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const one of some) found.push(...(await inside(one)));
  }
}
let over = 0;
addEventListener("dragenter", () => document.body.classList.toggle("over", ++over > 0));
addEventListener("dragleave", () => document.body.classList.toggle("over", --over > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  over = 0;
  document.body.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  if (entries.some((entry) => entry?.isDirectory))
    for (const entry of entries.filter(Boolean)) add(await inside(entry));
  else add(chosen(event.dataTransfer.files));
});
addEventListener("paste", (event) => add(chosen(event.clipboardData.files)));

