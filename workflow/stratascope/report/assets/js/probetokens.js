// A probe over the text of a conversation: each token's background is what the probe says there.

const LIKELIEST = "likeliest";
const POINTS = [["fitted", "underlined tokens"], ["all", "every token"]];
let tokenAt = 0;

const tokenPanel = () => byId("probes-tokens");
const tokenChoice = (axis) => chosen(tokenPanel(), axis);
const tokenSet = () => array("tokens").labels[Number(tokenChoice("set"))];
const tokenTalks = (checkpoint) => tokenSet().found[checkpoint].talks;
const tokenTalk = (checkpoint = tokenChoice("checkpoint")) => tokenTalks(checkpoint).find((talk) => talk.name === tokenChoice("talk"));
const tokenWord = (talk, i) => array("tokens").words[talk.tokens[i]];

// Of two classes the data have the second; a quantity has no class.
function classValue(talk, k, i) {
  const { classes } = tokenSet();
  if (classes.length === 0) return talk.values[0][i];
  if (classes.length === 2) return (k === 1 ? talk.values[0][i] : 1000 - talk.values[0][i]) / 1000;
  return talk.values[k][i] / 1000;
}

function ranked(talk, i) {
  const { classes } = tokenSet();
  return classes.map((name, k) => ({ name, k, p: classValue(talk, k, i) })).sort((a, b) => b.p - a.p || a.k - b.k);
}

function fillTokens() {
  const panel = tokenPanel();
  const set = tokenSet();
  const there = set.checkpoints.filter((name) => shown(checkpointKey(name)));
  const kept = there.length ? there : set.checkpoints;
  fillField(panel, "checkpoint", [...kept].reverse().map((name) => [name, name]));
  fillField(panel, "talk", tokenTalks(tokenChoice("checkpoint")).map((talk) => [talk.name, talk.name]));
  const classes = set.classes.map((name, k) => [String(k), name]);
  fillField(panel, "class", set.classes.length > 2 ? [[LIKELIEST, "the likeliest"], ...classes] : [...classes].reverse());
  const talk = tokenTalk();
  fillField(panel, "points", talk.fitted.length > 1 ? POINTS : POINTS.slice(1));
  tokenAt = talk.fitted.at(-1) ?? 0;
  showTokens();
}

