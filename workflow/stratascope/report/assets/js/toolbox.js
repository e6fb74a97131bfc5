// The toolbox: rules on runs (highlight, hide, show only, rename), which act everywhere at once.

function applyFilters() {
  computeRuns();
  filterTables();
  const count = runState.filter((state) => state.shown).length;
  const total = S.runs.length;
  byId("toolbox-status").textContent = count === total ? `All ${total} runs shown.` : `${count} of ${total} runs shown.`;
  byId("toolbox-button").classList.toggle("active", rulesInUse());
  listeners.forEach((listener) => listener());
  redrawAll();
}

// Explorers that list runs by themselves add what they do after a change.
const listeners = [];

function rulesInUse() {
  const { hide, only, highlight, rename, checkpoints } = filters;
  return [hide, only, highlight, rename].some((rules) => rules.length) || checkpoints.size > 0;
}

function showRules(form) {
  const kind = form.dataset.rule;
  const list = form.querySelector("ul");
  list.replaceChildren(
    ...filters[kind].map((rule, place) => {
      const words = rule.to === undefined ? rule.pattern : `${rule.pattern} \u2192 ${rule.to}`;
      const remove = make("button", { type: "button", class: "quiet", "aria-label": `Remove: ${words}` }, "Remove");
      remove.addEventListener("click", () => {
        filters[kind].splice(place, 1);
        showRules(form);
        applyFilters();
        form.querySelector("input").focus();
      });
      const mark = kind === "highlight" ? make("span", { class: `swatch hl-${place % 5}`, "aria-hidden": "true" }) : null;
      return make("li", {}, mark, make("code", {}, words), rule.regex ? make("span", { class: "note" }, "regex") : null, remove);
    }),
  );
}

function addRule(form) {
  const field = form.elements.pattern;
  const error = form.querySelector(".error");
  error.textContent = "";
  const rule = { pattern: field.value, regex: form.elements.regex.checked };
  if (!rule.pattern) return;
  if (form.elements.to) rule.to = form.elements.to.value;
  try {
    matcher(rule);
  } catch {
    error.textContent = "This is not a regular expression.";
    return;
  }
  filters[form.dataset.rule].push(rule);
  field.value = "";
  if (form.elements.to) form.elements.to.value = "";
  showRules(form);
  applyFilters();
}

function resetFilters() {
  for (const kind of ["hide", "only", "highlight", "rename"]) filters[kind] = [];
  filters.checkpoints.clear();
  all("[data-rule]").forEach(showRules);
  all("[data-checkpoint]").forEach((box) => (box.checked = true));
  applyFilters();
}

function toggleToolbox(open) {
  const box = byId("toolbox");
  const show = open ?? box.hidden;
  box.hidden = !show;
  document.body.classList.toggle("with-toolbox", show);
  byId("toolbox-button").setAttribute("aria-expanded", String(show));
  if (show) box.querySelector("input").focus();
  else byId("toolbox-button").focus();
}

function startToolbox() {
  byId("toolbox-button").addEventListener("click", () => toggleToolbox());
  byId("toolbox-close").addEventListener("click", () => toggleToolbox(false));
  byId("toolbox").addEventListener("keydown", (event) => {
    if (event.key === "Escape") toggleToolbox(false);
  });
  byId("toolbox-reset").addEventListener("click", resetFilters);
  for (const form of all("[data-rule]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      addRule(form);
    });
  }
  for (const box of all("[data-checkpoint]")) {
    box.addEventListener("change", () => {
      const place = Number(box.dataset.checkpoint);
      if (box.checked) filters.checkpoints.delete(place);
      else filters.checkpoints.add(place);
      applyFilters();
    });
  }
  byId("range-fixed").addEventListener("change", (event) => {
    filters.range = event.target.checked ? "fixed" : "fit";
    redrawAll();
  });
}
