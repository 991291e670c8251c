"use strict";
const I = D.images,
  SPLITS = ["train", "val", "test"];
const rows = SPLITS.map((_, s) => I.split.map((x, i) => (x === s ? i : -1)).filter((i) => i >= 0));

/* One image: the thumbnail, what it is and what it was called. */
function tile(row) {
  const right = I.predicted[row] === I.label[row];
  const caption = [
    make("span", { cls: right ? "right" : "wrong" }, ...named(D.classes[I.predicted[row]])),
    " " + probability(I.top[row][0][1]),
  ];
  if (!right) caption.push(make("br"), T("truly") + " ", ...named(D.classes[I.label[row]]));
  if (I.given[row] !== I.label[row])
    caption.push(make("br"), T("given as") + " ", ...named(D.classes[I.given[row]]));
  return framed(row, I.path[row], caption, right ? "tile right-edge" : "tile wrong-edge");
}
/* One picture in the dialog: what it is, what was said, where the network looked, what it learnt
   that is most like it. */
function closer(row, beside) {
  const right = I.predicted[row] === I.label[row];
  const line = (name, text, cls) => {
    const said = make("b", cls ? { cls } : {}, ...named(text));
    return make("p", { cls: "fact" }, make("span", { cls: "soft", text: name }), said);
  };
  const said = [
    line(
      T("predicted as"),
      `${D.classes[I.predicted[row]]}, ${probability(I.top[row][0][1])}`,
      right ? "right" : "wrong",
    ),
    line(T("true class"), D.classes[I.label[row]]),
  ];
  if (I.given[row] !== I.label[row]) said.push(line(T("given as"), D.classes[I.given[row]]));
  said.push(
    make("p", { cls: "soft", text: `${T(SPLITS[I.split[row]])}: ${I.path[row]}` }),
    ...I.top[row].map(([k, p]) => bar(D.classes[k], p)),
  );
  const maps = document.querySelectorAll(`[data-cam="${row}"] img`);
  if (maps.length)
    said.push(
      make("h3", { text: T("Where it looked") }),
      make("div", { cls: "cams-row" }, ...[...maps].map((map) => map.cloneNode())),
    );
  const near = (D.near[row] ?? []).filter(thumb);
  if (near.length)
    said.push(
      make("h3", { text: T("The training images most like it, to the network") }),
      make("div", { cls: "near" }, ...near.map((other) => nearOne(other))),
    );
  enlarge(row, beside, I.path[row], said);
}
function nearOne(row) {
  const name = D.classes[I.given[row]];
  return make(
    "figure",
    { "data-near": row },
    make("img", { src: thumb(row), alt: I.path[row], title: I.path[row] }),
    make("figcaption", {}, ...named(name)),
  );
}

/* Curves; joined runs have none, and those of one epoch would be points. */
if (D.history.length > 1) {
  const place = byId("curve-charts");
  const stages = [...new Set(D.history.map((e) => e.stage))];
  const add = (id) => place.append(make("div", { cls: "chart", id }));
  const titles = { train: () => T("train, running mean"), val: () => T("val") };
  const lines = (list, x, what, say) =>
    ["train", "val"]
      .filter((split) => list.some((e) => e[`${split}_${what}`] != null))
      .map((split, n) => {
        const name = titles[split](),
          y = list.map((e) => e[`${split}_${what}`]);
        return {
          ...{ name, x, y, marks: list.length <= 60, colour: SERIES[n ? 5 : 0] },
          said: (at) => `${name}, ${T("epoch")} ${x[at]}: ${say(y[at])}`,
        };
      });
  for (const stage of stages) {
    add(`loss-${stage}`);
    const list = D.history.filter((e) => e.stage === stage),
      x = list.map((e) => e.epoch);
    chart(`loss-${stage}`, () => ({
      title: T("loss: {name}", { name: list[0].objective }),
      x: { label: T("epoch"), whole: true },
      y: { fromZero: true },
      series: lines(list, x, "loss", (loss) => loss.toPrecision(3)),
    }));
  }
  add("accuracy-chart");
  chart("accuracy-chart", () => {
    const x = D.history.map((_, n) => n),
      name = T("test, at the end");
    return {
      title: T("accuracy"),
      x: { label: stages.length > 1 ? T("epoch, stage after stage") : T("epoch"), whole: true },
      y: { fromZero: true, percents: true },
      series: [
        ...lines(D.history, x, "accuracy", percent),
        {
          ...{ name, x: [x[0], x[x.length - 1]], y: [D.accuracy, D.accuracy] },
          ...{ colour: SERIES[2], dash: 1, said: () => `${name}: ${percent(D.accuracy)}` },
        },
      ],
      drops: x
        .filter((n) => n && D.history[n].stage !== D.history[n - 1].stage)
        .map((n) => n - 0.5),
    };
  });
}

