// Zoom of the image in the lightbox: with the wheel or a pinch around the pointer, and moved by dragging.
const box = document.getElementById("lightbox");
const MAX_SCALE = 8; // times the size at which the image fits

const stage = () => box.querySelector(".stage");

export const isZoomed = () => Boolean(box.querySelector(".stage.zoomed"));

/** Show the image at its own size, or so that it fits. */
export function toggle() {
  const image = stage()?.querySelector("img");
  if (!image) return;
  image.style.width = "";
  stage().classList.toggle("zoomed");
}

box.addEventListener("wheel", (event) => {
  const image = event.target.closest(".stage")?.querySelector("img");
  if (!image) return;
  event.preventDefault();
  const before = image.getBoundingClientRect();
  const [x, y] = [(event.clientX - before.left) / before.width, (event.clientY - before.top) / before.height];
  if (!isZoomed()) image.dataset.fit = before.width;
  const fit = Number(image.dataset.fit ?? before.width);
  const width = Math.min(before.width * Math.exp(-event.deltaY * 0.002), fit * MAX_SCALE);
  stage().classList.toggle("zoomed", width > fit);
  image.style.width = width > fit ? `${width}px` : "";
  const after = image.getBoundingClientRect();
  stage().scrollBy(after.left + x * after.width - event.clientX, after.top + y * after.height - event.clientY);
}, { passive: false });

let isDragged = false;
box.addEventListener("pointerdown", (event) => {
  isDragged = false;
  if (event.pointerType !== "mouse" || event.button || !isZoomed() || !event.target.closest(".stage")) return;
  event.preventDefault(); // of dragging the image out of the window
  const drag = (move) => {
    isDragged ||= Math.abs(move.movementX) + Math.abs(move.movementY) > 1;
    stage()?.scrollBy(-move.movementX, -move.movementY);
  };
  addEventListener("pointermove", drag);
  addEventListener("pointerup", () => removeEventListener("pointermove", drag), { once: true });
});
box.addEventListener("click", (event) => { if (event.target.closest("[data-zoom]") && !isDragged) toggle(); });
