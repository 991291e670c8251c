"use strict";
D.charts.forEach((spec, n) => {
  byId("chart-list").append(make("div", { cls: "chart", id: `chart-${n}` }));
  chart(`chart-${n}`, () => [
    Object.entries(spec.curves).map(([name, points], c) => ({
      x: points.map((p) => p.x),
      y: points.map((p) => p.y[0]),
      name: plain(short(name)),
      mode: "lines+markers",
      customdata: points.map((p) => plain(p.arm)),
      line: { color: SERIES[c % SERIES.length], dash: c >= SERIES.length ? "dash" : "solid" },
      marker: { size: 8 },
      error_y: {
        type: "data",
        symmetric: false,
        array: points.map((p) => p.y[2] - p.y[0]),
        arrayminus: points.map((p) => p.y[0] - p.y[1]),
        thickness: 1.5,
      },
      hovertemplate: "%{customdata}: %{y:.1%}<extra></extra>",
    })),
    layout({
      title: { text: plain(spec.title), font: { size: 14 } },
      xaxis: {
        title: { text: plain(zh() ? spec.x.zh : spec.x.en) },
        type: spec.log ? "log" : "linear",
      },
      yaxis: { title: { text: T("test accuracy") }, tickformat: ".0%" },
    }),
  ]);
});

/* Only of the splits that have a curve: runs without val have that of train alone. */
if (byId("curve-chart")) {
  const kinds = [
    ["val_accuracy", () => T("val")],
    ["train_accuracy", () => T("train")],
  ].filter(([kind]) => D.arms.some((arm) => arm[kind].some((v) => v != null)));
  let what = kinds[0][0];
  choice(
    byId("curve-tools"),
    kinds,
    what,
    (v) => {
      what = v;
      redraw("curve-chart");
    },
  );
  chart("curve-chart", () => [
    D.arms
      .filter((arm) => arm[what].some((v) => v != null))
      .map((arm, n) => ({
        x: arm[what].map((_, e) => e),
        y: arm[what],
        name: plain(short(arm.name)),
        mode: "lines",
        line: {
          color: SERIES[n % SERIES.length],
          dash: ["solid", "dash", "dot"][Math.floor(n / SERIES.length) % 3],
          width: 2,
        },
        hovertemplate: `${plain(arm.name)}: %{y:.1%}<extra></extra>`,
      })),
    layout({
      margin: { l: 50, r: 14, t: 20, b: 46 },
      legend: {
        orientation: "v",
        x: 1.01,
        y: 1,
        xanchor: "left",
        yanchor: "top",
        itemsizing: "constant",
      },
      ...(byId("curve-chart").clientWidth < 600
        ? { legend: { orientation: "h", x: 0, y: -0.34, yanchor: "top", font: { size: 10 } } }
        : {}),
      xaxis: { title: { text: T("epoch, stage after stage") } },
      yaxis: { title: { text: T("accuracy") }, range: [0, 1.02], tickformat: ".0%" },
    }),
  ]);
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
  function side(arm, i) {
    const right = arm.said[i] === I.label[i];
    return make(
      "span",
      {},
      make("span", { cls: right ? "right" : "wrong" }, ...named(I.classes[arm.said[i]])),
      ` ${percent(arm.p[i])}`,
      make("br"),
      make("span", { cls: "soft", text: T("right: {share}", { share: percent(arm.right[i], 0) }) }),
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
          side(a, i),
          side(b, i),
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
