// Tables that sort by a click on a column's head, and that the toolbox filters row by row.

function cellValue(row, column) {
  const cell = row.cells[column];
  if (!cell) return "";
  if (cell.dataset.value !== undefined) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  return cell.textContent.trim().toLowerCase();
}

function sortTable(table, head) {
  const column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows).map((row, place) => ({ row, place, value: cellValue(row, column) }));
  rows.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null); // gaps last
    const order = typeof a.value === "number" ? a.value - b.value : a.value.localeCompare(b.value, undefined, { numeric: true });
    return (down ? -order : order) || a.place - b.place;
  });
  body.append(...rows.map((item) => item.row));
}

function filterTables() {
  for (const row of all("[data-key]")) {
    const key = row.dataset.key;
    row.hidden = !shown(key);
    const mark = marked(key);
    row.classList.toggle("marked", mark !== null);
    row.style.setProperty("--mark", mark === null ? "" : `var(--hl-${mark % 5})`);
    for (const name of all("[data-name]", row)) name.textContent = keyName(key);
  }
}

function startTables() {
  for (const button of all("table.sortable th button")) {
    button.addEventListener("click", () => sortTable(button.closest("table"), button.closest("th")));
  }
}
