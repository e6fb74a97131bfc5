// What a probe says of single texts: classes taken for each other, and the surest mistakes.

const saidSet = () => {
  const { dataset, label } = probeSet();
  return array("mistakes").sets.find((item) => item.dataset === dataset && item.label === label);
};
const saidFound = () => saidSet()?.found[probeChoice("said")];

function fillSaid() {
  const set = saidSet();
  byId("probes-said").hidden = !set;
  if (!set) return;
  const there = probeSet().checkpoints.filter((name) => set.found[name]);
  fillField(probePanel(), "said", [...there].reverse().map((name) => [name, name]));
  const found = saidFound();
  const where = found.layer === null ? found.site : `layer ${found.layer}, ${found.site}`;
  byId("probes-said-facts").textContent = found.wrong === undefined ? `n = ${found.n} texts; ${where}.` : `${found.wrong} of n = ${found.n} texts are predicted wrongly; ${where}.`;
  byId("probes-worst").replaceChildren(worstTable(found));
}

function worstTable(found) {
  if (found.worst.length === 0) return make("p", { class: "note" }, "No text is predicted wrongly.");
  const texts = array("mistakes").texts;
  const quantity = found.truth !== undefined;
  const short = (value) => (quantity ? number(Number(value)) : value);
  const rows = found.worst.map(([line, place, truth, predicted, p]) => [
    place === null ? "\u2013" : make("span", { class: "sample" }, texts[place]),
    short(truth),
    short(predicted),
    ...(quantity ? [] : [p === null ? DASH : number(p, 2)]),
    String(line),
  ]);
  const head = ["Text", "True", "Predicted", ...(quantity ? [] : ["Its probability"]), "Line"];
  return makeTable(head, rows, quantity ? "The largest errors" : "The surest mistakes", [1, 2]);
}

function saidView() {
  const found = saidFound();
  if (!found) return noView("Not in this study.");
  if (found.truth) return scatterView(found);
  if (!found.classes) return noView("Too many classes: see probe_predictions.csv.");
  const totals = found.counts.map((row) => row.reduce((sum, value) => sum + value, 0));
  const z = found.counts.map((row, i) => row.map((value) => (totals[i] ? value / totals[i] : null)));
  const text = found.counts.map((row, i) => row.map((value) => `${value} of ${totals[i]}`));
  const view = numberMap(z, found.classes, [], "true %{y}, predicted %{x}: %{text}", { text, y: found.classes, ends: [0, 1] });
  view.layout.xaxis = { title: { text: "predicted" }, type: "category" };
  view.layout.yaxis.title.text = "true";
  return { ...view, height: 120 + 34 * Math.max(3, found.classes.length) };
}

function scatterView({ truth, predicted }) {
  const ends = [Math.min(...truth), Math.max(...truth)];
  return {
    data: [
      { type: "scatter", mode: "markers", x: truth, y: predicted, name: "texts", paint: ["checkpoint", 0], marker: { size: 5, opacity: 0.6 }, hovertemplate: "true %{x}, predicted %{y:.4g}<extra></extra>" },
      levelLine(ends, ends, "without error", ["plain", 0], "dash"),
    ],
    layout: { xaxis: { title: { text: "true" }, zeroline: false }, yaxis: { title: { text: "predicted" }, zeroline: false } },
    closest: true,
  };
}

function startMistakes() {
  generators["probes-said"] = saidView;
}
