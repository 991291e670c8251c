"use strict";
const P = D.pictures,
  first = (row) => P[row].top[0];
/* Why a picture was refused; "" where it was not. */
function refused({ unknown }) {
  const reasons = { probability: T("probability too low"), distance: T("unlike the training") };
  return unknown.length ? `${T("unknown")}: ${listed(unknown.map((why) => reasons[why]))}` : "";
}
/* One picture: the thumbnail, its class, and what else it could be. */
function tile(row) {
  const one = P[row],
    [k, p] = first(row),
    soft = (...parts) => caption.push(make("br"), make("span", { cls: "soft" }, ...parts));
  const caption = [
    make("span", { cls: p < 0.5 ? "wrong" : "" }, ...named(D.classes[k])),
    " " + probability(p, 0),
  ];
  if (one.set.length > 1) {
    const others = one.set.slice(1).map((other) => D.classes[other]);
    soft(...named(T("or {others}", { others: listed(others) })));
  } else if (p < 0.9 && one.top.length > 1) {
    const [other, q] = one.top[1];
    soft(...named(T("or {others}", { others: D.classes[other] })), " " + probability(q, 0));
  }
  if (one.unknown.length)
    caption.push(make("br"), make("span", { cls: "wrong", text: refused(one) }));
  if (one.seen)
    soft(
      one.seen === "train"
        ? T("trained on")
        : T("a {split} picture of the run", { split: T(one.seen) }),
    );
  return framed(row, one.path, caption);
}
function closer(row, beside) {
  const one = P[row],
    said = [make("p", { text: one.path })];
  if (one.unknown.length) said.push(make("p", { cls: "wrong", text: refused(one) }));
  if (one.seen) {
    const also = T("also a picture of the run: {split}", { split: T(one.seen) });
    said.push(make("p", { text: also }));
  }
  said.push(...one.top.map(([k, p]) => bar(D.classes[k], p)));
  enlarge(row, beside, one.path, said);
}
document.querySelectorAll(".reason").forEach((cell) => {
  const said = cell.textContent;
  onRedraw(() => (cell.textContent = again(said)));
});
const given = P.map((_, row) => row),
  doubt = (a, b) => first(a)[1] - first(b)[1] || a - b,
  ORDERS = {
    doubt: () => [...given].sort(doubt),
    class: () => [...given].sort((a, b) => first(a)[0] - first(b)[0] || doubt(a, b)),
    given: () => given,
  };
let order = "doubt";
function fill() {
  const select = byId("of"),
    kept = select.value,
    counts = {};
  for (const row of given) counts[first(row)[0]] = (counts[first(row)[0]] || 0) + 1;
  const strange = given.filter((row) => P[row].unknown.length);
  select.replaceChildren(
    make("option", { value: "", text: T("all classes") }),
    ...(strange.length
      ? [make("option", { value: "?", text: `${T("unknown")} (${strange.length})` })]
      : []),
    ...Object.keys(counts).map((k) =>
      make("option", { value: k, text: `${D.classes[k]} (${counts[k]})` }),
    ),
  );
  select.value = kept;
  const wanted = {
    "": () => true,
    "?": (row) => P[row].unknown.length > 0,
  };
  const list = ORDERS[order]().filter(wanted[kept] || ((row) => first(row)[0] === Number(kept)));
  byId("shown").textContent = T("{count} images", { count: list.length });
  gallery(byId("gallery"), list, phone.matches ? 36 : undefined);
}
choice(
  byId("order"),
  [
    ["doubt", () => T("least sure first")],
    ["class", () => T("by class")],
    ["given", () => T("as given")],
  ],
  order,
  (chosen) => {
    order = chosen;
    fill();
  },
);
byId("of").addEventListener("change", fill);
onRedraw(fill);
document.documentElement.dataset.ready = "yes";
