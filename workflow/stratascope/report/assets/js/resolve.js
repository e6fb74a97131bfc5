// From a figure's view, as the report stores it, to what Plotly draws: colours of the theme, rows
// that the toolbox shows, names as it names them.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

function resolve(view, width) {
  const context = { width, narrow: width < 520, layout: baseLayout(view.layout ?? {}, width), height: view.height ?? null };
  const data = [];
  for (const trace of view.data) {
    if (trace.type === "heatmap") data.push(heatTrace(trace, context));
    else if (shown(trace.key)) data.push(lineTrace(trace));
  }
  if (view.nothing || (data.length === 0 && !view.data.some((trace) => trace.type === "heatmap"))) {
    context.layout.annotations = [emptyNote(view.nothing ?? "Nothing to show: the toolbox hides it all.")];
  }
  settleMargins(context.layout);
  const named = data.filter((trace) => trace.showlegend !== false && trace.type !== "heatmap");
  context.layout.showlegend = named.length > 1 && named.length <= 24;
  context.layout.hovermode = named.length > 1 && named.length <= 8 && !view.closest ? "x unified" : "closest";
  return { data, layout: context.layout, height: context.height };
}

// Numbers on an axis fit the margins that are there. Names need room of their own; were numbers to
// claim some too, legend and axes could push each other about without end.
function settleMargins(layout) {
  for (const axis of [layout.xaxis, layout.yaxis]) axis.automargin = axis.type === "category" || Boolean(axis.ticktext);
}

function emptyNote(words) {
  return { text: words, showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { color: ink().soft, size: 14 } };
}

function baseLayout(own, width) {
  const c = ink();
  const axis = (given = {}, standoff) => ({
    gridcolor: c.grid,
    linecolor: c.line,
    zerolinecolor: c.line,
    tickcolor: c.line,
    tickfont: { color: c.soft, size: 12 },
    automargin: true,
    fixedrange: false,
    ...given,
    title: { ...(given.title ?? {}), font: { color: c.soft, size: 12.5 }, ...(standoff ? { standoff } : {}) },
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, color: c.ink, size: 13 },
    margin: { l: 66, r: 16, t: 10, b: 46 },
    width,
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    legend: { traceorder: "normal", orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: c.ink, size: width < 520 ? 11.5 : 12.5 }, itemwidth: 30 },
    hoverlabel: { bgcolor: c.paper, bordercolor: c.line, font: { color: c.ink, family: FONT, size: 12.5 }, align: "left", namelength: -1 },
    ...own,
    ...(own.xaxis?.side === "top" ? { margin: { l: 66, r: 16, t: 30, b: width < 520 ? 46 : 12 } } : {}),
    xaxis: axis(own.xaxis),
    yaxis: axis(own.yaxis, 8),
  };
}

function lineTrace(trace) {
  const { paint, band, key, ...plain } = trace;
  const mark = marked(key);
  const dimmed = filters.highlight.length > 0 && key && mark === null;
  const base = mark === null ? colour(paint ?? ["plain", 1]) : colour(["highlight", mark]);
  const shade = dimmed ? ink().mute : base;
  plain.y = values(trace.y);
  if (band) return { ...plain, line: { width: 0 }, fillcolor: faded(shade.length === 7 ? shade : base, dimmed ? 0.1 : 0.18) };
  if (trace.type === "bar") return { ...plain, marker: { color: shade, line: { color: ink().paper, width: 1 } } };
  const thin = trace.thin && mark === null;
  return {
    ...plain,
    line: { width: thin ? 1 : 2.2, ...plain.line, color: (thin || plain.line?.width === 1) && !dimmed ? faded(base, 0.45) : shade },
    marker: { size: thin ? 3 : 6, ...plain.marker, color: thin && !dimmed ? faded(base, 0.45) : shade },
    ...errorBars(plain, shade),
  };
}

function errorBars(trace, shade) {
  const bars = {};
  for (const side of ["error_x", "error_y"]) {
    if (trace[side]) bars[side] = { ...trace[side], color: shade, thickness: 1.6, width: 4 };
  }
  return bars;
}

function values(given) {
  if (!given || Array.isArray(given)) return given;
  let found = array(given.ref);
  if (found && given.row !== undefined) found = found[given.row];
  return found ?? [];
}

// ---- heatmaps

function heatTrace(trace, context) {
  const { rows, cols, scale, ends, ...plain } = trace;
  let z = matrixValues(trace);
  const keepRows = keptPlaces(rows, z.length);
  const width = z[0]?.length ?? 0;
  const keepCols = keptPlaces(cols, width);
  z = keepRows.map((i) => keepCols.map((j) => z[i]?.[j] ?? null));
  plain.z = z;
  if (rows) setNames(plain, "y", keepRows.map((i) => rows[i]), context, z.length);
  else {
    context.layout.yaxis = { ...context.layout.yaxis, autorange: "reversed", type: "category" };
    if (context.narrow && context.height) context.height += 60; // the colour bar lies above or below
  }
  if (cols) setNames(plain, "x", keepCols.map((j) => cols[j]), context, z.length);
  if (trace.text) plain.text = keepRows.map((i) => trace.text[i]);
  const range = ends ? betweenEnds(ends, scale) : colourRange(z, scale, trace.unit);
  const c = ink();
  if (z.length > 80 || (z[0]?.length ?? 0) > 120) Object.assign(plain, { xgap: 0, ygap: 0 });
  for (const axis of [context.layout.xaxis, context.layout.yaxis]) Object.assign(axis, { showgrid: false, zeroline: false });
  if (trace.written && !context.narrow) context.layout.annotations = cellNumbers(plain, range);
  delete plain.written;
  if (trace.written && !context.narrow) plain.showscale = false;
  return {
    ...plain,
    ...range,
    hoverongaps: false,
    colorbar: {
      thickness: 12, outlinewidth: 0, tickfont: { color: c.soft, size: 11.5 }, xpad: 6,
      ...barPlace(context),
    },
  };
}

