// Probes: the panel's choices, and the figures that follow them.

const probePanel = () => byId("probes-panel");
const probeChoice = (axis) => chosen(probePanel(), axis);
const probeSets = () => array("probes").sets;
const probeSet = () => probeSets()[Number(probeChoice("set"))];
const probeMeasure = () => probeSet().measures.find((item) => item.name === probeChoice("measure"));
const probeLayers = () => probeSet().sites.find(([site]) => site === probeChoice("site"))[2];
const probeCubes = () => probeMeasure().sites[probeChoice("site")];

const layerWords = (layer) => (layer < 0 ? "no layer" : String(layer));
const column = (name, c, l) => probeCubes()[name]?.[c]?.[l] ?? null;
const endsAt = (c, l) => [column("lower", c, l), column("upper", c, l)];

// The place of the best layer of a checkpoint, at the chosen site and measure.
function bestLayer(c) {
  const row = probeCubes().estimate?.[c] ?? [];
  const sign = probeMeasure().loss ? -1 : 1;
  return row.reduce((best, value, l) => (value !== null && (row[best] === null || sign * value > sign * row[best]) ? l : best), 0);
}

// The place of the layer to draw; where all are drawn, of the one that others are compared at.
function chosenLayer() {
  const choice = probeChoice("layer");
  return choice === "best" || choice === "all" ? bestLayer(lastKept()) : Number(choice);
}

const lastKept = () => keptCheckpoints(probeSet().checkpoints).at(-1) ?? probeSet().checkpoints.length - 1;

function fillProbes() {
  const panel = probePanel();
  const set = probeSet();
  fillField(panel, "measure", set.measures.map((item) => [item.name, item.words]));
  fillField(panel, "site", set.sites.map(([site, words]) => [site, words]));
  const layers = probeLayers();
  const one = layers.map((layer, l) => [String(l), `layer ${layerWords(layer)}`]);
  const best = layerWords(layers[bestLayer(lastKept())]);
  fillField(panel, "layer", layers.length > 1 ? [["best", `best of ${set.checkpoints[lastKept()]}: ${best}`], ["all", "every layer"], ...one] : [["0", "layer"]]);
  if (panel.querySelector('[data-axis="spacing"]')) fillField(panel, "spacing", set.steps ? SPACINGS : SPACINGS.slice(0, 1));
  const elsewhere = byId("probes-elsewhere");
  if (elsewhere) {
    const { checkpoints, layers: inside } = set.transfer;
    elsewhere.hidden = !checkpoints && !inside;
    const words = [["checkpoints", "between checkpoints, same layer"], ["layers", `between layers of ${inside?.checkpoint}`]];
    fillField(panel, "transfer", words.filter(([name]) => (name === "layers" ? inside : checkpoints)));
  }
  byId("probes-facts").textContent = probeFacts(set);
  if (byId("probes-said")) fillSaid();
}

function probeFacts(set) {
  const sizes = new Set(set.n.map((n, i) => `${n}/${set.groups[i]}`));
  const size = `n = ${set.n.at(-1)} texts in ${set.groups.at(-1)} groups${sizes.size > 1 ? `, at ${set.checkpoints.at(-1)}` : ""}`;
  const c = lastKept();
  const l = bestLayer(c);
  const best = `best layer at ${set.checkpoints[c]}: ${layerWords(probeLayers()[l])}, ${probeMeasure().words} ${number(column("estimate", c, l))}${endsWords(...endsAt(c, l))}`;
  const down = probeMeasure().loss ? ". Of this measure less is better." : ".";
  return `${set.dataset}, ${set.label}: ${size}; ${best}${down}`;
}

// The faintest colour is what needs no model, the strongest a probe without a mistake.
function probeEnds() {
  const known = (probeCubes().majority ?? []).flat().filter((value) => value !== null);
  if (known.length === 0) return undefined;
  return probeMeasure().loss ? [Math.max(...known), 0] : [Math.max(0, Math.min(...known)), 1];
}

function probeMapView() {
  const set = probeSet();
  const kept = keptCheckpoints(set.checkpoints);
  const layers = probeLayers();
  const z = kept.map((c) => layers.map((_, l) => column("estimate", c, l)));
  const text = kept.map((c) => layers.map((_, l) => `${endsWords(...endsAt(c, l))}<br>n = ${set.n[c]}; must exceed ${number(probeBar(c, l))}`));
  const view = numberMap(z, layers.map(layerWords), kept.map((c) => set.checkpoints[c]), "%{y}, layer %{x}: %{z:.3f}%{text}", { text, ends: probeEnds() });
  return { ...view, height: 110 + 36 * Math.max(2, kept.length) };
}

// The largest of what needs no model; of a loss the smallest.
function probeBar(c, l) {
  const levels = ["majority", "shuffled_upper", "bag_of_tokens"].map((name) => column(name, c, l)).filter((value) => value !== null);
  if (levels.length === 0) return null;
  return probeMeasure().loss ? Math.min(...levels) : Math.max(...levels);
}

