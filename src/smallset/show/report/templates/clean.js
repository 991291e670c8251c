"use strict";
/* One suspect: the thumbnail, what it is given as, what it looks like, and what was decided. */
function tile(row) {
  const one = D.suspects[row];
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
  caption.append(make("span", { cls: "wrong" }, ...named(one.given)));
  if (one.suggested !== one.given)
    caption.append(" → ", make("span", { cls: "right" }, ...named(one.suggested)));
  caption.append(
    make("br"),
    make("span", {
      cls: "soft",
      text: T(one.decision) + (one.by === "smallset" ? "" : ` (${one.by})`),
    }),
  );
  box.append(button, caption);
  return box;
}
function closer(row) {
  const one = D.suspects[row],
    content = byId("closer-content");
  content.replaceChildren();
  const source = thumb(row);
  if (source) content.append(make("img", { src: source, alt: "" }));
  for (const line of [
    one.path,
    `${T("given as")} ${one.given}`,
    `${T("looks like")} ${one.suggested}`,
    `${T("the given label is right with probability")} ${percent(one.probability, 2)}`,
    `${T(one.decision)} (${one.by})`,
  ])
    content.append(make("p", { text: line }));
  byId("closer").showModal();
}
const all = D.suspects.map((_, row) => row);
function fill() {
  const kept = byId("of").value,
    counts = {};
  for (const one of D.suspects)
    for (const k of new Set([one.given, one.suggested])) counts[k] = (counts[k] || 0) + 1;
  byId("of").replaceChildren(
    make("option", { value: "", text: T("all classes") }),
    ...Object.keys(counts)
      .sort()
      .map((k) => make("option", { value: k, text: `${k} (${counts[k]})` })),
  );
  byId("of").value = kept;
  const list = all.filter(
    (row) => !kept || D.suspects[row].given === kept || D.suspects[row].suggested === kept,
  );
  byId("shown").textContent = T("{count} images", { count: list.length });
  gallery(byId("gallery"), list);
}
byId("of").addEventListener("change", fill);
onRedraw(fill);
document.documentElement.dataset.ready = "yes";
