// What the figures of datasets share: choices that depend on each other, lines with bands, maps of
// numbers.

// Options are [value, words]. What was chosen stays chosen if it is still there; without a choice the
// field is not shown.
function fillField(panel, axis, options) {
  const field = panel.querySelector(`[data-axis="${axis}"]`);
  const before = field.value;
  field.replaceChildren(...options.map(([value, words]) => make("option", { value }, words)));
  if (options.some(([value]) => String(value) === before)) field.value = before;
  const holder = field.closest(".pick");
  holder.hidden = options.length < 2;
}

const checkpointKey = (name) => (S.checkpoints.includes(name) ? `c:${name}` : undefined);
const checkpointPaint = (name, place) => ["checkpoint", S.checkpoints.includes(name) ? S.checkpoints.indexOf(name) : place];
const keptCheckpoints = (names) => names.flatMap((name, i) => (shown(checkpointKey(name)) ? [i] : []));

// A line with its interval: `ends` are [lower, upper] at each place.
function intervalLine(x, y, ends, name, paint, more = {}) {
  const label = plotText(name);
  const line = {
    type: "scatter", mode: "lines+markers", x, y, name: label, paint, interval: ends, ...more,
    customdata: ends.map(([low, high]) => endsWords(low, high)), hovertemplate: `${label}: %{y:.3f}%{customdata}<extra></extra>`,
  };
  const known = ends.flatMap(([low, high], i) => (low === null || high === null ? [] : [i]));
  if (known.length === 0 || more.bare) return [line];
  const back = [...known].reverse();
  const band = {
    type: "scatter", mode: "lines", x: [...known, ...back].map((i) => x[i]), y: [...known.map((i) => ends[i][1]), ...back.map((i) => ends[i][0])],
    fill: "toself", band: true, paint, key: more.key, showlegend: false, hoverinfo: "skip",
  };
  return [band, line];
}

const endsWords = (low, high) => (low === null || high === null ? "" : ` (${number(low)} to ${number(high)})`);

// What a probe must exceed, or comes with it: a line without points.
function levelLine(x, y, name, paint, dash) {
  const label = plotText(name);
  return { type: "scatter", mode: "lines", x, y, name: label, paint, line: { dash, width: 1.7 }, hovertemplate: `${label}: %{y:.3f}<extra></extra>` };
}

// Checkpoints one beside the other, or at their steps of training.
const SPACINGS = [["even", "evenly spaced"], ["steps", "by training step"]];

function checkpointAxis(panel, set) {
  const field = panel.querySelector('[data-axis="spacing"]');
  const spaced = Boolean(set.steps) && field?.value === "steps";
  const x = set.checkpoints.map((name, i) => (spaced ? set.steps[i] : plotText(name)));
  const order = { type: "category", categoryorder: "array", categoryarray: x };
  return { x, layout: spaced ? { title: { text: "training step" }, zeroline: false } : { title: { text: "checkpoint" }, ...order } };
}

// A figure that has nothing to show says why, without axes.
const noView = (words) => ({ data: [], layout: { xaxis: { visible: false }, yaxis: { visible: false } }, nothing: words, height: 150 });

// A map of numbers, a row a name; cells carry their number where there is room.
function numberMap(z, x, y, hover, more = {}) {
  return {
    data: [{ type: "heatmap", z, x, y: y.map(plotText), scale: "sequential", xgap: 1, ygap: 1, hovertemplate: `${hover}<extra></extra>`, written: x.length <= 12 && y.length <= 24, ...more }],
    layout: { xaxis: { title: { text: "layer" }, type: "category" }, yaxis: { title: { text: "" } } },
    nothing: z.some((row) => row.some((value) => value !== null && value !== undefined)) ? undefined : "No numbers for this choice.",
  };
}
