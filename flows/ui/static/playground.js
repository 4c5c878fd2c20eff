// The playground: orders go to the queue, drawings come back as they are drawn; each can be called up again.
import {ask, doing, element, follow, swap} from "./app.js";
import {complete} from "./completion.js";
import {Canvas} from "./mask.js";

const form = document.querySelector("#order"), list = document.querySelector("#drawings"), shown = new Map(), known = new Map(); // drawing -> its element, and what was last heard of it
const canvas = new Canvas(document.querySelector("#frame"), document.querySelector("#size"));
const words = JSON.parse(document.querySelector("#words").textContent);
const kind = () => form.elements.kind.value;
let uploaded = null, chosen = 0, recalled = 0;

function fit() {
  const own = kind() !== "imagine";
  document.querySelector("#own").hidden = !own;
  document.querySelector("#of").hidden = kind() !== "reimagine";
  document.querySelector("#brush").hidden = kind() !== "edit" || !canvas.loaded;
  document.querySelector("#mask").hidden = kind() !== "edit";
  document.querySelectorAll("[data-for]").forEach(field => {
    field.hidden = !field.dataset.for.split(" ").includes(kind());
    field.querySelectorAll("input").forEach(input => input.disabled = field.hidden); // a hidden one that is not valid would block the form in silence
  });
}

function order() {
  const values = Object.fromEntries(new FormData(form)), asked = {kind: kind(), prompt: values.prompt.trim(), num_inference_steps: +values.num_inference_steps || null};
  if (kind() === "reimagine") return {...asked, concept: values.concept};
  Object.assign(asked, {negative: values.negative.trim(), number: +values.number, seed: +values.seed, guidance_scale: +values.guidance_scale || null});
  if (kind() === "imagine" && values.candidates) asked.candidates = +values.candidates;
  return asked;
}

async function draw() {
  const body = {order: order()};
  if (kind() !== "imagine") {
    if (!canvas.loaded) throw new Error("choose a picture first");
    if (kind() === "edit" && !canvas.painted) throw new Error("paint where the picture is to change");
    const turn = chosen, mask = kind() === "edit" ? await canvas.mask() : null;
    body.picture = uploaded ?? (await ask("PUT", "/api/uploads", await canvas.picture())).id;
    if (turn === chosen) uploaded = body.picture; // else another picture was chosen meanwhile
    if (mask) body.mask = (await ask("PUT", "/api/uploads", mask)).id;
  }
  const made = await ask("POST", "/api/drawings", body);
  if (!shown.has(made.id)) show(made); // else an event was quicker and knows more
}

// The new words of a drawing with the versions that drew it. A word has several if it was promoted between two pictures.
const drawnWith = ({pictures}) => [...new Set(pictures.flatMap(({words}) => Object.entries(words ?? {}).map(([word, version]) => `${word} v${version}`)))];

// Brings an order back into the form, and says which of its words another version draws now.
async function recall(drawing) {
  const turn = ++recalled, {order} = drawing, other = document.querySelector("#other"), before = drawnWith(drawing).map(one => one.split(" v"));
  other.textContent = "";
  form.elements.kind.value = order.kind;
  for (const [name, value] of Object.entries(order)) {
    if (name === "kind" || !form.elements[name] || name === "concept" && value === null) continue;
    form.elements[name].value = value ?? form.elements[name].defaultValue;
  }
  fit();
  form.scrollIntoView({block: "start"});
  form.elements.prompt.focus();
  if (!before.length) return;
  const now = await ask("GET", `/api/champions?${new URLSearchParams(before.map(([word]) => ["word", word]))}`);
  if (turn !== recalled) return;
  const changed = before.filter(([word, version]) => now[word] !== +version);
  other.textContent = changed.map(([word, version]) => `drawn with ${word} v${version}; it ${now[word] ? `would now draw with v${now[word]}` : "has no champion now"}`).join(" · ");
}

function describe(drawing) {
  const {order} = drawing;
  const parts = order.kind === "reimagine" ? [`reimagined from ${order.concept}`] : [`${order.kind === "edit" ? "edited, " : ""}seed ${order.seed}`];
  if (order.num_inference_steps) parts.push(`${order.num_inference_steps} steps`);
  if (order.guidance_scale && order.kind !== "reimagine") parts.push(`guidance ${order.guidance_scale}`);
  if (order.candidates) parts.push(`the best of ${order.candidates}`);
  if (order.negative) parts.push(`without “${order.negative}”`);
  return [...parts, ...drawnWith(drawing)].join(", ");
}

