// The same prompt, checkpoint by checkpoint.

function showScenario() {
  const name = byId("scenario-select").value;
  const places = runsWhere((run) => run.scenario === name).filter((i) => runState[i].shown);
  const first = S.runs[places[0]];
  const last = first ? first.messages.at(-1) : null;
  byId("scenario-prompt").replaceChildren(...(last ? [bubble(last[0], `${last[2]} ${last[0]}`, text(last[1]))] : []));
  let before = null;
  byId("scenario-texts").replaceChildren(
    ...places.map((i) => {
      const words = text(S.runs[i].generated);
      const node = make("div", { class: "generation" }, make("h5", {}, S.checkpoints[S.runs[i].checkpoint]), generationNode(words, before));
      if (before !== null && words === before) node.append(make("p", { class: "note" }, "The same text as the checkpoint before."));
      before = words;
      return node;
    }),
  );
}

// What differs from the checkpoint before, from the first word on that differs, is marked.
function generationNode(words, before) {
  if (words === "") return make("p", { class: "note" }, "No text was generated.");
  if (before === null || words === before) return make("p", {}, words);
  let same = 0;
  while (same < words.length && words[same] === before[same]) same += 1;
  if (same < words.length) while (same > 0 && !/\s/.test(words[same - 1])) same -= 1;
  return make("p", {}, words.slice(0, same), make("mark", {}, words.slice(same)));
}

function startScenarios() {
  if (!byId("scenario-select")) return;
  byId("scenario-select").addEventListener("change", showScenario);
  listeners.push(showScenario);
}