/* Confusion matrix, or its pairs as a ranked list; the images of what is chosen stand beside. */
{
  const K = D.classes.length,
    LIMIT = 60;
  const state = { split: 2, order: "name", cell: null, view: K > LIMIT ? "pairs" : "matrix" };
  const tools = byId("confusion-tools"),
    place = byId("matrix-place"),
    said = byId("matrix-said");
  const by = (key) => (value) => {
    state[key] = value;
    if (key === "split") state.cell = null;
    draw();
  };
  choice(
    tools,
    [0, 1, 2].filter((s) => rows[s].length).map((s) => [s, () => T(SPLITS[s])]),
    2,
    by("split"),
  );
  choice(
    tools,
    [
      ["matrix", () => T("matrix")],
      ["pairs", () => T("list of pairs")],
    ],
    state.view,
    by("view"),
  );
  const orders = choice(
    tools,
    [
      ["name", () => T("by name")],
      ["confusion", () => T("confused classes side by side")],
      ["recall", () => T("worst class first")],
    ],
    "name",
    by("order"),
  );
  const only = make("button", { type: "button", id: "only-wrong", "aria-pressed": "false" });
  only.addEventListener("click", () => {
    only.setAttribute("aria-pressed", only.getAttribute("aria-pressed") === "false");
    draw();
  });
  tools.append(only);
  let c, total;
  const sentence = (i, j) =>
    T("{true} predicted as {said}: {n} of {all} ({share})", {
      true: D.classes[i],
      said: D.classes[j],
      n: c[i][j],
      all: total[i],
      share: percent(total[i] ? c[i][j] / total[i] : null),
    });
  const inTheDark = matchMedia("(prefers-color-scheme: dark)");
  const shade = (part) => `color-mix(in srgb, var(--cell) ${Math.round(100 * part)}%, var(--back))`;
  /* Pairs that are confused, the most frequent first. */
  const pairs = () =>
    c
      .flatMap((line, i) => line.map((n, j) => [n, i, j]))
      .filter(([n, i, j]) => n && i !== j)
      .sort((a, b) => b[0] - a[0] || b[0] / total[b[1]] - a[0] / total[a[1]]);
  function ordered() {
    let order = state.order === "confusion" ? D.order.slice() : D.classes.map((_, k) => k);
    const recall = (k) => (total[k] ? c[k][k] / total[k] : 2);
    if (state.order === "recall") order.sort((a, b) => recall(a) - recall(b));
    if (K > LIMIT) {
      const wrong = (k) => total[k] - c[k][k];
      const kept = new Set([...order].sort((a, b) => wrong(b) - wrong(a)).slice(0, LIMIT));
      order = order.filter((k) => kept.has(k));
    }
    return order;
  }
  function draw() {
    c = Array.from({ length: K }, () => new Array(K).fill(0));
    for (const i of rows[state.split]) c[I.label[i]][I.predicted[i]]++;
    total = c.map((r) => r.reduce((a, b) => a + b, 0));
    only.textContent = T("only mistakes");
    said.textContent = "";
    const isMatrix = state.view === "matrix";
    if (isMatrix) drawMatrix();
    else drawPairs();
    for (const part of [only, orders, said, byId("shades"), byId("matrix-intro")])
      part.hidden = !isMatrix;
    byId("matrix-note").textContent =
      isMatrix && K > LIMIT
        ? T("The {shown} classes with most mistakes, of {all}.", { shown: LIMIT, all: K })
        : "";
    showCell();
  }
  const isOnlyWrong = () => state.view === "pairs" || only.getAttribute("aria-pressed") === "true";
  function drawMatrix() {
    const order = ordered(),
      wrong = isOnlyWrong();
    byId("shades").replaceChildren();
    if (wrong && !pairs().length) {
      place.replaceChildren(make("p", { text: T("No mistakes.") }));
      return;
    }
    const share = (i, j) => (total[i] && !(wrong && i === j) ? c[i][j] / total[i] : 0);
    const strong = inTheDark.matches ? 0.73 : 0.86; // a shade as far from black as from white
    const top = wrong ? Math.max(1e-9, ...order.flatMap((i) => order.map((j) => share(i, j)))) : 1;
    const name = (scope, k) =>
      make("th", { scope, "data-k": k, text: short(D.classes[k]), title: D.classes[k] });
    const table = make("table", {
      cls: "matrix",
      role: "grid",
      "aria-label": T("Confusion matrix"),
    });
    // Somewhat smaller on a phone, if all of it then fits.
    const side = order.length <= 12 ? 34 : order.length <= 24 ? 25 : 20,
      room = `(100vw - 158px) / ${order.length} - 1px`;
    table.style.setProperty("--side", `clamp(${0.8 * side}px, ${room}, ${side}px)`);
    const head = make("tr", {}, make("td", { cls: "zero" }), ...order.map((j) => name("col", j)));
    const body = make("tbody");
    order.forEach((i, y) => {
      const line = make("tr", {}, name("row", i));
      order.forEach((j, x) => {
        const part = Math.sqrt(share(i, j) / top),
          n = part ? c[i][j] : 0;
        const cell = make("td", {
          role: "gridcell",
          tabindex: x + y ? -1 : 0,
          text: n || "",
          "data-i": i,
          "data-j": j,
          "aria-label": sentence(i, j),
        });
        if (n) cell.style.background = shade(part);
        cell.className = (n ? "" : "zero ") + (part >= strong ? "strong" : "");
        line.append(cell);
      });
      body.append(line);
    });
    table.append(make("thead", {}, head), body);
    place.replaceChildren(table);
    const steps = [0.01, 0.05, 0.2, 0.5, 1].map((v) => {
      const swatch = make("i");
      swatch.style.background = shade(Math.sqrt(v));
      return make("span", {}, swatch, `${Number((100 * v * top).toPrecision(2))}%`);
    });
    byId("shades").replaceChildren(T("Share of the row:") + " ", ...steps);
  }
  function drawPairs() {
    const found = pairs(),
      most = found.length ? found[0][0] : 1;
    const line = ([n, i, j]) => {
      const length = make("i");
      length.style.width = `${(100 * n) / most}%`;
      return make(
        "li",
        {},
        make(
          "button",
          { type: "button", "data-i": i, "data-j": j, title: sentence(i, j) },
          make("span", {}, ...named(D.classes[i]), " → ", ...named(D.classes[j])),
          make("span", { cls: "n", text: T("{n} of {all}", { n, all: total[i] }) }),
          make("span", { cls: "length" }, length),
        ),
      );
    };
    inParts(place, found, 100, (part, before) => [
      make("ol", { cls: "pairs", start: before + 1 }, ...part.map(line)),
    ]);
    if (!found.length) place.replaceChildren(make("p", { text: T("No mistakes.") }));
  }
  function showCell() {
    place.querySelectorAll("[aria-current], [aria-selected]").forEach((cell) => {
      cell.removeAttribute("aria-current");
      cell.removeAttribute("aria-selected");
    });
    byId("cell-title").textContent = "";
    byId("cell-images").replaceChildren();
    // Before anything is chosen: the pair that is confused most.
    const first = pairs()[0];
    byId("cell-title").hidden = !first && isOnlyWrong(); // else screen readers stop at nothing
    if (byId("cell-title").hidden) return;
    const [i, j] = state.cell ?? (first ? first.slice(1) : [0, 0]);
    place
      .querySelector(`[data-i="${i}"][data-j="${j}"]`)
      ?.setAttribute(state.view === "pairs" ? "aria-current" : "aria-selected", "true");
    const list = rows[state.split].filter((r) => I.label[r] === i && I.predicted[r] === j);
    byId("cell-title").textContent = T("{split}: {n} images of {true} predicted as {said}", {
      split: T(SPLITS[state.split]),
      n: list.length,
      true: D.classes[i],
      said: D.classes[j],
    });
    gallery(
      byId("cell-images"),
      list.sort((a, b) => I.top[b][0][1] - I.top[a][0][1]),
    );
  }
  const select = (cell) => {
    state.cell = [Number(cell.dataset.i), Number(cell.dataset.j)];
    showCell();
    // Where they stand below, not beside, they may be off the screen.
    const title = byId("cell-title"),
      below = title.getBoundingClientRect().top > place.getBoundingClientRect().bottom;
    if (below) title.scrollIntoView({ block: "center" });
  };
  place.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-i]");
    if (cell) {
      cell.focus({ preventScroll: true });
      select(cell);
    }
  });
  /* A cross of lighter cells leads from a cell to its two names, and a line says what it is. */
  const cross = (event) => {
    const cell = event.target.closest("td[data-i]");
    place.querySelectorAll(".lit").forEach((lit) => lit.classList.remove("lit"));
    said.textContent = cell ? sentence(cell.dataset.i, cell.dataset.j) : "";
    if (!cell) return;
    const { i, j } = cell.dataset;
    place
      .querySelectorAll(
        `td[data-i="${i}"], td[data-j="${j}"], th[scope=row][data-k="${i}"],` +
          ` th[scope=col][data-k="${j}"]`,
      )
      .forEach((lit) => lit.classList.add("lit"));
  };
  place.addEventListener("pointerover", cross);
  place.addEventListener("pointerleave", cross);
  place.addEventListener("focusin", cross);
  place.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[data-i]");
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      select(cell);
      return;
    }
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[
      event.key
    ];
    if (!step) return;
    event.preventDefault();
    const next =
      cell.closest("table").tBodies[0].rows[cell.parentNode.rowIndex - 1 + step[0]]?.cells[
        cell.cellIndex + step[1]
      ];
    if (!next || !next.dataset.i) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  onRedraw(draw);
}

