// The residual stream: sizes, directions, and direct contributions to a token's logit.

const EVERY = "all";
const RESIDUAL_SIZES = [
  ["hidden_in_norm", "residual in", ["source", 0]],
  ["attn_out_norm", "attention", ["source", 2]],
  ["mlp_down_out_norm", "MLP", ["source", 3]],
  ["hidden_out_norm", "residual out", ["source", 1]],
];
const RESIDUAL_COSINES = [
  ["attn_cosine_out", "attention, with the stream after", ["source", 2], "solid"],
  ["attn_cosine_in", "attention, with the stream before", ["source", 2], "dot"],
  ["mlp_cosine_out", "MLP, with the stream after", ["source", 3], "solid"],
  ["mlp_cosine_in", "MLP, with the stream before", ["source", 3], "dot"],
];
const RESIDUAL_WHOLE = [
  ["embedding_logit", "embedding"],
  ["norm_bias_logit", "norm's bias"],
  ["unembed_bias_logit", "head's bias"],
  ["rest_logit", "rest"],
];

const streamPanel = () => byId("residual-panel");
const streamChoice = (axis) => chosen(streamPanel(), axis);
const streamTalk = () => array("residual").find((talk) => talk.run === streamChoice("run") && talk.checkpoint === streamChoice("checkpoint"));
const streamRows = () => (streamChoice("token") === EVERY ? streamTalk().columns.map((_, i) => i) : [Number(streamChoice("token"))]);
// Over the chosen tokens: the mean of one number at each layer, or of the whole model.
const streamMeans = (name) => streamTalk().layers.map((_, l) => mean(streamRows().map((i) => streamTalk()[name][i][l])));
const streamMean = (name) => mean(streamRows().map((i) => streamTalk()[name][i]));

function fillStream() {
  const panel = streamPanel();
  const talks = array("residual");
  const named = (values) => values.map((value) => [value, value]);
  fillField(panel, "run", named(unique(talks.map((talk) => talk.run))));
  const there = talks.filter((talk) => talk.run === streamChoice("run"));
  const kept = there.filter((talk) => shown(checkpointKey(talk.checkpoint)));
  fillField(panel, "checkpoint", named((kept.length ? kept : there).map((talk) => talk.checkpoint).reverse()));
  const talk = streamTalk();
  const one = ([step, position, token, target], i) => [String(i), `${position}: ${shortened(seen(token), 14)} \u2192 ${shortened(seen(target), 14)}`];
  fillField(panel, "token", [...talk.columns.map(one), [EVERY, "mean over all of these"]]);
  const count = streamRows().length;
  const logit = streamMean("logit");
  const whose = count > 1 ? `the tokens that came, mean over ${count}` : seen(talk.columns[streamRows()[0]][3]);
  byId("residual-facts").textContent = logit === null ? "This model norms the stream itself: nothing sums to a logit." : `Logit of ${whose}: ${number(logit, 2)}.`;
}

function streamLogitView() {
  const talk = streamTalk();
  if (streamMean("logit") === null) return noView("This model norms the stream itself.");
  const whole = RESIDUAL_WHOLE.filter(([name]) => Math.abs(streamMean(name)) >= 0.005);
  const first = whole.filter(([name]) => name === "embedding_logit");
  const last = whole.filter(([name]) => name !== "embedding_logit");
  const order = [...first.map(([, words]) => words), ...talk.layers.map(String), ...last.map(([, words]) => words)];
  const bars = [["attn_logit", "attention", ["source", 2]], ["mlp_logit", "MLP", ["source", 3]]].map(([name, words, paint]) => ({
    type: "bar", x: talk.layers.map(String), y: streamMeans(name), name: words, paint, hovertemplate: `layer %{x}, ${words}: %{y:.3f}<extra></extra>`,
  }));
  const others = { type: "bar", x: [...first, ...last].map(([, words]) => words), y: [...first, ...last].map(([name]) => streamMean(name)), name: "embedding, biases, rest", paint: ["source", 0], hovertemplate: "%{x}: %{y:.3f}<extra></extra>" };
  return {
    data: [...bars, ...(whole.length ? [others] : [])],
    layout: { barmode: "relative", xaxis: { type: "category", categoryorder: "array", categoryarray: order, title: { text: "layer" } }, yaxis: { title: { text: "contribution to the logit" } } },
    closest: true,
  };
}

function streamHeadsView() {
  const talk = streamTalk();
  const rows = streamRows();
  const count = Math.max(0, ...talk.heads[rows[0]].map((heads) => heads.length));
  if (count === 0) return noView("Attention weights were not captured.");
  const heads = Array.from({ length: count }, (_, h) => h);
  const z = talk.layers.map((_, l) => heads.map((h) => mean(rows.map((i) => talk.heads[i][l]?.[h] ?? null))));
  return {
    data: [{ type: "heatmap", z, x: heads.map(String), y: talk.layers.map(String), scale: "diverging", xgap: 1, ygap: 1, hovertemplate: "layer %{y}, head %{x}: %{z:.3f}<extra></extra>" }],
    layout: { xaxis: { title: { text: "head" }, type: "category" }, yaxis: { title: { text: "layer" } } },
    height: Math.min(760, 110 + Math.max(14, 34 - talk.layers.length) * Math.max(4, talk.layers.length)),
  };
}

function streamLines(list, title) {
  const data = list.map(([name, words, paint, dash]) => ({
    type: "scatter", mode: "lines+markers", x: streamTalk().layers, y: streamMeans(name), name: words, paint, ...(dash ? { line: { dash } } : {}), hovertemplate: `${words}, layer %{x}: %{y:.3f}<extra></extra>`,
  })).filter((line) => line.y.some((value) => value !== null));
  return { data, layout: { xaxis: { title: { text: "layer" }, tickformat: "d", zeroline: false }, yaxis: { title: { text: title } } }, closest: true };
}

function startStream() {
  const panel = streamPanel();
  if (!panel) return;
  Object.assign(generators, {
    "residual-logit": streamLogitView,
    "residual-heads": streamHeadsView,
    "residual-sizes": () => streamLines(RESIDUAL_SIZES, "Euclidean norm"),
    "residual-cosines": () => streamLines(RESIDUAL_COSINES, "cosine"),
  });
  panel.addEventListener("change", () => {
    fillStream();
    all("figure.fig", panel).forEach(redraw);
  });
  listeners.push(fillStream);
}
