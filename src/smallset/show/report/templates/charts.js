"use strict";
/* Charts. Lines and points with their intervals are SVG, many points are a canvas. Each is drawn
   when it has a size, and again at another size, in another language or light. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SERIES = [
  "#0072B2",
  "#E69F00",
  "#009E73",
  "#CC79A7",
  "#56B4E9",
  "#D55E00",
  "#7F7F7F",
  "#8C6D1F",
  "#7B61C9",
  "#B8B000",
];
const DASHES = ["", "6 4", "2 3"];
const drawn = new Map();
const sizes = new ResizeObserver((entries) =>
  entries.forEach(({ target }) => {
    const known = drawn.get(target);
    if (known.width !== target.clientWidth) known.draw(); // its height is of the chart's own making
  }),
);
function onSize(place, draw) {
  const known = {
    draw: (least = 0) => {
      known.width = place.clientWidth;
      if (known.width || least) draw(known.width || least);
    },
  };
  drawn.set(place, known);
  redraws.push(known.draw);
  sizes.observe(place);
}
const redraw = (id) => drawn.get(byId(id))?.draw();
// What is folded on a phone is printed.
addEventListener("beforeprint", () => drawn.forEach((known) => known.width || known.draw(640)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  redraws.forEach((draw) => draw()),
);

function svg(tag, { text, ...attributes } = {}, ...children) {
  const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes))
    if (value != null) part.setAttribute(name, value);
  if (text != null) part.textContent = text;
  part.append(...children);
  return part;
}

/* Round steps of which there are at most so many between two numbers. */
function steps(from, to, most, least = 0) {
  const rough = Math.max((to - from) / most, least),
    unit = 10 ** Math.floor(Math.log10(rough)),
    step = unit * [1, 2, 5, 10].find((times) => times * unit >= rough * 0.999),
    found = [];
  for (let n = Math.ceil(from / step - 1e-6); n * step <= to + 1e-6 * step; n++)
    found.push(Number((n * step).toPrecision(12)));
  return found;
}
const rounded = (value) => String(Number(value.toPrecision(3))).replace(/^-/, "−");

/* Where values lie along a line of so many pixels, with its ticks. */
function axis({ range, log, percents, whole, fromZero, measured }, values, length) {
  let [from, to] = range ?? [Math.min(...values), Math.max(...values)];
  const at = log ? Math.log10 : (value) => value,
    most = Math.max(2, Math.floor(Math.abs(length) / (percents || fromZero ? 44 : 60)));
  if (fromZero) from = 0;
  if (from === to)
    [from, to] = log ? [from / 2, to * 2] : [from - (whole ? 1 : 0.05), to + (whole ? 1 : 0.05)];
  if (!range) {
    const air = 0.04 * (at(to) - at(from)),
      back = log ? (value) => 10 ** value : (value) => value;
    [from, to] = [fromZero ? 0 : back(at(from) - air), back(at(to) + air)];
  }
  const place = (value) => (length * (at(value) - at(from))) / (at(to) - at(from));
  let ticks = steps(from, to, most, whole ? 1 : 0);
  if (log || measured) {
    // Where something was measured, as far as the numbers have room.
    ticks = [];
    for (const value of [...new Set(values)].sort((a, b) => a - b))
      if (!ticks.length || Math.abs(place(value) - place(ticks[ticks.length - 1])) > 44)
        ticks.push(value);
  }
  const digits = percents && ticks.length > 1 && ticks[1] - ticks[0] < 0.0099 ? 1 : 0;
  return { place, ticks, say: percents ? (value) => percent(value, digits) : rounded };
}

/* Lines, points and intervals.

   `build` returns {title, x, y, series, drops, mark}. x and y: {label, and what `axis` takes}. A
   series: {name, x, y, low, high, band, colour, dash, marks, sizes, labels, alone, said}: y may
   hold null; low and high are ends of intervals, drawn as a band or as bars; no line joins points
   that stand alone; said(n) is what is told of a point.
   drops: x of vertical lines. mark: the point of the first series that stands out.

   Names switch their series off and on. Pointing, or the arrow keys, tell of a point. */