/* Classes: a picture each, a filter, and the mistakes of a class below its own line. */
{
  const table = byId("class-table"),
    links = [...table.querySelectorAll(".class-link")];
  /* Each opened line stands below the line of its class, in the language of now. */
  function place() {
    table.querySelectorAll("tr.opened").forEach((line) => line.remove());
    for (const link of links) {
      const line = link.closest("tr");
      if (link.getAttribute("aria-expanded") === "true" && !line.hidden) line.after(opened(link));
    }
  }
  // Lines are sorted by themselves, and then have their own below them again.
  table.tHead.addEventListener(
    "click",
    () => table.querySelectorAll("tr.opened").forEach((line) => line.remove()),
    true,
  );
  table.tHead.addEventListener("click", place);
  byId("class-filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    links.forEach((link) => {
      link.closest("tr").hidden = !link.textContent.toLowerCase().includes(wanted);
    });
    place();
  });
  const surest = new Map();
  for (const row of [...rows[2], ...rows[1], ...rows[0]]) {
    const k = I.label[row],
      p = (at) => (I.predicted[at] === k ? I.top[at][0][1] : 0);
    if (thumb(row) && (!surest.has(k) || p(row) > p(surest.get(k)))) surest.set(k, row);
  }
  for (const link of links) {
    const k = Number(link.dataset.class);
    link.replaceChildren(make("span", {}, ...named(D.classes[k])));
    if (surest.has(k)) link.prepend(make("img", { src: thumb(surest.get(k)), alt: "" }));
    link.addEventListener("click", () => {
      const wasOpen = link.getAttribute("aria-expanded") === "true";
      link.setAttribute("aria-expanded", !wasOpen);
      if (wasOpen) link.closest("tr").nextSibling.remove();
      else link.closest("tr").after(opened(link));
    });
  }
  function opened(link) {
    const k = Number(link.dataset.class),
      wrong = rows[2].filter((r) => I.label[r] === k && I.predicted[r] !== k),
      images = make("div", { cls: "gallery" }),
      cell = make("td", { colspan: table.tHead.rows[0].cells.length });
    cell.append(
      make("p", {
        text: T("{split}: {n} images of {true} predicted as another class", {
          split: T("test"),
          n: wrong.length,
          true: D.classes[k],
        }),
      }),
      images,
    );
    gallery(
      images,
      wrong.sort((a, b) => I.top[b][0][1] - I.top[a][0][1]),
    );
    return make("tr", { cls: "opened" }, cell);
  }
  redraws.push(place);
}

