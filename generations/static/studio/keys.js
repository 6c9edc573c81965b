// The keyboard shortcuts of all modules. `?` shows them: templates/studio/shortcuts.html has their descriptions.
const list = document.getElementById("shortcuts");
const SYMBOLS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Enter: "↵" };
export const ANYWHERE = "anywhere";
const handlers = new Map();

/**
 * Call the handler when the key is pressed, except in a field. `name` is the row that describes it.
 * A key of a dialog acts while that dialog is open, one of ANYWHERE always, all others while none is open.
 * A key without a handler is only listed.
 */
export function register(key, name, handler, dialog = null) {
  if (handler) handlers.set(key, [...(handlers.get(key) ?? []), { handler, dialog }]);
  const row = list?.querySelector(`[data-name="${name}"]`);
  if (!row) return;
  row.hidden = false;
  const cap = document.createElement("kbd");
  cap.textContent = key.split("+").map((part) => SYMBOLS[part] ?? part).join(" ");
  row.querySelector("dt").append(cap, " ");
}

const isField = (element) => element.matches("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio])");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isField(event.target)) return;
  const open = document.querySelector("dialog:modal");
  const found = handlers.get(event.key)?.find(({ dialog }) => dialog === open || dialog === ANYWHERE);
  if (!found) return;
  event.preventDefault();
  found.handler(event);
});

function show() {
  list.showModal();
}

if (list) {
  register("?", "shortcuts", show, ANYWHERE);
  for (const button of document.querySelectorAll("[data-shortcuts]")) {
    button.hidden = false;
    button.addEventListener("click", show);
  }
  list.addEventListener("click", (event) => { if (event.target === list) list.close(); }); // its backdrop
}
