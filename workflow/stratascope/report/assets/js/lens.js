// The logit lens: a grid of layers and tokens, and curves over layers.

const LENS_COLOURS = [
  ["logprob", "probability of the token shown"],
  ["chance", "probability of the last layer's token"],
  ["rank", "rank of the last layer's token"],
  ["kl", "distance from the last layer (KL)"],
  ["entropy", "entropy"],
];
const LENS_MEASURES = [
  ["kl", "KL(final \u2016 layer), nats"],
  ["entropy", "entropy, nats"],
  ["chance", "log-probability of the last layer's token, nats"],
  ["first", "share of tokens at which the last layer's leads"],
];
const LENS_WORDS = {
  logprob: "The stronger, the likelier the token in the cell.",
  chance: "The stronger, the likelier the token that the last layer puts first.",
  rank: "Strongest where the last layer's token is first already; half as strong where it is second.",
  kl: "The stronger, the closer to the last layer's distribution: KL(final \u2016 layer) is 0 at the strongest.",
  entropy: "The stronger, the more certain: entropy is 0 at the strongest.",
};
let lensAt = [0, 0]; // layer and column of the cell that is read out

const lensPanel = () => byId("lens-panel");
const lensChoice = (axis) => chosen(lensPanel(), axis);
const lensGrids = () => array("lens").grids;
const lensWord = (place) => array("lens").words[place];
const lensLike = (grid) => grid.run === lensChoice("run") && grid.site === lensChoice("site");
const lensGrid = () => lensGrids().find((grid) => lensLike(grid) && grid.checkpoint === lensChoice("checkpoint"));
const unique = (values) => [...new Set(values)];
const percent = (logprob) => `${number(100 * Math.exp(logprob), 1)} %`;

function fillLens() {
  const panel = lensPanel();
  const grids = lensGrids();
  const named = (values) => values.map((value) => [value, value]);
  fillField(panel, "run", named(unique(grids.map((grid) => grid.run))));
  const there = grids.filter((grid) => grid.run === lensChoice("run"));
  const kept = there.filter((grid) => shown(checkpointKey(grid.checkpoint)));
  fillField(panel, "checkpoint", named(unique((kept.length ? kept : there).map((grid) => grid.checkpoint)).reverse()));
  fillField(panel, "site", named(unique(there.map((grid) => grid.site))));
  fillField(panel, "colour", LENS_COLOURS);
  fillField(panel, "measure", LENS_MEASURES);
  const columns = lensGrid().columns.map(([step, position, token], i) => [String(i), `${position}: ${shortened(seen(lensWord(token)), 14)}${step ? ` (step ${step})` : ""}`]);
  const end = panel.querySelector('[data-axis="to"]');
  const fresh = end.options.length === 0 || Number(end.value) >= columns.length;
  fillField(panel, "from", columns);
  fillField(panel, "to", columns);
  if (fresh) end.value = String(columns.length - 1);
  showLens();
}

function lensColumns() {
  const [from, to] = [Number(lensChoice("from")), Number(lensChoice("to"))];
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  return lensGrid().columns.flatMap((_, i) => (i >= low && i <= high ? [i] : []));
}

// How strong a cell's colour is, from 0 to 1.
function lensShade(grid, l, c) {
  const kind = lensChoice("colour");
  const value = grid[kind][l][c];
  if (value === null) return 0;
  if (kind === "rank") return 1 / (1 + Math.log2(value));
  if (kind === "kl") return Math.exp(-value);
  if (kind === "entropy") return 1 - value / (Math.max(...lensGrids().flatMap((item) => item.entropy.flat())) || 1);
  return Math.exp(value);
}

