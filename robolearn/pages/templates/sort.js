/* Tables of class "sortable": a click or Enter on a heading sorts by it, a second one turns it
   round. Cells with data-value are numbers as Python writes them; in a column that has some, cells
   without one come last. */
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const number = (cell) => {
    const given = (cell?.dataset.value ?? "").trim().replace(/^([+-]?)inf$/, "$1Infinity");
    return given === "" ? NaN : Number(given);
  };
  const sort = (column) => {
    const heading = headings[column];
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const numeric = rows.some((row) => row.cells[column]?.dataset.value !== undefined);
    const text = (row) => row.cells[column]?.textContent.trim() ?? "";
    rows.sort((one, other) => {
      if (!numeric) return sign * text(one).localeCompare(text(other), "en", { numeric: true });
      const a = number(one.cells[column]);
      const b = number(other.cells[column]);
      if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
      return a === b ? 0 : sign * (a < b ? -1 : 1);
    });
    body.append(...rows);
    for (const each of headings) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  };
  headings.forEach((heading, column) => {
    heading.tabIndex = 0;
    heading.addEventListener("click", () => sort(column));
    heading.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort(column);
    });
  });
}
