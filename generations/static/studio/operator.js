// Requests the figures again every few seconds. htmx keeps the scroll position, and the focus by the id of an element.
import { register } from "./keys.js";

const figures = document.getElementById("figures");
const pause = document.getElementById("pause");
const state = document.getElementById("state");
let isPaused = false;

function refresh() {
  if (!isPaused && !document.hidden) htmx.trigger(figures, "refresh");
}

function toggle() {
  isPaused = !isPaused;
  pause.textContent = isPaused ? pause.dataset.resume : pause.dataset.pause;
  refresh();
}

pause.hidden = false;
pause.addEventListener("click", toggle);
register("p", "pause", toggle);
document.addEventListener("visibilitychange", refresh);
figures.addEventListener("htmx:afterRequest", ({ detail }) => {
  state.textContent = detail.successful ? "" : state.dataset.failed;
  figures.classList.toggle("stale", !detail.successful);
});
setInterval(refresh, figures.dataset.seconds * 1000);
