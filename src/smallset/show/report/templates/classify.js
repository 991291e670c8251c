"use strict";
const SHOWN = 5,
  SMALL = 128;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const unpacked = async (id) => {
  const packed = new Blob([bytes(byId(id).textContent)]).stream();
  byId(id).remove();
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
};
const near = D.near && {
  ...D.near,
  mean: floats(D.near.mean),
  scale: floats(D.near.scale),
  basis: floats(D.near.basis),
  codes: floats(D.near.codes),
};

/* The network. */
let ort, session;
async function start() {
  say(() => T("Starting …"));
  try {
    const source = new Blob([byId("runtime").textContent], { type: "text/javascript" });
    ort = await import(URL.createObjectURL(source));
    ort.env.wasm.wasmBinary = await unpacked("wasm");
    ort.env.wasm.numThreads = 1; // more need headers that a file does not have
    const model = new Uint8Array(await unpacked("model"));
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    await tryItself();
    say(() => T("Ready."));
  } catch (error) {
    say(() => T("This browser cannot run the network: {error}", { error }), true);
    return;
  }
  document.documentElement.dataset.ready = "yes";
  work();
}
/* The page says how near this browser's answer to an example is to the exporter's. */
async function tryItself() {
  const picture = new Blob([bytes(D.example.picture)], { type: "image/png" });
  const { probs } = await ask(await decoded(picture));
  const apart = Math.max(...D.example.probabilities.map((p, k) => Math.abs(p - probs[k])));
  document.documentElement.dataset.apart = apart;
  onRedraw(() => {
    byId("self").textContent = T(
      "Tried in this browser on a picture with a known answer: within {apart} of it.",
      { apart: apart.toExponential(1) },
    );
    byId("self").className = apart < 1e-3 ? "" : "wrong";
  });
}
/* uint8 RGB pixels, upright, transparent parts on white, as smallset decodes them. */
async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  if (width * height > 1e6 * D.maxMegapixels) {
    const size = Math.round((width * height) / 1e6);
    throw new Error(T("{size} megapixels; the limit is {most}", { size, most: D.maxMegapixels }));
  }
  return drawn(bitmap, width, height);
}
function drawn(source, width, height) {
  const canvas = make("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < data.length; i += 4) {
    rgb[j++] = data[i];
    rgb[j++] = data[i + 1];
    rgb[j++] = data[i + 2];
  }
  return { canvas, image: new ort.Tensor("uint8", rgb, [1, height, width, 3]) };
}
async function ask({ image }) {
  const given = await session.run({ image }, ["probabilities", "embeddings"]);
  const probs = [...given.probabilities.data];
  const order = probs.map((_, k) => k).sort((a, b) => probs[b] - probs[a] || a - b);
  const found = near ? nearest(given.embeddings.data) : { rows: [], distance: null };
  const unknown = [];
  if (D.reject && probs[order[0]] < D.reject.least) unknown.push("probability");
  if (D.reject && found.distance > D.reject.farthest) unknown.push("distance");
  return { probs, order, unknown, ...found };
}
/* The training pictures with the smallest cosine distance, as `smallset predict --reject` has it. */
function nearest(embedding) {
  const { few, mean, scale, basis, codes, count } = near;
  const query = new Float64Array(few);
  embedding.forEach((value, i) => {
    const scaled = (value - mean[i]) * scale[i];
    for (let j = 0; j < few; j++) query[j] += scaled * basis[i * few + j];
  });
  const length = Math.hypot(...query) || 1;
  const apart = near.rows.map((_, row) => {
    let product = 0;
    for (let j = 0; j < few; j++) product += (query[j] / length) * codes[row * few + j];
    return 1 - product;
  });
  const rows = apart
    .map((_, row) => row)
    .sort((a, b) => apart[a] - apart[b])
    .slice(0, count);
  return { rows, distance: rows.reduce((sum, row) => sum + apart[row], 0) / rows.length };
}

/* Pictures wait in a line, so that many can be given while others are worked on. */
const items = [],
  waitingFor = [];
let done = 0,
  isWorking = false;
