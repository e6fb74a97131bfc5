// The generation explorer: what the model held likely at each step.

const currentSteps = () => S.runs[currentRun].steps;

function showSteps(run) {
  const { token } = run.steps;
  byId("steps-none").hidden = token.length > 0;
  byId("steps-body").hidden = token.length === 0;
  const slider = byId("step-slider");
  slider.max = String(Math.max(0, token.length - 1));
  slider.value = "0";
  byId("step-tokens").replaceChildren(
    ...token.map((place, i) => {
      const button = make("button", { type: "button", class: "token", "aria-label": `Step ${i}: ${text(place)}` }, seen(text(place)));
      button.style.setProperty("--p", String(chosenProbability(run.steps, i) ?? 0));
      button.addEventListener("click", () => showStep(i));
      return button;
    }),
  );
  if (token.length) showStep(0);
}

function chosenProbability(steps, i) {
  const place = steps.chosen[i];
  return place < 0 ? null : (steps.p[i][place] ?? null);
}

function showStep(i) {
  const steps = currentSteps();
  const slider = byId("step-slider");
  slider.value = String(i);
  slider.setAttribute("aria-valuetext", `step ${i}, token ${text(steps.token[i])}`);
  all("#step-tokens button").forEach((button, place) => button.setAttribute("aria-pressed", String(place === i)));
  byId("step-label").textContent = `Step ${i} of ${steps.token.length - 1}`;
  byId("step-facts").textContent = [
    i === 0 ? "prefill" : "decode",
    `${steps.length[i]} tokens of context`,
    steps.entropy[i] === null ? null : `entropy ${number(steps.entropy[i], 2)} nats`,
  ].filter(Boolean).join(" \u00b7 ");
  byId("step-top").replaceChildren(stepTable(steps, i));
}

function stepTable(steps, i) {
  const rows = steps.top[i].map((place, rank) => {
    const p = steps.p[i][rank];
    const bar = make("span", { class: "bar" });
    bar.style.setProperty("--p", String(p));
    const mark = rank === steps.chosen[i] ? make("span", { class: "note" }, " chosen") : null;
    return [String(rank + 1), make("span", {}, make("code", { class: "token" }, seen(text(place))), mark), make("span", { class: "bar-cell" }, bar), `${number(100 * p, p < 0.001 ? 3 : 2)} %`];
  });
  if (rows.length === 0) return make("p", { class: "note" }, "This run recorded no likeliest tokens (capture.top_k_probs is 0), or they were left out of this file.");
  return makeTable(["Rank", "Token", "", "Probability"], rows, `Likeliest tokens at step ${i}`, [1, 2]);
}

function entropyView() {
  const steps = currentSteps();
  const x = steps.token.map((_, i) => i);
  return {
    data: [{
      type: "scatter", mode: x.length > 60 ? "lines" : "lines+markers", x, y: steps.entropy, name: "entropy", paint: ["reference", 0],
      customdata: steps.token.map((place) => plotText(seen(text(place)))), hovertemplate: "step %{x} %{customdata}: %{y:.3f} nats<extra></extra>",
    }],
    layout: { xaxis: { title: { text: "step" }, tickformat: "d", zeroline: false }, yaxis: { title: { text: "entropy (nats)" }, rangemode: "tozero" } },
  };
}

function rankView() {
  const steps = currentSteps();
  const ranks = Math.max(0, ...steps.top.map((line) => line.length));
  const z = Array.from({ length: ranks }, (_, rank) => steps.p.map((line) => line[rank] ?? null));
  const words = Array.from({ length: ranks }, (_, rank) => steps.top.map((line) => (line[rank] === undefined ? "" : plotText(seen(text(line[rank]))))));
  return {
    data: [{
      type: "heatmap", z, x: steps.token.map((_, i) => i), y: z.map((_, rank) => String(rank + 1)), text: words, scale: "sequential", unit: true, xgap: 1, ygap: 1,
      hovertemplate: "step %{x}, rank %{y}: %{text} %{z:.4f}<extra></extra>",
    }],
    layout: { xaxis: { title: { text: "step" }, tickformat: "d" }, yaxis: { title: { text: "rank" } } },
    height: 300,
    nothing: ranks ? undefined : "No likeliest tokens were recorded.",
  };
}

function startSteps() {
  generators["step-entropy"] = entropyView;
  generators["step-ranks"] = rankView;
  byId("step-slider").addEventListener("input", (event) => showStep(Number(event.target.value)));
  const move = (by) => showStep(Math.min(currentSteps().token.length - 1, Math.max(0, Number(byId("step-slider").value) + by)));
  byId("step-prev").addEventListener("click", () => move(-1));
  byId("step-next").addEventListener("click", () => move(1));
}
