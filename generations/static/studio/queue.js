// The live queue. The server sends an event for each change; the queue is then requested as a whole, so that it is
// right whatever was missed. Other modules receive the changes as `studio:generation` and `studio:changed` on the document.
const queue = document.getElementById("queue");
const title = document.title;
const MIN_INTERVAL = 400; // milliseconds between two requests of the queue
let timer = null;
let events = null;
let count = 0; // of the unfinished

function refresh() {
  timer ??= setTimeout(() => {
    timer = null;
    htmx.trigger(queue, "refresh");
  }, MIN_INTERVAL);
}

/** With `since` the server repeats what has ended since this time, so that nothing else must be requested again. */
function connect(since) {
  let isComplete = Boolean(since);
  events = new EventSource(queue.dataset.events + (since ? `?since=${since}` : ""));
  events.addEventListener("open", () => {
    refresh();
    if (!isComplete) document.dispatchEvent(new CustomEvent("studio:connected")); // also after a lost connection
    isComplete = false;
  });
  events.addEventListener("progress", (event) => showProgress(JSON.parse(event.data)));
  events.addEventListener("generation", (event) => {
    refresh();
    document.dispatchEvent(new CustomEvent("studio:generation", { detail: JSON.parse(event.data) }));
  });
  events.addEventListener("changed", (event) => {
    refresh();
    document.dispatchEvent(new CustomEvent("studio:changed", { detail: JSON.parse(event.data) }));
  });
  events.addEventListener("error", () => {
    // The browser reconnects by itself, unless the response was an error: the session may have ended.
    if (events.readyState === EventSource.CLOSED) setTimeout(reconnect, 3000);
  });
}

/** A browser has six connections to a host: without this, the seventh window of the studio would wait for ever. */
function closeIfUnused() {
  if (document.hidden && !count) events.close();
}

async function reconnect() {
  const response = await fetch(queue.dataset.home, { method: "HEAD", redirect: "manual" }).catch(() => null);
  if (response?.headers.get("X-Signed-In") === "no") location.assign(queue.dataset.home);
  else if (events.readyState === EventSource.CLOSED) connect();
}

function showProgress({ id, progress, preview }) {
  const row = queue.querySelector(`[data-id="${id}"].processing`);
  if (!row) return refresh();
  row.querySelector("progress").value = progress;
  if (!preview) return;
  const image = row.querySelector(".preview img");
  image.src = `${image.dataset.src}?number=${new URL(preview).searchParams.get("number")}`;
  image.hidden = false;
}

document.body.addEventListener("studio:created", refresh);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) closeIfUnused();
  else if (events.readyState === EventSource.CLOSED) connect();
  else refresh();
});
addEventListener("online", refresh);
queue.addEventListener("error", ({ target }) => { if (target.matches(".preview img")) target.hidden = true; }, true);
queue.addEventListener("htmx:afterSwap", () => {
  count = Number(queue.querySelector("[data-count]").dataset.count);
  document.title = count ? `(${count}) ${title}` : title;
  closeIfUnused();
});
connect(queue.dataset.since);
