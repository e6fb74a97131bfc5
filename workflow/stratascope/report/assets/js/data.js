// The page's data: inflated once, then only read.

let S = null;

const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflate(id) {
  const holder = byId(id);
  const packed = new Blob([bytesOf(holder.textContent.trim())]).stream();
  holder.remove();
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text();
}

async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await inflate("packed-plotly");
  document.head.append(script);
  script.remove();
}

const array = (name) => S.arrays[name] ?? null;
const text = (place) => S.strings[place];
const mean = (values) => {
  const there = values.filter((value) => value !== null && value !== undefined);
  return there.length ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
};