function caption({name, facts}) {
  if (!Object.keys(facts).length) return name.replace(".png", "").replace("-", " ");
  return Object.entries(facts).map(([name, value]) => name === "seed" ? `seed ${value}` : `${name.replace("_", " ")} ${Number.isInteger(value) ? value : value.toFixed(3)}`).join(", ");
}

function picture(drawing, one) {
  const address = `/pictures/drawings/${drawing.id}/${one.name}`;
  const image = element("img", {src: address, alt: `${drawing.order.prompt}, ${caption(one)}`, onload: event => event.target.classList.toggle("pixel-art", event.target.naturalWidth <= 128)});
  return element("li", {}, element("a", {href: address, download: `${drawing.id}-${one.name}`, title: "download"}, image), caption(one));
}

function soFar(drawing) {
  return element("img", {className: "so-far pixel-art", src: `/pictures/drawings/${drawing.id}/so-far.png?${drawing.change}`, alt: `${drawing.order.prompt}, not finished yet`});
}

function show(drawing) {
  const open = ["queued", "drawing"].includes(drawing.state), count = drawing.order.kind === "reimagine" ? drawing.order.guidance_scales.length + 1 : drawing.order.number;
  const missing = open ? Math.min(count, 64) - drawing.pictures.length : 0;
  const blanks = Array.from({length: Math.max(0, missing)}, (_, index) => element("li", {}, index === 0 && drawing.looks ? soFar(drawing) : element("div", {className: `blank${index === 0 && drawing.state === "drawing" ? " next" : ""}`})));
  const state = {queued: "waits", drawing: "drawing", done: "", cancelled: "cancelled", failed: ""}[drawing.state];
  const made = element("article", {className: "drawing", id: drawing.id, "aria-busy": open},
    element("div", {className: "line"}, element("code", {textContent: drawing.order.prompt}), element("small", {textContent: state})),
    element("small", {textContent: describe(drawing)}),
    ...(drawing.error ? [element("p", {className: "error-text", textContent: drawing.error})] : []),
    element("ul", {}, ...drawing.pictures.map(one => picture(drawing, one)), ...blanks),
    element("div", {className: "row"},
      element("button", {className: "link", type: "button", textContent: "use again", onclick: () => doing(null, () => recall(known.get(drawing.id)))}),
      ...(open ? [element("button", {className: "link", type: "button", textContent: "cancel", onclick: () => doing(null, () => ask("DELETE", `/api/drawings/${drawing.id}`))})] : [])));
  document.querySelector("#nothing")?.remove();
  known.set(drawing.id, drawing);
  const old = shown.get(drawing.id);
  if (open && old?.ariaBusy === "true") { // its buttons stay: one that is renewed between press and release is not clicked
    [...made.children].slice(0, -1).forEach((part, index) => swap(old.children[index], part));
    return;
  }
  if (old) swap(old, made);
  else list.prepend(made);
  shown.set(drawing.id, made);
}

document.querySelector("#file").addEventListener("change", event => doing(null, async () => {
  [uploaded, chosen] = [null, chosen + 1];
  await canvas.load(event.target.files[0]);
  fit();
}));
document.querySelector("#clear").addEventListener("click", () => canvas.clear());
form.addEventListener("submit", event => {
  event.preventDefault();
  doing(form.querySelector(".main"), draw);
});
form.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
document.querySelectorAll("[name=kind]").forEach(choice => choice.addEventListener("change", fit));
document.querySelectorAll("[data-word]").forEach(chip => chip.addEventListener("click", () => {
  const prompt = form.elements.prompt;
  prompt.setRangeText(chip.dataset.word, prompt.selectionStart, prompt.selectionEnd, "end");
  prompt.focus();
}));
complete(document.querySelector("#prompt"), document.querySelector("#options"), words);
for (const [name, value] of new URLSearchParams(location.search)) {
  if (["prompt", "seed", "number"].includes(name)) form.elements[name].value = value;
}
fit();
follow("/api/drawings/events", changed => changed.forEach(show));
