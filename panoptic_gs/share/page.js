"use strict";
// The page around the view: list, search, selection, keyboard. Names come from files and are only ever set as text.

const byId = (id) => document.getElementById(id);
const scene = JSON.parse(byId("scene").textContent);
const objects = scene.objects;
const look = { hidden: new Set(), unlabelled: true, selected: -1 };
const GROUPS = { thing: "Things", stuff: "Stuff", uncertain: "Uncertain" };
const count = (value) => value.toLocaleString("en");
const size = (object) => (object.size ? `${object.size.map((side) => side.toFixed(2)).join(" × ")} m` : "–");
let view;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
const swatch = ([r, g, b]) => make("span", { class: "swatch", style: `background:rgb(${r},${g},${b})` });

// The list

const rows = new Map(); // object number → its row
function listObjects() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean), key = byId("order").value;
  const volume = (object) => (object.size ? object.size.reduce((product, side) => product * side, 1) : -1);
  const compare = {
    name: (a, b) => a.name.localeCompare(b.name) || a.id - b.id,
    gaussians: (a, b) => b.gaussians - a.gaussians,
    size: (a, b) => volume(b) - volume(a),
    confidence: (a, b) => b.confidence - a.confidence,
  }[key];
  const fits = (object) => words.every((word) =>
    `${object.name} ${object.category}`.toLowerCase().includes(word) || word === String(object.id));
  rows.clear();
  const closed = new Set([...byId("list").querySelectorAll("details:not([open])")].map((group) => group.dataset.group));
  const groups = Object.entries(GROUPS).map(([group, title]) => {
    const found = objects.map((object, number) => ({ object, number })).filter(({ object }) => object.group === group && fits(object));
    found.sort((a, b) => compare(a.object, b.object));
    if (!found.length) return null;
    const open = words.length > 0 || !closed.has(group);
    return make("details", { open, "data-group": group }, make("summary", {}, `${title} · ${found.length}`),
      ...found.map(({ object, number }) => listRow(object, number)));
  }).filter(Boolean);
  byId("list").replaceChildren(...(groups.length ? groups : [make("p", { class: "none" }, "Nothing of that name.")]));
  mark();
}

function listRow(object, number) {
  const share = Math.round(100 * object.confidence);
  const meter = make("span", { class: "meter" }, make("i", { style: `width:${share}%` }));
  const pick = make("button", { type: "button", class: "pick", onclick: () => select(look.selected === number ? -1 : number), ondblclick: () => goTo(number) },
    swatch(object.color), make("span", { class: "name" }, `${object.name} · ${object.id}`),
    make("span", { class: "count" }, count(object.gaussians)),
    make("span", { class: "more" }, make("span", {}, size(object)), make("span", { title: "Mean share of its label" }, meter, object.confidence.toFixed(2))));
  const eye = make("button", { type: "button", class: "eye", onclick: () => toggle(number) });
  const row = make("div", { class: "row", "data-id": object.id }, pick, eye);
  rows.set(number, { row, eye });
  return row;
}

function mark() {
  for (const [number, { row, eye }] of rows) {
    const off = look.hidden.has(number);
    row.classList.toggle("off", off);
    row.setAttribute("aria-current", String(number === look.selected));
    eye.textContent = off ? "○" : "●";
    eye.setAttribute("aria-label", `${off ? "Show" : "Hide"} ${objects[number].name} ${objects[number].id}`);
    eye.setAttribute("aria-pressed", String(!off));
  }
  byId("all").disabled = !look.hidden.size && look.unlabelled;
}

function tellSelected() {
  const object = objects[look.selected], box = byId("selected");
  if (!object) return box.replaceChildren(make("p", {}, "Click an object in the scene or in the list."));
  const off = look.hidden.has(look.selected), kind = { thing: "thing", stuff: "stuff", uncertain: "uncertain: little speaks for it" }[object.group];
  const act = (title, onclick) => make("button", { type: "button", onclick }, title);
  box.replaceChildren(
    make("h2", {}, swatch(object.color), make("span", {}, `${object.name} · ${object.id}`)),
    make("p", {}, `${object.category} (${kind}), ${count(object.gaussians)} Gaussians`),
    make("p", {}, `${size(object)}, confidence ${object.confidence.toFixed(2)}`),
    make("div", { class: "actions" }, act("Go to", () => goTo(look.selected)), act("Isolate", isolate),
      act(off ? "Show" : "Hide", () => toggle(look.selected)), act("Clear", () => select(-1))));
}