const LEVELS = [
  ["majority", "most frequent class", ["plain", 0], "dash"],
  ["shuffled_upper", "95 % of shuffled labels", ["plain", 0], "dot"],
  ["bag_of_tokens", "words alone", ["reference", 1], "longdash"],
  ["difference_of_means", "difference of means", ["reference", 2], "longdashdot"],
  ["control", "control task", ["reference", 3], "dashdot"],
];

// `places` are [checkpoint, layer] from left to right.
function levelLines(x, places, names) {
  return LEVELS.filter(([name]) => names.includes(name)).flatMap(([name, words, paint, dash]) => {
    const y = places.map(([c, l]) => column(name, c, l));
    return y.some((value) => value !== null) ? [levelLine(x, y, words, paint, dash)] : [];
  });
}

function probeScale() {
  return { title: { text: probeMeasure().words }, zeroline: false };
}

function probeCurveView() {
  const set = probeSet();
  const kept = keptCheckpoints(set.checkpoints);
  const axis = checkpointAxis(probePanel(), set);
  const x = kept.map((c) => axis.x[c]);
  const choice = probeChoice("layer");
  const layers = probeLayers();
  const l = chosenLayer();
  const drawn = choice === "all" ? layers.map((_, place) => place) : [l];
  const lines = drawn.flatMap((place) => {
    const paint = choice === "all" ? ["sequential", place, layers.length] : ["checkpoint", 0];
    return intervalLine(x, kept.map((c) => column("estimate", c, place)), kept.map((c) => endsAt(c, place)), `layer ${layerWords(layers[place])}`, paint, { bare: choice === "all" && layers.length > 8 });
  });
  const names = choice === "all" ? ["majority", "bag_of_tokens"] : LEVELS.map(([name]) => name);
  return { data: [...lines, ...levelLines(x, kept.map((c) => [c, l]), names)], layout: { xaxis: axis.layout, yaxis: probeScale() }, closest: choice === "all" };
}

function probeLayersView() {
  const set = probeSet();
  const kept = keptCheckpoints(set.checkpoints);
  const layers = probeLayers();
  const lines = kept.flatMap((c) => {
    const name = set.checkpoints[c];
    const more = { key: checkpointKey(name), bare: kept.length > 5 };
    return intervalLine(layers, layers.map((_, l) => column("estimate", c, l)), layers.map((_, l) => endsAt(c, l)), name, checkpointPaint(name, c), more);
  });
  const levels = levelLines(layers, layers.map((_, l) => [lastKept(), l]), ["majority", "shuffled_upper", "bag_of_tokens"]);
  return { data: [...lines, ...levels], layout: { xaxis: { title: { text: "layer" }, tickformat: "d", zeroline: false }, yaxis: probeScale() }, closest: true };
}

// Where a probe is fitted and applied: `here` gives its own estimate, `there` that of the transfer.
function transferMap(names, here, there, words) {
  const cell = (name, from, to) => (from === to ? here(name, from) : there(name, from, to));
  const places = names.map((_, i) => i);
  const z = places.map((from) => places.map((to) => cell("estimate", from, to)));
  const text = places.map((from) => places.map((to) => `${endsWords(cell("lower", from, to), cell("upper", from, to))}<br>n = ${probeSet().n.at(-1)}`));
  const view = numberMap(z, names.map(plotText), names, "fitted on %{y}, applied to %{x}: %{z:.3f}%{text}", { text, ends: probeEnds() });
  view.layout.xaxis.title.text = `applied to, ${words}`;
  view.layout.yaxis.title.text = "fitted on";
  return { ...view, height: Math.min(700, 130 + 40 * names.length) };
}

function probeTransferView() {
  const set = probeSet();
  const between = set.transfer[probeChoice("transfer")];
  const cubes = between?.cubes[probeMeasure().name]?.[probeChoice("site")];
  const nothing = noView("Not computed for this choice.");
  if (!cubes) return nothing;
  const layers = probeLayers();
  if (between.checkpoint) {
    const c = set.checkpoints.indexOf(between.checkpoint);
    const there = (name, from, to) => cubes[name]?.[from]?.[to] ?? null;
    return transferMap(between.layers.map(String), (name, l) => column(name, c, layers.indexOf(between.layers[l])), there, `layer of ${plotText(between.checkpoint)}`);
  }
  const l = chosenLayer();
  const place = between.layers.indexOf(layers[l]);
  if (place < 0) return nothing;
  const kept = keptCheckpoints(set.checkpoints);
  const there = (name, from, to) => cubes[name]?.[place]?.[kept[from]]?.[kept[to]] ?? null;
  return transferMap(kept.map((c) => set.checkpoints[c]), (name, c) => column(name, kept[c], l), there, `layer ${layerWords(layers[l])}`);
}

function startProbes() {
  if (!probePanel()) return;
  Object.assign(generators, { "probes-map": probeMapView, "probes-curve": probeCurveView, "probes-layers": probeLayersView, "probes-transfer": probeTransferView });
  const follow = () => {
    fillProbes();
    all("figure.fig", probePanel()).forEach(redraw);
  };
  probePanel().addEventListener("change", follow);
  listeners.push(fillProbes);
}
