// Figures are drawn when they come near the screen, and again when theme, toolbox or width change.

const drawn = new Map(); // figure element -> {spec or make, dirty, near, width}
const CONFIG = { displayModeBar: false, displaylogo: false, responsive: false, showTips: false, doubleClick: "reset" };

// Explorers register what they draw: name -> () => view.
const generators = {};

function figureView(figure) {
  const make = generators[figure.dataset.generator];
  if (make) return make();
  const spec = S.figures[figure.id];
  return spec.views[spec.axes.map((axis) => chosen(figure, axis)).join("/")] ?? { data: [], layout: {}, nothing: "Not in this study." };
}

// The value of a switch of a figure, or of the panel around it.
function chosen(figure, axis) {
  const field = figure.querySelector(`[data-axis="${axis}"]`) ?? figure.closest("[data-panel]")?.querySelector(`[data-axis="${axis}"]`);
  if (!field) return "";
  return field.tagName !== "FIELDSET" ? field.value : (field.querySelector("input:checked")?.value ?? "");
}

function plotOf(figure) {
  return figure.querySelector(".plot");
}

function draw(figure) {
  const state = drawn.get(figure);
  const plot = plotOf(figure);
  const width = state.printWidth ?? Math.floor(plot.clientWidth);
  if (!width) return; // not laid out: inside a closed <details>
  const { data, layout, height } = resolve(figureView(figure), width);
  layout.height = height ?? (Number(figure.dataset.height) || 320);
  plot.style.minHeight = `${layout.height}px`;
  Plotly.react(plot, data, layout, CONFIG);
  state.width = width;
  state.dirty = false;
  figure.dataset.drawn = "yes";
}

function redraw(figure) {
  const state = drawn.get(figure);
  if (!state) return;
  state.dirty = true;
  if (state.near) draw(figure);
}

function redrawAll() {
  for (const figure of drawn.keys()) redraw(figure);
}

function watchFigure(figure) {
  drawn.set(figure, { dirty: true, near: false, width: 0 });
  nearness.observe(figure);
  sizes.observe(plotOf(figure));
  figure.addEventListener("change", (event) => {
    if (event.target.closest("[data-axis]")) redraw(figure);
  });
  wireExports(figure);
}

function forgetFigure(figure) {
  nearness.unobserve(figure);
  sizes.unobserve(plotOf(figure));
  if (figure.dataset.drawn) Plotly.purge(plotOf(figure));
  drawn.delete(figure);
}

const nearness = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const state = drawn.get(entry.target);
      if (!state) continue;
      state.near = entry.isIntersecting;
      if (state.near && state.dirty) draw(entry.target);
    }
  },
  { rootMargin: "300px 0px" },
);

const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const figure = entry.target.closest("figure");
    const state = drawn.get(figure);
    if (state && state.width && Math.abs(entry.contentRect.width - state.width) > 2) {
      state.dirty = true;
      if (state.near) requestAnimationFrame(() => drawn.has(figure) && draw(figure));
    }
  }
});

// A figure made by the script: the same parts as the template's.
function makeFigure(id, generator, title, { height = 300, note = "" } = {}) {
  const button = (kind, words) =>
    make("button", { type: "button", class: "quiet", "data-export": kind, "aria-label": `${title}: save ${words}` }, kind.toUpperCase());
  return make(
    "figure",
    { class: "fig", id, "data-generator": generator, "data-height": height },
    make("div", { class: "fig-head" }, make("figcaption", {}, make("strong", {}, title), note ? make("span", { class: "note" }, note) : null), make("div", { class: "fig-tools" }, button("png", "as PNG image"), button("svg", "as SVG image"), button("csv", "its numbers as CSV"))),
    make("div", { class: "plot", role: "img", "aria-label": title }),
  );
}

// Paper is light, has one width, and is not scrolled.
function beforePrint() {
  forcedTheme = "light";
  for (const [figure, state] of drawn) {
    state.printWidth = Math.min(680, plotOf(figure).clientWidth || 680, figure.closest(".grid2") ? 330 : 680);
    draw(figure);
  }
}

function afterPrint() {
  forcedTheme = null;
  for (const [figure, state] of drawn) {
    state.printWidth = undefined;
    redraw(figure);
  }
}

function startFigures() {
  all("figure.fig").forEach(watchFigure);
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
}
