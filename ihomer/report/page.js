"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = { none: "descending", descending: "ascending", ascending: "none" }[head.ariaSort || "none"];
      for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
      head.ariaSort = order;
      const value = (row) => row.cells[column].textContent.trim();
      const sign = order === "ascending" ? 1 : -1;
      const rows = order === "none" ? original : [...original].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const [m, n] = [x, y].map((text) => Number(text.split("±")[0].replaceAll(",", "")));
        if (Number.isNaN(m) || Number.isNaN(n)) {
          return Number.isNaN(m) && Number.isNaN(n) ? sign * x.localeCompare(y) : Number.isNaN(m) ? 1 : -1;
        }
        return sign * (m - n);
      });
      body.append(...rows);
    });
  });
}
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  target?.closest("details")?.setAttribute("open", "");
  target?.scrollIntoView();
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
