// The gallery: its address has the filters, and new images appear at the top without moving what is looked at.
import { register } from "./keys.js";

const gallery = document.getElementById("gallery");
const filters = document.getElementById("filters");
const newImages = document.getElementById("new-images");

function query() {
  const chosen = new URLSearchParams(new FormData(filters));
  for (const [name, value] of [...chosen]) if (!value.trim()) chosen.delete(name);
  return chosen.toString();
}

/** Request the first page again, with the filters as they are. */
function refresh() {
  newImages.hidden = true;
  const chosen = query();
  htmx.ajax("GET", `${filters.getAttribute("hx-get")}${chosen && "?"}${chosen}`, { target: gallery });
}

const isAtTop = () => gallery.getBoundingClientRect().top > -200;

document.addEventListener("studio:generation", ({ detail }) => {
  if (!detail.completed_at) return;
  if (isAtTop()) refresh();
  else newImages.hidden = detail.status !== "completed";
});
document.addEventListener("studio:changed", refresh);
newImages.addEventListener("click", () => {
  refresh();
  scrollTo({ top: 0 });
});
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("htmx:afterRequest", () => {
  const chosen = query();
  history.replaceState(null, "", `${filters.action}${chosen && "?"}${chosen}`);
});
register("/", "search", () => document.getElementById("q").focus());
