// A run's snapshots against its references.

const refChoice = (axis) => chosen(byId("run-references"), axis);
const refPlace = () => ({
  position: S.positions.indexOf(refChoice("position")),
  measure: refChoice("measure"),
});
const currentRefs = () => S.runs[currentRun].references;
const refWord = (measure) => (measure === "centred_cosine" ? "centred cosine" : "cosine");

function refLabel(run, message) {
  const found = run.messages.find((item) => item[2] === message);
  return messageLabel(message, found ? found[0] : "");
}

function refSourceView(source) {
  const refs = currentRefs();
  const { position, measure } = refPlace();
  const run = S.runs[currentRun];
  const labels = refs.messages.map((message) => plotText(refLabel(run, message)));
  const cube = refs.mean[measure]?.[position]?.[S.sources.indexOf(source)] ?? [];
  return {
    data: refs.names.map((name, r) => ({
      ...layerLine(name, ["reference", r], refs.messages.map((_, m) => cube[m]?.[r] ?? null)),
      x: labels,
    })),
    layout: { xaxis: { title: { text: "message" }, type: "category" }, yaxis: { title: { text: `mean ${refWord(measure)}` }, zeroline: false } },
  };
}

function refHeatView() {
  const refs = currentRefs();
  const { position, measure } = refPlace();
  const run = S.runs[currentRun];
  const cube = refs.mean[measure]?.[position] ?? [];
  const z = refs.messages.map((_, m) => refs.names.map((_, r) => mean(S.sources.map((_, s) => cube[s]?.[m]?.[r] ?? null))));
  return {
    data: [{
      type: "heatmap", z, x: refs.names.map(plotText), y: refs.messages.map((message) => plotText(refLabel(run, message))),
      scale: "diverging", xgap: 2, ygap: 2, hovertemplate: `%{y}, %{x}: ${refWord(measure)} %{z:.4f}<extra></extra>`,
      written: refs.names.length <= 12,
    }],
    layout: { xaxis: { title: { text: "" }, type: "category", side: "top" }, yaxis: { title: { text: "" } } },
    height: 80 + 34 * refs.messages.length,
  };
}

// Layer curves of one message, or of the average over the messages of one role.
function refLayerView(messages, source) {
  const refs = currentRefs();
  const { position, measure } = refPlace();
  const cube = refs.layers[measure]?.[position]?.[S.sources.indexOf(source)];
  if (!cube) return layerView([], refWord(measure), { nothing: "Left out of this file: see snapshot_reference.csv." });
  const lines = refs.names.map((name, r) =>
    layerLine(name, ["reference", r], S.layers.map((_, l) => tenThousandth(mean(messages.map((m) => cube[m]?.[r]?.[l] ?? null))))),
  );
  return layerView(lines, refWord(measure));
}

// The payload holds these cosines as whole ten-thousandths.
const tenThousandth = (value) => (value === null ? null : value / 10000);

function roleMessages(role) {
  const run = S.runs[currentRun];
  return currentRefs().messages.flatMap((message, m) =>
    run.messages.find((item) => item[2] === message)?.[0] === role ? [m] : [],
  );
}

function refSummary() {
  const refs = currentRefs();
  const { position } = refPlace();
  const rows = [];
  refs.names.forEach((name, r) => {
    S.sources.forEach((source, s) => {
      const of = (measure) => number(mean((refs.mean[measure]?.[position]?.[s] ?? []).map((line) => line[r])), 4);
      rows.push([`${name}, ${sourceName(source)}`, of("cosine"), of("centred_cosine"), of("MAE"), of("overlap")]);
    });
  });
  return makeTable(["Reference, read at", "Cosine", "Centred cosine", "MAE", "Overlap"], rows, "Mean over all messages and layers");
}

const ROLE_WORDS = { user: "User messages", assistant: "Assistant messages" };

