"use strict";
// The page is complete without this script, which makes it answer: theme, sliders, names under the pointer, sorting, tips.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const tip = document.getElementById("tip");

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = !text;
  if (!text) return;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + box.height + 26 > innerHeight ? y - box.height - 12 : y + 18}px`;
}

document.addEventListener("pointermove", (event) => {
  const owner = event.target.closest?.("[data-tip]");
  if (owner) showTip(owner.dataset.tip, event.clientX, event.clientY);
  else if (!event.target.closest?.(".chart")) showTip("");
});
document.addEventListener("pointerdown", (event) => {
  const owner = event.target.closest?.("[data-tip]");
  if (owner) showTip(owner.dataset.tip, event.clientX, event.clientY);
});
document.addEventListener("scroll", () => showTip(""), { passive: true, capture: true });

const theme = document.getElementById("theme");
const dark = () => (document.documentElement.dataset.theme
  || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = dark() ? "Light" : "Dark"; };
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  nameTheme();
});
nameTheme();

// Views: which pictures are compared, and where the divider is.
const views = all(".view");
const other = { left: "right", right: "left" };
function choose(side, layer) {
  const grid = document.getElementById("grid");
  const before = grid.dataset[side];
  if (grid.dataset[other[side]] === layer) setLayer(other[side], before);
  setLayer(side, layer);
}
function setLayer(side, layer) {
  document.getElementById("grid").dataset[side] = layer;
  views.forEach((view) => { view.dataset[side] = layer; });
  all(`.choice[data-side="${side}"] button`).forEach((button) =>
    button.setAttribute("aria-pressed", String(button.dataset.layer === layer)));
}
all(".choice button").forEach((button) =>
  button.addEventListener("click", () => choose(button.parentElement.dataset.side, button.dataset.layer)));
views.forEach((view) => {
  const stage = view.querySelector(".stage"), slider = view.querySelector("input"), under = view.querySelector(".under");
  const move = () => stage.style.setProperty("--cut", `${slider.value}%`);
  slider.addEventListener("input", move);
  move();
  const at = nameReader(view);
  stage.addEventListener("pointermove", (event) => {
    const box = stage.getBoundingClientRect();
    under.textContent = at((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  stage.addEventListener("pointerleave", () => { under.textContent = ""; });
});

// A view opens large, and the arrow keys go on to the next one while no slider has them.
const large = document.getElementById("large");
let home = null;
function nameEnlarge(view, sign, title) {
  const button = view.querySelector(".enlarge"), name = view.querySelector("strong").textContent;
  Object.assign(button, { textContent: sign, title, ariaLabel: `${title}: view ${name}` });
}
function bringHome() {
  nameEnlarge(home.view, "⤢", "Open large");
  home.view.querySelector(".stage").style.width = "";
  home.replaceWith(home.view);
  home = null;
}
function enlarge(view) {
  if (home) bringHome();
  home = Object.assign(document.createElement("span"), { view });
  view.before(home);
  const [width, height] = view.querySelector(".stage").style.aspectRatio.split("/").map(Number);
  view.querySelector(".stage").style.width = `min(100%, ${(84 * width) / height}vh)`;
  nameEnlarge(view, "✕", "Close");
  large.append(view);
  if (!large.open) large.showModal();
  view.querySelector(".enlarge").focus(); // not the slider, which would take the arrow keys
}
views.forEach((view) => view.querySelector(".enlarge").addEventListener("click", () => (large.contains(view) ? large.close() : enlarge(view))));
large?.addEventListener("close", bringHome);
large?.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large?.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.target.matches("input")) return;
  enlarge(views[(views.indexOf(home.view) + by + views.length) % views.length]);
});

// A colour in a label map means one object.
function nameReader(view) {
  const names = JSON.parse(document.getElementById("names").textContent);
  const maps = {};
  const color = (layer, x, y) => {
    const image = view.querySelector(`img.${layer}`);
    if (!image || !image.complete || !image.naturalWidth) return null;
    if (!maps[layer]) {
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      maps[layer] = canvas.getContext("2d", { willReadFrequently: true });
      maps[layer].drawImage(image, 0, 0);
    }
    const column = Math.min(image.naturalWidth - 1, Math.max(0, Math.floor(x * image.naturalWidth)));
    const row = Math.min(image.naturalHeight - 1, Math.max(0, Math.floor(y * image.naturalHeight)));
    const [r, g, b] = maps[layer].getImageData(column, row, 1, 1).data;
    return `#${[r, g, b].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
  };
  const layers = Object.keys(names).filter((layer) => layer !== "truth");
  return (x, y) => {
    const said = layers.map((layer) => {
      const found = color(layer, x, y);
      return found && `${layers.length > 1 ? `${layer[0]}: ` : ""}${names[layer][found] || "no label"}`;
    }).filter(Boolean).join(", "), wanted = color("truth", x, y);
    return wanted === null ? said : `${said}   (truth: ${names.truth[wanted] || "void"})`;
  };
}

// Tables: a click on a heading sorts, another one turns the order.
all(".sortable").forEach((table) => {
  const heads = all("thead th", table), body = table.querySelector("tbody");
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = head.querySelector("button").dataset.kind === "number";
    const now = head.getAttribute("aria-sort");
    const order = now === "none" ? (numeric ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
    heads.forEach((one) => one.setAttribute("aria-sort", one === head ? order : "none"));
    const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const compare = numeric ? (a, b) => Number(key(a)) - Number(key(b)) : (a, b) => key(a).localeCompare(key(b));
    body.append(...all("tr", body).sort((a, b) => (order === "ascending" ? compare(a, b) : compare(b, a))));
  }));
});

// Charts: the values at the nearest step.
all(".chart").forEach((chart) => {
  const curves = Object.entries(JSON.parse(chart.dataset.curves)), cursor = chart.querySelector(".cursor");
  const show = (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const nearest = (points) => points.reduce((best, point) => (Math.abs(point[2] - x) < Math.abs(best[2] - x) ? point : best));
    const [step, , place] = nearest(curves[0][1]);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.style.visibility = "visible";
    const lines = curves.map(([name, points]) => `${name} ${nearest(points)[1].toLocaleString()} ${chart.dataset.unit}`.trim());
    showTip([`step ${step.toLocaleString()}`, ...lines].join("\n"), event.clientX, event.clientY);
  };
  chart.addEventListener("pointermove", show);
  chart.addEventListener("pointerdown", show);
  chart.addEventListener("pointerleave", () => { cursor.style.visibility = "hidden"; showTip(""); });
});
