"use strict";
const WHY = {
  contradicted: () => T("looks more like another class"),
  nowhere: () => T("far from every class"),
};
/* Of what looks contradict, labels alone say nothing: a probability is what an assumption makes it,
   and is not said without it. */
const isOpen = (one) => one.why in WHY;
const assumed = (one, said) => (isOpen(one) ? T(D.assumption, { said }) : said);
/* How probable the class is that the image looks like, where there is something to say. */
const likely = (one, digits, before) =>
  one.likely >= 0.005 && !isOpen(one) ? before + probability(one.likely, digits) : "";
/* One suspect: the thumbnail, what it is given as, what it looks like, and what was decided. */
function tile(row) {
  const one = D.suspects[row],
    by = one.by === "smallset" ? "" : ` (${one.by})`;
  const caption = [make("span", { cls: "wrong" }, ...named(one.given))];
  if (one.suggested !== one.given)
    caption.push(
      " → ",
      make("span", { cls: "right" }, ...named(one.suggested)),
      likely(one, 0, " "),
    );
  caption.push(make("br"), make("span", { cls: "soft", text: T(one.decision) + by }));
  return framed(row, one.path, caption);
}
let list = []; // of the class that is chosen, whether they are drawn yet or not
function closer(row) {
  const one = D.suspects[row];
  const lines = [
    one.path,
    `${T("given as")} ${one.given}`,
    `${T("looks like")} ${one.suggested}` + likely(one, 1, ": "),
    assumed(
      one,
      T("the given label is right with probability {p}", { p: probability(one.probability, 2) }),
    ),
    `${T(one.decision)} (${one.by})`,
    ...(isOpen(one) ? [WHY[one.why]()] : []),
  ];
  const said = lines.map((line) => make("p", { text: line }));
  enlarge(row, list, one.path, said);
}
const FIRST = 36; // as in page.css, which prints so many
function fill() {
  const kept = byId("of").value,
    counts = Object.create(null); // a class may be called constructor
  const count = (k, what) => (counts[k] ??= { given: 0, like: 0 })[what]++;
  for (const one of D.suspects) {
    count(one.given, "given");
    if (one.suggested !== one.given) count(one.suggested, "like");
  }
  byId("of").replaceChildren(
    make("option", { value: "", text: T("all classes") }),
    ...Object.keys(counts)
      .sort()
      .map((k) => {
        const text = T("{name}: {given} by label, {like} by looks", { name: k, ...counts[k] });
        return make("option", { value: k, text });
      }),
  );
  byId("of").value = kept;
  list = D.suspects.flatMap(({ given, suggested }, row) =>
    !kept || given === kept || suggested === kept ? [row] : [],
  );
  byId("shown").textContent = T("{count} images", { count: list.length });
  gallery(byId("gallery"), list, FIRST);
  const all = list.length;
  byId("printed").textContent =
    all > FIRST
      ? T("The first {count} of {all} images; the page on a screen has the others.", {
          count: FIRST,
          all,
        })
      : "";
}
byId("of").addEventListener("change", fill);
onRedraw(fill);
document.documentElement.dataset.ready = "yes";
