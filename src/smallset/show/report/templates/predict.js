"use strict";
const P = D.pictures,
  first = (row) => P[row].top[0];
/* Why a picture was refused; "" where it was not. */
function refused({ unknown }) {
  const reasons = { probability: T("probability too low"), distance: T("unlike the training") };
  return unknown.length ? `${T("unknown")}: ${unknown.map((why) => reasons[why]).join(", ")}` : "";
}
/* One picture: the thumbnail, its class, and what else it could be. */
function tile(row) {
  const one = P[row],
    [k, p] = first(row);
  const box = make("figure", { cls: "tile", "data-row": row });
  const button = make("button", {
    type: "button",
    onclick: () => closer(row),
    "aria-label": one.path,
  });
  const source = thumb(row);
  button.append(
    source
      ? make("img", { src: source, alt: one.path, loading: "lazy" })
      : make("span", { cls: "gone", text: one.path }),
  );
  const caption = make("figcaption");
  caption.append(
    make("span", { cls: p < 0.5 ? "wrong" : "" }, ...named(D.classes[k])),
    " " + percent(p, 0),
  );
  if (one.set.length > 1) {
    const others = one.set.slice(1).map((other) => D.classes[other]).join(", ");
    const text = T("or {others}", { others });
    caption.append(make("br"), make("span", { cls: "soft" }, ...named(text)));
  } else if (p < 0.9 && one.top.length > 1) {
    const [other, q] = one.top[1];
    caption.append(
      make("br"),
      make("span", { cls: "soft" }, ...named(D.classes[other]), " " + percent(q, 0)),
    );
  }
  if (one.unknown.length)
    caption.append(make("br"), make("span", { cls: "wrong", text: refused(one) }));
  if (one.seen)
    caption.append(
      make("br"),
      make("span", { cls: "soft", text: one.seen === "train" ? T("trained on") : T(one.seen) }),
    );
  box.append(button, caption);
  return box;
}
function closer(row) {
  const one = P[row],
    content = byId("closer-content"),
    source = thumb(row);
  content.replaceChildren();
  if (source) content.append(make("img", { src: source, alt: "" }));
  content.append(make("p", { text: one.path }));
  if (one.unknown.length) content.append(make("p", { cls: "wrong", text: refused(one) }));
  if (one.seen) {
    const said = T("also a picture of the run: {split}", { split: T(one.seen) });
    content.append(make("p", { text: said }));
  }
  for (const [k, p] of one.top) {
    const bar = make("i");
    bar.style.width = `${100 * p}%`;
    content.append(
      make(
        "div",
        { cls: "bar" },
        make("span", { text: D.classes[k] }),
        bar,
        make("span", { text: percent(p) }),
      ),
    );
  }
  byId("closer").showModal();
}
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
  gallery(byId("gallery"), list);
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
