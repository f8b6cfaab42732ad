// Elements are made and filled through here: text only ever becomes text, whatever a key or an error holds.

export function byId(id) {
  return document.getElementById(id);
}

export function set(id, text) {
  const e = byId(id);
  if (e.textContent !== text) e.textContent = text;
}

// make returns an element with a class and children: elements, or text.
export function make(tag, name, ...children) {
  const e = document.createElement(tag);
  if (name) e.className = name;
  e.append(...children);
  return e;
}

// badge shows a state in the colour of its kind: good, warn, bad, live, none.
export function badge(kind, state) {
  return make("span", "badge " + kind, state);
}

// table fills a table from rows of cells: text, or elements. Names of columns that end in # are numbers, in ~ long text.
export function table(id, columns, rows, empty) {
  const t = byId(id);
  if (rows.length === 0) {
    t.replaceChildren(make("tbody", "", make("tr", "", make("td", "empty", empty))));
    return;
  }
  const kinds = columns.map((name) => ({ "#": "n", "~": "text" })[name.at(-1)] || "");
  const head = make("tr", "", ...columns.map((name, i) => make("th", kinds[i], name.replace(/[#~]$/, ""))));
  const body = rows.map((cells) => make("tr", "", ...cells.map((cell, i) => make("td", kinds[i], cell))));
  t.replaceChildren(make("thead", "", head), make("tbody", "", ...body));
}

// ask reads JSON from the server, and throws what the server says is wrong.
export async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}