onRedraw(() => gallery(byId("worst"), D.worst));
onRedraw(() => gallery(byId("unsure"), D.unsure));
document.querySelectorAll("details[data-rows]").forEach((details) => {
  let drawn = false;
  const draw = () => {
    if (drawn) gallery(details.querySelector(".gallery"), D.findingImages[details.dataset.rows]);
  };
  details.addEventListener("toggle", () => {
    if (details.open && !drawn) {
      drawn = true;
      draw();
    }
  });
  redraws.push(draw);
});

/* Features. */
if (D.planes) {
  const state = {
    plane: "tsne" in D.planes ? "tsne" : "pca",
    colour: "label",
    splits: "both",
    classes: new Set(D.chosen),
  };
  const tools = byId("plane-tools"),
    list = byId("class-list");
  const again = () => redraw("plane-chart");
  const pick = (key, options) =>
    choice(tools, options, state[key], (value) => {
      state[key] = value;
      again();
    });
  if (Object.keys(D.planes).length > 1)
    pick(
      "plane",
      Object.keys(D.planes).map((p) => [p, () => (p === "pca" ? "PCA" : "t-SNE")]),
    );
  pick("colour", [
    ["label", () => T("colour: class")],
    ["given", () => T("given label")],
    ["right", () => T("right or wrong")],
  ]);
  if (rows[0].length && rows[2].length)
    pick("splits", [
      ["both", () => T("train and test")],
      ["train", () => T("train")],
      ["test", () => T("test")],
    ]);
  const boxes = D.classes.map((name, k) => {
    const box = make("input", { type: "checkbox", "data-class": k });
    box.checked = state.classes.has(k);
    box.addEventListener("change", () => {
      state.classes[box.checked ? "add" : "delete"](k);
      again();
    });
    list.append(make("label", {}, box, make("span", {}, ...named(name))));
    return box;
  });
  const all = (on) => {
    boxes.forEach((box, k) => {
      box.checked = on;
      state.classes[on ? "add" : "delete"](k);
    });
    again();
  };
  byId("all-classes").addEventListener("click", () => all(true));
  byId("no-classes").addEventListener("click", () => all(false));
  /* Pale and small: train; test lies above it. */
  function points() {
    const place = D.planes[state.plane].points,
      wanted = [...state.classes].sort((a, b) => a - b),
      found = [];
    groups = new Map();
    for (const s of [0, 2]) {
      if (state.splits !== "both" && SPLITS[s] !== state.splits) continue;
      for (const row of rows[s]) {
        const group =
          state.colour === "right"
            ? Number(I.predicted[row] !== I.label[row])
            : I[state.colour][row];
        if (!state.classes.has(state.colour === "given" ? group : I.label[row])) continue;
        const n = state.colour === "right" ? 0 : wanted.indexOf(group),
          colour = state.colour === "right" ? SERIES[group ? 5 : 2] : SERIES[n % SERIES.length],
          mark = Math.floor(n / SERIES.length) % 5,
          [x, y] = place[row];
        groups.set(group, { colour, mark });
        const small = s === 0 && state.splits === "both";
        found.push({ row, x, y, colour, mark, small, group });
      }
    }
    return found;
  }
  let groups = new Map();
  const legend = byId("plane-legend");
  const { light } = plane(
    "plane-chart",
    () => {
      const plane = D.planes[state.plane],
        both = [...rows[0], ...rows[2]],
        has = (k) => state.classes.has(k),
        chosen = both.filter((row) => has(I.label[row]) || has(I.given[row])),
        placed = (chosen.length ? chosen : both).map((row) => plane.points[row]),
        xs = placed.map(([x]) => x),
        ys = placed.map(([, y]) => y),
        ends = (values) =>
          values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [1e9, -1e9]),
        found = points();
      byId("plane-note").textContent = [
        plane.explained == null
          ? T("t-SNE keeps neighbours, not distances: sizes and gaps of clusters mean little.")
          : T("These two axes hold {share} of the variance of the training embeddings.", {
              share: percent(plane.explained),
            }),
        plane.full == null
          ? ""
          : T(
              "The ten nearest training images predict {full} of the test images right with " +
                "all features, and {flat} on these two axes, of all classes together.",
              { full: percent(plane.full), flat: percent(plane.flat) },
            ),
        state.splits === "both" && rows[0].length ? T("Small and pale: train; large: test.") : "",
      ].join(zh() ? "" : " ");
      const names = state.colour === "right" ? [T("right"), T("wrong")] : D.classes;
      legend.replaceChildren(
        ...[...groups]
          .sort(([a], [b]) => a - b)
          .map(([group, { colour, mark }]) => {
            const name = make("span", {
              "data-mark": mark,
              text: short(names[group]),
              title: names[group],
              style: `--of:${colour}`,
              onpointerenter: () => light(group),
              onpointerleave: () => light(null),
            });
            return name;
          }),
      );
      return {
        points: found,
        box: [...ends(xs), ...ends(ys)],
        label: `${T("Features")}: ${T("{n} images", { n: found.length })}`,
      };
    },
    { over: (row) => byId("hover").replaceChildren(tile(row)), open: (row) => closer(row) },
  );
}

