"use strict";
// The browser of sentences. Data: {systems: [name], pictures: {name: data URI}, rows: [{i: id, s: source,
// r: reference, p: image, t: [[right, wrong, none]], c: [[chrF2, likewise]]}]}; t and c are by system, null is "as with
// the right image", and a text-only system has one entry. All text becomes text nodes, never markup.
(() => {
  const data = JSON.parse(document.getElementById("sentences").textContent);
  const root = document.getElementById("browser");
  const list = document.getElementById("rows");
  const count = document.getElementById("count");
  const [system, sort, direction, filter] = ["system", "sort", "direction", "filter"].map(
    (name) => document.getElementById("by-" + name));
  const search = document.getElementById("by-text");
  const [back, forward] = [document.getElementById("back"), document.getElementById("forward")];
  const names = ["right image", "wrong image", "no image"];
  const size = 20;
  let chosen = [], start = 0;

  const chrf = (row, control) => row.c[system.value][control] ?? NaN;
  const text = (row, of, control) => row.t[of][control] ?? row.t[of][0];
  const spread = (row) => {
    const values = row.c.map((of) => of[0] ?? 0);
    return Math.max(...values) - Math.min(...values);
  };
  const keys = {
    order: (row, number) => -number,
    chrf: (row) => chrf(row, 0),
    wrong: (row) => chrf(row, 0) - chrf(row, 1),
    none: (row) => chrf(row, 0) - chrf(row, 2),
    systems: spread,
  };
  const filters = {
    all: () => true,
    wrong: (row) => row.t[system.value].length > 1 && row.t[system.value][1] !== null,
    none: (row) => row.t[system.value].length > 2 && row.t[system.value][2] !== null,
    helped: (row) => chrf(row, 0) > chrf(row, 2),
    hurt: (row) => chrf(row, 0) < chrf(row, 2),
    systems: (row) => new Set(row.t.map((of) => of[0])).size > 1,
  };

  const make = (tag, className, content) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (content !== undefined) element.textContent = content;
    return element;
  };
  const line = (name, content, score, lang) => {
    const row = make("div"), term = make("dt", "", name), value = make("dd", "", content);
    if (score !== undefined) term.append(" ", make("span", "name", "chrF2 " + score.toFixed(0)));
    value.dir = "auto";
    if (lang) value.lang = lang;
    row.append(term, value);
    return row;
  };
  const card = (row) => {
    const item = make("li", "row"), body = make("div"), facts = make("dl", "also");
    if (data.pictures[row.p]) {
      const picture = make("img");
      picture.src = data.pictures[row.p];
      picture.alt = "Image " + row.p;
      item.append(picture);
    }
    const source = make("p", "source", row.s);
    source.dir = "auto";
    body.append(source, make("p", "name", "Sentence " + row.i + " \u00b7 " + row.p));
    if (row.r) facts.append(line("Reference", row.r, undefined, root.dataset.lang));
    data.systems.forEach((name, of) => row.t[of].forEach((own, control) => {
      if (control && own === null) return;
      const label = (data.systems.length > 1 ? name + ", " : "") + (row.t[of].length > 1 ? names[control] : "text only");
      facts.append(line(label, text(row, of, control), row.c[of][control], root.dataset.lang));
    }));
    const same = row.t.flatMap((of, number) => of.slice(1).map((own, control) => own === null
      ? (data.systems.length > 1 ? data.systems[number] + ", " : "") + names[control + 1] : "").filter(Boolean));
    if (same.length) facts.append(line("Same as with the right image", same.join("; ")));
    body.append(facts);
    item.append(body);
    return item;
  };
  const show = () => {
    list.replaceChildren(...chosen.slice(start, start + size).map(card));
    const last = Math.min(start + size, chosen.length);
    count.textContent = chosen.length
      ? (start + 1) + " to " + last + " of " + chosen.length + " sentences" : "No sentence.";
    back.disabled = start === 0;
    forward.disabled = last === chosen.length;
  };
  const choose = () => {
    const words = search.value.trim().toLowerCase();
    const key = keys[sort.value], sign = direction.value === "down" ? -1 : 1;
    chosen = data.rows
      .map((row, number) => [key(row, number), number, row])
      .filter(([value, , row]) => !Number.isNaN(value) && filters[filter.value](row)
        && (!words || [row.i, row.s, row.r, ...row.t.flat()].some((one) => one && one.toLowerCase().includes(words))))
      .sort((a, b) => sign * (a[0] - b[0]) || a[1] - b[1])
      .map((one) => one[2]);
    start = 0;
    show();
  };

  data.systems.forEach((name, number) => system.append(new Option(name, number)));
  system.parentElement.hidden = data.systems.length < 2;
  for (const one of [system, sort, direction, filter]) one.addEventListener("change", choose);
  search.addEventListener("input", choose);
  back.addEventListener("click", () => { start = Math.max(0, start - size); show(); });
  forward.addEventListener("click", () => { start += size; show(); });
  root.hidden = false;
  choose();
})();
