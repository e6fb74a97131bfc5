// What the toolbox says about each run: hidden, highlighted, renamed. One place decides, and every
// figure and table asks here.

const filters = { hide: [], only: [], highlight: [], rename: [], checkpoints: new Set(), range: "fit" };
let runState = []; // for each run {shown, colour: index or null, name}

function matcher(rule) {
  if (!rule.regex) {
    const wanted = rule.pattern.toLowerCase();
    return (label) => label.toLowerCase().includes(wanted);
  }
  const expression = new RegExp(rule.pattern, "i");
  return (label) => expression.test(label);
}

function renamed(label) {
  let name = label;
  for (const rule of filters.rename) {
    name = rule.regex
      ? name.replace(new RegExp(rule.pattern, "g"), rule.to)
      : name.replaceAll(rule.pattern, rule.to);
  }
  return name || label;
}

function computeRuns() {
  const hide = filters.hide.map(matcher);
  const only = filters.only.map(matcher);
  const marks = filters.highlight.map(matcher);
  runState = S.runs.map((run) => {
    const label = run.label;
    const mark = marks.findIndex((match) => match(label));
    return {
      shown:
        !filters.checkpoints.has(run.checkpoint) &&
        !hide.some((match) => match(label)) &&
        (only.length === 0 || only.some((match) => match(label))),
      colour: mark < 0 ? null : mark,
      name: renamed(label),
    };
  });
}

// A key names what a row or a trace belongs to: r:3 a run, p:3,5 a pair, c:name a checkpoint,
// s:name a scenario. `every` says whether all of its runs must be shown, or any.
function keyRuns(key) {
  const rest = key.slice(2);
  switch (key[0]) {
    case "r":
      return { runs: [Number(rest)], every: true };
    case "p":
      return { runs: rest.split(",").map(Number), every: true };
    case "c":
      return { runs: runsWhere((run) => S.checkpoints[run.checkpoint] === rest), every: false };
    default:
      return { runs: runsWhere((run) => run.scenario === rest), every: false };
  }
}

function runsWhere(test) {
  return S.runs.flatMap((run, index) => (test(run) ? [index] : []));
}

function shown(key) {
  if (!key) return true;
  const { runs, every } = keyRuns(key);
  return every ? runs.every((i) => runState[i].shown) : runs.some((i) => runState[i].shown);
}

// The index of the highlight colour, or null. A pair is marked if either of its runs is.
function marked(key) {
  if (!key || filters.highlight.length === 0) return null;
  const { runs, every } = keyRuns(key);
  const colours = runs.map((i) => runState[i].colour);
  if (every) return colours.find((mark) => mark !== null) ?? null;
  return colours.length && colours.every((mark) => mark !== null) ? colours[0] : null;
}

// The name of what a key stands for, each run's part shortened so that all fits `room` letters.
function keyName(key, room = Infinity) {
  const rest = key.slice(2);
  if (key[0] === "r") return shortened(runState[Number(rest)].name, room);
  if (key[0] !== "p") return shortened(rest, room);
  const [a, b] = rest.split(",").map(Number);
  return pairName(a, b, room);
}

function pairName(a, b, room = Infinity) {
  const [one, two] = [S.runs[a], S.runs[b]];
  const half = Math.floor((room - 3) / 2);
  if (filters.rename.length === 0) {
    const [from, to] = [S.checkpoints[one.checkpoint], S.checkpoints[two.checkpoint]];
    if (one.scenario === two.scenario) return `${shortened(one.scenario, half)}: ${from} \u2192 ${to}`;
    if (one.checkpoint === two.checkpoint) return `${shortened(one.scenario, half)} \u00d7 ${shortened(two.scenario, half)} @${from}`;
  }
  return `${shortened(runState[a].name, half)} \u00d7 ${shortened(runState[b].name, half)}`;
}
