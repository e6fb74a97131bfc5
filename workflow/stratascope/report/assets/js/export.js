// Saving what a figure shows: an image on white, as a paper wants it, or its numbers.

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function titleOf(figure) {
  return figure.querySelector("figcaption strong").textContent;
}

function fileName(figure, kind) {
  const axes = (S.figures[figure.id]?.axes ?? []).map((axis) => chosen(figure, axis));
  return [figure.id.replace(/^fig-/, ""), ...axes].join("_").replace(/[^\w.-]+/g, "-") + "." + kind;
}

async function saveImage(figure, format) {
  forcedTheme = "light";
  const { data, layout, height } = resolve(figureView(figure), 1000);
  forcedTheme = null;
  layout.paper_bgcolor = "#ffffff";
  layout.height = (height ?? (Number(figure.dataset.height) || 320)) + 70;
  layout.title = { text: plotText(titleOf(figure)), x: 0.01, xanchor: "left", y: 0.99, yanchor: "top", pad: { t: 8 }, font: { size: 17 } };
  layout.margin = { ...layout.margin, t: 76 };
  const address = await Plotly.toImage({ data, layout, config: { staticPlot: true } }, { format, width: 1000, height: layout.height, scale: format === "png" ? 2 : 1 });
  const body = address.slice(address.indexOf(",") + 1);
  const blob = format === "png" ? new Blob([bytesOf(body)], { type: "image/png" }) : new Blob([decodeURIComponent(body)], { type: "image/svg+xml" });
  save(fileName(figure, format), blob);
}

const unescaped = (value) =>
  typeof value === "string" ? value.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&").replaceAll("\u200b", "") : value;

function csvCell(value) {
  const plain = unescaped(value ?? "");
  // A spreadsheet runs a text that begins like a formula.
  const safe = typeof plain === "string" && /^[=+\-@\t]/.test(plain) ? `'${plain}` : String(plain);
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const HEAD = ["series", "x", "y", "value", "lower", "upper", "label"];

function figureRows(figure) {
  const { data } = resolve(figureView(figure), 1000);
  return [HEAD, ...data.filter((trace) => trace.fill !== "toself").flatMap((trace) => (trace.type === "heatmap" ? mapRows(trace) : lineRows(trace)))];
}

function mapRows(trace) {
  return trace.z.flatMap((line, i) => line.map((value, j) => ["", trace.x?.[j] ?? j, trace.y?.[i] ?? i, value, "", "", trace.text?.[i]?.[j] ?? ""]));
}

// A lying trace (bars, intervals along x) has its value on x and its place on y.
function lineRows(trace) {
  const lying = trace.orientation === "h" || Boolean(trace.error_x);
  const [places, found] = lying ? [trace.y, trace.x] : [trace.x, trace.y];
  const bars = trace.error_x ?? trace.error_y;
  return (found ?? []).map((value, i) => {
    const known = bars && value !== null && bars.array[i] !== null;
    const ends = trace.interval ? trace.interval[i] : known ? [value - bars.arrayminus[i], value + bars.array[i]] : ["", ""];
    return [trace.name, lying ? "" : places[i], lying ? places[i] : "", value, ...ends, trace.customdata?.[i] ?? ""];
  });
}

function saveNumbers(figure) {
  const lines = figureRows(figure).map((row) => row.map(csvCell).join(","));
  save(fileName(figure, "csv"), new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
}

function wireExports(figure) {
  for (const button of all("[data-export]", figure)) {
    const kind = button.dataset.export;
    button.addEventListener("click", () => (kind === "csv" ? saveNumbers(figure) : saveImage(figure, kind)));
  }
}