function chart(id, build) {
  const place = byId(id);
  if (!place) return;
  const off = new Set(),
    told = make("p", { cls: "told", role: "status" });
  let keep = null; // the point that is told of, as [series, n]
  const draw = (width) => {
    const spec = build(),
      high = Math.min(Number(place.dataset.height) || 300, 0.7 * width + 90) - 56,
      shown = spec.series.map((each, s) => ({ ...each, s })).filter(({ s }) => !off.has(s)),
      ys = shown.flatMap((each) => [...each.y, ...(each.low ?? []), ...(each.high ?? [])]),
      y = axis(
        spec.y,
        ys.filter((v) => v != null),
        -high,
      ),
      left = 12 + 7 * Math.max(...y.ticks.map((tick) => y.say(tick).length)),
      wide = width - left - 20,
      x = axis(
        spec.x,
        shown.flatMap((each) => each.x),
        wide,
      ),
      X = (v) => left + x.place(v),
      Y = (v) => 26 + high + y.place(v);
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${high + 66}`,
      role: "group",
      tabindex: 0,
      "aria-label": [spec.title, spec.x.label, spec.y.label].filter(Boolean).join(", "),
    });
    const put = (...parts) => picture.append(...parts);
    if (spec.y.label) put(svg("text", { x: 0, y: 12, class: "name", text: spec.y.label }));
    for (const tick of y.ticks)
      put(
        svg("line", { x1: left, x2: width - 20, y1: Y(tick), y2: Y(tick), class: "grid" }),
        svg("text", { x: left - 6, y: Y(tick) + 4, "text-anchor": "end", text: y.say(tick) }),
      );
    for (const tick of x.ticks)
      put(
        svg("text", { x: X(tick), y: 26 + high + 17, "text-anchor": "middle", text: x.say(tick) }),
      );
    put(
      svg("text", {
        x: width - 20,
        y: high + 62,
        "text-anchor": "end",
        class: "name x",
        text: spec.x.label,
      }),
    );
    for (const drop of spec.drops ?? [])
      put(svg("line", { x1: X(drop), x2: X(drop), y1: 26, y2: 26 + high, class: "drop" }));
    const points = [];
    for (const each of shown) {
      const group = svg("g", { style: `--of:${each.colour}`, "data-s": each.s }),
        pieces = [[]];
      each.y.forEach((v, n) => {
        if (v == null) return pieces.push([]);
        const point = { s: each.s, n, left: X(each.x[n]), top: Y(v) };
        points.push(point);
        pieces[pieces.length - 1].push(`${point.left.toFixed(1)},${point.top.toFixed(1)}`);
        if (each.low && !each.band)
          group.append(
            svg("line", {
              x1: point.left,
              x2: point.left,
              y1: Y(each.low[n]),
              y2: Y(each.high[n]),
              class: "interval",
            }),
          );
        if (each.marks || each.y.length === 1)
          group.append(
            svg("circle", { cx: point.left, cy: point.top, r: each.sizes ? each.sizes[n] : 3 }),
          );
        if (each.labels)
          group.append(
            svg("text", { x: point.left + 8, y: point.top - 6, text: each.labels[n] }),
          );
        if (each.s === 0 && n === spec.mark)
          group.append(
            svg("line", { x1: point.left, x2: point.left, y1: 26, y2: 26 + high, class: "drop" }),
            svg("circle", { cx: point.left, cy: point.top, r: 5.5 }),
          );
      });
      if (each.band) {
        const edge = (values) =>
          values.map((v, n) => `${X(each.x[n]).toFixed(1)},${Y(v).toFixed(1)}`);
        group.prepend(
          svg("polygon", {
            points: [...edge(each.high), ...edge(each.low).reverse()].join(" "),
            class: "band",
          }),
        );
      }
      for (const piece of pieces)
        if (piece.length > 1 && !each.alone)
          group.append(
            svg("polyline", {
              points: piece.join(" "),
              "stroke-dasharray": DASHES[each.dash ?? 0] || null,
            }),
          );
      put(group);
    }
    const ring = svg("circle", { r: 6, class: "ring" });
    put(ring);
    const tell = (point) => {
      keep = point && [point.s, point.n];
      picture.classList.toggle("telling", Boolean(point) && shown.length > 1);
      for (const group of picture.querySelectorAll("g"))
        group.classList.toggle("lit", Boolean(point) && Number(group.dataset.s) === point.s);
      ring.style.display = point ? "" : "none";
      told.hidden = !point;
      if (!point) return;
      ring.setAttribute("cx", point.left);
      ring.setAttribute("cy", point.top);
      told.textContent = spec.series[point.s].said(point.n);
      const share = point.left / width;
      told.style.left = `${100 * share}%`;
      told.style.transform = `translateX(${-100 * share}%)`;
      const box = picture.getBoundingClientRect(),
        above = box.top - place.getBoundingClientRect().top,
        top = above + (point.top * box.width) / width;
      told.style.top = `${top < 90 ? top + 14 : top - 14 - told.offsetHeight}px`;
    };
    const nearest = (px, py, among = points) =>
      among.reduce(
        (best, p) => {
          const far = (p.left - px) ** 2 + (p.top - py) ** 2;
          return far < best.far ? { far, p } : best;
        },
        { far: Infinity, p: null },
      ).p;
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect(),
        scale = width / box.width;
      tell(nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale));
    });
    picture.addEventListener("pointerleave", () => tell(null));
    picture.addEventListener("blur", () => tell(null));
    picture.addEventListener("keydown", (event) => {
      const now = keep && points.find(({ s, n }) => s === keep[0] && n === keep[1]),
        along = { ArrowRight: 1, ArrowLeft: -1 }[event.key],
        across = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") tell(null);
      if (!along && !across) return;
      event.preventDefault();
      if (!now) return tell(points[0] ?? null);
      const same = points.filter(({ s }) => s === now.s),
        column = points
          .filter(({ left }) => Math.abs(left - now.left) < 1)
          .sort((a, b) => a.top - b.top);
      const [list, step] = along ? [same, along] : [column, across];
      tell(list[list.indexOf(now) + step] ?? now);
    });
    const names = make("div", { cls: "legend" });
    if (spec.series.length > 1)
      spec.series.forEach((each, s) => {
        const line = svg("svg", { viewBox: "0 0 22 10", style: `--of:${each.colour}` });
        line.append(
          svg("polyline", {
            points: "1,5 21,5",
            "stroke-dasharray": DASHES[each.dash ?? 0] || null,
          }),
        );
        const light = (on) => () => {
          picture.classList.toggle("telling", on);
          picture.querySelector(`g[data-s="${s}"]`)?.classList.toggle("lit", on);
        };
        const button = make(
          "button",
          {
            type: "button",
            title: each.name,
            "aria-pressed": !off.has(s),
            onpointerenter: light(true),
            onpointerleave: light(false),
            onclick: () => {
              if (!off.delete(s) && off.size < spec.series.length - 1) off.add(s);
              redraw(id);
              place.querySelectorAll(".legend button")[s].focus();
            },
          },
          line,
          ...named(short(each.name, 60)),
        );
        names.append(button);
      });
    place.replaceChildren(
      ...(spec.title ? [make("h3", { text: spec.title })] : []),
      names,
      picture,
      told,
    );
    place.spec = spec;
    tell(null);
  };
  onSize(place, draw);
}

/* Many points on a canvas.

   `build` returns {points: [{row, x, y, colour, mark, small, group}], box: [x0, x1, y0, y1]}.
   `over(row)` is called for the point that the pointer or the arrow keys are at, `open(row)` for
   one that is clicked. Drag moves the picture, Ctrl and the wheel or the buttons make it larger.
   Returns {light}: light(group) lets one group stand out, light(null) none. */
function plane(id, build, { over, open }) {
  const place = byId(id),
    canvas = make("canvas", { tabindex: 0, role: "img" }),
    tools = make("div", { cls: "zoom" });
  place.append(canvas, tools);
  const view = { x: 0, y: 0, scale: 1 },
    CELL = 16;
  let spec,
    ratio,
    wide,
    high,
    spots,
    grid,
    edge,
    lit = null,
    now = null;

  /* Each kind of mark is painted once; thousands of copies are then fast. */
  const stamps = new Map();
  function stamp({ colour: fill, mark, small }) {
    const key = `${fill} ${mark} ${small}`;
    if (!stamps.has(key)) {
      const r = small ? 2.6 : 4,
        side = Math.ceil(2 * r + 4) * ratio,
        made = make("canvas", { width: side, height: side }),
        pen = made.getContext("2d");
      pen.scale(ratio, ratio);
      pen.translate(side / ratio / 2, side / ratio / 2);
      pen.globalAlpha = small ? 0.45 : 1;
      pen.fillStyle = fill;
      pen.strokeStyle = edge;
      pen.lineWidth = 0.8;
      pen.beginPath();
      const corners = [null, [45, 4], [-90, 3], [0, 4], [-54, 5]][mark];
      if (!corners) pen.arc(0, 0, r, 0, 7);
      else
        for (let n = 0; n <= corners[1]; n++) {
          const turn = ((corners[0] + (360 * n) / corners[1]) * Math.PI) / 180;
          pen.lineTo(1.2 * r * Math.cos(turn), 1.2 * r * Math.sin(turn));
        }
      pen.fill();
      pen.stroke();
      stamps.set(key, made);
    }
    return stamps.get(key);
  }

  function paint() {
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    spots = [];
    grid = null; // of where points are: made when somebody points at one
    const [x0, x1, y0, y1] = spec.box,
      unit = Math.min((wide - 24) / (x1 - x0 || 1), (high - 24) / (y1 - y0 || 1)) * view.scale;
    const layers =
      lit == null
        ? [spec.points]
        : [
            spec.points.filter(({ group }) => group !== lit),
            spec.points.filter(({ group }) => group === lit),
          ];
    layers.forEach((points, layer) => {
      pen.globalAlpha = lit != null && layer === 0 ? 0.12 : 1;
      for (const point of points) {
        const left = wide / 2 + view.x + unit * (point.x - (x0 + x1) / 2),
          top = high / 2 + view.y - unit * (point.y - (y0 + y1) / 2);
        if (left < -8 || top < -8 || left > wide + 8 || top > high + 8) continue;
        const mark = point.stamp;
        pen.drawImage(mark, left * ratio - mark.width / 2, top * ratio - mark.height / 2);
        spots.push({ row: point.row, left, top });
      }
    });
    if (now) {
      const there = spots.find(({ row }) => row === now.row);
      if (there) {
        pen.globalAlpha = 1;
        pen.strokeStyle = colour("--ink");
        pen.lineWidth = 2 * ratio;
        pen.beginPath();
        pen.arc(there.left * ratio, there.top * ratio, 7 * ratio, 0, 7);
        pen.stroke();
      }
    }
    canvas.spots = spots;
  }
  let asked = false;
  function soon() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      if (spec) paint();
    });
  }
  onSize(place, (width) => {
    spec = build();
    wide = width;
    high = Math.min(Number(place.dataset.height), width + 40);
    ratio = devicePixelRatio || 1;
    canvas.width = wide * ratio;
    canvas.height = high * ratio;
    canvas.style.height = `${high}px`;
    canvas.setAttribute("aria-label", spec.label);
    now = null;
    edge = colour("--panel");
    stamps.clear();
    for (const point of spec.points) point.stamp = stamp(point);
    paint();
  });

  const cellOf = (left, top) => 4096 * Math.floor(left / CELL) + Math.floor(top / CELL);
  function near(left, top) {
    if (!grid) {
      grid = new Map();
      spots.forEach((spot, n) => {
        const key = cellOf(spot.left, spot.top),
          there = grid.get(key);
        if (there) there.push(n);
        else grid.set(key, [n]);
      });
    }
    let best = null,
      far = 14 ** 2;
    for (let i = -1; i <= 1; i++)
      for (let j = -1; j <= 1; j++)
        for (const n of grid.get(cellOf(left + i * CELL, top + j * CELL)) ?? []) {
          const gap = (spots[n].left - left) ** 2 + (spots[n].top - top) ** 2;
          if (gap <= far) [best, far] = [spots[n], gap];
        }
    return best;
  }
  function at(spot) {
    if (spot?.row === now?.row) return;
    now = spot;
    if (spot) over(spot.row);
    soon();
  }
  const place_of = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const held = new Map();
  let moved = 0;
  function zoom(times, left = wide / 2, top = high / 2) {
    const scale = Math.min(Math.max(view.scale * times, 1), 40),
      by = scale / view.scale;
    view.x = (view.x - left + wide / 2) * by + left - wide / 2;
    view.y = (view.y - top + high / 2) * by + top - high / 2;
    view.scale = scale;
    if (scale === 1) view.x = view.y = 0;
    canvas.classList.toggle("larger", scale > 1);
    soon();
  }
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, place_of(event));
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [left, top] = place_of(event),
      before = held.get(event.pointerId);
    if (!before) return at(near(left, top));
    const others = [...held].filter(([id]) => id !== event.pointerId).map(([, where]) => where);
    held.set(event.pointerId, [left, top]);
    moved += Math.abs(left - before[0]) + Math.abs(top - before[1]);
    if (others.length) {
      const gap = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]);
      return zoom(gap([left, top]) / Math.max(gap(before), 1), ...others[0]);
    }
    if (view.scale === 1) return;
    canvas.setPointerCapture(event.pointerId);
    view.x += left - before[0];
    view.y += top - before[1];
    soon();
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    canvas.addEventListener(end, (event) => held.delete(event.pointerId));
  canvas.addEventListener("click", (event) => {
    const spot = moved < 6 ? near(...place_of(event)) : null;
    at(spot);
    if (spot) open(spot.row);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), ...place_of(event));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const [dx, dy] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ??
      [];
    if (event.key === "+" || event.key === "-") return zoom(event.key === "+" ? 1.5 : 1 / 1.5);
    if (event.key === "Enter" && now) return open(now.row);
    if (dx == null || !spots.length) return;
    event.preventDefault();
    const from = spots.find(({ row }) => row === now?.row);
    if (!from) return at(spots[0]);
    // The nearest within 45 degrees of the arrow.
    let best = null;
    for (const spot of spots) {
      const ahead = dx * (spot.left - from.left) + dy * (spot.top - from.top),
        aside = Math.abs(dy * (spot.left - from.left) - dx * (spot.top - from.top));
      if (ahead > 0.5 && aside <= ahead && (!best || ahead + aside < best.far))
        best = { spot, far: ahead + aside };
    }
    if (best) at(best.spot);
  });
  const names = [
    ["+", () => T("larger"), () => zoom(1.5)],
    ["−", () => T("smaller"), () => zoom(1 / 1.5)],
    ["⟲", () => T("all of it"), () => zoom(0)],
  ];
  for (const [sign, name, act] of names) {
    const button = make("button", { type: "button", text: sign, onclick: act });
    onRedraw(() => button.setAttribute("aria-label", name()));
    tools.append(button);
  }
  return {
    light: (group) => {
      lit = group;
      soon();
    },
  };
}
