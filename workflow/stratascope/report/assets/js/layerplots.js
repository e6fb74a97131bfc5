// Lines over layers, the form that runs, pairs and references share.

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon"];
const DASHES = ["solid", "solid", "dot", "dash"];

function layerLine(name, paint, y, key) {
  const label = plotText(name);
  const many = S.layers.length > 40;
  return {
    type: "scatter",
    mode: many ? "lines" : "lines+markers",
    x: S.layers,
    y,
    name: label,
    paint,
    key,
    marker: { symbol: SYMBOLS[paint[1] % SYMBOLS.length], size: S.layers.length > 20 ? 4 : 6 },
    line: { dash: paint[0] === "source" ? DASHES[paint[1] % DASHES.length] : "solid" },
    hovertemplate: `${label}: %{y:.4f}<extra></extra>`,
  };
}

function layerView(lines, yTitle, extra = {}) {
  const kept = lines.filter((line) => line.y && line.y.some((value) => value !== null));
  return {
    data: kept,
    layout: {
      xaxis: { title: { text: "layer" }, tickformat: "d", zeroline: false },
      yaxis: { title: { text: yTitle }, zeroline: false, ...(yTitle === MEASURE_NAMES.overlap ? { range: [-0.04, 1.04] } : {}) },
    },
    nothing: kept.length ? undefined : "No numbers for this choice.",
    ...extra,
  };
}

// One line a source: `find(measure, source)` gives the values over layers.
function sourceLines(find, measure) {
  return S.sources.map((source, i) => layerLine(sourceName(source), ["source", i], find(measure, source)));
}

// A measure's summary over layers, as the tables have it.
function layerSummary(valuesByLayer) {
  const there = (valuesByLayer ?? []).flatMap((value, i) => (value === null ? [] : [[value, S.layers[i]]]));
  if (!there.length) return null;
  const numbers = there.map(([value]) => value).sort((a, b) => a - b);
  const average = mean(numbers);
  const half = (numbers.length - 1) / 2;
  const spread = Math.sqrt(numbers.reduce((sum, v) => sum + (v - average) ** 2, 0) / numbers.length);
  const low = there.reduce((best, item) => (item[0] < best[0] ? item : best));
  const high = there.reduce((best, item) => (item[0] > best[0] ? item : best));
  return { mean: average, std: spread, median: (numbers[Math.floor(half)] + numbers[Math.ceil(half)]) / 2, low, high };
}

function summaryTable(find, caption) {
  const rows = [];
  for (const measure of MEASURES) {
    for (const source of S.sources) {
      const summary = layerSummary(find(measure, source));
      if (!summary) continue;
      const worst = measure === "MAE" ? summary.high : summary.low;
      rows.push([
        `${MEASURE_NAMES[measure]}, ${sourceName(source)}`,
        number(summary.mean, 4), number(summary.std, 4), number(summary.median, 4), number(worst[0], 4), String(worst[1]),
      ]);
    }
  }
  return makeTable(["Measure, read at", "Mean", "Std over layers", "Median", "Farthest", "at layer"], rows, caption);
}
