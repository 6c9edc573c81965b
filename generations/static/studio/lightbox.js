// The lightbox: one image with its values, and the way to the next. The images of the gallery are its list.
import { move } from "./bin.js";
import { canCopyImages, copyImage, copyText } from "./clipboard.js";
import { addressOf, ids, loadMore, tileOf } from "./gallery.js";
import { register } from "./keys.js";
import * as zoom from "./zoom.js";

const box = document.getElementById("lightbox");
const content = document.getElementById("lightbox-content");
const gallery = document.getElementById("gallery");
const SWIPE = 60; // pixels
const PREFETCHED = 3; // images before the end of the list, from which on more are loaded
box.classList.toggle("without-copy-image", !canCopyImages);
let current = null; // the id of the generation that is shown

function linkTo(id) {
  const link = new URL(location.href);
  if (id) link.searchParams.set("image", id);
  else link.searchParams.delete("image");
  return link;
}

async function open(id) {
  current = id;
  history.replaceState(null, "", linkTo(id));
  await htmx.ajax("GET", addressOf(id), { source: content, target: content });
  if (!content.firstElementChild) return; // the session has ended, or the call has failed
  if (!box.open) box.showModal();
  if (!box.contains(document.activeElement)) box.focus(); // what had the focus was replaced
  showSteps();
  if (ids().indexOf(id) >= ids().length - PREFETCHED && (await loadMore())) showSteps();
}

/** Enable the buttons to the images before and after, and load the next, so that it is there at once. */
function showSteps() {
  const list = ids();
  const position = list.indexOf(current);
  for (const button of box.querySelectorAll("[data-step]")) {
    button.disabled = position < 0 || !list[position + Number(button.dataset.step)];
  }
  const next = tileOf(list[position + 1])?.querySelector("a:not(.text)");
  if (position >= 0 && next) new Image().src = next.href;
}

function step(by) {
  const list = ids();
  const position = list.indexOf(current);
  if (position >= 0 && list[position + by]) open(list[position + by]);
}

function close() {
  box.close();
}

box.addEventListener("close", () => {
  history.replaceState(null, "", linkTo(null));
  const tile = tileOf(current);
  tile?.scrollIntoView({ block: "nearest" });
  tile?.querySelector("a").focus();
  current = null;
  content.replaceChildren();
});

function use(button) {
  const values = JSON.parse(button.closest(".facts").dataset.values);
  const chosen = button.dataset.use === "*" ? values : {};
  if (button.dataset.use !== "*") for (const name of button.dataset.use.split(",")) chosen[name] = values[name] ?? "";
  if ("vary" in button.dataset) Object.assign(chosen, { seed: "", n: "1", submit: true });
  close();
  document.dispatchEvent(new CustomEvent("studio:use", { detail: chosen }));
}

async function moveAndContinue() {
  const id = current;
  const list = ids();
  const index = list.indexOf(id);
  if (!(await move([id]))) return;
  const next = list[index + 1] ?? list[index - 1];
  if (index >= 0 && next) open(next);
  else close();
}

gallery.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  event.preventDefault();
  open(tile.dataset.id);
});

box.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.step) step(Number(button.dataset.step));
  if ("close" in button.dataset) close();
  if (button.dataset.use) use(button);
  if (button.dataset.move) moveAndContinue();
  if ("copyImage" in button.dataset) copyImage(content.querySelector('[href$=".png"]').href, button);
  if ("copyLink" in button.dataset) copyText(linkTo(current).href, button);
});

for (const key of ["ArrowRight", "j"]) register(key, "next", () => step(1), box);
for (const key of ["ArrowLeft", "k"]) register(key, "previous", () => step(-1), box);
register("z", "zoom", zoom.toggle, box);
register("Delete", "delete", () => content.querySelector('[data-move="delete"]')?.click(), box);

let touchedAt = null;
box.addEventListener("touchstart", (event) => { touchedAt = event.changedTouches[0].clientX; }, { passive: true });
box.addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - touchedAt;
  if (Math.abs(moved) > SWIPE && !zoom.isZoomed()) step(moved < 0 ? 1 : -1);
});

// Another client may have deleted, restored or labelled it. What is being typed here stays.
document.addEventListener("studio:changed", ({ detail: { ids } }) => {
  if (!current || (ids && !ids.includes(current)) || content.querySelector("textarea:focus")) return;
  const facts = content.querySelector(".facts");
  if (facts) htmx.ajax("GET", addressOf(current), { source: content, target: facts, select: ".facts", swap: "outerHTML" });
});

const linked = new URL(location.href).searchParams.get("image");
if (/^[0-9a-f-]{36}$/.test(linked ?? "")) open(linked);
