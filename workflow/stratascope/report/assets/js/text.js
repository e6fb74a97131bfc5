// Text from models and files is untrusted: it becomes text nodes, or escaped labels in Plotly,
// which reads a subset of HTML.

const MINUS = "\u2212";
const DASH = "\u2013";

function plotText(value) {
  return String(value)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll("%{", "%\u200b{")
    .replace(/\s+/g, " ");
}

function shortened(value, length) {
  const letters = Array.from(String(value));
  if (letters.length <= length) return letters.join("");
  const head = Math.ceil((length - 1) * 0.62);
  return `${letters.slice(0, head).join("")}\u2026${letters.slice(head + 1 - length).join("")}`;
}

function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const small = value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
  return (small ? String(Number(value.toPrecision(1))) : value.toFixed(digits)).replace("-", MINUS);
}

const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);

// A token as one can see it: blanks and line ends have signs.
function seen(token) {
  if (token === "") return "\u2205";
  return token.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5").replaceAll("\r", "\u240d");
}

const ROLE_SHORT = { system: "sys", user: "usr", assistant: "ast" };
const messageLabel = (index, role) => `${index}\u00b7${ROLE_SHORT[role] ?? role.slice(0, 3)}`;
const SOURCE_NAMES = {
  hidden_in: "residual in",
  hidden_out: "residual out",
  attn_out: "attention out",
  mlp_down_out: "MLP out",
};
const sourceName = (name) => SOURCE_NAMES[name] ?? name;
const MEASURE_NAMES = {
  cosine: "Cosine",
  centred_cosine: "Centred cosine",
  MAE: "MAE",
  overlap: "Overlap (Jaccard)",
};
const MEASURES = Object.keys(MEASURE_NAMES);
const POSITION_NAMES = {
  generation_prompt: "generation prompt",
  turn_end: "turn end",
  content_mean: "content mean",
};
const positionName = (name) => POSITION_NAMES[name] ?? name;

// make("td", {class: "num"}, "text", node, ...): text is always text.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// `left` lists the columns that hold words; the first always does.
function makeTable(head, rows, caption, left = []) {
  const kind = (i) => (i === 0 || left.includes(i) ? null : "num");
  const table = make(
    "table",
    { class: "data" },
    make("caption", { class: "unseen" }, caption),
    make("thead", {}, make("tr", {}, ...head.map((name, i) => make("th", { scope: "col", class: kind(i) }, name)))),
    make(
      "tbody",
      {},
      ...rows.map((cells) =>
        make(
          "tr",
          {},
          ...cells.map((cell, i) =>
            i === 0 ? make("th", { scope: "row" }, cell) : make("td", { class: kind(i) }, cell),
          ),
        ),
      ),
    ),
  );
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}
