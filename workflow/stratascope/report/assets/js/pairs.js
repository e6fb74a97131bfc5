// Pairs of runs: a page of rows over layers, and one pair at a time.

const PAGE = 30;
let pairPage = 0;
let pairA = 0;
let pairB = 1;

const pairChoice = (axis) => chosen(byId("pairs-layers"), axis);
const pairName3 = (kind, state, measure, source) => `${kind}/${state}/${measure}/${source}`;

function orderedPairs() {
  const means = array(pairName3("pairs", pairChoice("state"), pairChoice("measure"), pairChoice("source"))) ?? [];
  const far = pairChoice("measure") === "MAE" ? -1 : 1;
  const places = array("pairs").flatMap((pair, i) => (pair.every((run) => runState[run].shown) ? [i] : []));
  if (pairChoice("order") === "name") return places;
  return places.sort((a, b) => {
    const [x, y] = [means[a] ?? null, means[b] ?? null];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return far * (x - y) || a - b;
  });
}

function pairLayerView() {
  const order = orderedPairs();
  const pages = Math.max(1, Math.ceil(order.length / PAGE));
  pairPage = Math.min(pairPage, pages - 1);
  const places = order.slice(pairPage * PAGE, (pairPage + 1) * PAGE);
  const measure = pairChoice("measure");
  const layers = array(pairName3("pairlayers", pairChoice("state"), measure, pairChoice("source"))) ?? [];
  byId("pair-page").textContent = `Page ${pairPage + 1} of ${pages}, ${order.length} pairs`;
  byId("pair-page-prev").disabled = pairPage === 0;
  byId("pair-page-next").disabled = pairPage >= pages - 1;
  const pairs = array("pairs");
  return {
    data: [{
      type: "heatmap", z: places.map((i) => layers[i] ?? S.layers.map(() => null)), x: S.layers, rows: places.map((i) => `p:${pairs[i].join(",")}`),
      scale: measure.includes("cosine") ? "diverging" : "sequential", xgap: 1, ygap: 1,
      hovertemplate: `%{y}<br>layer %{x}: ${MEASURE_NAMES[measure]} %{z:.4f}<extra></extra>`,
    }],
    layout: { xaxis: { title: { text: "layer" }, tickformat: "d" }, yaxis: { title: { text: "" } } },
  };
}

function pairPlace() {
  const [low, high] = [Math.min(pairA, pairB), Math.max(pairA, pairB)];
  return array("pairs").findIndex(([a, b]) => Math.min(a, b) === low && Math.max(a, b) === high);
}

const pairLayers = (measure, source, state = chosen(byId("pairs-explorer"), "state")) =>
  array(pairName3("pairlayers", state, measure, source))?.[pairPlace()] ?? null;

function showPair() {
  const place = pairPlace();
  const note = byId("pair-note");
  note.textContent = pairA === pairB ? "Choose two different runs." : place < 0 ? "These two runs were not compared (their states may have different sizes)." : "";
  byId("pair-title").textContent = pairName(pairA, pairB);
  const texts = [pairA, pairB].map((i) => make("div", { class: "generation" }, make("h5", {}, runState[i].name), make("p", {}, text(S.runs[i].generated) || "No text was generated.")));
  byId("pair-texts").replaceChildren(...texts);
  const shownTable = place < 0 ? [] : [summaryTable(pairLayers, `Summary over layers of ${pairName(pairA, pairB)}`)];
  byId("pair-summary").replaceChildren(...(array(pairName3("pairlayers", "final", "cosine", mainSource())) ? shownTable : [pairMeans(place)]));
  all("#pairs-explorer figure.fig").forEach(redraw);
}

// Without layers in the file, the means over layers are what there is.
function pairMeans(place) {
  const state = chosen(byId("pairs-explorer"), "state");
  const rows = place < 0 ? [] : MEASURES.flatMap((measure) => S.sources.map((source) => [`${MEASURE_NAMES[measure]}, ${sourceName(source)}`, number(array(pairName3("pairs", state, measure, source))?.[place], 4)]));
  return makeTable(["Measure, read at", "Mean"], rows, "Means over layers");
}

function listPairs() {
  const options = () => S.runs.flatMap((_, i) => (runState[i].shown ? [make("option", { value: i }, runState[i].name)] : []));
  for (const [id, value] of [["pair-a", pairA], ["pair-b", pairB]]) {
    const select = byId(id);
    select.replaceChildren(...options());
    if (runState[value].shown) select.value = String(value);
  }
  const [a, b] = [byId("pair-a").value, byId("pair-b").value];
  if (a !== "") pairA = Number(a);
  if (b !== "") pairB = Number(b);
  showPair();
}

function startPairs() {
  if (!byId("pairs-explorer")) return;
  // What the explorer above shows, against the same conversation on the first checkpoint.
  pairB = fullestRun();
  pairA = Math.max(0, S.runs.findIndex((run, i) => i !== pairB && run.scenario === S.runs[pairB].scenario));
  if (pairA === pairB) pairA = pairB === 0 ? 1 : 0;
  generators["pair-layers"] = pairLayerView;
  for (const measure of MEASURES) generators[`pair-${measure}`] = () => layerView(sourceLines(pairLayers, measure), MEASURE_NAMES[measure], { nothing: pairPlace() < 0 ? "Not compared." : undefined });
  const turn = (by) => {
    pairPage += by;
    redraw(byId("fig-pairs-layers"));
  };
  if (byId("fig-pairs-layers")) {
    byId("pair-page-prev").addEventListener("click", () => turn(-1));
    byId("pair-page-next").addEventListener("click", () => turn(1));
    byId("pairs-layers").addEventListener("change", () => {
      pairPage = 0;
      redraw(byId("fig-pairs-layers"));
    });
  }
  byId("pair-a").addEventListener("change", (event) => { pairA = Number(event.target.value); showPair(); });
  byId("pair-b").addEventListener("change", (event) => { pairB = Number(event.target.value); showPair(); });
  byId("pair-swap").addEventListener("click", () => { [pairA, pairB] = [pairB, pairA]; listPairs(); });
  byId("pairs-explorer").addEventListener("change", (event) => { if (event.target.closest("[data-axis]")) showPair(); });
  [pairA, pairB] = farthestPair();
  listeners.push(listPairs);
}

// The pair to begin with: the farthest apart after answering.
function farthestPair() {
  const means = array(pairName3("pairs", "final", "cosine", mainSource())) ?? [];
  let best = 0;
  means.forEach((value, i) => {
    if (value !== null && (means[best] === null || value < means[best])) best = i;
  });
  return array("pairs")[best] ?? [0, 1];
}
