// Neurons, one at a time: its distribution, its best label with what chance gives, its texts.

const neuronPanel = () => byId("neurons-one");
const neuronChoice = (axis) => chosen(neuronPanel(), axis);
const neuronSet = () => array("neurons").sets[Number(neuronChoice("set"))];
const neuronName = (item) => (item.layer === null ? String(item.neuron) : `${item.layer}:${item.neuron}`);
const layerName = (layer) => (layer === null ? "no layer" : `layer ${layer}`);
const neuronNow = () => neuronSet().neurons.find((item) => String(item.layer) === neuronChoice("layer") && String(item.neuron) === neuronChoice("neuron"));

function fillNeurons() {
  const panel = neuronPanel();
  const set = neuronSet();
  const layers = [...new Set(set.neurons.map((item) => item.layer))];
  fillField(panel, "layer", layers.map((layer) => [String(layer), layerName(layer)]));
  const here = set.neurons.filter((item) => String(item.layer) === neuronChoice("layer"));
  const label = (item) => (item.best ? `${item.neuron} · ${item.best.property}${item.best.class ? `: ${item.best.class}` : ""}` : String(item.neuron));
  fillField(panel, "neuron", here.map((item) => [String(item.neuron), label(item)]));
  showNeuron();
}

// A p-value as one reads it aloud.
const chance = (p) => (p === null || p === undefined ? DASH : p < 0.0001 ? "below 0.0001" : number(p, p < 0.01 ? 4 : 3));

function neuronFacts(set, item) {
  const n = item.numbers;
  return `${layerName(item.layer)[0].toUpperCase()}${layerName(item.layer).slice(1)}, neuron ${item.neuron} (${set.site}): above 0 at ${number(100 * n.firing_rate, 1)} % of ${n.count} tokens; mean ${number(n.mean)}, standard deviation ${number(n.std)}, median ${number(n.median)}, 90 % between ${number(n.q05)} and ${number(n.q95)}, all between ${number(n.min, 2)} and ${number(n.max, 2)}; excess kurtosis ${number(n.kurtosis, 1)}.${neuronNear(item)}`;
}

function neuronNear(item) {
  if (!item.near.length) return "";
  return ` Over texts it goes with ${item.near.slice(0, 3).map(([i, r]) => `${item.layer === null ? "" : `${item.layer}:`}${i} (r ${number(r, 2)})`).join(", ")}.`;
}

function neuronBest(set, item) {
  const b = item.best;
  if (!b) return "";
  const whole = set.pool === "max" ? "largest value in a text" : "mean over a text";
  const auroc = b.auroc === null ? "" : ` AUROC ${number(b.auroc)},`;
  const groups = set.groups && set.groups !== set.texts ? ` in ${set.groups} groups` : "";
  return `Its ${whole} depends most on ${b.property}${b.class ? ` = ${b.class}` : ""}:${auroc} r ${number(b.correlation)}, ${number(b.mutual_information)} bits of mutual information, n = ${set.texts} texts${groups}; z ${number(b.z, 1)}, p ${chance(b.p)}, q ${chance(b.q)} over ${set.tests} tests.`;
}

function neuronCaveat(set, item) {
  const b = item.best;
  if (!b) return "";
  const far = set.permutations ? ` Once the labels are shuffled, the most selective of all neurons reaches |z| ${number(set.largest, 1)} in one of twenty shuffles.` : "";
  if (set.permutations && b.p_max > 0.05) return `No more than chance: with shuffled labels, some neuron is as selective as this one in a share of ${chance(b.p_max)} of ${set.permutations} shuffles. Do not name it after the label.${far}`;
  if (b.q > 0.05) return `No more than chance: among neurons as selective as this one, more than 5 % are expected to be so by accident.${far}`;
  return `${far.trim()} It depends on the label, or on a word, length or ending that goes with it: its texts below may tell which.`;
}

function neuronText(example, largest, smallest) {
  const words = array("neurons").words;
  const tokens = example.tokens.map((place, i) => {
    const word = words[place];
    const value = example.values[i];
    const node = make("span", { class: `scored${i === example.at ? " peak" : ""}${value < 0 ? " below" : ""}`, title: value === undefined ? null : number(value) }, word.trim() === "" ? seen(word) : word);
    const share = value === undefined ? 0 : value < 0 ? value / Math.min(smallest, -1e-9) : value / Math.max(largest, 1e-9);
    node.style.setProperty("--p", String(Math.min(1, share)));
    return node;
  });
  const cut = example.position > example.at ? "\u2026" : "";
  return make("li", {}, make("span", { class: "words" }, cut, ...tokens), make("span", { class: "note" }, `${number(example.value)} at token ${example.position}, line ${example.line}`));
}

