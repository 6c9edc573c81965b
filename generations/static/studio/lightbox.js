// The lightbox: one image with its values, and the way to the next. The tiles of the gallery are its list.
import { register } from "./keys.js";

const box = document.getElementById("lightbox");
const content = document.getElementById("lightbox-content");
const gallery = document.getElementById("gallery");
const toast = document.getElementById("toast");
const UNDO_FOR = 10_000; // milliseconds
const SWIPE = 60; // pixels
let current = null; // the id of the generation that is shown
let undoTimer = null;

const tiles = () => [...gallery.querySelectorAll(".tile")];
const tileOf = (id) => gallery.querySelector(`.tile[data-id="${id}"]`);

function addressOf(id) {
  const address = new URL(location.href);
  if (id) address.searchParams.set("image", id);
  else address.searchParams.delete("image");
  return address;
}

async function open(id, address) {
  current = id;
  history.replaceState(null, "", addressOf(id));
  await htmx.ajax("GET", address, { target: content });
  if (!box.open) box.showModal();
  if (!box.contains(document.activeElement)) box.focus(); // what had the focus was replaced
  const list = tiles();
  const position = list.indexOf(tileOf(id));
  for (const button of box.querySelectorAll("[data-step]")) {
    button.disabled = position < 0 || !list[position + Number(button.dataset.step)];
  }
  list[position + 1]?.querySelector("img:last-of-type")?.setAttribute("loading", "eager");
  if (list[position + 1]) new Image().src = list[position + 1].href; // so that the next one is there at once
  if (position >= list.length - 3) gallery.querySelector(".more")?.scrollIntoView({ block: "end" });
}

function step(by) {
  const list = tiles();
  const next = list[list.indexOf(tileOf(current)) + by];
  if (next) open(next.dataset.id, next.dataset.detail);
}

function close() {
  box.close();
}

box.addEventListener("close", () => {
  history.replaceState(null, "", addressOf(null));
  tileOf(current)?.focus();
  current = null;
});

function use(button) {
  const values = JSON.parse(button.closest(".facts").dataset.values);
  const chosen = button.dataset.use === "*" ? values : {};
  if (button.dataset.use !== "*") for (const name of button.dataset.use.split(",")) chosen[name] = values[name] ?? "";
  if ("vary" in button.dataset) Object.assign(chosen, { seed: "", n: "1", submit: true });
  close();
  document.dispatchEvent(new CustomEvent("studio:use", { detail: chosen }));
}

async function post(address) {
  const { "X-CSRFToken": token } = JSON.parse(content.getAttribute("hx-headers"));
  const response = await fetch(address, { method: "POST", headers: { "X-CSRFToken": token, "HX-Request": "true" } });
  if (!response.ok) location.reload();
}

function offerUndo(address) {
  clearTimeout(undoTimer);
  toast.hidden = false;
  toast.querySelector("[data-undo]").onclick = async () => {
    toast.hidden = true;
    await post(address);
    document.dispatchEvent(new CustomEvent("studio:changed"));
  };
  undoTimer = setTimeout(() => { toast.hidden = true; }, UNDO_FOR);
}

async function act(button) {
  const id = current;
  await post(button.dataset.post);
  if (button.dataset.after === "deleted") offerUndo(button.dataset.restore);
  const list = tiles();
  const next = list[list.indexOf(tileOf(id)) + 1];
  tileOf(id)?.remove();
  if (next) open(next.dataset.id, next.dataset.detail);
  else close();
}

function confirm(button) {
  const text = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = text; }, 1500);
}

/** The clipboard takes only PNG. */
async function copyImage(button) {
  const png = content.querySelector('[href$=".png"]').href;
  const blob = fetch(png).then((response) => response.blob());
  await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
  confirm(button);
}

async function copyLink(button) {
  await navigator.clipboard.writeText(addressOf(current).href);
  confirm(button);
}

gallery.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(tile.dataset.id, tile.dataset.detail);
});

box.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target.closest("[data-zoom]")) zoom();
  if (!button) return;
  if (button.dataset.step) step(Number(button.dataset.step));
  if ("close" in button.dataset) close();
  if (button.dataset.use) use(button);
  if (button.dataset.post) act(button);
  if ("copyImage" in button.dataset) copyImage(button);
  if ("copyLink" in button.dataset) copyLink(button);
});

const zoom = () => content.querySelector(".stage").classList.toggle("zoomed");
for (const key of ["ArrowRight", "j"]) register(key, "next", () => step(1), box);
for (const key of ["ArrowLeft", "k"]) register(key, "previous", () => step(-1), box);
register("z", "zoom", zoom, box);
register("Delete", "delete", () => content.querySelector('[data-after="deleted"]')?.click(), box);

let touchedAt = null;
box.addEventListener("touchstart", (event) => { touchedAt = event.changedTouches[0].clientX; }, { passive: true });
box.addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - touchedAt;
  if (Math.abs(moved) > SWIPE && !content.querySelector(".zoomed")) step(moved < 0 ? 1 : -1);
});

const linked = new URL(location.href).searchParams.get("image");
if (/^[0-9a-f-]{36}$/.test(linked ?? "")) open(linked, `studio/generations/${linked}`);