// For each token how strong its colour is, from 0 to 1, and which.
function tokenShades(talk) {
  const set = tokenSet();
  const many = talk.tokens.map((_, i) => i);
  if (set.classes.length === 0) {
    const values = tokenTalks(tokenChoice("checkpoint")).flatMap((item) => item.values[0]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return many.map((i) => [(classValue(talk, 0, i) - low) / (high - low || 1), null]);
  }
  if (tokenChoice("class") !== LIKELIEST) return many.map((i) => [classValue(talk, Number(tokenChoice("class")), i), null]);
  return many.map((i) => {
    const [first] = ranked(talk, i);
    return [first.p, colour(["reference", set.paints[first.k]])];
  });
}

function showTokens() {
  const talk = tokenTalk();
  const shades = tokenShades(talk);
  const token = (i) => {
    const word = tokenWord(talk, i);
    const node = make("span", { class: talk.fitted.includes(i) ? "scored fitted" : "scored", "data-token": i }, word.trim() === "" ? seen(word) : word);
    node.style.setProperty("--p", String(shades[i][0]));
    if (shades[i][1]) node.style.setProperty("--tint", shades[i][1]);
    return node;
  };
  const range = (start, stop) => Array.from({ length: stop - start }, (_, k) => token(start + k));
  byId("token-text").replaceChildren(...tokenParts(talk).map(({ role, badge, start, stop, made }) => tokenBubble(role, badge, range(start, stop), made)));
  const { layer, site } = tokenSet().found[tokenChoice("checkpoint")];
  byId("token-legend").replaceChildren(...tokenLegend(), make("span", { class: "note" }, `Probe of layer ${layer}, ${site}, at ${tokenChoice("checkpoint")}.`));
  pointToken(tokenAt);
  redraw(byId("fig-probes-tokens"));
}

// Messages, the template's words between them, and what was generated.
function tokenParts(talk) {
  const parts = [];
  let place = 0;
  const outer = (stop) => {
    if (stop > place) parts.push({ role: null, start: place, stop });
    place = Math.max(place, stop);
  };
  for (const [role, start, stop] of talk.messages.length ? talk.messages : [["system", 0, talk.prompt]]) {
    outer(start);
    parts.push({ role, badge: talk.messages.length ? role : "prompt", start, stop });
    place = stop;
  }
  outer(talk.prompt);
  if (talk.tokens.length > talk.prompt) parts.push({ role: "assistant", badge: "generated", start: talk.prompt, stop: talk.tokens.length, made: true });
  return parts;
}

function tokenBubble(role, badge, tokens, made) {
  if (role === null) return make("li", { class: "outer" }, ...tokens);
  const node = bubble(role, badge, "", made ? "made" : "");
  node.querySelector(".words").append(...tokens);
  return node;
}

function tokenLegend() {
  const set = tokenSet();
  const chip = (name, p, tint) => {
    const node = make("span", { class: "scored chip" }, name);
    node.style.setProperty("--p", String(p));
    if (tint) node.style.setProperty("--tint", tint);
    return node;
  };
  if (tokenChoice("class") === LIKELIEST) return set.classes.map((name, k) => chip(name, 0.9, colour(["reference", set.paints[k]])));
  if (set.classes.length === 0) return [chip("smallest", 0), chip("largest", 1)];
  return [0, 0.25, 0.5, 0.75, 1].map((p) => chip(`${100 * p} %`, p));
}

function pointToken(i) {
  const talk = tokenTalk();
  tokenAt = Math.min(talk.tokens.length - 1, Math.max(0, i));
  all("[data-token].at", byId("token-text")).forEach((node) => node.classList.remove("at"));
  const node = byId("token-text").querySelector(`[data-token="${tokenAt}"]`);
  node.classList.add("at");
  const said = tokenSet().classes.length ? ranked(talk, tokenAt).slice(0, 4).map(({ name, p }) => `${name} ${number(p, 2)}`).join(", ") : number(classValue(talk, 0, tokenAt));
  byId("token-readout").replaceChildren(make("code", { class: "token" }, seen(tokenWord(talk, tokenAt))), ` token ${tokenAt}: ${said}`);
  return node;
}

// A token and what stands before it.
function tokenContext(talk, i) {
  const words = talk.tokens.slice(Math.max(0, i - 5), i + 1).map((place) => array("tokens").words[place]);
  return `${i > 5 ? "\u2026" : ""}${words.join("")}`;
}

// One class: a line a checkpoint, for the prompt is the same. The likeliest: a line a class.
function tokenCurveView() {
  const set = tokenSet();
  const likeliest = tokenChoice("class") === LIKELIEST;
  const points = (talk) => (tokenChoice("points") === "fitted" ? talk.fitted : talk.tokens.map((_, i) => i));
  const line = (talk, k, name, paint, key) => ({
    type: "scatter", mode: points(talk).length > 60 ? "lines" : "lines+markers", x: points(talk), y: points(talk).map((i) => classValue(talk, k, i)),
    name: plotText(name), paint, key, marker: { size: 5 }, line: { width: 1.6 },
    customdata: points(talk).map((i) => plotText(tokenContext(talk, i))), hovertemplate: `${plotText(name)}, %{customdata}: %{y:.3f}<extra></extra>`,
  });
  const chosenClass = set.classes.length ? Number(tokenChoice("class")) : 0;
  const data = likeliest
    ? set.classes.map((name, k) => line(tokenTalk(), k, name, ["reference", set.paints[k]]))
    : set.checkpoints.flatMap((name, c) => (tokenTalk(name) ? [line(tokenTalk(name), chosenClass, name, checkpointPaint(name, c), checkpointKey(name))] : []));
  const words = set.classes.length === 0 ? "predicted" : likeliest ? "probability" : `probability of ${plotText(set.classes[chosenClass])}`;
  const range = set.classes.length ? { range: [-0.03, 1.03] } : {};
  return { data, layout: { xaxis: { title: { text: "token" }, tickformat: "d", zeroline: false }, yaxis: { title: { text: words }, zeroline: false, ...range } }, closest: true };
}

function startProbeTokens() {
  const panel = tokenPanel();
  if (!panel) return;
  generators["probes-tokens"] = tokenCurveView;
  panel.addEventListener("change", fillTokens);
  const point = (event) => {
    const node = event.target.closest("[data-token]");
    if (node) pointToken(Number(node.dataset.token));
  };
  byId("token-text").addEventListener("pointerover", point);
  byId("token-text").addEventListener("click", point);
  byId("token-text").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    event.preventDefault();
    pointToken(tokenAt + (event.key === "ArrowRight" ? 1 : -1)).scrollIntoView({ block: "nearest" });
  });
  listeners.push(fillTokens);
  painters.push(showTokens);
}
