// Calls of the studio's own server, and the message that follows them.
const toast = document.getElementById("toast");
const text = toast.querySelector("[data-text]");
const undoButton = toast.querySelector("[data-undo]");
const SHOWN_FOR = 10_000; // milliseconds
let timer = null;

/** Show a message, with a button that undoes what it is about. It is in the open dialog, which makes the rest inert. */
export function show(message, undo = null) {
  clearTimeout(timer);
  (document.querySelector("dialog:modal") ?? document.body).append(toast);
  toast.hidden = false;
  text.textContent = message;
  undoButton.hidden = !undo;
  undoButton.onclick = () => {
    toast.hidden = true;
    undo();
  };
  timer = setTimeout(() => { toast.hidden = true; }, SHOWN_FOR);
}

document.addEventListener("close", () => document.body.append(toast), { capture: true });

/** The answer as an object, or null if the call has failed, which is shown. */
export async function post(address, values) {
  const body = new URLSearchParams(values);
  body.set("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
  const response = await fetch(address, { method: "POST", body, headers: { "HX-Request": "true" } }).catch(() => null);
  if (response?.ok) return response.json();
  if (response?.status === 401) location.assign(response.headers.get("HX-Redirect"));
  else show(toast.dataset.failed);
  return null;
}
