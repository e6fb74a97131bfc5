// Similarity of layers and checkpoints on the same texts.

const likePanel = () => byId("similarity-panel");
const likeChoice = (axis) => chosen(likePanel(), axis);
const likeSet = () => array("similarity")[Number(likeChoice("set"))];
const likeMeasure = () => likeSet().measures.find(([name]) => name === likeChoice("measure"));
const likePair = () => likeSet().pairs[Number(likeChoice("pair"))];
const likeCubes = () => likePair()?.values[likeChoice("measure")]?.[likeChoice("site")];

const LINES = [["layer", "a line a layer"], ["checkpoint", "a line a checkpoint"]];

function fillSimilarity() {
  const panel = likePanel();
  const set = likeSet();
  fillField(panel, "measure", set.measures.map(([name, words]) => [name, words]));
  fillField(panel, "site", set.sites);
  if (byId("similarity-facts")) {
    const words = ({ a, b }) => (a === b ? `within ${a}` : `${a} \u2192 ${b}`);
    const kept = set.pairs.flatMap((pair, i) => ([pair.a, pair.b].every((name) => shown(checkpointKey(name))) ? [[String(i), words(pair)]] : []));
    fillField(panel, "pair", kept);
    byId("similarity-facts").textContent = likeFacts();
  }
  if (byId("similarity-drift-facts") && set.drift) {
    fillField(panel, "against", set.drift.against.map(([side, name]) => [side, `the ${side}, ${name}`]));
    fillField(panel, "lines", LINES);
    if (panel.querySelector('[data-axis="spacing"]')) fillField(panel, "spacing", set.drift.steps ? SPACINGS : SPACINGS.slice(0, 1));
    byId("similarity-drift-facts").textContent = `n = ${set.drift.n} texts. ${likeWords()}`;
  }
}

const likeWords = () => (likeMeasure()[2] ? "A distance: 0 is no difference." : "1 is no difference.");

function likeFacts() {
  const pair = likePair();
  if (!pair) return "The toolbox hides these checkpoints.";
  const bounds = (likeCubes()?.null_upper ?? []).flat().filter((value) => value !== null);
  const far = likeMeasure()[2] ? Math.min(...bounds) : Math.max(...bounds);
  const chance = bounds.length ? ` 95 of 100 random pairings of the texts do not reach ${number(far)} at any two layers.` : "";
  return `n = ${pair.n} texts. ${likeWords()}${chance}`;
}

// Colours mean the same for every pair of checkpoints.
function likeEnds() {
  if (!likeMeasure()[2]) return [0, 1];
  const values = likeSet().pairs.flatMap((pair) => (pair.values[likeChoice("measure")]?.[likeChoice("site")]?.value ?? []).flat());
  return [Math.max(0, ...values.filter((value) => value !== null)), 0];
}

function likeMapView() {
  const pair = likePair();
  const cubes = likeCubes();
  if (!cubes) return noView("Not compared with this measure.");
  const [rows, cols] = pair.layers;
  const at = (name, i, j) => cubes[name]?.[i]?.[j] ?? null;
  const text = rows.map((_, i) => cols.map((__, j) => {
    const p = at("p", i, j) === null ? "" : `<br>p = ${number(at("p", i, j))}, by chance up to ${number(at("null_upper", i, j))}`;
    return `${endsWords(at("lower", i, j), at("upper", i, j))}${p}<br>n = ${pair.n}`;
  }));
  const hover = pair.a === pair.b ? "layers %{y} and %{x}: %{z:.3f}%{text}" : `layer %{y} of ${plotText(pair.a)}, layer %{x} of ${plotText(pair.b)}: %{z:.3f}%{text}`;
  const view = numberMap(cubes.value, cols.map(String), rows.map(String), hover, { text, ends: likeEnds() });
  view.layout.xaxis.title.text = `layer of ${plotText(pair.b)}`;
  view.layout.yaxis.title.text = `layer of ${plotText(pair.a)}`;
  return { ...view, height: Math.min(760, 110 + Math.max(14, 40 - rows.length) * Math.max(4, rows.length)) };
}

function likeDriftView() {
  const { drift } = likeSet();
  const cubes = drift?.values[likeChoice("against")]?.[likeChoice("measure")]?.[likeChoice("site")];
  if (!cubes) return noView("Not compared with this measure.");
  const kept = keptCheckpoints(drift.checkpoints);
  const yaxis = { title: { text: likeMeasure()[1] }, zeroline: false };
  const at = (name, c, l) => cubes[name]?.[c]?.[l] ?? null;
  const ends = (c, l) => [at("lower", c, l), at("upper", c, l)];
  if (likeChoice("lines") === "checkpoint") {
    const lines = kept.flatMap((c) => {
      const name = drift.checkpoints[c];
      const more = { key: checkpointKey(name), bare: kept.length > 5 };
      return intervalLine(drift.layers, drift.layers.map((_, l) => at("value", c, l)), drift.layers.map((_, l) => ends(c, l)), name, checkpointPaint(name, c), more);
    });
    return { data: lines, layout: { xaxis: { title: { text: "layer" }, tickformat: "d", zeroline: false }, yaxis }, closest: true };
  }
  const axis = checkpointAxis(likePanel(), drift);
  const x = kept.map((c) => axis.x[c]);
  const lines = drift.layers.flatMap((layer, l) =>
    intervalLine(x, kept.map((c) => at("value", c, l)), kept.map((c) => ends(c, l)), `layer ${layer}`, ["sequential", l, drift.layers.length], { bare: drift.layers.length > 8 }),
  );
  return { data: lines, layout: { xaxis: axis.layout, yaxis }, closest: true };
}

function startSimilarity() {
  if (!likePanel()) return;
  Object.assign(generators, { "similarity-map": likeMapView, "similarity-drift": likeDriftView });
  likePanel().addEventListener("change", () => {
    fillSimilarity();
    all("figure.fig", likePanel()).forEach(redraw);
  });
  listeners.push(fillSimilarity);
}