/* How many answers pass a limit, and how many of these are right. */
if (D.trust) {
  const { limit, share, right, low, high } = D.trust,
    slider = byId("limit");
  /* So many that a limit does not read as 100%. */
  const digits = (below) => Math.max(0, Math.ceil(-Math.log10(below)) - 2);
  slider.max = limit.length - 1;
  slider.value = D.trust.open;
  const told = (at) =>
    T(
      "Answers with {limit} or more: {share} of the test images, and {right} of these are right " +
        "({low} to {high}).",
      {
        limit: percent(limit[at], digits(1 - limit[at])),
        share: percent(share[at], 0),
        right: percent(right[at]),
        low: percent(low[at]),
        high: percent(high[at]),
      },
    );
  chart("trust-curve", () => ({
    x: { label: T("share of images that pass"), range: [0, 1], percents: true },
    y: {
      label: T("share that was right"),
      range: [Math.floor(20 * Math.min(...low)) / 20, 1],
      percents: true,
    },
    series: [{ x: share, y: right, low, high, band: true, colour: "var(--accent)", said: told }],
    mark: Number(slider.value),
  }));
  onRedraw(() => {
    byId("trusted").textContent = told(Number(slider.value));
    slider.setAttribute("aria-valuetext", byId("trusted").textContent);
  });
  slider.addEventListener("input", () => {
    byId("trusted").textContent = told(Number(slider.value));
    slider.setAttribute("aria-valuetext", byId("trusted").textContent);
    redraw("trust-curve");
  });
}

