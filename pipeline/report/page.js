"use strict";
// The gallery of the visual report. What it shows is in the page as JSON; the strip of a case is a
// file beside the page, or in the page for the cases that are shown further down.
const data = JSON.parse(document.getElementById("gallery-data").textContent);
const cases = data.cases.map((fields, place) => {
  const [id, classPlace, source, flags, sentences, numbers, strip] = fields;
  const values = Object.fromEntries(data.columns.map((name, column) => [name, numbers[column]]));
  const folded = id.toLowerCase();
  return { id, folded, place, className: data.classes[classPlace], source: data.sources[source] ?? "", flags, sentences, values, strip };
});
const PAGE = 60; // tiles shown at once
const sheets = new Map(); // of thumbnails, decoded when first needed

const form = document.getElementById("filters");
const tiles = document.getElementById("tiles");
const count = document.getElementById("gallery-count");
const more = document.getElementById("gallery-more");
const dialog = document.getElementById("case");
let found = cases; // what the filters leave, sorted
let shown = 0; // tiles of `found` that are drawn
let opened = -1; // place in `found` of the case in the dialog

function number(name) {
  const text = form.elements[name].value.trim();
  return text === "" ? null : Number(text);
}

function within(value, low, high) {
  if (low === null && high === null) return true;
  return value !== null && (low === null || value >= low) && (high === null || value <= high);
}

const SORTS = {
  "dice": ["dice", 1], "dice-down": ["dice", -1], "hd95": ["hd95", -1], "nsd": ["nsd", 1],
  "area_error": ["area_error", -1], "soft_dice": ["soft_dice", 1], "contour_entropy": ["contour_entropy", -1],
  "tta_dice": ["tta_dice", 1], "ece": ["ece", -1],
};

function compare(sort) {
  const byName = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
  if (!(sort in SORTS)) return byName;
  const [name, direction] = SORTS[sort];
  return (a, b) => {
    const one = a.values[name], other = b.values[name];
    if (one === null || other === null) return (one === null) - (other === null) || byName(a, b);
    return direction * (one - other) || byName(a, b);
  };
}

function apply() {
  const text = form.elements.search.value.trim().toLowerCase();
  const className = form.elements.class.value, source = form.elements.source?.value ?? "";
  const flag = form.elements.flag.value === "" ? null : Number(form.elements.flag.value);
  const ranges = ["dice", "hd95", "soft_dice"].map((name) => [name, number(`${name}-low`), number(`${name}-high`)]);
  found = cases.filter((one) =>
    (text === "" || one.folded.includes(text))
    && (className === "" || one.className === className)
    && (source === "" || one.source === source)
    && (flag === null || one.flags.includes(flag))
    && ranges.every(([name, low, high]) => within(one.values[name], low, high)));
  found.sort(compare(form.elements.sort.value));
  tiles.replaceChildren();
  shown = 0;
  showMore();
  const share = found.length === cases.length ? `all ${cases.length}` : `${found.length} of ${cases.length}`;
  count.textContent = `${share} test radiographs`;
  remember();
}

