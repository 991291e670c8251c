/* Each picture is a request of its own: an answer shows as soon as it is there. */
const AT_ONCE = 4, // requests; the server puts those that wait together
  BARS = 5,
  LEAST = 0.0005, // is shown as 0.1%
  CARDS = 60;
let M = null; // what GET /model said
let items = []; // {file, name, row: what was answered, failed: no answer came, card, line}
let unsent = []; // items to send
let sending = 0;
let shown = CARDS;
let order = "given";

/* Talking to the server. */
const KEY = "smallset-token";
function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY),
    headers = token ? { Authorization: `Bearer ${token}` } : {};
  return fetch(path, { ...options, headers: { ...headers, ...options.headers } });
}
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
function lock(isWrong) {
  byId("locked").hidden = false;
  byId("wrong").textContent = isWrong ? T("This is not the token.") : "";
  sessionStorage.removeItem(KEY);
  byId("token").focus();
}
byId("locked")
  .querySelector("form")
  .addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("token").value.trim());
    byId("token").value = "";
    begin();
  });
function trouble(isThere) {
  byId("trouble").hidden = !isThere;
  byId("trouble").textContent = isThere ? T("The server does not answer. Is it running?") : "";
}
async function begin() {
  if (D.needs_token && !sessionStorage.getItem(KEY)) return lock(false);
  let answer, said;
  try {
    answer = await ask("/model");
    if (answer.status === 401) return lock(true);
    M = await answer.json();
    said = await (await ask("/openapi.json")).json();
  } catch {
    return trouble(true);
  }
  byId("locked").hidden = true;
  onRedraw(describe);
  operations(said);
  document.documentElement.dataset.ready = "yes";
  work();
}

/* Sending pictures. */
function add(files) {
  for (const [file, name] of files) {
    const item = { file, name };
    items.push(item);
    unsent.push(item);
  }
  later();
  if (M) work();
}
function work() {
  while (sending < AT_ONCE && unsent.length) {
    sending += 1;
    send(unsent.shift()).finally(() => {
      sending -= 1;
      later();
      work();
    });
  }
}
async function send(item) {
  const type = item.file.type.startsWith("image/") ? item.file.type : "application/octet-stream";
  for (;;) {
    try {
      const answer = await ask("/predict", {
        method: "POST",
        headers: { "Content-Type": type },
        body: item.file,
      });
      if (answer.status === 503) {
        await pause(Number(answer.headers.get("Retry-After")) || 1);
        continue;
      }
      const content = await answer.json();
      item.row = content.images ? content.images[0] : { error: content.detail };
      if (answer.status === 401) lock(true);
      trouble(false);
    } catch {
      // A file that has gone since it was chosen fails in the same way as a server that has.
      item.row = { error: "" };
      item.failed = true;
      trouble(true);
    }
    return;
  }
}

