/* The network runs in this page: nothing is sent anywhere. */
const AT_ONCE = 1;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const near = D.near && { ...D.near };
for (const name of near ? ["mean", "scale", "basis", "codes"] : []) near[name] = floats(near[name]);
async function unpacked(id) {
  const packed = new Blob([bytes(byId(id).textContent)]).stream();
  byId(id).remove();
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
let ort, session;
async function start() {
  say("state", () => T("The network is starting …"));
  try {
    const source = new Blob([byId("runtime").textContent], { type: "text/javascript" });
    ort = await import(URL.createObjectURL(source));
    ort.env.wasm.wasmBinary = await unpacked("wasm");
    ort.env.wasm.numThreads = 1; // more need headers that a file does not have
    const model = new Uint8Array(await unpacked("model"));
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    await tryItself();
  } catch (error) {
    say("state", () => T("This browser cannot run the network: {error}", { error }));
    return;
  }
  say("state", null);
  M = { classes: D.classes, top: null, sets: null, reject: D.reject && D.reject.share };
  document.documentElement.dataset.ready = "yes";
  work();
}
/* The page says how near this browser's answer to an example is to the one that was exported. */
async function tryItself() {
  const picture = new Blob([bytes(D.example.picture)], { type: "image/png" });
  const probs = (await ask(await decoded(picture))).probs;
  const apart = Math.max(...D.example.probabilities.map((p, k) => Math.abs(p - probs[k])));
  document.documentElement.dataset.apart = apart;
  onRedraw(() => {
    byId("self").className = apart < 1e-3 ? "" : "wrong";
    byId("self").textContent = T(
      "Tried in this browser on a picture with a known answer: within {apart} of it.",
      { apart: apart.toExponential(1) },
    );
  });
}
/* uint8 RGB pixels, upright, transparent parts on white, as smallset decodes them. */
async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }),
    { width, height } = bitmap,
    size = Math.round((width * height) / 1e6);
  if (width * height > 1e6 * D.maxMegapixels)
    throw () => T("{size} megapixels; the limit is {most}", { size, most: D.maxMegapixels });
  const image = pixels(bitmap, width, height);
  bitmap.close();
  return image;
}
function pixels(source, width, height) {
  const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
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
  return new ort.Tensor("uint8", rgb, [1, height, width, 3]);
}
async function ask(image) {
  const given = await session.run({ image }, ["probabilities", "embeddings"]);
  return { probs: [...given.probabilities.data], embedding: given.embeddings.data };
}
/* A row like those of `smallset predict --reject`, and the nearest training pictures. */
async function look(image) {
  const { probs, embedding } = await ask(image),
    probability = Math.max(...probs),
    found = near ? nearest(embedding) : { rows: [], distance: null },
    row = { predicted: D.classes[probs.indexOf(probability)], probability, error: null };
  row.probabilities = Object.fromEntries(probs.map((p, k) => [D.classes[k], p]));
  row.unknown = [];
  if (D.reject && probability < D.reject.least) row.unknown.push("probability");
  if (D.reject && found.distance > D.reject.farthest) row.unknown.push("distance");
  return { row, nearest: found.rows };
}
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
  const rows = [...apart.keys()].sort((a, b) => apart[a] - apart[b]).slice(0, count);
  return { rows, distance: rows.reduce((sum, row) => sum + apart[row], 0) / rows.length };
}
async function answer(item) {
  try {
    Object.assign(item, await look(await decoded(item.file)));
  } catch (error) {
    const isNone = error.name === "InvalidStateError" || error.name === "EncodingError",
      none = () => T("this browser cannot open it as a picture");
    item.row = { error: error.message || "" };
    if (isNone || typeof error === "function") item.why = isNone ? none : error;
  }
  await new Promise((resume) => setTimeout(resume)); // let the page draw
}
/* The nearest training pictures stand below an answer. */
function extras({ nearest: rows }) {
  if (!rows || !rows.length) return [];
  const strip = make("div", { cls: "near" }, make("span", { text: T("nearest in training") }));
  for (const row of rows) {
    const name = D.classes[near.labels[row]],
      source = thumb(near.rows[row]),
      title = `${name}: ${near.paths[row]}`;
    strip.append(
      source
        ? make("img", { src: source, alt: name, title, loading: "lazy" })
        : make("span", { text: name, title }),
    );
  }
  return [strip];
}

/* The camera, frame by frame. */
let stream = null;
function stopCamera() {
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("live").hidden = true;
  byId("camera").setAttribute("aria-pressed", false);
}
byId("camera").addEventListener("click", async ({ target }) => {
  if (stream) return stopCamera();
  target.disabled = true; // while the browser asks
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    say("state", () => T("There is no camera, or this page may not use it ({name}).", error));
    return;
  } finally {
    target.disabled = false;
  }
  say("state", null);
  byId("camera").setAttribute("aria-pressed", true);
  byId("live").hidden = false;
  const mine = stream,
    video = byId("video");
  video.srcObject = stream;
  try {
    await video.play();
    while (stream === mine) {
      if (M && !asking && video.videoWidth)
        seeFrame(await look(pixels(video, video.videoWidth, video.videoHeight)));
      await new Promise((resume) => setTimeout(resume, 100));
    }
  } catch (error) {
    if (stream !== mine) return;
    stopCamera();
    say("state", () => T("This browser cannot run the network: {error}", { error }));
  }
});
function seeFrame({ row, nearest: rows }) {
  const seen = make("div", {}, make("h3", {}, ...named(row.predicted)));
  for (const text of remarks(row)) seen.append(make("p", { cls: "wrong", text }));
  seen.append(...bars(row), ...extras({ nearest: rows }));
  byId("seen").replaceChildren(seen);
  byId("live").dataset.frames = Number(byId("live").dataset.frames || 0) + 1;
}
