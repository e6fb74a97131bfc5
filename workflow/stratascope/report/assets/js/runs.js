// The run explorer: one run at a time, drawn from the payload.

let currentRun = 0;

const runMatches = (index, wanted) => runState[index].shown && (!wanted || S.runs[index].label.toLowerCase().includes(wanted) || runState[index].name.toLowerCase().includes(wanted));

function listRuns() {
  const wanted = byId("run-search").value.trim().toLowerCase();
  const places = S.runs.flatMap((_, i) => (runMatches(i, wanted) ? [i] : []));
  const select = byId("run-select");
  select.replaceChildren(...places.map((i) => make("option", { value: i }, runState[i].name)));
  byId("run-count").textContent = places.length === 1 ? "1 run" : `${places.length} runs`;
  for (const button of [byId("run-prev"), byId("run-next")]) button.disabled = places.length < 2;
  if (places.length === 0) {
    byId("run-empty").hidden = false;
    byId("run-body").hidden = true;
    return;
  }
  byId("run-empty").hidden = true;
  byId("run-body").hidden = false;
  if (places.includes(currentRun)) select.value = String(currentRun);
  else showRun(places[0]);
}

function stepRun(by) {
  const select = byId("run-select");
  const count = select.options.length;
  if (count === 0) return;
  const next = (select.selectedIndex + by + count) % count;
  showRun(Number(select.options[next].value));
}

function showRun(index) {
  currentRun = index;
  byId("run-select").value = String(index);
  const run = S.runs[index];
  byId("run-title").textContent = runState[index].name;
  byId("run-facts").textContent = runFacts(run);
  showChat(run);
  byId("run-summary").replaceChildren(summaryTable(runLayers, `Summary over layers of ${run.label}`));
  showReferences(run);
  showSteps(run);
  all("#explorer figure.fig").forEach(redraw);
}

function runFacts(run) {
  const facts = [`checkpoint ${S.checkpoints[run.checkpoint]}`, `${run.prompt_tokens} prompt tokens`, `${run.steps.token.length} generated`];
  return facts.join(" \u00b7 ");
}

const runLayers = (measure, source) => array(`intra/${measure}/${source}`)?.[currentRun] ?? null;

function bubble(role, badge, words, extra = "") {
  const known = ROLE_SHORT[role] ? role : "system";
  return make("li", { class: `message ${known} ${extra}` }, make("span", { class: `badge ${known}` }, badge), make("div", { class: "words" }, words));
}

function showChat(run) {
  const items = run.messages.map(([role, content, index]) => bubble(role, `${index} ${role}`, text(content)));
  const words = text(run.generated);
  const answer = words === "" ? bubble("assistant", "generated", "No text was generated.", "made empty") : bubble("assistant", "generated", words, "made");
  byId("run-chat").replaceChildren(...items, answer);
}

function backgroundLine(measure) {
  if (measure !== "cosine") return [];
  const background = array(`intra/background_cosine/${mainSource()}`)?.[currentRun];
  if (!background) return [];
  const line = layerLine("background", ["plain", 0], background);
  return [{ ...line, mode: "lines", line: { dash: "dot", width: 1.5 } }];
}

const mainSource = () => (S.sources.includes("hidden_out") ? "hidden_out" : S.sources[0]);

// The run with most to see: the longest conversation on the last checkpoint.
function fullestRun() {
  const better = (run, than) => run.checkpoint - than.checkpoint || run.messages.length - than.messages.length;
  return S.runs.reduce((best, run, i) => (better(run, S.runs[best]) > 0 ? i : best), 0);
}

function startRuns() {
  if (!byId("explorer")) return;
  currentRun = fullestRun();
  for (const measure of MEASURES) {
    generators[`run-${measure}`] = () => layerView([...sourceLines(runLayers, measure), ...backgroundLine(measure)], MEASURE_NAMES[measure]);
  }
  byId("run-select").addEventListener("change", (event) => showRun(Number(event.target.value)));
  byId("run-search").addEventListener("input", listRuns);
  byId("run-prev").addEventListener("click", () => stepRun(-1));
  byId("run-next").addEventListener("click", () => stepRun(1));
  byId("explorer").addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "j" || event.key === "k") stepRun(event.key === "j" ? 1 : -1);
  });
  startReferences();
  startSteps();
  listeners.push(() => {
    listRuns();
    byId("run-title").textContent = runState[currentRun].name;
  });
  addEventListener("hashchange", openLinkedRun);
}

// #run-12 opens run 12: what the tables' links point to.
function openLinkedRun() {
  const found = /^#run-(\d+)$/.exec(location.hash);
  if (!found || Number(found[1]) >= S.runs.length) return;
  byId("run-search").value = "";
  currentRun = Number(found[1]);
  listRuns();
  showRun(currentRun);
  byId("explorer").scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
  byId("run-title").focus({ preventScroll: true });
}
