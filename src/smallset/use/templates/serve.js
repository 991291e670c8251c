/* Each picture is a request of its own: an answer shows as soon as it is there. */
const AT_ONCE = 4; // requests; the server puts those that wait together
const extras = () => [];

/* Talking to the server. */
const KEY = "smallset-token";
function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY),
    headers = token ? { Authorization: `Bearer ${token}` } : {};
  return fetch(path, { ...options, headers: { ...headers, ...options.headers } });
}
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
function lock(isWrong) {
  byId("locked").hidden = false;
  say("wrong", isWrong ? () => T("This is not the token.") : null);
  sessionStorage.removeItem(KEY);
  byId("token").focus();
}
byId("locked")
  .querySelector("form")
  .addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("token").value.trim());
    byId("token").value = "";
    begin();
  });
function trouble(isThere) {
  say("trouble", isThere ? () => T("The server does not answer. Is it running?") : null);
}
async function begin() {
  if (D.needs_token && !sessionStorage.getItem(KEY)) return lock(false);
  let answer, said;
  try {
    answer = await ask("/model");
    if (answer.status === 401) return lock(true);
    M = await answer.json();
    said = await (await ask("/openapi.json")).json();
  } catch {
    return trouble(true);
  }
  byId("locked").hidden = true;
  onRedraw(describe);
  onRedraw(() => operations(said));
  document.documentElement.dataset.ready = "yes";
  work();
}

/* Sending pictures. */
async function answer(item) {
  const type = item.file.type.startsWith("image/") ? item.file.type : "application/octet-stream";
  for (;;) {
    try {
      const answer = await ask("/predict", {
        method: "POST",
        headers: { "Content-Type": type },
        body: item.file,
      });
      if (answer.status === 503) {
        await pause(Number(answer.headers.get("Retry-After")) || 1);
        continue;
      }
      const content = await answer.json();
      item.row = content.images ? content.images[0] : { error: content.detail };
      if (answer.status === 401) lock(true);
      trouble(false);
    } catch {
      // A file that has gone since it was chosen fails in the same way as a server that has.
      item.row = { error: "" };
      item.why = () => T("no answer");
      trouble(true);
    }
    return;
  }
}

/* The model, and the API. */
function describe() {
  const { accuracy: a, limits } = M,
    facts = [];
  byId("about").textContent = T("{model}, {count} classes", {
    model: M.model,
    count: M.classes.length,
  });
  if (a) {
    const values = { value: percent(a.value), low: percent(a.low), high: percent(a.high) };
    facts.push(
      T("Right on pictures it did not learn from: {value} of {count} ({low} to {high}).", {
        ...values,
        count: a.images.toLocaleString("en"),
      }),
    );
  }
  if (M.reject === null)
    facts.push(
      T("A network gives every picture one of its classes, also a picture of something else."),
    );
  else
    facts.push(
      T(
        "Pictures unlike those it learnt from are called unknown; so are up to {share} of the " +
          "pictures of its classes.",
        { share: percent(M.reject, 0) },
      ),
    );
  if (M.sets !== null)
    facts.push(
      T("The class of a picture is among those that it may be {rate} of the time.", {
        rate: percent(M.sets, 0),
      }),
    );
  facts.push(
    T("Pictures may have {mb} MB and {megapixels} megapixels.", {
      mb: limits.image_bytes / 1e6,
      megapixels: limits.megapixels,
    }),
  );
  byId("facts").replaceChildren(...facts.map((text) => make("p", { text })));
  byId("classes").replaceChildren(...named(listed(M.classes)));
  byId("model").hidden = false;
}
const coded = (text) =>
  text.split("`").map((part, n) => (n % 2 ? make("code", { text: part }) : part));
function operations(said) {
  const key = D.needs_token ? ' \\\n  -H "Authorization: Bearer $SMALLSET_TOKEN"' : "";
  byId("curl").textContent =
    `curl ${location.origin}/predict -F images=@a.jpg -F images=@b.jpg${key}\n` +
    `curl ${location.origin}/predict -H "Content-Type: image/jpeg" --data-binary @a.jpg${key}`;
  const shownOf = ([path, methods]) =>
    Object.entries(methods).flatMap(([method, one]) => [
      make("h3", { text: `${method.toUpperCase()} ${path}` }),
      ...one.description
        .split("\n\n")
        .map((part) => make("p", {}, ...coded(T(part.replaceAll("\n", " "))))),
      make(
        "table",
        {},
        make(
          "tbody",
          {},
          ...Object.entries(one.responses).map(([status, { description }]) =>
            make("tr", {}, make("td", { text: status }), make("td", { text: T(description) })),
          ),
        ),
      ),
    ]);
  const { "/predict": first, ...rest } = said.paths;
  const all = [["/predict", first], ...Object.entries(rest)];
  byId("operations").replaceChildren(...all.flatMap(shownOf));
  if (D.needs_token) byId("openapi").parentElement.hidden = true; // a link carries no token
}
begin();