chart("search-chart", () => {
  const { name, cost, accuracy, low, high } = D.search;
  return {
    x: { label: T("time for one picture, ms"), range: [0, 1.06 * Math.max(...cost)] },
    y: { label: T("right out of fold"), percents: true },
    series: [
      {
        ...{ name: T("candidate"), x: cost, y: accuracy, low, high, colour: SERIES[0] },
        ...{ marks: true, alone: true, labels: name.map((_, n) => n + 1) },
        said: (n) =>
          `${name[n]}: ${percent(accuracy[n])} (${percent(low[n])} – ${percent(high[n])}), ` +
          `${cost[n].toFixed(0)} ms`,
      },
    ],
  };
});

chart("calibration-chart", () => {
  const c = D.calibration,
    used = c.counts.map((count, n) => n).filter((n) => c.counts[n]),
    of = (values) => used.map((n) => values[n]),
    most = Math.max(...c.counts),
    name = T("perfect"),
    accuracy = of(c.accuracy),
    confidence = of(c.confidence);
  return {
    x: { label: T("predicted probability"), range: [0, 1], percents: true },
    y: { label: T("share that was right"), range: [0, 1], percents: true },
    series: [
      {
        ...{ name: T("test"), x: confidence, y: accuracy, colour: SERIES[0], marks: true },
        ...{ low: of(c.low), high: of(c.high) },
        sizes: of(c.counts).map((count) => 3 + 7 * Math.sqrt(count / most)),
        said: (n) =>
          `${percent(confidence[n])} → ${percent(accuracy[n])}, ` +
          T("{n} images", { n: of(c.counts)[n] }),
      },
      { name, x: [0, 1], y: [0, 1], colour: SERIES[6], dash: 1, said: () => name },
    ],
  };
});
document.documentElement.dataset.ready = "yes";