/* One picture. */
const isUnknown = (row) => row.unknown && row.unknown.length > 0;
const ranked = (row) => Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]);
const problem = (item) => (item.failed ? T("no answer") : item.row.error);
function remarks(row) {
  const reasons = { probability: T("probability too low"), distance: T("unlike the training") };
  const said = [];
  if (isUnknown(row)) said.push(row.unknown.map((why) => reasons[why]).join(", "));
  if (row.set && row.set.length > 1) said.push(T("may be: {names}", { names: row.set.join(", ") }));
  if (row.seen_in === "train") said.push(T("trained on"));
  else if (row.seen_in)
    said.push(T("also a picture of the run: {split}", { split: T(row.seen_in) }));
  return said;
}
async function draw(item, image) {
  if (!item.thumb) {
    try {
      const bitmap = await createImageBitmap(item.file),
        scale = Math.min(1, 224 / Math.min(bitmap.width, bitmap.height)),
        canvas = make("canvas", {
          width: Math.max(1, Math.round(bitmap.width * scale)),
          height: Math.max(1, Math.round(bitmap.height * scale)),
        });
      canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      bitmap.close();
      item.thumb = URL.createObjectURL(await new Promise((done) => canvas.toBlob(done)));
    } catch {
      return; // the browser cannot show it; what the server says of it stands beside it
    }
  }
  image.src = item.thumb;
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
  const said = ranked(item.row).slice(0, BARS);
  for (const [label, p] of said.filter(([, p], k) => k === 0 || p >= LEAST)) {
    const bar = make("i");
    bar.style.width = `${100 * p}%`;
    const text = make("span", { text: label, title: label });
    box.append(make("div", { cls: "bar" }, text, bar, make("span", { text: percent(p) })));
  }
  for (const text of remarks(item.row)) box.append(make("p", { cls: "soft", text }));
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
      other = second && second[1] >= LEAST ? [...named(second[0]), ` ${percent(second[1])}`] : [];
    const said = [...(isUnknown(row) ? [T("unknown")] : []), ...remarks(row)].join("; ");
    cells.push(make("td", {}, ...named(row.predicted)));
    cells.push(
      make("td", { cls: "n", "data-value": row.probability, text: percent(row.probability) }),
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
  items.forEach((item) => item.thumb && URL.revokeObjectURL(item.thumb));
  items = [];
  unsent = [];
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

/* The model, and the API. */
function describe() {
  const { accuracy: a, limits } = M,
    facts = [];
  byId("about").textContent = T("{model}, {count} classes", {
    model: M.model,
    count: M.classes.length,
  });
  if (a) {
    const values = { value: percent(a.value), low: percent(a.low), high: percent(a.high) };
    facts.push(
      T("Right on pictures it did not learn from: {value} of {count} ({low} to {high}).", {
        ...values,
        count: a.images.toLocaleString("en"),
      }),
    );
  }
  if (M.reject === null)
    facts.push(
      T("A network gives every picture one of its classes, also a picture of something else."),
    );
  else
    facts.push(
      T(
        "Pictures unlike those it learnt from are called unknown; so are up to {share} of the " +
          "pictures of its classes.",
        { share: percent(M.reject, 0) },
      ),
    );
  if (M.sets !== null)
    facts.push(
      T("The class of a picture is among those that it may be {rate} of the time.", {
        rate: percent(M.sets, 0),
      }),
    );
  facts.push(
    T("Pictures may have {mb} MB and {megapixels} megapixels.", {
      mb: limits.image_bytes / 1e6,
      megapixels: limits.megapixels,
    }),
  );
  byId("facts").replaceChildren(...facts.map((text) => make("p", { text })));
  byId("classes").replaceChildren(...named(M.classes.join(", ")));
  byId("model").hidden = false;
}
const coded = (text) =>
  text.split("`").map((part, n) => (n % 2 ? make("code", { text: part }) : part));
function operations(said) {
  const key = D.needs_token ? ' \\\n  -H "Authorization: Bearer $SMALLSET_TOKEN"' : "";
  byId("curl").textContent =
    `curl ${location.origin}/predict -F images=@a.jpg -F images=@b.jpg${key}\n` +
    `curl ${location.origin}/predict -H "Content-Type: image/jpeg" --data-binary @a.jpg${key}`;
  const shownOf = ([path, methods]) =>
    Object.entries(methods).flatMap(([method, one]) => [
      make("h3", { text: `${method.toUpperCase()} ${path}` }),
      make("p", { lang: "en" }, ...coded(one.description)),
      make(
        "table",
        { lang: "en" },
        make(
          "tbody",
          {},
          ...Object.entries(one.responses).map(([status, { description }]) =>
            make("tr", {}, make("td", { text: status }), make("td", { text: description })),
          ),
        ),
      ),
    ]);
  const { "/predict": first, ...rest } = said.paths;
  const all = [["/predict", first], ...Object.entries(rest)];
  byId("operations").replaceChildren(...all.flatMap(shownOf));
  if (D.needs_token) byId("openapi").parentElement.hidden = true; // a link carries no token
}
begin();