function showLens() {
  const grid = lensGrid();
  const columns = lensColumns();
  lensAt = [Math.min(lensAt[0], grid.layers.length - 1), columns.includes(lensAt[1]) ? lensAt[1] : columns[0]];
  const word = (place) => shortened(seen(lensWord(place)), 16);
  const top = make("tr", {}, make("th", { scope: "col" }, "layer"), ...columns.map((c) => {
    const [, position, token] = grid.columns[c];
    return make("th", { scope: "col" }, make("span", { class: "note" }, String(position)), make("br"), word(token));
  }));
  const rows = grid.layers.map((layer, l) =>
    make("tr", {}, make("th", { scope: "row" }, String(layer)), ...columns.map((c) => {
      const node = make("td", { "data-cell": `${l},${c}`, class: "scored" }, word(grid.top[l][c][0]));
      node.style.setProperty("--p", String(lensShade(grid, l, c)));
      return node;
    })),
  );
  const next = make("tr", { class: "came" }, make("th", { scope: "row" }, "came"), ...columns.map((c) => make("td", {}, word(grid.columns[c][3]))));
  byId("lens-box").replaceChildren(make("table", { class: "lens" }, make("thead", {}, top), make("tbody", {}, ...rows, next)));
  byId("lens-legend").textContent = LENS_WORDS[lensChoice("colour")];
  pointLens(...lensAt);
}

function pointLens(l, c) {
  const grid = lensGrid();
  lensAt = [l, c];
  const box = byId("lens-box");
  all("td.at", box).forEach((node) => node.classList.remove("at"));
  const node = box.querySelector(`[data-cell="${l},${c}"]`);
  node.classList.add("at");
  const code = (place) => make("code", { class: "token" }, seen(lensWord(place)));
  const items = grid.top[l][c].flatMap((place, i) => [code(place), `${percent(grid.top_logprobs[l][c][i])}  `]);
  const [, position, token] = grid.columns[c];
  byId("lens-readout").replaceChildren(
    make("p", {}, `Layer ${grid.layers[l]} at token ${position}, `, code(token), ": ", ...items),
    make("p", { class: "note" }, `Entropy ${number(grid.entropy[l][c], 2)} nats, KL(final \u2016 layer) ${number(grid.kl[l][c], 2)} nats. The last layer's `, code(grid.final[c]), `is number ${grid.rank[l][c]} here, with ${percent(grid.chance[l][c])}.`),
  );
  return node;
}

function moveLens(event) {
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!steps) return;
  event.preventDefault();
  const columns = lensColumns();
  const column = columns[Math.min(columns.length - 1, Math.max(0, columns.indexOf(lensAt[1]) + steps[1]))];
  const layer = Math.min(lensGrid().layers.length - 1, Math.max(0, lensAt[0] + steps[0]));
  pointLens(layer, column).scrollIntoView({ block: "nearest", inline: "nearest" });
}

function lensCurvesView() {
  const measure = lensChoice("measure");
  const columns = lensColumns();
  const at = (grid, l, c) => (measure === "first" ? Number(grid.rank[l][c] === 1) : grid[measure][l][c]);
  const data = lensGrids().filter(lensLike).flatMap((grid, i) => {
    if (!shown(checkpointKey(grid.checkpoint))) return [];
    const there = columns.filter((c) => c < grid.columns.length);
    const name = plotText(grid.checkpoint);
    return [{
      type: "scatter", mode: "lines+markers", x: grid.layers, y: grid.layers.map((_, l) => mean(there.map((c) => at(grid, l, c)))), name,
      paint: checkpointPaint(grid.checkpoint, i), key: checkpointKey(grid.checkpoint), hovertemplate: `${name}, layer %{x}: %{y:.3f}, n = ${there.length}<extra></extra>`,
    }];
  });
  const words = LENS_MEASURES.find(([name]) => name === measure)[1];
  return { data, layout: { xaxis: { title: { text: "layer" }, tickformat: "d", zeroline: false }, yaxis: { title: { text: words }, zeroline: false } }, closest: true };
}

function startLens() {
  const panel = lensPanel();
  if (!panel) return;
  generators["lens-curves"] = lensCurvesView;
  panel.addEventListener("change", () => {
    fillLens();
    all("figure.fig", panel).forEach(redraw);
  });
  const point = (event) => {
    const node = event.target.closest("[data-cell]");
    if (node) pointLens(...node.dataset.cell.split(",").map(Number));
  };
  byId("lens-box").addEventListener("pointerover", point);
  byId("lens-box").addEventListener("click", point);
  byId("lens-box").addEventListener("keydown", moveLens);
  listeners.push(fillLens);
}
