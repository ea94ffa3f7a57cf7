"use strict";
// The page around the view: list, selection, keyboard. Names come from files and are only ever set as text.

const byId = (id) => document.getElementById(id);
const scene = JSON.parse(byId("scene").textContent);
const objects = scene.objects;
const look = { hidden: new Set(), unlabelled: true, selected: -1 };
const { make, swatch, count, size } = ObjectList;
const numberOf = new Map(objects.map((object, number) => [object.id, number]));
const numbers = (ids) => ids.map((id) => numberOf.get(id));
const SLOW = 250; // milliseconds a frame of the coarse scene, beyond which the page stays coarse until it is told otherwise
let view;

const list = new ObjectList({
  select: (id) => select(id ? numberOf.get(id) : -1),
  goTo: (id) => goTo(numberOf.get(id)),
  hide: (ids, hidden) => {
    for (const number of numbers(ids)) hidden ? look.hidden.add(number) : look.hidden.delete(number);
    update();
  },
  only: (ids) => showOnly(numbers(ids)),
});
byId("panel").append(list.finder, list.groups);

function mark() {
  list.set(objects, [...look.hidden].map((number) => objects[number].id), objects[look.selected]?.id ?? 0);
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
}
function toggle(number) {
  look.hidden.has(number) ? look.hidden.delete(number) : look.hidden.add(number);
  update();
}
function showOnly(shown) {
  look.hidden = new Set(objects.keys());
  for (const number of shown) look.hidden.delete(number);
  look.unlabelled = false;
  update();
}
const isolate = () => look.selected >= 0 && showOnly([look.selected]);
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
  byId("all").addEventListener("click", showAll);
  byId("photo").addEventListener("click", () => color(false));
  byId("objects").addEventListener("click", () => color(true));
  byId("fine").addEventListener("click", fine);
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
    "/": () => list.search.focus(), "?": () => byId("help").showModal(), escape: () => select(-1),
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
  const sample = scene.splats < scene.gaussians ? ` of ${count(scene.gaussians)}` : "";
  byId("counts").textContent = `${scene.counted} · ${count(scene.splats)}${sample} Gaussians`;
  mark();
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
  await refine();
}

// A large scene is there coarsely; where the browser draws that quickly, all of it follows, else a button offers it.
async function refine() {
  if (!view.fine) {
    const slow = (await view.frameTime()) > SLOW;
    byId("fine").hidden = !slow;
    if (!slow) {
      view.refine(true);
      await view.drawn();
    }
  }
  document.documentElement.dataset.detail = view.fine ? "all" : "coarse";
}
function fine() {
  view.refine(!view.fine);
  byId("fine").setAttribute("aria-pressed", String(view.fine));
}
start();
