// The live connection: refreshes queue and gallery when generations change.
const queue = document.getElementById("queue");
const events = new EventSource("studio/events");

events.addEventListener("progress", (event) => {
  const { id, progress } = JSON.parse(event.data);
  const bar = queue.querySelector(`[data-id="${id}"] progress`);
  if (bar) bar.value = progress;
});
events.addEventListener("generation", (event) => {
  htmx.trigger(queue, "refresh");
  if (JSON.parse(event.data).completed_at) htmx.trigger("#gallery", "refresh");
});
document.body.addEventListener("studio:created", () => htmx.trigger(queue, "refresh"));
