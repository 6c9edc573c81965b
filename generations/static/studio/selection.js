// Selection of several images, and what can be done with all of them.
import { move } from "./bin.js";
import { post, show } from "./calls.js";
import { ids, isBin, tileOf } from "./gallery.js";
import { register } from "./keys.js";

const gallery = document.getElementById("gallery");
const bar = document.getElementById("selection");
const labelling = bar.querySelector(".labelling");
const MAX = Number(bar.dataset.max);
const LONG_PRESS = 500; // milliseconds
const selected = new Set();
let anchor = null; // the id at which a range begins

function showSelection() {
  for (const tile of gallery.querySelectorAll(".tile")) {
    const isSelected = selected.has(tile.dataset.id);
    tile.classList.toggle("selected", isSelected);
    tile.querySelector(".pick").checked = isSelected;
  }
  gallery.classList.toggle("selecting", selected.size > 0);
  bar.hidden = !selected.size;
  bar.elements.ids.value = [...selected].join();
  bar.querySelector("[data-count]").textContent = selected.size;
  for (const element of bar.querySelectorAll("[data-in]")) element.hidden = (element.dataset.in === "bin") !== isBin();
  if (bar.hidden && labelling) labelling.hidden = true; // a visitor who may only view has none
}

function add(chosen) {
  for (const id of chosen) {
    if (selected.size >= MAX && !selected.has(id)) {
      show(bar.dataset.full);
      break;
    }
    selected.add(id);
  }
}

function toggle(id) {
  if (!selected.delete(id)) add([id]);
  anchor = id;
  showSelection();
}

function extendTo(id) {
  const list = ids();
  const [start, end] = [list.indexOf(anchor ?? id), list.indexOf(id)].sort((a, b) => a - b);
  add(list.slice(Math.max(start, 0), end + 1));
  anchor ??= id;
  showSelection();
}

function clear() {
  selected.clear();
  anchor = null;
  showSelection();
}

let isLongPress = false; // whether the click that follows ends a long press
let press = null;
gallery.addEventListener("pointerdown", (event) => {
  const tile = event.target.closest(".tile");
  isLongPress = false;
  clearTimeout(press);
  if (!tile || event.pointerType !== "touch") return;
  press = setTimeout(() => {
    isLongPress = true;
    toggle(tile.dataset.id);
  }, LONG_PRESS);
});
for (const name of ["pointerup", "pointercancel"]) gallery.addEventListener(name, () => clearTimeout(press));
gallery.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") event.preventDefault(); });

gallery.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  const isPick = event.target.matches(".pick");
  const isWithKey = event.ctrlKey || event.metaKey || event.shiftKey;
  if (!tile || !(isPick || isWithKey || isLongPress || selected.size)) return;
  event.stopPropagation();
  if (!isPick) event.preventDefault();
  if (isLongPress) isLongPress = false;
  else if (event.shiftKey) extendTo(tile.dataset.id);
  else toggle(tile.dataset.id);
}, { capture: true }); // before a click opens the lightbox

/** The tile that is the nearest in the row above (-1) or below (1). */
function vertical(tile, direction) {
  const from = tile.getBoundingClientRect();
  const center = (box) => box.left + box.width / 2;
  let nearest = null;
  for (const other of gallery.querySelectorAll(".tile")) {
    const box = other.getBoundingClientRect();
    const rows = (box.top - from.top) * direction;
    if (rows < from.height / 2) continue;
    const distance = rows * 4 + Math.abs(center(box) - center(from));
    if (!nearest || distance < nearest.distance) nearest = { tile: other, distance };
  }
  return nearest?.tile;
}

function neighbour(tile, key) {
  if (key === "ArrowUp") return vertical(tile, -1);
  if (key === "ArrowDown") return vertical(tile, 1);
  const list = ids();
  return tileOf(list[list.indexOf(tile.dataset.id) + (key === "ArrowRight" ? 1 : -1)]);
}

gallery.addEventListener("keydown", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && !event.target.matches(".pick")) {
    event.preventDefault();
    if (event.shiftKey) extendTo(tile.dataset.id);
    else toggle(tile.dataset.id);
  } else if (event.key.startsWith("Arrow")) {
    event.preventDefault();
    const next = neighbour(tile, event.key);
    next?.querySelector("a").focus();
    if (next && event.shiftKey) {
      anchor ??= tile.dataset.id;
      extendTo(next.dataset.id);
    }
  }
});

const act = {
  clear,
  async move() {
    const chosen = [...selected];
    if (await move(chosen)) clear();
  },
  label() {
    labelling.hidden = !labelling.hidden;
    if (!labelling.hidden) bar.elements.labels.focus();
  },
  async save() {
    const labels = bar.elements.labels.value;
    const answer = await post(bar.dataset.labels, { ids: [...selected], labels });
    if (!answer) return;
    labelling.querySelector(".error").textContent = answer.error ?? "";
    bar.elements.labels.setAttribute("aria-invalid", Boolean(answer.error));
    if (answer.error) return;
    show(answer.message);
    if (bar.elements.labels.value !== labels) return; // more was typed meanwhile
    bar.elements.labels.value = "";
    labelling.hidden = true;
  },
};

register("Space", "select"); // of the tile with the focus, see above
register("a", "select-all", () => {
  add(ids());
  showSelection();
});
register("Delete", "delete", () => { if (selected.size && !isBin()) act.move(); });
register("Escape", "close", clear);
bar.addEventListener("click", (event) => act[event.target.closest("[data-act]")?.dataset.act]?.());
bar.elements.labels.addEventListener("keydown", (event) => {
  if (event.key === "Escape") labelling.hidden = true;
  if (event.key !== "Enter") return;
  event.preventDefault(); // the form downloads
  act.save();
});
document.getElementById("filters").addEventListener("htmx:beforeRequest", clear);
new MutationObserver(() => { if (selected.size) showSelection(); }).observe(gallery, { childList: true });
