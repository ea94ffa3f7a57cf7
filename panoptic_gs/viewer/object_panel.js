"use strict";
// The list of objects beside viser's scene. It talks to the viewer over a websocket of its own (list_socket.py).
addEventListener("DOMContentLoaded", () => {
  const { make, swatch } = ObjectList;
  const button = (title, onclick, attributes = {}) => make("button", { type: "button", class: "op-b", onclick, ...attributes }, title);
  let state = null, socket = null, told = "";

  // To and from the viewer

  const send = (message) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ...message, client: globalThis.panopticClient ?? null }));
    else say("The viewer does not answer. Is it still running?", true);
  };
  function connect(wait = 250) {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/panoptic-objects`);
    socket.onopen = () => { wait = 250; };
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => event.data instanceof ArrayBuffer ? globalThis.paintSplats?.(event.data) : hear(JSON.parse(event.data));
    socket.onclose = () => setTimeout(() => connect(Math.min(2 * wait, 4000)), wait);
  }
  function hear(message) {
    if (message.show === "state") show(message);
    else if (message.show === "message") say(message.text, message.bad);
    else if (message.show === "photo") showPhoto(message);
    else if (message.show === "found") {
      say(message.note);
      list.rank({ ids: message.ids, title: `Best for “${message.text}” by ${message.by === "name" ? "name" : "looks"}` });
    }
  }
  const toast = make("div", { id: "op-say", role: "status", hidden: true });
  let quiet;
  function say(text, bad = false) {
    toast.textContent = text;
    toast.classList.toggle("op-bad", bad);
    toast.hidden = !text;
    clearTimeout(quiet);
    quiet = setTimeout(() => { toast.hidden = true; }, bad ? 9000 : 5000);
  }

  // The panel

  const list = new ObjectList({
    select: (id) => send({ do: "select", id }),
    goTo: (id) => goTo(id),
    hide: (ids, hidden) => send({ do: "hide", ids, hidden }),
    only: (ids) => send({ do: "only", ids }),
    find: (text) => { say("Searching …"); send({ do: "find", text }); },
  });
  list.search.placeholder = "Search; Enter finds by words";
  const heading = make("h1"), counts = make("p", { class: "op-soft" });
  const selected = make("section", { class: "op-selected", "aria-live": "polite" });
  const legend = make("div", { class: "op-legend", hidden: true },
    "Confidence of a Gaussian: the share of its strongest label among its votes", make("div", { class: "op-ramp" }),
    make("div", { class: "op-ends" }, make("span", {}, "0: views disagree"), make("span", {}, "1: all agree")));
  const alone = legend.cloneNode(true); // where the list is shut
  alone.id = "op-legend";
  const doubts = make("div", { class: "op-doubts", hidden: true });
  const objectsPage = make("div", { class: "op-page" }, list.finder, list.groups);
  const tab = (title, which) => button(title, () => turnTo(which), { "data-tab": which, "aria-pressed": String(which === "list") });
  const tabs = make("div", { class: "op-tabs" }, tab("List", "list"), tab("Doubts", "doubts"),
    button("Show all", () => send({ do: "show all" }), { "data-all": true }));
  const measure = button("Measure", () => { send({ do: "measure", on: !state?.measure.on }); if (!state?.measure.on) makeWay(); }, { "aria-pressed": "false" });
  const uses = { add: "Add", cut: "Cut", delete: "Erase" };
  const brushes = Object.entries(uses).map(([how, title]) => button(title, () => brush(state?.brush.how === how ? "off" : how), { "data-how": how, "aria-pressed": "false" }));
  const radius = make("input", { type: "range", min: "-3", max: "0.5", step: "0.05", "aria-label": "Radius of the brush", style: "width: 74px", onchange: () => brush(state.brush.how) });
  const brush = (how) => { send({ do: "brush", how, radius: 10 ** Number(radius.value) }); if (how !== "off") makeWay(); };
  const lassoing = button("Lasso", () => send({ do: "brush", how: state.brush.how === "off" ? "add" : state.brush.how, lasso: !state.lasso.on }) || makeWay(), { "aria-pressed": "false", title: "Draw around Gaussians in place of clicking at them" });
  const through = make("input", { type: "checkbox", onchange: () => send({ do: "brush", how: state.brush.how, through: through.checked }) });
  const throughLabel = make("label", { class: "op-soft", title: "Take what is hidden behind others, too" }, through, " through");
  const brushing = make("div", { class: "op-actions", title: "A click in the scene works on the Gaussians around it" }, make("span", { class: "op-soft" }, "Brush"), ...brushes, lassoing, radius, throughLabel);
  const measured = make("p", { class: "op-soft", style: "padding: 0 14px" });
  const photos = button("Photo", () => photo(), { title: "The photo that sees the selected object best, or the nearest one, beside the scene" });
  const footer = make("footer", {}, brushing, make("div", { class: "op-actions" }, measure, photos, button("?", () => keysheet.showModal(), { "aria-label": "Keyboard shortcuts" })), measured);
  const panel = make("aside", { id: "op", "aria-label": "Objects of the scene" }, make("header", {}, heading, counts), tabs, selected, legend, objectsPage, doubts, footer);
  const toggle = make("button", { type: "button", id: "op-toggle", "aria-expanded": "true", onclick: () => open(panel.classList.contains("op-shut")) }, "Objects");
  function open(wanted) {
    panel.classList.toggle("op-shut", !wanted);
    document.body.classList.toggle("op-wide", wanted);
    toggle.setAttribute("aria-expanded", String(wanted));
  }
  // On a phone the list covers the scene; what happens there is to be seen.
  const makeWay = () => { if (innerWidth < 700) open(false); };
  function turnTo(which) {
    doubts.hidden = which !== "doubts";
    objectsPage.hidden = which !== "list";
    for (const one of tabs.querySelectorAll("[data-tab]")) one.setAttribute("aria-pressed", String(one.dataset.tab === which));
  }

  function show(news) {
    state = news;
    heading.textContent = news.title;
    counts.textContent = news.counted + `${news.hidden.length ? `, ${news.hidden.length} hidden` : ""}${news.unsaved ? " · unsaved edits" : ""}`;
    list.set(news.objects, news.hidden, news.selected);
    tabs.querySelector("[data-all]").disabled = !news.hidden.length && news.unlabelled;
    legend.hidden = alone.hidden = news.colorBy !== "confidence";
    measure.setAttribute("aria-pressed", String(news.measure.on));
    measured.textContent = !news.measure.on ? "" : news.measure.length !== null ? `${news.measure.length.toFixed(3)} m; click for another`
      : news.measure.points ? "Click the other end." : "Click one end in the scene.";
    photos.hidden = !news.photos;
    brushing.hidden = !news.editable || !news.selected;
    if (document.activeElement !== radius) radius.value = Math.log10(news.brush.radius);
    for (const one of brushes) one.setAttribute("aria-pressed", String(one.dataset.how === news.brush.how));
    lassoing.setAttribute("aria-pressed", String(news.lasso.on));
    radius.hidden = news.lasso.on;
    throughLabel.hidden = !news.lasso.on;
    through.checked = news.lasso.through;
    const taken = news.brush.how !== "off" && news.selected && news.editable;
    if (taken) measured.textContent = news.lasso.on ? `Draw around ${news.lasso.through ? "all" : "visible"} Gaussians in the scene; Esc gives the mouse back.`
      : `Each click works on what is within ${(news.brush.radius * news.metersPerUnit).toPrecision(2)} m of it; Esc ends.`;
    if (measured.textContent !== told && panel.classList.contains("op-shut")) say(measured.textContent);
    told = measured.textContent;
    takeUp(Boolean(taken && news.lasso.on));
    showSelected();
    showDoubts();
  }

  const object = (id) => state?.objects.find((one) => one.id === id);
  function showSelected() {
    const one = object(state.selected);
    if (selected.contains(document.activeElement) && document.activeElement.matches("input, select") && selected.dataset.id === String(one?.id)) return;
    selected.dataset.id = String(one?.id);
    if (!one) return selected.replaceChildren(make("p", { class: "op-soft" }, "Click an object in the scene or in the list."));
    const name = make("input", { "aria-label": "Name of the selected object", maxlength: "80", disabled: !state.editable,
      onchange: () => { if (name.value.trim() !== one.name) send({ do: "rename", id: one.id, name: name.value }); },
      onkeydown: (event) => { if (event.key === "Enter" || event.key === "Escape") { if (event.key === "Escape") name.value = one.name; name.blur(); } } });
    name.value = one.name;
    const others = state.objects.filter((other) => other.id !== one.id)
      .sort((a, b) => (b.category === one.category) - (a.category === one.category) || a.name.localeCompare(b.name) || a.id - b.id);
    const into = make("select", { class: "op-b", "aria-label": "Merge the selected object into", onchange: () => send({ do: "merge", id: one.id, into: Number(into.value) }) },
      make("option", { value: "" }, "Merge into …"), ...others.map((other) => make("option", { value: other.id }, `${other.name} · ${other.id}`)));
    into.style.maxWidth = "150px";
    const off = state.hidden.includes(one.id);
    selected.replaceChildren(
      make("div", { class: "op-title" }, swatch(one.color), name, make("span", { class: "op-soft" }, `id ${one.id}`)),
      make("div", { class: "op-actions" }, button("Go there", () => goTo(one.id)), button("Alone", () => send({ do: "only", ids: [one.id] })),
        button(off ? "Reveal" : "Out", () => send({ do: "hide", ids: [one.id], hidden: !off }), { title: off ? "Show it again" : "Hide it" }),
        ...(state.editable ? [button("Clean", () => send({ do: "clean", id: one.id }), { title: "Take its label from floaters, and from what it has of the floor or wall that it touches" }), into] : [])));
  }

  const SAID = {
    "may be two": (d) => [make("b", {}, d.names[0]), " may be two: a part of it goes to ", make("b", {}, d.names[1])],
    "may be one": (d) => [make("b", {}, d.names[0]), " and ", make("b", {}, d.names[1]), " may be one"],
    "class in dispute": (d) => [make("b", {}, d.names[0]), " is also called ", make("b", {}, d.names[1])],
    "in pieces": (d) => [make("b", {}, d.names[0]), " lies in places that do not touch"],
  };
  const MENDS = { merge: "Make one", split: "Make two", clean: "Take the rest off" };
  function showDoubts() {
    const found = state.doubts, look = button(found ? "Look again" : "Look for doubts", (event) => { event.target.disabled = true; event.target.textContent = "Looking …"; send({ do: "doubts" }); });
    const top = doubts.scrollTop;
    if (!found) return doubts.replaceChildren(make("p", { class: "op-soft" }, "Objects that may be two, pairs that may be one, objects in pieces: by what the views said."), look);
    const settle = (entry, how) => send({ do: "settle", list: found.list, place: entry.place, how });
    doubts.replaceChildren(make("p", { class: "op-soft" }, found.entries.length ? `${found.entries.length} to decide, the strongest doubt first` : "Nothing left to decide."),
      ...found.entries.map((entry) => make("div", { class: "op-doubt", "data-place": entry.place },
        make("p", {}, ...SAID[entry.kind](entry)),
        make("p", { class: "op-soft" }, entry.kind === "in pieces" ? `the largest place has ${Math.round(100 * entry.share)} % of it` : `by ${Math.round(100 * entry.share)} % of its ${entry.basis}`),
        make("div", { class: "op-actions" }, ...entry.ids.map((id) => button(`See ${id}`, () => goTo(id))),
          ...(state.editable ? entry.mends.map((how) => button(MENDS[how], () => settle(entry, how))) : []), button("Fine", () => settle(entry, "fine"))))), look);
    doubts.scrollTop = top;
  }

  function goTo(id) {
    if (!id) return;
    if (state.selected !== id) send({ do: "select", id });
    send({ do: "go to", id });
    makeWay();
  }

  // Lasso: a sheet over the scene takes the mouse, so that the picture stands still while it is drawn on.

  const svg = (name, attributes) => {
    const one = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    return one;
  };
  const line = svg("path", {});
  const sheet = svg("svg", { id: "op-lasso", role: "img", "aria-label": "Draw around what is meant" });
  sheet.append(line);
  const MOST_CORNERS = 400;
  let corners = null;
  function lay() {
    const canvas = document.querySelector("canvas[data-engine]") ?? document.querySelector("canvas");
    const { left, top, width, height } = canvas.getBoundingClientRect();
    Object.assign(sheet.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    sheet.setAttribute("viewBox", `0 0 ${width} ${height}`);
    return { left, top, width, height };
  }
  function takeUp(on) {
    if (on === sheet.classList.contains("op-on")) return;
    sheet.classList.toggle("op-on", on);
    drop();
    if (on) lay();
  }
  function drop() {
    corners = null;
    line.setAttribute("d", "");
  }
  const corner = (event) => {
    const { left, top } = sheet.getBoundingClientRect();
    corners.push([event.clientX - left, event.clientY - top]);
    line.setAttribute("d", `M${corners.map((at) => at.map((v) => v.toFixed(1)).join(" ")).join("L")}Z`);
  };
  sheet.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    lay();
    sheet.setPointerCapture(event.pointerId);
    corners = [];
    corner(event);
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!corners) return;
    const [x, y] = corners.at(-1), { left, top } = sheet.getBoundingClientRect();
    if (Math.hypot(event.clientX - left - x, event.clientY - top - y) >= 3) corner(event);
  });
  sheet.addEventListener("pointerup", () => {
    if (!corners) return;
    const { width, height } = lay(), every = Math.ceil(corners.length / MOST_CORNERS);
    const outline = corners.filter((_, place) => place % every === 0).map(([x, y]) => [x / width, y / height].map((v) => Number(v.toFixed(5))));
    drop();
    if (outline.length < 3) return say("Keep the button pressed and draw around what is meant.");
    say("Looking what lies inside …");
    send({ do: "lasso", outline });
  });
  sheet.addEventListener("pointercancel", drop);
  addEventListener("resize", () => sheet.classList.contains("op-on") && lay());

  // Clicks into the scene. viser has its own, but then it lets no drag turn the scene, and takes the end of one for a click.

  const MOVED = { mouse: 3, pen: 5, touch: 10 }; // pixels from which on a press is a drag
  let pressed = null;
  addEventListener("pointerdown", (event) => {
    const canvas = document.querySelector("canvas[data-engine]");
    pressed = event.isPrimary && event.button === 0 && canvas?.parentElement.contains(event.target) ? { canvas, x: event.clientX, y: event.clientY } : null;
  }, true);
  addEventListener("pointermove", (event) => {
    if (pressed && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > (MOVED[event.pointerType] ?? 5)) pressed = null;
  }, true);
  addEventListener("pointercancel", () => { pressed = null; }, true);
  addEventListener("pointerup", () => {
    if (!pressed) return;
    const { left, top, width, height } = pressed.canvas.getBoundingClientRect();
    send({ do: "click", at: [(pressed.x - left) / width, (pressed.y - top) / height].map((share) => Math.min(1, Math.max(0, share))) });
    pressed = null;
  }, true);

  // Photo against the scene

  const left = make("img", { alt: "" }), right = make("img", { class: "op-over", alt: "" });
  const slider = make("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": "How much of the photo is seen" });
  const stage = make("div", { class: "op-stage" }, left, right, slider), about = make("span", { class: "op-soft" });
  slider.addEventListener("input", () => stage.style.setProperty("--cut", `${slider.value}%`));
  let shown = null, layer = "render";
  const layers = { render: "Colours", objects: "Labels" };
  const choices = Object.entries(layers).map(([which, title]) => button(title, () => { layer = which; layOut(); }, { "data-layer": which }));
  const step = (by) => shown && send({ do: "photo", number: (shown.number + by + shown.count) % shown.count });
  const title = make("h2");
  const view = make("dialog", { id: "op-photo", "aria-label": "Photo and scene" }, title, stage,
    make("div", { class: "op-bar" }, button("‹", () => step(-1), { "aria-label": "Photo before" }), button("›", () => step(1), { "aria-label": "Photo after" }), about,
      ...choices, button("Stand here", () => { send({ do: "stand there", number: shown.number }); view.close(); }), button("Close", () => view.close())));
  function photo() {
    say("Rendering …");
    send(object(state?.selected) ? { do: "photo", id: state.selected } : { do: "photo" });
  }
  function layOut() {
    left.src = shown.photo;
    right.src = shown[layer];
    for (const one of choices) one.setAttribute("aria-pressed", String(one.dataset.layer === layer));
  }
  function showPhoto(news) {
    shown = news;
    say("");
    title.textContent = `${news.name}: photo on the left, scene on the right`;
    about.textContent = [`photo ${news.number + 1} of ${news.count}`, news.psnr === null ? null : `${news.psnr.toFixed(1)} dB`, news.sees].filter(Boolean).join(", ");
    stage.style.aspectRatio = `${news.width} / ${news.height}`;
    layOut();
    if (!view.open) view.showModal();
  }

  // Keyboard

  // The viewer goes on from where it is, so that keys which are pressed faster than it answers all count.
  const nextColors = () => send({ do: "color", by: "next" });
  const nextBrush = () => send({ do: "brush", how: "next", radius: 10 ** Number(radius.value) });
  const KEYS = [
    [["G"], "go to the selected object", "g", () => goTo(state.selected)],
    [["I"], "show it alone", "i", () => state.selected && send({ do: "only", ids: [state.selected] })],
    [["H"], "hide it, or show it again", "h", () => state.selected && send({ do: "hide", ids: [state.selected], hidden: !state.hidden.includes(state.selected) })],
    [["X"], "show everything", "x", () => send({ do: "show all" })],
    [["C"], "next colours: objects, classes, photo, confidence", "c", nextColors],
    [["P"], "the photo that sees it best, beside the scene", "p", () => state.photos && photo()],
    [["M"], "measure between two clicks, or stop", "m", () => send({ do: "measure", on: !state.measure.on })],
    [["B"], "brush: add to the selected object, take away, erase, off", "b", () => state.selected && state.editable && nextBrush()],
    [["L"], "lasso in place of clicks, for the brush", "l", () => state.selected && state.editable && lassoing.click()],
    [["U"], "undo the last edit", "u", () => send({ do: "undo" })],
    [["Shift", "U"], "do it again", "U", () => send({ do: "redo" })],
    [["O"], "open or close the list", "o", () => toggle.click()],
    [["/"], "search", "/", () => { open(true); turnTo("list"); list.search.focus(); }],
    [["Esc"], "select nothing", "Escape", () => send(state.measure.on ? { do: "measure", on: false } : state.brush.how !== "off" ? { do: "brush", how: "off" } : { do: "select", id: 0 })],
    [["?"], "this sheet", "?", () => keysheet.showModal()],
  ];
  const keysheet = make("dialog", { id: "op-keys" }, make("h2", {}, "Keyboard and mouse"),
    make("dl", {}, ...[[["Drag"], "turn"], [["Right drag"], "move sideways"], [["Wheel"], "come closer"], [["W", "A", "S", "D"], "fly; Q and E go down and up"]].map(([keys, what]) =>
      make("div", {}, make("dt", {}, keys.join(" ")), make("dd", {}, what))),
      ...KEYS.map(([keys, what]) => make("div", {}, make("dt", {}, ...keys.flatMap((key, i) => [...(i ? [" + "] : []), make("kbd", {}, key)])), make("dd", {}, what)))),
    make("div", { class: "op-bar" }, make("span"), button("Close", () => keysheet.close())));
  addEventListener("keydown", (event) => {
    if (!state || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, select, textarea, [contenteditable=true]")) {
      if (event.key === "Escape" && panel.contains(event.target)) event.target.blur();
      return;
    }
    if (view.open && ["ArrowLeft", "ArrowRight"].includes(event.key)) return step(event.key === "ArrowLeft" ? -1 : 1);
    if (document.querySelector("dialog[open]")) return;
    const key = KEYS.find(([, , name]) => name === event.key);
    if (!key) return;
    event.preventDefault();
    event.stopPropagation();
    key[3]();
  }, true);

  document.body.append(sheet, panel, toggle, alone, toast, view, keysheet);
  open(innerWidth >= 1000);
  // viser's panel covers the lower half of a narrow page, and what is looked at; its handle opens it again.
  if (innerWidth < 576) {
    const search = setInterval(() => {
      const handle = [...document.querySelectorAll("#root div")].find((one) => !one.childElementCount && one.textContent === "panoptic-gs");
      if (!handle) return;
      clearInterval(search);
      handle.click();
    }, 100);
  }
  connect();
});