// What can be done

function update() {
  mark();
  tellSelected();
  view.draw(look);
}
function select(number) {
  look.selected = number;
  update();
  rows.get(number)?.row.scrollIntoView({ block: "nearest" });
}
function toggle(number) {
  look.hidden.has(number) ? look.hidden.delete(number) : look.hidden.add(number);
  update();
}
function isolate() {
  if (look.selected < 0) return;
  look.hidden = new Set(objects.keys());
  look.hidden.delete(look.selected);
  look.unlabelled = false;
  update();
}
function showAll() {
  look.hidden = new Set();
  look.unlabelled = true;
  update();
}
function goTo(number) {
  if (number < 0) return;
  if (look.selected !== number) select(number);
  view.goTo(number);
}
function color(labelled) {
  byId("objects").setAttribute("aria-pressed", String(labelled));
  byId("photo").setAttribute("aria-pressed", String(!labelled));
  view.color(labelled);
}
function showLabel() {
  const tag = byId("label"), at = look.selected < 0 || look.hidden.has(look.selected) ? null : view.topOf(look.selected);
  tag.hidden = at === null;
  if (!at) return;
  tag.textContent = `${objects[look.selected].name} · ${objects[look.selected].id}`;
  const x = Math.min(Math.max(at[0] - tag.offsetWidth / 2, 4), view.stage.clientWidth - tag.offsetWidth - 4);
  const y = Math.min(Math.max(at[1] - tag.offsetHeight - 6, 4), view.stage.clientHeight - tag.offsetHeight - 4);
  tag.style.transform = `translate(${x}px, ${y}px)`;
}

function listen() {
  byId("search").addEventListener("input", listObjects);
  byId("order").addEventListener("change", listObjects);
  byId("all").addEventListener("click", showAll);
  byId("photo").addEventListener("click", () => color(false));
  byId("objects").addEventListener("click", () => color(true));
  byId("keys").addEventListener("click", () => byId("help").showModal());
  const canvas = view.renderer.domElement;
  let down = null;
  canvas.addEventListener("pointerdown", (event) => { down = event.isPrimary && event.button === 0 ? [event.clientX, event.clientY] : null; });
  canvas.addEventListener("pointerup", (event) => {
    if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 5) return;
    down = null;
    const found = view.pick(event.clientX, event.clientY);
    select(found === look.selected ? -1 : found);
  });
  canvas.addEventListener("dblclick", (event) => goTo(view.pick(event.clientX, event.clientY)));
  const keys = {
    g: () => goTo(look.selected), i: isolate, h: () => look.selected >= 0 && toggle(look.selected), a: showAll,
    c: () => color(byId("objects").getAttribute("aria-pressed") !== "true"), r: () => view.home(),
    "/": () => byId("search").focus(), "?": () => byId("help").showModal(), escape: () => select(-1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    if (event.target.matches("input, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const act = keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function unpacked(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function fail(text) {
  document.documentElement.dataset.state = "failed";
  byId("status").textContent = text;
}

async function start() {
  document.querySelector("h1").textContent = scene.title;
  const of = (group) => objects.filter((object) => object.group === group).length;
  const sample = scene.splats < scene.gaussians ? ` of ${count(scene.gaussians)}` : "";
  const doubted = of("uncertain") ? `, ${of("uncertain")} uncertain` : "";
  byId("counts").textContent = `${of("thing")} objects, ${of("stuff")} stuff classes${doubted} · ${count(scene.splats)}${sample} Gaussians`;
  listObjects();
  tellSelected();
  try {
    view = new View(byId("stage"), scene, showLabel);
  } catch (error) {
    return fail(`This browser draws no WebGL 2: ${error.message}. Switch hardware acceleration on, or open the page in a current Firefox, Chrome, Edge or Safari.`);
  }
  try {
    const holder = byId("splats");
    await view.load(unpacked(holder.textContent));
    holder.remove();
  } catch (error) {
    return fail(`The scene cannot be shown: ${error.message}`);
  }
  listen();
  update();
  await view.drawn();
  document.documentElement.dataset.state = "ready";
  document.documentElement.dataset.milliseconds = Math.round(performance.now());
}
start();
