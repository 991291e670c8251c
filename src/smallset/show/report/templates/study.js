"use strict";
D.charts.forEach((spec, n) => {
  byId("chart-list").append(make("div", { cls: "chart", id: `chart-${n}` }));
  chart(`chart-${n}`, () => ({
    title: known(spec.title),
    x: { label: known(spec.x), log: spec.log, percents: spec.percents, measured: true },
    y: { label: T("test accuracy"), percents: true },
    series: Object.entries(spec.curves).map(([name, points], c) => ({
      ...{ name: known(name), marks: true },
      ...{ x: points.map((p) => p.x), y: points.map((p) => p.y[0]) },
      ...{ low: points.map((p) => p.y[1]), high: points.map((p) => p.y[2]) },
      ...{ colour: SERIES[c % SERIES.length], dash: Math.floor(c / SERIES.length) % 3 },
      said: (at) =>
        `${points[at].arm}: ${percent(points[at].y[0])} ` +
        `(${percent(points[at].y[1])} – ${percent(points[at].y[2])})`,
    })),
  }));
});

/* Only of the splits that have a curve: runs without val have that of train alone. */
if (byId("curve-chart")) {
  const kinds = [
    ["val_accuracy", () => T("val")],
    ["train_accuracy", () => T("train")],
  ].filter(([kind]) => D.arms.some((arm) => arm[kind].some((v) => v != null)));
  let what = kinds[0][0];
  choice(byId("curve-tools"), kinds, what, (v) => {
    what = v;
    redraw("curve-chart");
  });
  chart("curve-chart", () => ({
    x: { label: T("epoch, stage after stage"), whole: true },
    y: { label: T("accuracy"), fromZero: true, percents: true },
    series: D.arms
      .filter((arm) => arm[what].some((v) => v != null))
      .map((arm, n) => ({
        ...{ name: arm.name, x: arm[what].map((_, e) => e), y: arm[what] },
        ...{ colour: SERIES[n % SERIES.length], dash: Math.floor(n / SERIES.length) % 3 },
        said: (at) => `${arm.name}, ${T("epoch")} ${at}: ${percent(arm[what][at])}`,
      })),
  }));
}

if (D.arms.length > 1) {
  const state = { a: 0, b: 1, filter: "all" };
  if (D.comparisons.length) {
    const at = (name) => D.arms.findIndex((arm) => arm.name === name);
    state.a = Math.max(0, at(D.comparisons[0].a));
    state.b = Math.max(0, at(D.comparisons[0].b));
  }
  const place = byId("pair-list"),
    I = D.images;
  for (const [id, key] of [
    ["arm-a", "a"],
    ["arm-b", "b"],
  ]) {
    const select = byId(id);
    D.arms.forEach((arm, n) => select.append(make("option", { value: n, text: arm.name })));
    select.value = state[key];
    select.addEventListener("change", () => {
      state[key] = Number(select.value);
      draw();
    });
  }
  choice(
    byId("pair-tools"),
    [
      ["all", () => T("all")],
      ["a", () => T("A better")],
      ["b", () => T("B better")],
      ["both", () => T("both wrong")],
    ],
    "all",
    (v) => {
      state.filter = v;
      draw();
    },
  );
  const MOST = 60;
  let shown = MOST;
  function side(which, arm, i) {
    const right = arm.said[i] === I.label[i],
      share = percent(arm.right[i], 0);
    return make(
      "span",
      {},
      make("span", { cls: right ? "right" : "wrong" }, ...named(I.classes[arm.said[i]])),
      ` ${probability(arm.p[i])}`,
      make("br"),
      make("span", { cls: "soft" }, `${which} · `, T("right: {share}", { share })),
    );
  }
  function draw() {
    shown = MOST;
    list();
  }
  function list() {
    const a = D.arms[state.a],
      b = D.arms[state.b];
    const gap = (i) => a.right[i] - b.right[i];
    const keep = {
      all: (i) => gap(i) !== 0,
      a: (i) => gap(i) > 0,
      b: (i) => gap(i) < 0,
      both: (i) => a.right[i] < 0.5 && b.right[i] < 0.5,
    }[state.filter];
    const found = I.path
      .map((_, i) => i)
      .filter(keep)
      .sort((x, y) => Math.abs(gap(y)) - Math.abs(gap(x)) || b.p[y] + a.p[y] - a.p[x] - b.p[x]);
    byId("pair-note").textContent = T("{count} of {all} images.", {
      count: found.length,
      all: I.path.length,
    });
    place.replaceChildren(
      ...found.slice(0, shown).map((i) => {
        const source = thumb(i);
        return make(
          "div",
          { cls: "pair", "data-image": i },
          source
            ? make("img", { src: source, alt: I.path[i], loading: "lazy" })
            : make("span", { text: "" }),
          side("A", a, i),
          side("B", b, i),
          make(
            "p",
            {},
            make("b", {}, ...named(I.classes[I.label[i]])),
            " ",
            make("span", { cls: "soft", text: I.path[i] }),
          ),
        );
      }),
    );
    if (found.length > shown)
      place.append(
        make("button", {
          type: "button",
          text: T("{count} more", { count: found.length - shown }),
          onclick: () => {
            shown += MOST;
            list();
          },
        }),
      );
  }
  onRedraw(list);
}
document.documentElement.dataset.ready = "yes";
