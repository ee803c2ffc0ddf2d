# ruff: noqa: E501 - style sheets and scripts
"""Style and script of the pages; nothing is fetched from elsewhere."""

CSS = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6575; --line: #d9dee7; --back: #f6f7f9; --card: #fff;
  --accent: #0b62a4; --bad: #a3390f; --badback: #fbe9e1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf2; --soft: #9aa6b8; --line: #323b4a; --back: #12161d;
  --card: #1a2029; --accent: #6db8f2; --bad: #ffab85; --badback: #3b221a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 36px 0 10px; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 16em; text-align: left; }
th { color: var(--soft); font-weight: 600; } th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--accent); } th button::after { content: " \\2195"; opacity: .4; }
tr.own td { font-weight: 600; } tr.published td { color: var(--soft); font-style: italic; }
.below { color: var(--bad); background: var(--badback); border-radius: 6px; padding: 1px 6px; font-size: 12px;
  font-weight: 500; white-space: normal; }
.note { border-left: 4px solid var(--bad); padding: 8px 12px; background: var(--badback); border-radius: 0 8px 8px 0; }
.loud { font-size: 18px; font-weight: 700; }
.charts, .flow { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
.curve { fill: none; stroke: var(--accent); stroke-width: 1.6; } .dot { fill: transparent; }
.dot:hover { fill: var(--accent); } .axis { stroke: var(--soft); } .grid { stroke: var(--line); }
.tick { fill: var(--soft); font-size: 11px; }
.strip { display: flex; gap: 6px; overflow-x: auto; margin: 8px 0 18px; } .strip img { height: 150px; display: block;
  border-radius: 6px; } .strip span { font-size: 12px; color: var(--soft); }
.frame { position: relative; overflow: hidden; border-radius: 6px; }
.strip .spot { position: absolute; max-width: 60%; padding: 0 5px; border-left: 4px solid;
  border-radius: 3px; background: rgb(0 0 0 / 70%); color: #fff; font-size: 11px; line-height: 16px; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
.key { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; margin: -10px 0 22px; padding: 0; font-size: 13px; }
.key li { overflow-wrap: anywhere; } .key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
.facts dd { text-align: left; } section > .card + .card, section > .card + details, section > details + .card { margin-top: 12px; }
.tag { background: var(--accent); color: var(--card); border-radius: 6px; padding: 1px 7px; font-size: 12px; }
.flow .card { position: relative; } .flow b { font-size: 16px; } dl { display: grid; gap: 0 12px;
  grid-template-columns: auto 1fr; margin: 6px 0 0; font-size: 13px; } dt { color: var(--soft); } dd { margin: 0;
  text-align: right; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: 12.5px; margin: 0; } details > summary { cursor: pointer; font-weight: 600; }
"""

JS = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
    const header = button.closest("th"), column = header.cellIndex, body = table.tBodies[0];
    const up = header.getAttribute("aria-sort") === "descending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const number = (text) => (text === "" || isNaN(text) ? null : Number(text));
    const rows = [...body.rows].sort((a, b) => {
      const x = number(key(a)), y = number(key(b));
      if (x === null && y === null) return key(a).localeCompare(key(b)) * (up ? 1 : -1);
      if (x === null || y === null) return x === null ? 1 : -1;
      return (x - y) * (up ? 1 : -1);
    });
    rows.forEach((row) => body.append(row));
  }));
}
"""