function roleTable(role) {
  const refs = currentRefs();
  const { position, measure } = refPlace();
  const centred = measure === "centred_cosine";
  const rows = [];
  refs.names.forEach((name, r) => {
    S.sources.forEach((source, s) => {
      const at = (column) => refs.roles?.[column]?.[position]?.[s]?.[r] ?? null;
      const picks = roleMessages(role).map((m) => refs.mean[measure]?.[position]?.[s]?.[m]?.[r] ?? null);
      const [d, lo, hi] = centred ? ["difference_centred", "lower_centred", "upper_centred"] : ["difference", "lower", "upper"];
      rows.push([`${name}, ${sourceName(source)}`, number(mean(picks), 4), signed(at(d), 4), intervalWords(at(lo), at(hi))]);
    });
  });
  return makeTable(["Reference, read at", `Mean ${refWord(measure)}`, "User \u2212 assistant", "95 % interval"], rows, `${ROLE_WORDS[role]}: averages by reference`);
}

const intervalWords = (lower, upper) => (lower === null || upper === null ? "\u2013" : `${number(lower, 4)} to ${number(upper, 4)}`);

function tokenTable(run) {
  const kinds = S.positions;
  const rows = run.messages.map(([role, , index]) => [
    messageLabel(index, role),
    ...kinds.map((kind) => {
      const found = (run.positions[kind] ?? []).find((item) => item[0] === index);
      const tokens = (found ?? []).slice(1).map((place) => seen(text(place)));
      const words = tokens.length > 6 ? [...tokens.slice(0, 3), "\u2026", ...tokens.slice(-2)] : tokens;
      const note = tokens.length > 6 ? ` (${tokens.length} tokens)` : "";
      return make("span", {}, ...(words.length ? words.map((word) => make("code", { class: "token" }, word)) : [DASH]), note);
    }),
  ]);
  return makeTable(["Message", ...kinds.map(positionName)], rows, "The token that each snapshot position read", kinds.map((_, i) => i + 1));
}

function showReferences(run) {
  const panel = byId("run-references");
  if (!panel) return;
  byId("run-tokens").replaceChildren(tokenTable(run));
  panel.hidden = !run.references;
  if (!run.references) return;
  listSkipped(run);
  buildMessages(run);
  updateReferences();
}

function listSkipped(run) {
  const words = run.skipped.map(([index, role, reason]) => `${messageLabel(index, role)}: ${text(reason)}`);
  const note = byId("run-skipped");
  note.hidden = words.length === 0;
  note.textContent = words.length ? `No snapshot of ${words.join("; ")}` : "";
}

function updateReferences() {
  byId("run-ref-summary").replaceChildren(refSummary());
  for (const role of Object.keys(ROLE_WORDS)) {
    const none = roleMessages(role).length === 0;
    byId(`run-role-${role}`).hidden = none;
    if (!none) byId(`run-role-${role}-table`).replaceChildren(roleTable(role));
  }
  all("figure.fig", byId("run-references")).forEach(redraw);
}

// One closed <details> a message; its figures are made when it is opened.
function buildMessages(run) {
  const holder = byId("run-messages");
  all("figure.fig", holder).forEach(forgetFigure);
  holder.replaceChildren(
    ...run.references.messages.map((message, place) => {
      const [role, content] = run.messages.find((item) => item[2] === message) ?? ["system", null];
      const known = ROLE_SHORT[role] ? role : "system";
      const words = content === null ? "" : shortened(text(content), 90);
      const details = make("details", { class: "message-layers" }, make("summary", {}, make("span", { class: `badge ${known}` }, messageLabel(message, role)), " ", make("span", { class: "preview" }, words)));
      details.addEventListener("toggle", () => openMessage(details, place, message));
      return details;
    }),
  );
}

function openMessage(details, place, message) {
  if (!details.open || details.querySelector("figure")) return;
  const grid = make("div", { class: "grid2" });
  S.sources.forEach((source) => {
    const name = `message-${place}-${source}`;
    generators[name] = () => refLayerView([place], source);
    grid.append(makeFigure(`fig-${name}`, name, `Message ${message}, ${sourceName(source)}`, { height: 260 }));
  });
  details.append(grid);
  all("figure.fig", grid).forEach(watchFigure);
}

function startReferences() {
  const panel = byId("run-references");
  if (!panel) return;
  for (const source of S.sources) {
    generators[`ref-${source}`] = () => refSourceView(source);
    for (const role of Object.keys(ROLE_WORDS)) generators[`role-${role}-${source}`] = () => refLayerView(roleMessages(role), source);
  }
  generators["ref-heat"] = refHeatView;
  panel.addEventListener("change", (event) => {
    if (event.target.closest("[data-axis]")) updateReferences();
  });
}