// On a narrow figure the colour bar lies above the map, or below it if the ticks are above.
function barPlace({ narrow, height, layout }) {
  if (!narrow) return { len: Math.min(1, 260 / Math.max(260, height ?? 260)), y: 1, yanchor: "top" };
  const below = layout.xaxis.side === "top";
  return { orientation: "h", len: 1, x: 0.5, ypad: 4, y: below ? -0.02 : 1.02, yanchor: below ? "top" : "bottom" };
}

const keptPlaces = (keys, length) =>
  keys ? keys.flatMap((key, i) => (shown(key) ? [i] : [])) : Array.from({ length }, (_, i) => i);

function matrixValues(trace) {
  const found = values(trace.z);
  if (trace.z?.as !== "matrix") return found;
  const size = S.runs.length;
  const full = Array.from({ length: size }, () => new Array(size).fill(null));
  array("pairs").forEach(([a, b], i) => {
    full[a][b] = found[i] ?? null;
    full[b][a] = found[i] ?? null;
  });
  return full;
}

function setNames(plain, side, keys, context, count) {
  const names = uniqueNames(keys.map((key) => plotText(keyName(key))));
  const room = context.narrow ? 16 : side === "x" ? 26 : context.width > 860 ? 56 : 40;
  const row = count <= 60 ? 20 : count <= 250 ? 10 : 4;
  plain[side] = names;
  const axis = context.layout[`${side}axis`];
  axis.type = "category";
  axis.tickmode = "array";
  axis.tickvals = row < 10 ? [] : names;
  axis.ticktext = keys.map((key) => tickName(key, room));
  axis.tickfont = { ...axis.tickfont, size: row < 20 ? 9 : 11.5 };
  if (side === "x") {
    Object.assign(axis, { tickangle: -60, side: "bottom" });
    context.height += Math.min(room, Math.max(0, ...keys.map((key) => keyName(key).length))) * 5;
  } else {
    axis.autorange = "reversed";
    context.height = Math.max(230, (context.narrow ? 190 : 110) + row * count);
  }
}

function tickName(key, room) {
  const name = plotText(keyName(key, room));
  const mark = marked(key);
  if (filters.highlight.length === 0) return name;
  if (mark === null) return `<span style="color:${ink().soft}">${name}</span>`;
  return `<b><span style="color:${colour(["highlight", mark])}">${name}</span></b>`;
}

// Two runs may be renamed alike; a category must be told from the others all the same.
function uniqueNames(names) {
  const seenNames = new Map();
  return names.map((name) => {
    const times = seenNames.get(name) ?? 0;
    seenNames.set(name, times + 1);
    return name + "\u200b".repeat(times);
  });
}

// Diverging colours keep neutral at 0. Fitted to data on one side of 0, only that side's half of
// the scale is used, so that a colour never suggests a sign that the number does not have.
function colourRange(z, scale, unit) {
  const found = z.flat().filter((value) => value !== null && Number.isFinite(value));
  let low = Infinity;
  let high = -Infinity;
  for (const value of found) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (found.length === 0) [low, high] = [0, 1];
  const colours = palette(scale);
  const middle = (colours.length - 1) / 2;
  if (scale === "sequential") {
    if (unit && filters.range === "fixed") [low, high] = [0, 1];
    return { zmin: low, zmax: high > low ? high : low + 1e-6, colorscale: steps(colours) };
  }
  if (filters.range === "fixed") return { zmin: -1, zmax: 1, colorscale: steps(colours) };
  if (low >= 0) return { zmin: low, zmax: high > low ? high : low + 1e-6, colorscale: steps(colours.slice(middle)) };
  if (high <= 0) return { zmin: low, zmax: high > low ? high : low + 1e-6, colorscale: steps(colours.slice(0, middle + 1)) };
  const reach = Math.max(-low, high);
  return { zmin: -reach, zmax: reach, colorscale: steps(colours) };
}

// A scale whose faintest and strongest colour stand for given numbers, in either order.
function betweenEnds([faint, strong], scale) {
  const colours = faint <= strong ? palette(scale) : [...palette(scale)].reverse();
  const [low, high] = [Math.min(faint, strong), Math.max(faint, strong)];
  return { zmin: low, zmax: high > low ? high : low + 1e-6, colorscale: steps(colours) };
}

// Numbers on a map's cells, dark on light colours and light on dark ones.
function cellNumbers(map, range) {
  return map.z.flatMap((line, i) =>
    line.map((value, j) => ({
      x: map.x[j], y: map.y[i], text: number(value, 2), showarrow: false,
      font: { size: 12.5, color: value === null || isLight(shadeAt(range, value)) ? "#222a35" : "#ffffff" },
    })),
  );
}

function shadeAt({ zmin, zmax, colorscale }, value) {
  const place = Math.min(1, Math.max(0, (value - zmin) / (zmax - zmin)));
  const next = Math.max(1, colorscale.findIndex(([at]) => at >= place));
  const [[a, from], [b, to]] = [colorscale[next - 1], colorscale[next]];
  const share = (place - a) / (b - a);
  return [1, 3, 5].map((k) => parseInt(from.slice(k, k + 2), 16) * (1 - share) + parseInt(to.slice(k, k + 2), 16) * share);
}

// Relative luminance (WCAG 2): above 0.18 black text contrasts more than white.
function isLight(shade) {
  const [r, g, b] = shade.map((value) => ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.19;
}

const steps = (colours) => colours.map((value, i) => [i / (colours.length - 1), value]);
