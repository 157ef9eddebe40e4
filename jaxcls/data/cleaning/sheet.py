"""The page around the thumbnails: style and script in it, nothing is fetched. `<!--NAME-->` are places to fill."""

PAGE = r"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title><!--TITLE--></title>
<style>
  :root { color-scheme: light dark; --line: #767676; --mark: #0b57d0; }
  @media (prefers-color-scheme: dark) { :root { --mark: #a8c7fa; } }
  body { font: 16px/1.4 system-ui, sans-serif; margin: 0 auto; padding: 0 .75rem 5rem; max-width: 90rem; }
  h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
  h2 { font-size: 1.1rem; border-top: 1px solid var(--line); padding-top: .75rem; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; }
  figure { margin: 0; padding: .4rem; border: 1px solid var(--line); border-radius: .3rem; display: flex;
           flex-direction: column; gap: .3rem; min-width: 0; }
  figure.first { grid-column-start: 1; }
  figure:has(:checked) { outline: 4px solid var(--mark); }
  figure:has(:checked) img { opacity: .55; }
  img, .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: #8883; }
  .none { display: grid; place-items: center; }
  figcaption { font-size: .85rem; overflow-wrap: anywhere; display: flex; flex-direction: column; flex: 1; }
  label { display: flex; gap: .5rem; align-items: center; min-height: 2.75rem; cursor: pointer; }
  input { width: 1.3rem; height: 1.3rem; }
  nav { position: fixed; inset: auto 0 0 0; display: flex; gap: 1rem; align-items: center; padding: .5rem .75rem;
        background: Canvas; border-top: 1px solid var(--line); }
  button { font: inherit; min-height: 2.75rem; padding: 0 1rem; }
</style>
<h1><!--TITLE--></h1>
<pre><!--SUMMARY--></pre>
<p>Tick what shall be moved aside. Then save the choices as a CSV and give it to <code>jaxcls clean FOLDER --apply
CSV</code>. Nothing is moved before that, nothing is deleted ever.</p>
<!--SECTIONS-->
<nav><button id="save">Save choices as CSV</button><span id="count" role="status"></span></nav>
<script type="application/json" id="data"><!--DATA--></script>
<script>
  const [columns, ...rows] = JSON.parse(document.getElementById("data").textContent);
  const path = columns.indexOf("path"), action = columns.indexOf("action");
  const boxes = [...document.querySelectorAll("input[data-row]")];
  function show() {
    const chosen = new Set(rows.filter(row => row[action] === "move").map(row => row[path]));
    document.getElementById("count").textContent = `${chosen.size} chosen`;
  }
  function choose(name, move) {  // a picture may be listed for several reasons
    for (const row of rows) if (row[path] === name) row[action] = move ? "move" : "keep";
    for (const box of boxes) if (rows[box.dataset.row][path] === name) box.checked = move;
  }
  for (const box of boxes) {
    choose(rows[box.dataset.row][path], box.checked);  // browsers remember ticks when a page is loaded again
    box.addEventListener("change", () => { choose(rows[box.dataset.row][path], box.checked); show(); });
  }
  document.getElementById("save").addEventListener("click", () => {
    const safe = text => /^'*[=+\-@\t\r\n＝＋－＠]/.test(text) && !/^[+-]?[\d.]+$/.test(text) ? `'${text}` : text;
    const quoted = text => /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const cell = text => quoted(safe(text));  // a spreadsheet would compute what begins like a formula
    const text = "\ufeff" + [columns, ...rows].map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "findings.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  show();
</script>
</html>
"""
