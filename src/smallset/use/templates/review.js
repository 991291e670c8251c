"use strict";
/* One image at a time. A decision is sent; the next image comes once the server has it on disk. */
const byId = (id) => document.getElementById(id);
let S = null; // what the server says: classes, images, words
let queue = []; // numbers of the images that the filters let through
let at = 0; // place in the queue
let busy = false;

const zh = () => document.documentElement.lang.startsWith("zh");
function T(template, values = {}) {
  const said = (zh() && S && S.words[template]) || template;
  return said.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const percent = (share) =>
  share < 0.001 ? "< 0.1%" : share > 0.999 ? "> 99.9%" : (100 * share).toFixed(1) + "%";
/* As in common.js: a name may break after an underscore. */
const named = (text) =>
  text.split(/(?<=[_/-])(?!\d)/).flatMap((part, n) => (n ? [make("wbr"), part] : [part]));
const byHand = (image) => image.by !== "smallset";
const state = ({ decision, suggested, by }) => ({ decision, suggested, by });
const current = () => queue[at];

/* Talking to the server. */
function trouble(text) {
  byId("trouble").hidden = !text;
  byId("trouble").textContent = text || "";
}
let asked = 0;
async function ask(path, body) {
  const turn = ++asked;
  let answer,
    content = null;
  try {
    answer = await fetch(
      path,
      body === undefined
        ? {}
        : {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(body),
          },
    );
    if (answer.status !== 403) content = await answer.json(); // it may die in the middle of it
  } catch {
    trouble(
      T(
        "The server does not answer. Your decisions are on disk; run smallset review again " +
          "and open its address.",
      ),
    );
    return null;
  }
  if (answer.status === 403) {
    trouble(
      T(
        "The server was started again: open the address that it shows now. Your decisions " +
          "are on disk.",
      ),
    );
    return null;
  }
  if (!answer.ok && answer.status !== 409) {
    trouble(String(content.detail));
    return null;
  }
  if (turn === asked) trouble(""); // an answer that comes late says nothing of those asked after it
  return { conflict: answer.status === 409, content };
}
async function refresh() {
  const got = await ask("/state");
  if (got) S = got.content;
  return got !== null;
}

/* Which images, in which order: as in labels.csv, those in doubt first. */
const WHY = {
  contradicted: () => T("looks more like another class"),
  nowhere: () => T("far from every class"),
};
/* Of these a probability is what an assumption makes it, and is not said without it. */
const assumed = (image, said) => (image.why in WHY ? T(S.assumption, { said }) : said);
const inDoubt = ({ probability, why, decision }) =>
  probability < 0.5 || why !== "" || decision !== "keep";
const WHICH = {
  suspects: [() => T("to look at"), (image) => image.suspect || byHand(image)],
  done: [() => T("decided by hand"), byHand],
  all: [() => T("all images"), () => true],
};
function filter() {
  const [, wanted] = WHICH[byId("which").value];
  const name = byId("class").value;
  queue = S.images.flatMap((image, n) =>
    wanted(image) && (!name || image.given === name || image.suggested === name) ? [n] : [],
  );
  const open = queue.findIndex((n) => !byHand(S.images[n]));
  at = byId("which").value === "suspects" && open < 0 ? queue.length : Math.max(open, 0);
  show();
}
function fillSelects() {
  const which = byId("which"),
    chosen = which.value || "suspects";
  which.replaceChildren(
    ...Object.entries(WHICH).map(([key, [label]]) => make("option", { value: key }, label())),
  );
  which.value = chosen;
  const name = byId("class"),
    kept = name.value,
    counts = {};
  for (const image of S.images)
    if (image.suspect)
      for (const k of new Set([image.given, image.suggested])) counts[k] = (counts[k] || 0) + 1;
  name.replaceChildren(
    make("option", { value: "" }, T("all classes")),
    ...S.classes.map((k) => make("option", { value: k }, counts[k] ? `${k} (${counts[k]})` : k)),
  );
  name.value = kept;
  byId("classes").replaceChildren(...S.classes.map((k) => make("option", { value: k })));
}

/* Showing. */
const phone = matchMedia("(max-width: 640px)"); // as in review.css
/* There the words stand in the field, where others have them before it. */
const hint = () => (byId("other").placeholder = phone.matches ? T("another class") : "");
phone.addEventListener("change", hint);
function show() {
  const decided = queue.filter((n) => byHand(S.images[n])).length;
  byId("count").textContent = T("{done} of {all} decided", { done: decided, all: queue.length });
  byId("bar").setAttribute("aria-valuemax", queue.length);
  byId("bar").setAttribute("aria-valuenow", decided);
  byId("bar").firstElementChild.style.width =
    `${queue.length ? (100 * decided) / queue.length : 0}%`;
  const sure = sureOnes().length;
  byId("accept").hidden = !sure;
  byId("accept").lastElementChild.textContent = T(
    "accept all suggestions ({count}) where the given label is right with less than {limit}",
    { count: sure, limit: "0.1%" },
  );
  const over = at >= queue.length;
  byId("main").hidden = over;
  byId("done").hidden = !over;
  if (over) {
    byId("done").firstElementChild.textContent = queue.length
      ? T("That was the last one.")
      : T("There is nothing to show here.");
    byId("done").children[1].textContent = T(
      "Every decision is in labels.csv. U undoes the last one; other images are under “Show”.",
    );
    byId("left").textContent =
      decided < queue.length
        ? T("Not decided by hand: {count} of {all}. What smallset would do with them stands.", {
            count: queue.length - decided,
            all: queue.length,
          })
        : "";
    byId("done-back").hidden = !queue.length;
    byId("next-step").textContent = T("Next, once this is ended by Ctrl-C:");
    byId("next-command").textContent = `smallset train ${S.folder} --out RUN`;
    document.body.dataset.shown = "none";
    return;
  }
  const n = current(),
    image = S.images[n];
  const big = byId("big").firstElementChild;
  big.src = `/image/${n}/big`;
  big.alt = image.path;
  byId("big").lastElementChild.textContent = image.path;
  const other = image.suggested === image.given ? null : image.suggested;
  candidate(
    "given",
    n,
    image.given,
    assumed(image, T("given; right with probability {p}", { p: percent(image.probability) })),
  );
  candidate(
    "suggested",
    n,
    other,
    other
      ? byHand(image) && image.decision === "relabel"
        ? T("chosen by {by}", { by: image.by })
        : image.likely === null
          ? T("suggested")
          : assumed(
              image,
              T("suggested; right with probability {p}", { p: percent(image.likely) }),
            )
      : "",
  );
  byId("relabel").disabled = !other;
  byId("relabel").lastElementChild.replaceChildren(
    ...named(other ? T("relabel as {label}", { label: other }) : T("relabel")),
  );
  for (const name of ["keep", "relabel", "drop"])
    byId(name).setAttribute("aria-pressed", byHand(image) && image.decision === name);
  byId("given").classList.toggle("chosen", image.decision === "keep");
  byId("suggested").classList.toggle("chosen", image.decision === "relabel");
  byId("said").textContent =
    (byHand(image) ? T("Decided by {by}:", { by: image.by }) : T("smallset would:")) +
    (zh() ? "" : " ") +
    T(image.decision) +
    (image.decision === "relabel" ? ` → ${image.suggested}` : "");
  byId("doubt").textContent =
    image.why in WHY ? T("In doubt: {why}", { why: WHY[image.why]() }) : "";
  byId("other").value = "";
  hint();
  document.body.dataset.shown = n;
  for (const ahead of queue.slice(at + 1, at + 3)) new Image().src = `/image/${ahead}/big`;
}
async function candidate(id, n, label, note) {
  const place = byId(id);
  place.hidden = !label;
  if (!label) return;
  const [title, soft, near] = place.children;
  title.textContent = label;
  soft.textContent = note;
  near.replaceChildren();
  const got = await ask(`/neighbours/${n}?label=${encodeURIComponent(label)}`);
  if (!got || current() !== n || title.textContent !== label) return;
  near.replaceChildren(
    ...got.content.map((m) =>
      make("img", { src: `/image/${m}/small`, alt: S.images[m].path, title: S.images[m].path }),
    ),
  );
}

/* Deciding. */
async function decide(decision, label = "") {
  if (busy || at >= queue.length) return;
  busy = true;
  const n = current(),
    image = S.images[n];
  const got = await ask("/decide", { image: n, decision, label, seen: state(image) });
  busy = false;
  if (!got) return;
  Object.assign(image, got.content);
  if (got.conflict) {
    show();
    byId("said").textContent = T("Somebody else decided on this image meanwhile; look again.");
    return;
  }
  image.suspect = inDoubt(image);
  at += 1;
  while (at < queue.length && byHand(S.images[queue[at]])) at += 1;
  show();
}
async function undo() {
  if (busy) return;
  busy = true;
  const got = await ask("/undo", {});
  busy = false;
  if (!got) return;
  if (got.conflict) return trouble(got.content.detail);
  if (!got.content.length) {
    byId("said").textContent = T("There is nothing to undo.");
    return;
  }
  take(got.content);
  const first = Math.min(...got.content.map(({ image }) => image));
  if (!queue.includes(first)) queue.splice(at, 0, first);
  at = queue.indexOf(first);
  show();
}
function take(states) {
  for (const { image, state } of states) {
    Object.assign(S.images[image], state);
    S.images[image].suspect = inDoubt(S.images[image]);
  }
}
/* What smallset would do with suspects whose label is as good as surely wrong. */
const SURE = 0.001;
const sureOnes = () =>
  S.images.filter(
    (image) => !byHand(image) && image.decision !== "keep" && image.probability < SURE,
  );
async function accept() {
  if (busy || !sureOnes().length) return;
  busy = true;
  const got = await ask("/accept", { below: SURE });
  busy = false;
  if (!got) return;
  take(got.content);
  filter();
  byId(at < queue.length ? "said" : "next-step").textContent = T(
    "{count} accepted; U takes all of them back.",
    { count: got.content.length },
  );
}
function move(by) {
  if (busy) return;
  at = Math.max(0, Math.min(queue.length, at + by));
  show();
}
function choose() {
  const typed = byId("other").value.trim(),
    begun = S.classes.filter((name) => name.toLowerCase().startsWith(typed.toLowerCase())),
    label = typed && !S.classes.includes(typed) && begun.length === 1 ? begun[0] : typed;
  if (!S.classes.includes(label)) {
    byId("said").textContent = T("There is no class {label}.", { label });
    return;
  }
  byId("other").blur();
  decide("relabel", label);
}
const relabel = () => {
  if (!byId("relabel").disabled) decide("relabel", S.images[current()].suggested);
};
const KEYS = {
  k: () => decide("keep"),
  r: relabel,
  d: () => decide("drop"),
  u: undo,
  a: accept,
  c: () => byId("other").focus(),
  ArrowLeft: () => move(-1),
  ArrowRight: () => move(1),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !S) return;
  if (event.target === byId("other")) {
    if (event.key === "Enter") choose();
    if (event.key === "Escape") byId("other").blur();
    return;
  }
  if (event.target.tagName === "SELECT") return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
byId("keep").addEventListener("click", KEYS.k);
byId("relabel").addEventListener("click", relabel);
byId("drop").addEventListener("click", KEYS.d);
for (const id of ["undo", "done-undo"]) byId(id).addEventListener("click", undo);
byId("accept").addEventListener("click", accept);
for (const id of ["back", "done-back"]) byId(id).addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("other").addEventListener("change", () => {
  if (S.classes.includes(byId("other").value)) choose();
});
for (const id of ["which", "class"])
  byId(id).addEventListener("change", (event) => {
    event.target.blur();
    filter();
  });
byId("language").addEventListener("click", (event) => {
  document.documentElement.lang = zh() ? "en" : "zh-CN";
  event.target.textContent = zh() ? "English" : "中文";
  fillSelects();
  show();
});
/* Another tab may have decided on something. */
addEventListener("focus", async () => {
  if (!S || busy) return;
  if (await refresh()) {
    fillSelects();
    show();
  }
});
history.replaceState(null, "", "/");
refresh().then((ok) => {
  if (ok) {
    fillSelects();
    filter();
  }
});
