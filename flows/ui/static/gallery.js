// Search, order and filters of the gallery, and the state of each concept, which comes after the first paint.
import {ask} from "./app.js";

const list = document.querySelector("#cards"), cards = [...list.children];
const fields = Object.fromEntries(["search", "kind", "state", "order"].map(name => [name, document.querySelector(`#${name}`)]));

function show() {
  const wanted = fields.search.value.trim().toLowerCase();
  for (const card of cards) {
    const {text, kind, state} = card.dataset;
    card.hidden = !text.includes(wanted) || !["", kind].includes(fields.kind.value) || !["", state].includes(fields.state.value);
  }
  document.querySelector("#none").hidden = cards.some(card => !card.hidden);
}

function sort() {
  const by = fields.order.value, ordered = [...cards];
  if (by === "key") ordered.sort((one, other) => one.dataset.key < other.dataset.key ? -1 : 1);
  else if (by) ordered.sort((one, other) => (other.dataset[by] ?? -2) - (one.dataset[by] ?? -2));
  list.append(...ordered);
}

async function states() {
  if (document.hidden) return;
  try {
    const found = await ask("GET", "/api/states");
    for (const card of cards) {
      const {state, why} = found[card.dataset.key] ?? {state: "", why: ""}, mark = card.querySelector(".state");
      card.dataset.state = state;
      mark.textContent = state;
      mark.title = why;
      mark.className = `state ${state === "up to date" ? "current" : state.split(" ")[0]}`;
    }
    show();
  } catch {
    // the next look may succeed; the cards stay as they are
  }
}

["search", "kind", "state"].forEach(name => fields[name].addEventListener("input", show));
fields.order.addEventListener("input", sort);
async function plane() {
  const answer = await fetch("/plane"), byKey = new Map(cards.map(card => [card.dataset.key, card]));
  if (!answer.ok) return;
  document.querySelector("#plane").innerHTML = await answer.text();
  for (const point of document.querySelectorAll("a.point")) {
    const card = byKey.get(point.getAttribute("href").split("/").at(-1));
    ["mouseenter", "focus"].forEach(event => point.addEventListener(event, () => card?.classList.add("seen")));
    ["mouseleave", "blur"].forEach(event => point.addEventListener(event, () => card?.classList.remove("seen")));
  }
}

async function watch() {
  await states();
  setTimeout(watch, 2000);
}

watch();
plane();