function add(files) {
  for (const file of files) {
    const item = { name: file.webkitRelativePath || file.name || T("pasted picture"), file };
    items.push(item);
    waitingFor.push(item);
  }
  byId("all").hidden = !items.length;
  work();
}
async function work() {
  if (!session || isWorking) return;
  isWorking = true;
  byId("stop").hidden = waitingFor.length < 2;
  while (waitingFor.length) {
    const item = waitingFor.shift();
    try {
      const picture = await decoded(item.file);
      Object.assign(item, await ask(picture), { thumb: await small(picture.canvas) });
    } catch (error) {
      item.error = error.name === "InvalidStateError" ? T("not a picture") : error.message;
    }
    done += 1;
    addLine(item);
    if (!waitingFor.length || done === 1) present(item);
    progress();
    await new Promise((resume) => setTimeout(resume)); // let the page draw
  }
  isWorking = false;
  byId("stop").hidden = true;
  progress();
}
function progress() {
  document.documentElement.dataset.done = done;
  const all = done + waitingFor.length;
  byId("bar").hidden = !waitingFor.length;
  byId("bar").value = all ? done / all : 0;
  say(() => (waitingFor.length ? T("{done} of {all} pictures", { done, all }) : T("Ready.")));
  drawCount();
}
async function small(canvas) {
  const share = Math.min(1, SMALL / Math.max(canvas.width, canvas.height));
  const made = make("canvas");
  made.width = Math.max(1, canvas.width * share);
  made.height = Math.max(1, canvas.height * share);
  made.getContext("2d").drawImage(canvas, 0, 0, made.width, made.height);
  const blob = await new Promise((give) => made.toBlob(give, "image/webp", 0.8));
  return URL.createObjectURL(blob);
}

/* What is said of one picture. */
let current = null;
function present(item) {
  current = item;
  byId("answer").hidden = false;
  drawAnswer();
}
function drawAnswer() {
  const item = current;
  if (!item) return;
  byId("video").hidden = !item.live;
  byId("picture").hidden = item.live || !item.file;
  if (item.file && byId("picture").dataset.name !== item.name) {
    URL.revokeObjectURL(byId("picture").src);
    byId("picture").src = URL.createObjectURL(item.file);
    byId("picture").dataset.name = item.name;
  }
  byId("picture").alt = item.name;
  byId("name").replaceChildren(...named(item.name));
  byId("bars").replaceChildren(...(item.error ? [] : bars(item)));
  byId("verdict").replaceChildren(item.error || verdict(item));
  byId("verdict").className = item.error || item.unknown.length ? "wrong" : "";
  byId("near").hidden = !near || !!item.error;
  if (near && !item.error)
    byId("near").lastElementChild.replaceChildren(...item.rows.map((row) => neighbour(row)));
}
function reasons(item) {
  const said = {
    probability: T("too improbable"),
    distance: T("unlike the training pictures"),
  };
  return item.unknown.map((each) => said[each]).join(", ");
}
function verdict(item) {
  const name = D.classes[item.order[0]],
    p = percent(item.probs[item.order[0]], 0);
  if (!item.unknown.length) return `${name} · ${p}`;
  return T("unknown: {reasons}", { reasons: reasons(item) });
}
function bars(item) {
  return item.order.slice(0, SHOWN).map((k) => {
    const bar = make("i");
    bar.style.width = `${100 * item.probs[k]}%`;
    const name = make("span", {}, ...named(D.classes[k]));
    return make("div", { cls: "bar" }, name, bar, make("span", { text: percent(item.probs[k]) }));
  });
}
function neighbour(row) {
  const source = thumb(near.rows[row]),
    name = D.classes[near.labels[row]];
  const picture = source
    ? make("img", { src: source, alt: name })
    : make("span", { cls: "gone", text: near.paths[row] });
  const caption = make("figcaption", {}, ...named(name));
  return make("figure", { cls: "tile", title: near.paths[row] }, picture, caption);
}

