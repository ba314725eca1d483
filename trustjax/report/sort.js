// Tables that are sorted by a click on a column's head, or by a key on it: once, the
// other way round, and as they were. Without this script they are read as they are.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const value = (row, column) => {
    const cell = row.cells[column];
    if ("value" in cell.dataset) return Number(cell.dataset.value);
    return cell.querySelector("bdi[title]")?.title ?? cell.textContent.trim();
  };
  const heads = [...table.tHead.rows[0].cells]
    .filter(cell => !cell.classList.contains("forest"));
  for (const head of heads) {
    const column = head.cellIndex;
    const values = given.map(row => value(row, column));
    const numbers = values.some(each => typeof each === "number");
    const first = numbers ? "descending" : "ascending";
    const second = numbers ? "ascending" : "descending";
    // What has no number among numbers is last, whichever way.
    const order = (one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (!numbers) return a.localeCompare(b, undefined, {numeric: true});
      if (typeof a !== "number" || typeof b !== "number")
        return (typeof a !== "number") - (typeof b !== "number");
      return a - b;
    };
    const turned = (one, other) => {
      const both = [one, other].map(row => typeof value(row, column) === "number");
      return numbers && both.includes(false) ? order(one, other) : order(other, one);
    };
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = {[first]: second, [second]: null}[head.ariaSort];
      const next = now === undefined ? first : now;
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = next;
      const rows = [...given];
      if (next) rows.sort(next === "ascending" ? order : turned);
      body.append(...rows);
    });
  }
}
