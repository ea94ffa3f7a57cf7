"use strict";
// A list of objects that one works in: groups, search, filters, order, what is hidden and selected.
// Names come from files and are only ever set as text.
(() => {
  const GROUPS = { thing: "Things", stuff: "Stuff", uncertain: "Uncertain" };
  const ORDERS = { name: "Name", gaussians: "Count", size: "Size", confidence: "Confidence" };
  const WHY = "Too little speaks for these: few Gaussians, or views that disagree. They are not counted, and have no box in exports.";

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  }
  const swatch = ([r, g, b]) => make("span", { class: "ol-swatch", style: `background:rgb(${r},${g},${b})` });
  const count = (value) => value.toLocaleString("en");
  const longest = (object) => (object.size ? Math.max(...object.size) : null);
  const size = (object) => (object.size ? `${object.size.map((side) => side.toFixed(2)).join(" × ")} m` : "–");

  // "chair count>100 size<0.5 confidence<0.6 hidden" → whether an object fits
  function filterOf(text) {
    const tests = [], quantity = { count: (o) => o.gaussians, gaussians: (o) => o.gaussians, size: longest, confidence: (o) => o.confidence };
    const rest = text.toLowerCase().replace(/(count|gaussians|size|confidence)\s*(<=|>=|<|>)\s*([\d.,]+)/g, (_, name, sign, number) => {
      const bound = Number(number.replace(/,/g, "")), value = quantity[name];
      if (Number.isNaN(bound)) return " ";
      tests.push((o) => {
        const found = value(o);
        return found !== null && { "<": found < bound, "<=": found <= bound, ">": found > bound, ">=": found >= bound }[sign];
      });
      return " ";
    });
    for (const word of rest.split(/\s+/).filter(Boolean)) {
      if (word === "is:hidden" || word === "is:shown") tests.push((o, hidden) => hidden.has(o.id) === (word === "is:hidden"));
      else tests.push((o) => `${o.name} ${o.category}`.toLowerCase().includes(word) || word === String(o.id));
    }
    return (object, hidden) => tests.every((test) => test(object, hidden));
  }

  class ObjectList {
    // act: { select(id), goTo(id), hide(ids, hidden), only(ids) }, and find(text) where words can be asked for
    constructor(act) {
      this.act = act;
      this.objects = [];
      this.hidden = new Set();
      this.selected = 0;
      this.rows = new Map();
      this.descending = false;
      this.ranked = null; // { ids, title }: what was found by words, the best first
      const hints = make("datalist", { id: "ol-hints" }, ...["count > 100", "count < 50", "size > 1", "size < 0.2", "confidence < 0.6", "is:hidden"]
        .map((value) => make("option", { value })));
      this.search = make("input", { type: "search", placeholder: "Search, or count > 100, size < 0.5, …", "aria-label": "Search objects by name, category or id",
        title: "Words of the name or category, or the id; and count > 100, size < 0.5, confidence < 0.6, is:hidden, is:shown",
        autocomplete: "off", spellcheck: "false", list: "ol-hints", oninput: () => this.rank(null),
        onkeydown: (event) => { if (event.key === "Enter" && act.find && this.search.value.trim()) act.find(this.search.value.trim()); } });
      this.order = make("select", { "aria-label": "Sort objects by", onchange: () => { this.descending = this.order.value !== "name"; this.list(); } },
        ...Object.entries(ORDERS).map(([value, title]) => make("option", { value }, title)));
      this.turn = make("button", { type: "button", class: "ol-turn", onclick: () => { this.descending = !this.descending; this.list(); } });
      const found = (title, run) => make("button", { type: "button", title: `${title} what the search finds`, "aria-label": `${title} what is found`, onclick: () => run(this.found().map((o) => o.id)) }, title);
      this.finder = make("div", { class: "ol-finder" }, this.search, hints, this.order, this.turn,
        found("Show", (ids) => act.hide(ids, false)), found("Hide", (ids) => act.hide(ids, true)), found("Only", (ids) => act.only(ids)));
      this.groups = make("div", { class: "ol-list" });
    }

    // Show these objects: [{ id, name, category, color, group, gaussians, size, confidence }]
    set(objects, hidden, selected) {
      const before = JSON.stringify(this.objects), moved = this.selected !== selected;
      this.objects = objects;
      this.hidden = new Set(hidden);
      this.selected = selected;
      if (JSON.stringify(objects) !== before || this.search.value.includes("is:")) this.list();
      else this.mark();
      if (moved) this.rows.get(selected)?.row.scrollIntoView({ block: "nearest" });
    }

    // Show what was found by words: { ids, title }, the best first; null for what the search box says.
    rank(ranked) {
      this.ranked = ranked;
      this.list();
    }

    found() {
      if (this.ranked) return this.ranked.ids.map((id) => this.objects.find((object) => object.id === id)).filter(Boolean);
      const fits = filterOf(this.search.value);
      return this.objects.filter((object) => fits(object, this.hidden));
    }

    list() {
      const key = this.order.value, by = { name: (o) => o.name, gaussians: (o) => o.gaussians, size: (o) => longest(o) ?? -1, confidence: (o) => o.confidence }[key];
      const sign = this.descending ? -1 : 1;
      const compare = (a, b) => sign * (key === "name" ? by(a).localeCompare(by(b)) : by(a) - by(b)) || a.name.localeCompare(b.name) || a.id - b.id;
      this.turn.textContent = this.descending ? "↓" : "↑";
      this.turn.setAttribute("aria-label", this.descending ? "Largest first" : "Smallest first");
      const closed = new Set([...this.groups.querySelectorAll("details:not([open])")].map((group) => group.dataset.group));
      const all = this.ranked ? this.found() : this.found().sort(compare), top = this.groups.scrollTop;
      this.rows.clear();
      const groups = Object.entries(this.ranked ? { ranked: this.ranked.title } : GROUPS).map(([group, title]) => {
        const found = all.filter((object) => this.ranked || object.group === group);
        return found.length ? make("details", { open: !closed.has(group) || this.search.value !== "", "data-group": group },
          make("summary", { title: group === "uncertain" ? WHY : null }, `${title} · ${found.length}`), ...found.map((object) => this.row(object))) : null;
      }).filter(Boolean);
      this.groups.replaceChildren(...(groups.length ? groups : [make("p", { class: "ol-none" }, "Nothing fits.")]));
      this.groups.scrollTop = top;
      this.mark();
    }

    row(object) {
      const { act } = this, { id } = object;
      const meter = make("span", { class: "ol-meter" }, make("i", { style: `width:${Math.round(100 * object.confidence)}%` }));
      const pick = make("button", { type: "button", class: "ol-pick", onclick: () => act.select(this.selected === id ? 0 : id), ondblclick: () => act.goTo(id) },
        swatch(object.color), make("span", { class: "ol-name" }, `${object.name} · ${id}`),
        make("span", { class: "ol-count", title: "Gaussians" }, count(object.gaussians)),
        make("span", { class: "ol-more" }, make("span", {}, size(object)),
          make("span", { title: "Confidence: the mean share of its label among the votes of its Gaussians" }, meter, object.confidence.toFixed(2))));
      const eye = make("button", { type: "button", class: "ol-eye", onclick: () => act.hide([id], !this.hidden.has(id)) });
      const row = make("div", { class: "ol-row", "data-id": id }, pick, eye);
      this.rows.set(id, { row, eye, object });
      return row;
    }

    mark() {
      for (const [id, { row, eye, object }] of this.rows) {
        const off = this.hidden.has(id);
        row.classList.toggle("ol-off", off);
        row.setAttribute("aria-current", String(id === this.selected));
        eye.textContent = off ? "○" : "●";
        eye.setAttribute("aria-label", `${off ? "Show" : "Hide"} ${object.name} ${id}`);
        eye.title = off ? "Hidden; show it" : "Shown; hide it";
      }
    }
  }

  globalThis.ObjectList = Object.assign(ObjectList, { make, swatch, count, size, filterOf });
})();