function showMore() {
  const upTo = Math.min(found.length, shown + PAGE);
  const fresh = document.createDocumentFragment();
  for (; shown < upTo; shown++) fresh.append(tile(found[shown], shown));
  tiles.append(fresh);
  more.hidden = shown >= found.length;
  more.textContent = `Show ${Math.min(PAGE, found.length - shown)} more of ${found.length - shown}`;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function tile(one, place) {
  const button = element("button", null, { type: "button", class: "tile" });
  const canvas = element("canvas", null, { width: data.tile, height: data.tile, "aria-hidden": "true" });
  const failed = one.flags.includes(data.failure);
  button.append(canvas, element("span", one.id, { class: "name" }),
    element("span", `Dice ${show("dice", one.values.dice)}${failed ? ", failure" : ""}`, { class: failed ? "failed" : "" }));
  button.addEventListener("click", () => open(place));
  drawThumbnail(canvas, one.place);
  const item = element("li", null);
  item.append(button);
  return item;
}

function sheet(index) {
  if (!sheets.has(index)) {
    const picture = new Image();
    picture.src = `data:image/jpeg;base64,${document.getElementById(`sheet-${index}`).textContent.trim()}`;
    sheets.set(index, picture.decode().then(() => picture));
  }
  return sheets.get(index);
}

async function drawThumbnail(canvas, place) {
  const picture = await sheet(Math.floor(place / data.sheet));
  const within = place % data.sheet, side = data.tile;
  const left = (within % data.across) * side, top = Math.floor(within / data.across) * side;
  canvas.getContext("2d").drawImage(picture, left, top, side, side, 0, 0, side, side);
}

function show(name, value) {
  if (value === null || value === undefined) return "–";
  const digits = data.digits[name] ?? 3;
  return value.toFixed(digits);
}

// One case in the dialog.

function open(place) {
  opened = place;
  const one = found[place];
  document.getElementById("case-title").textContent = one.id;
  document.getElementById("case-place").textContent = `${place + 1} of ${found.length}`;
  document.getElementById("case-about").textContent = `Class ${one.className}${one.source ? `, source ${one.source}` : ""}`;
  document.getElementById("case-sentences").replaceChildren(
    ...(one.flags.includes(data.failure) ? [element("li", data.flags[data.failure], { class: "failed" })] : []),
    ...one.sentences.map((sentence) => element("li", sentence)));
  for (const cell of dialog.querySelectorAll("[data-value]")) {
    cell.textContent = show(cell.dataset.value.replace(/^(left|right)_/, ""), one.values[cell.dataset.value]);
  }
  document.getElementById("case-previous").disabled = place === 0;
  document.getElementById("case-next").disabled = place === found.length - 1;
  drawStrip(one);
  if (!dialog.open) dialog.showModal();
  document.getElementById("case-body").scrollTop = 0;
  remember();
}

function drawStrip(one) {
  const panels = [...dialog.querySelectorAll("canvas[data-panel]")];
  const missing = document.getElementById("case-missing"), figures = document.getElementById("case-panels");
  const picture = new Image();
  const current = () => dialog.dataset.shows === one.id;
  dialog.dataset.shows = one.id;
  delete dialog.dataset.drawn;
  for (const canvas of panels) {
    canvas.setAttribute("aria-label", `${canvas.dataset.label} of ${one.id}`);
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height); // of the radiograph before
  }
  picture.addEventListener("load", () => {
    if (!current()) return;
    missing.hidden = true;
    figures.hidden = false;
    const width = picture.naturalWidth / data.panelsAcross, height = picture.naturalHeight / (panels.length / data.panelsAcross);
    panels.forEach((canvas, place) => {
      canvas.width = width;
      canvas.height = height;
      const left = (place % data.panelsAcross) * width, top = Math.floor(place / data.panelsAcross) * height;
      canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
    });
    dialog.dataset.drawn = one.id;
  });
  picture.addEventListener("error", () => {
    if (!current()) return;
    missing.hidden = false;
    figures.hidden = true;
    dialog.dataset.drawn = one.id;
  });
  const embedded = document.getElementById(`strip-${one.place}`);
  picture.src = embedded ? `data:image/jpeg;base64,${embedded.textContent.trim()}`
    : one.strip.split("/").map(encodeURIComponent).join("/");
}

function step(by) {
  const place = opened + by;
  if (place < 0 || place >= found.length) return;
  while (shown <= place) showMore();
  open(place);
}

dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  step(by);
});
dialog.addEventListener("close", () => {
  tiles.children[opened]?.querySelector("button").focus();
  opened = -1;
  remember();
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
document.getElementById("case-previous").addEventListener("click", () => step(-1));
document.getElementById("case-next").addEventListener("click", () => step(1));
document.getElementById("case-close").addEventListener("click", () => dialog.close());
more.addEventListener("click", () => {
  const first = shown;
  showMore();
  tiles.children[first]?.querySelector("button").focus();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", apply);
// Its click, not the form's reset: that also comes of the buttons below, which go on from there.
form.querySelector("[type=reset]").addEventListener("click", () => setTimeout(apply));
for (const button of document.querySelectorAll("button[data-open]")) {
  button.addEventListener("click", () => {
    form.reset();
    apply();
    const place = found.findIndex((one) => one.place === Number(button.dataset.open));
    while (shown <= place) showMore();
    open(place);
  });
}

for (const button of document.querySelectorAll("button[data-flag]")) {
  button.addEventListener("click", () => {
    form.reset();
    form.elements.flag.value = button.dataset.flag;
    apply();
    document.getElementById("gallery").scrollIntoView();
    tiles.querySelector("button")?.focus({ preventScroll: true });
  });
}

// What is shown is in the address, so that it can be sent on: #gallery&sort=hd95&case=COVID/COVID-1

function remember() {
  const state = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "" && !(name === "sort" && value === "dice")) state.set(name, value);
  if (opened >= 0) state.set("case", found[opened].id);
  const text = state.toString();
  if (text === "" && !location.hash.startsWith("#gallery&")) return;
  try {
    history.replaceState(null, "", text === "" ? "#gallery" : `#gallery&${text}`);
  } catch { /* some frames keep their address for themselves */ }
}

function recall() {
  if (!location.hash.startsWith("#gallery&")) return apply();
  const state = new URLSearchParams(location.hash.slice("#gallery&".length));
  for (const [name, value] of state) {
    const field = form.elements[name];
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value;
  }
  apply();
  const place = found.findIndex((one) => one.id === state.get("case"));
  if (place < 0) return document.getElementById("gallery").scrollIntoView();
  while (shown <= place) showMore();
  open(place);
}

document.documentElement.classList.add("scripted");
recall();