function neuronLegend(largest, smallest) {
  const chip = (value, share, below) => {
    const node = make("span", { class: `scored chip${below ? " below" : ""}` }, number(value, 2));
    node.style.setProperty("--p", String(share));
    return node;
  };
  const under = smallest < 0 ? [chip(smallest, 1, true)] : [];
  return [...under, chip(0, 0), chip(largest / 2, 0.5), chip(largest, 1), make("span", { class: "note" }, "value at a token; the strongest is underlined")];
}

function showNeuron() {
  const set = neuronSet();
  const item = neuronNow();
  const values = item.top.flatMap((example) => example.values);
  const [largest, smallest] = [Math.max(0, item.numbers.max), Math.min(0, ...values)];
  byId("neuron-facts").textContent = neuronFacts(set, item);
  byId("neuron-best").textContent = neuronBest(set, item);
  byId("neuron-caveat").textContent = neuronCaveat(set, item);
  byId("neuron-legend").replaceChildren(...neuronLegend(largest, smallest));
  byId("neuron-top").replaceChildren(...item.top.map((example) => neuronText(example, largest, smallest)));
  byId("neuron-bottom").replaceChildren(...item.bottom.map((example) => neuronText(example, largest, smallest)));
  all("figure.fig", neuronPanel()).forEach(redraw);
}

function neuronSpreadView() {
  const { numbers: n, density } = neuronNow();
  const width = (n.max - n.min) / density.length || 1;
  const x = density.map((_, i) => n.min + (i + 0.5) * width);
  const trace = { type: "bar", x, y: density.map((value) => (value > 0 ? value : null)), width: width * 0.96, paint: ["reference", 0], name: "tokens", showlegend: false, hovertemplate: "around %{x:.3g}: about %{y:.3g} tokens<extra></extra>" };
  return { data: [trace], layout: { xaxis: { title: { text: "value" } }, yaxis: { title: { text: "tokens" }, type: "log" }, bargap: 0 } };
}

function neuronClassesView() {
  const set = neuronSet();
  const item = neuronNow();
  const there = set.contrasts.flatMap(([label, name], i) => (item.aurocs[i] === null || item.aurocs[i] === undefined ? [] : [[`${label}${name ? `: ${name}` : ""}`, item.aurocs[i]]]));
  if (!there.length) return noView("No classes: AUROC is of classes alone.");
  const trace = { type: "scatter", mode: "markers", x: there.map(([, value]) => value), y: there.map(([name]) => plotText(shortened(name, 24))), paint: ["reference", 0], marker: { size: 9 }, name: "AUROC", showlegend: false, hovertemplate: "%{y}: %{x:.3f}<extra></extra>" };
  return { data: [trace], layout: { xaxis: { title: { text: "AUROC" }, range: [-0.02, 1.02] }, yaxis: { title: { text: "" }, autorange: "reversed", type: "category", automargin: true } }, height: Math.max(200, 90 + 22 * there.length), closest: true };
}

// A neuron of another layer or set: the fields follow one another, so they are set one by one.
function pickNeuron(place, layer, neuron) {
  const field = (axis) => neuronPanel().querySelector(`[data-axis="${axis}"]`);
  const sets = field("set");
  if (sets.tagName === "FIELDSET") sets.querySelector(`input[value="${place}"]`).checked = true;
  else sets.value = String(place);
  fillNeurons();
  field("layer").value = String(layer);
  fillNeurons();
  field("neuron").value = String(neuron);
  showNeuron();
}

function searchNeuron(words) {
  const found = /^\s*(\d+)\s*:\s*(\d+)\s*$/.exec(words);
  if (!found) return "Write a layer and a neuron, such as 3:120.";
  const [layer, neuron] = [Number(found[1]), Number(found[2])];
  const set = neuronSet();
  if (set.neurons.some((item) => item.layer === layer && item.neuron === neuron)) {
    pickNeuron(array("neurons").sets.indexOf(set), layer, neuron);
    return null;
  }
  const width = set.widths.find(([place]) => place === layer)?.[1];
  if (width === undefined) return `Layer ${layer} was not read.`;
  if (neuron >= width) return `Layer ${layer} has neurons 0 to ${width - 1}.`;
  return `${layer}:${neuron} is not among the most selective of its layer, which this file holds; results/tables/neurons.csv has its numbers, and "stratascope neurons MODEL DATA --neuron ${layer}:${neuron}" shows its texts.`;
}

function startNeurons() {
  const panel = neuronPanel();
  if (!panel) return;
  Object.assign(generators, { "neurons-spread": neuronSpreadView, "neurons-classes": neuronClassesView });
  const search = byId("neuron-search");
  panel.addEventListener("change", (event) => {
    if (event.target !== search) return fillNeurons();
    const trouble = searchNeuron(search.value);
    if (trouble) byId("neuron-facts").textContent = trouble;
    return null;
  });
  for (const button of all("[data-neuron]")) {
    button.addEventListener("click", () => {
      const [place, name] = button.dataset.neuron.split("/");
      const [layer, neuron] = name.split(":");
      pickNeuron(place, layer, neuron);
      panel.scrollIntoView({ block: "start" });
    });
  }
  fillNeurons();
}
