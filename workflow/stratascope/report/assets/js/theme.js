// Light and dark: the reader's system decides until the reader does.

const THEMES = ["auto", "light", "dark"];
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let forcedTheme = null; // printing and exporting are light

function chosenTheme() {
  return document.documentElement.dataset.theme || "auto";
}

function theme() {
  if (forcedTheme) return forcedTheme;
  const chosen = chosenTheme();
  return chosen === "auto" ? (darkSystem.matches ? "dark" : "light") : chosen;
}

function palette(name) {
  return S.palettes[name][theme()];
}

const INK = {
  light: { ink: "#222a35", soft: "#5c6470", grid: "#e3e2dc", line: "#b9bbb8", paper: "#ffffff", mute: "#d3d4d1" },
  dark: { ink: "#eceae3", soft: "#a5adba", grid: "#2d323a", line: "#4b525d", paper: "#181b20", mute: "#3d434c" },
};
const ink = () => INK[theme()];

// A paint is [palette, place], or [palette, place, count]: then the place in a scale of so many shades.
function colour([name, index, count]) {
  const colours = palette(name);
  return count ? shade(colours, count > 1 ? index / (count - 1) : 1) : colours[index % colours.length];
}

const hexParts = (hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));

// The colour at a share of a scale; its palest quarter is too close to the paper for a line.
function shade(colours, share) {
  const place = (0.25 + 0.75 * share) * (colours.length - 1);
  const first = Math.min(colours.length - 2, Math.floor(place));
  const [from, to] = [hexParts(colours[first]), hexParts(colours[first + 1])];
  return `#${from.map((value, k) => Math.round(value + (to[k] - value) * (place - first)).toString(16).padStart(2, "0")).join("")}`;
}

function faded(hex, alpha) {
  const part = (from) => parseInt(hex.slice(from, from + 2), 16);
  return `rgba(${part(1)},${part(3)},${part(5)},${alpha})`;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("stratascope-theme", name);
  } catch {
    // A browser may forbid storage for files; the choice then lasts as long as the page.
  }
  const button = byId("theme-button");
  button.textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[name];
  repaint();
}

// What is coloured by the script and is no figure.
const painters = [];

function repaint() {
  painters.forEach((paint) => paint());
  redrawAll();
}

function startTheme() {
  byId("theme-button").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length]);
  });
  darkSystem.addEventListener("change", repaint);
  let saved = null;
  try {
    saved = localStorage.getItem("stratascope-theme");
  } catch {
    saved = null;
  }
  if (THEMES.includes(saved) && saved !== "auto") setTheme(saved);
}
