// The prompt form.
import { copyText } from "./clipboard.js";
import { register } from "./keys.js";

const form = document.getElementById("prompt");
const field = (name) => form.elements[name];
const NUMBERS = new Set(["n", "width", "height", "steps", "guidance", "seed", "quality"]);
const DEFAULTS = { width: "512", height: "512", steps: "30", guidance: "7" };

/** The fields of the request that the form makes. */
function request() {
  const values = {};
  for (const [name, text] of new FormData(form)) {
    if (!text || ["csrfmiddlewaretoken", "call"].includes(name) || (name === "n" && text === "1")) continue;
    values[name] = NUMBERS.has(name) ? Number(text) : text;
  }
  if (values.labels) {
    const pairs = values.labels.split(",").filter((pair) => pair.trim()).map((pair) => pair.split(/=(.*)/s));
    values.labels = Object.fromEntries(pairs.map(([label, value = ""]) => [label.trim(), value.trim()]));
  }
  return values;
}

const LANGUAGES = {
  curl: (url, values) => `curl ${url} \\
  -H "Authorization: Bearer $KEY" \\
  -H "Content-Type: application/json" \\
  -d '${JSON.stringify(values, null, 2).replaceAll("'", "'\\''")}'`,
  python: (url, values) => `import os

import httpx

response = httpx.post(
    "${url}",
    headers={"Authorization": f"Bearer {os.environ['KEY']}"},
    json=${python(values)},
    params={"wait": 60},
    timeout=90,
)
print(response.raise_for_status().json())`,
};

/** JSON is Python, as the values contain no null and no truth value. */
function python(values) {
  return JSON.stringify(values, null, 4).replaceAll("\n", "\n    ");
}

function showCode() {
  const box = document.getElementById("request");
  if (!box || box.hidden) return;
  const language = box.querySelector("[aria-pressed=true]").dataset.language;
  box.querySelector("code").textContent = LANGUAGES[language](box.dataset.url, request());
}

/** Show the chosen model's defaults, and which preset the size is. */
function showDefaults() {
  const defaults = { ...DEFAULTS, ...field("model").selectedOptions[0]?.dataset };
  for (const name of Object.keys(DEFAULTS)) field(name).placeholder = defaults[name];
  const size = ["width", "height"].map((name) => field(name).value || field(name).placeholder);
  for (const preset of form.querySelectorAll(".preset")) {
    preset.setAttribute("aria-pressed", preset.dataset.width === size[0] && preset.dataset.height === size[1]);
  }
  showCode();
}

function fill(values) {
  for (const [name, value] of Object.entries(values)) {
    if (!field(name)) continue;
    field(name).value = value ?? "";
    if (value) field(name).closest("details")?.setAttribute("open", "");
  }
  showDefaults();
}

function choose(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", button === chosen);
}

form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
form.addEventListener("input", showDefaults);
form.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const box = document.getElementById("request");
  if (button.matches(".preset")) fill({ width: button.dataset.width, height: button.dataset.height });
  if (button.dataset.clear) fill({ [button.dataset.clear]: "" });
  if (button.id === "show-request") {
    box.hidden = !box.hidden;
    button.setAttribute("aria-expanded", !box.hidden);
    showCode();
  }
  if (button.dataset.language) {
    choose(box.querySelectorAll("[data-language]"), button);
    showCode();
  }
  if ("copy" in button.dataset) copyText(box.querySelector("code").textContent, button);
});

/** Others fill the form by this event: detail has fields by name, and `submit` to send it. */
document.addEventListener("studio:use", ({ detail: { submit, ...values } }) => {
  fill(values);
  if (submit) form.requestSubmit();
  else field("prompt").focus();
});

register("Ctrl+Enter", "create"); // also in its fields, see above
register("n", "prompt", () => field("prompt").focus());
showDefaults();
