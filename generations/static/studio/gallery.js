// The gallery: pages of tiles. Those far from what is visible are emptied, keep their height, and are requested again
// when they come near. A page is requested by the range of its ids, so it loses what was deleted and gets what was restored.
import { register } from "./keys.js";
import { rows } from "./justified.js";

const gallery = document.getElementById("gallery");
const filters = document.getElementById("filters");
const newImages = document.getElementById("new-images");
const NEAR = 2000; // pixels
const TEXT_RATIO = 1.4; // of a tile without an image
const MIN_RATIO = 1 / 3; // of a tile: longer images are cropped
const MAX_RATIO = 4;
const pages = new Map(); // by element: the ids and the proportions of its tiles, and whether it is near

const elements = () => [...gallery.querySelectorAll(".page")];
export const ids = () => elements().flatMap((page) => pages.get(page)?.ids ?? []);
export const tileOf = (id) => gallery.querySelector(`.tile[data-id="${id}"]`);
export const addressOf = (id) => `${gallery.dataset.detail}${id}`;
export const isBin = () => filters.elements.status.value === "bin";

function read(page) {
  const tiles = [...page.querySelectorAll(".tile")];
  const ratio = (image) => {
    const own = image ? image.getAttribute("width") / image.getAttribute("height") : TEXT_RATIO;
    return Math.min(Math.max(own, MIN_RATIO), MAX_RATIO);
  };
  pages.set(page, {
    ids: tiles.map((tile) => tile.dataset.id),
    ratios: tiles.map((tile) => ratio(tile.querySelector("img:last-of-type"))),
    isNear: true,
  });
}

function layOut(page) {
  const { gap, fontSize } = getComputedStyle(page);
  const rem = parseFloat(fontSize);
  const space = parseFloat(gap);
  const target = Math.min(Math.max(innerWidth * 0.15, 8 * rem), 14 * rem);
  const { ratios } = pages.get(page);
  const tiles = page.querySelectorAll(".tile");
  let position = 0;
  let bottom = 0;
  for (const [count, height] of ratios.length ? rows(ratios, gallery.clientWidth, space, target) : []) {
    for (const end = position + count; position < end; position++) {
      const style = tiles[position]?.style; // none in an empty page
      if (style) [style.width, style.height] = [`${Math.floor(ratios[position] * height * 100) / 100}px`, `${height}px`];
    }
    bottom += height + space;
  }
  page.style.height = `${bottom}px`;
}

async function fill(page) {
  await htmx.ajax("GET", page.dataset.address, { source: page, target: page, swap: "outerHTML" });
  if (!gallery.querySelector(".page, .empty")) refresh();
}

const nearness = new IntersectionObserver((entries) => {
  for (const { target: page, isIntersecting } of entries) {
    const facts = pages.get(page);
    if (!facts) continue;
    facts.isNear = isIntersecting;
    if (isIntersecting && !page.firstElementChild) fill(page);
    if (!isIntersecting && !page.contains(document.activeElement)) page.replaceChildren();
  }
}, { rootMargin: `${NEAR}px 0px` });

new MutationObserver(() => {
  for (const page of pages.keys()) {
    if (page.isConnected) continue;
    pages.delete(page);
    nearness.unobserve(page);
  }
  for (const page of elements()) {
    if (pages.has(page)) continue;
    read(page);
    layOut(page);
    nearness.observe(page);
  }
}).observe(gallery, { childList: true });

let width = gallery.clientWidth;
new ResizeObserver(() => {
  if (gallery.clientWidth === width) return;
  width = gallery.clientWidth;
  for (const page of pages.keys()) layOut(page);
}).observe(gallery);

/** Remove tiles at once, without a request. */
export function remove(removed) {
  for (const [page, facts] of pages) {
    const kept = facts.ids.map((id) => !removed.includes(id));
    if (!kept.includes(false)) continue;
    facts.ids = facts.ids.filter((_, index) => kept[index]);
    facts.ratios = facts.ratios.filter((_, index) => kept[index]);
    for (const id of removed) page.querySelector(`.tile[data-id="${id}"]`)?.remove();
    layOut(page);
  }
}

/** Request the pages that are visible or near again. */
export function reload() {
  const near = elements().filter((page) => pages.get(page)?.isNear);
  if (near.length) near.forEach(fill);
  else refresh();
}

/** Load the page after the last. Returns whether there was one. */
export async function loadMore() {
  const more = gallery.querySelector(".more");
  if (!more) return false;
  await htmx.ajax("GET", more.getAttribute("hx-get"), { source: more, target: more, swap: "outerHTML" });
  return true;
}

function query() {
  const chosen = new URLSearchParams(new FormData(filters));
  for (const [name, value] of [...chosen]) if (!value.trim()) chosen.delete(name);
  return chosen.toString();
}

/** Request the first page again, with the filters as they are. */
function refresh() {
  newImages.hidden = true;
  const chosen = query();
  const address = `${filters.getAttribute("hx-get")}${chosen && "?"}${chosen}`;
  return htmx.ajax("GET", address, { source: gallery, target: gallery });
}

/** Get what is new into the first page. */
function update() {
  newImages.hidden = true;
  const [first] = elements();
  return first ? fill(first) : refresh();
}

const isAtTop = () => gallery.getBoundingClientRect().top > -200;

document.addEventListener("studio:generation", ({ detail }) => {
  if (!detail.completed_at) return;
  if (isAtTop()) update();
  else newImages.hidden = detail.status !== "completed";
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) reload(); });
document.addEventListener("studio:connected", () => { if (pages.size || gallery.querySelector(".empty")) reload(); });
document.body.addEventListener("studio:outdated", refresh); // more is new than a page takes
document.addEventListener("studio:changed", reload); // by any client: deleted, restored or labelled
newImages.addEventListener("click", () => {
  update();
  scrollTo({ top: 0 });
});
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("htmx:afterRequest", () => {
  const chosen = query();
  history.replaceState(null, "", `${filters.action}${chosen && "?"}${chosen}`);
});
register("/", "search", () => document.getElementById("q").focus());