/* The table of all, and its file. */
function addLine(item) {
  const line = make("tr", { tabindex: 0, onclick: () => present(item) });
  line.addEventListener("keydown", (event) => event.key === "Enter" && present(item));
  const best = item.error ? null : item.order[0];
  const picture = item.thumb ? make("img", { src: item.thumb, alt: "", loading: "lazy" }) : "";
  const probability = make("td", { cls: "n", "data-value": best === null ? "" : item.probs[best] });
  probability.textContent = best === null ? "–" : percent(item.probs[best]);
  const note = make("td", { cls: "wrong" });
  redraws.push(() => {
    note.textContent = item.error || (item.unknown.length ? verdict(item) : "");
  });
  redraws.at(-1)();
  line.append(
    make("td", {}, picture),
    make("td", {}, ...named(item.name)),
    make("td", {}, ...(best === null ? [] : named(D.classes[best]))),
    note,
    probability,
  );
  byId("table").tBodies[0].append(line);
}
function drawCount() {
  const unknown = items.filter((item) => item.unknown && item.unknown.length).length,
    bad = items.filter((item) => item.error).length;
  byId("count").textContent = T("{done} pictures, {unknown} unknown, {bad} unreadable", {
    done,
    unknown,
    bad,
  });
}
const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
function csv() {
  const head = ["path", "predicted", "probability", "unknown", "error"];
  const lines = [[...head, ...D.classes.map((name) => `p_${name}`)]];
  for (const item of items.filter((each) => each.probs || each.error)) {
    const { name, error = "", probs, order, unknown } = item;
    const rest = error
      ? ["", "", "", error, ...D.classes.map(() => "")]
      : [D.classes[order[0]], probs[order[0]], unknown.join(" "), "", ...probs];
    lines.push([name, ...rest]);
  }
  const text = lines.map((line) => line.map((each) => cell(String(each))).join(",")).join("\n");
  return new Blob([text + "\n"], { type: "text/csv" });
}

/* The ways in. */
let sentence = () => "";
function say(said, isWrong = false) {
  sentence = said;
  byId("state").textContent = said();
  byId("state").className = isWrong ? "wrong" : "soft";
}
onRedraw(() => {
  byId("state").textContent = sentence();
  drawAnswer();
  drawCount();
});
for (const id of ["files", "folder"])
  byId(id).addEventListener("change", (event) => {
    add([...event.target.files].filter((file) => id === "files" || isPicture(file)));
    event.target.value = "";
  });
const isPicture = (file) => file.type.startsWith("image/");
addEventListener("paste", (event) => add([...event.clipboardData.files]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
addEventListener("drop", async (event) => {
  const entries = [...event.dataTransfer.items].map((each) => each.webkitGetAsEntry());
  for (const entry of entries.filter(Boolean)) add(await within(entry));
});
async function within(entry) {
  if (entry.isFile) return [await new Promise((give, fail) => entry.file(give, fail))];
  const reader = entry.createReader(),
    found = [];
  for (;;) {
    const some = await new Promise((give, fail) => reader.readEntries(give, fail));
    if (!some.length) return found.filter(isPicture);
    for (const each of some) found.push(...(await within(each)));
  }
}
byId("stop").addEventListener("click", () => {
  const left = new Set(waitingFor.splice(0));
  items.splice(0, items.length, ...items.filter((item) => !left.has(item)));
});
byId("csv").addEventListener("click", () => {
  const link = make("a", { href: URL.createObjectURL(csv()), download: "predictions.csv" });
  link.click();
});
let stream = null;
byId("camera").addEventListener("click", async () => {
  if (stream) {
    stream.getTracks().forEach((track) => track.stop());
    stream = null;
    byId("camera").setAttribute("aria-pressed", false);
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    say(() => T("There is no camera, or this page may not use it ({name}).", error), true);
    return;
  }
  byId("camera").setAttribute("aria-pressed", true);
  const video = byId("video");
  video.srcObject = stream;
  await video.play();
  while (stream) {
    if (session && video.videoWidth && !isWorking) {
      const frame = drawn(video, video.videoWidth, video.videoHeight);
      present({ name: T("Camera"), live: true, ...(await ask(frame)) });
    }
    await new Promise((resume) => setTimeout(resume, 150));
  }
});
