// Adding a concept: pictures are dropped, cropped and turned, judged by the app as the curate stage would, and then added.
import {ask, doing, element, say} from "./app.js";
import {Crop} from "./crop.js";

const sheet = document.querySelector("#sheet"), form = document.querySelector("#concept"), drop = document.querySelector("#drop");
const pictures = new Map(); // list item -> {id, name, crop, context, fault, turn, sent}
let judging = 0, taking = Promise.resolve(), adding = false;

// Takes files after those that are being taken.
function take(files) {
  return taking = taking.catch(() => null).then(() => takeNow(files));
}

async function takeNow(files) {
  const refused = [];
  for (const file of files) {
    try {
      await place(file, (await ask("PUT", "/api/uploads", file)).id);
    } catch (error) {
      refused.push(`${file.name}: ${error.message}`);
    }
  }
  document.querySelector("#refused").textContent = refused.join(" · ");
  await judge();
}

async function place(file, id) {
  const item = element("li"), frame = element("div", {className: "frame"}), entry = {id, name: file.name, fault: "", turn: 0};
  entry.crop = await Crop.of(file, frame, () => doing(null, () => (entry.sent = send(entry)).then(judge)));
  const context = element("input", {placeholder: "on the grass", maxLength: 500, ariaLabel: `What else ${file.name} shows`});
  entry.context = word => {
    if (word) {
      context.value = [context.value.trim(), word].filter(Boolean).join(" ");
      context.focus();
      context.setSelectionRange(...Array(2).fill(context.value.length - word.length)); // where "on the" goes
    }
    return context.value.trim();
  };
  item.append(frame, ...(entry.crop ? [entry.crop.slider] : []), element("b", {textContent: file.name}), element("p", {className: "hint", textContent: "…"}), element("div", {className: "pair"}),
    element("label", {}, element("span", {textContent: "what else it shows"}), context),
    element("div", {className: "chips seen", role: "group", ariaLabel: `Words that CLIP sees in ${file.name} and not in the others`}),
    element("div", {className: "row"},
      ...(entry.crop ? [element("button", {type: "button", className: "link", textContent: "turn", onclick: () => entry.crop.turn()})] : []),
      element("button", {type: "button", className: "link", textContent: "leave out", onclick: () => {
        pictures.delete(item);
        item.remove();
        doing(null, judge);
      }})));
  pictures.set(item, entry);
  sheet.append(item);
}

// A picture that was turned or cropped replaces the one that was sent, unless it is refused or has changed again meanwhile.
async function send(entry) {
  const turn = ++entry.turn, answer = {id: entry.id, fault: ""};
  try {
    answer.id = (await ask("PUT", "/api/uploads", await entry.crop.picture())).id;
  } catch (error) {
    answer.fault = error.message;
  }
  if (turn === entry.turn) Object.assign(entry, answer);
}

async function judge() {
  const turn = ++judging, sent = [...pictures.values()].filter(({fault}) => !fault).map(({id, name}) => ({id, name}));
  const verdicts = sent.length ? await ask("POST", "/api/judge", {pictures: sent}) : {};
  if (turn !== judging) return; // a later question is on its way
  for (const [item, {id, name, fault}] of pictures) {
    const reason = fault || verdicts[id]?.why, hint = item.querySelector(".hint"), like = sent.find(other => other.id === verdicts[id]?.like);
    if (reason === undefined) continue; // a picture that came after the question
    item.classList.toggle("dropped", Boolean(reason));
    hint.textContent = fault ? `cannot be used like this: ${fault}` : reason ? `would be dropped: ${reason}` : "kept";
    hint.classList.toggle("error-text", Boolean(reason));
    item.querySelector(".pair").replaceChildren(...like ? [small(id, name, "would be dropped"), small(like.id, like.name, "it repeats")] : []);
  }
  const kept = sent.map(({id}) => id).filter(id => !verdicts[id].why);
  const near = kept.length ? await ask("POST", "/api/words", {pictures: kept}) : {concept: [], pictures: {}};
  if (turn !== judging) return;
  document.querySelector("#words").replaceChildren(...near.concept.map(({word}) => chip(word, () => form.elements.word.value = word)));
  const coarse = form.elements.word.value.trim();
  for (const [item, {id, context}] of pictures) {
    const words = (near.pictures[id] ?? []).filter(word => word !== coarse);
    item.querySelector(".seen").replaceChildren(...words.map(word => chip(word, event => {
      event.target.remove();
      context(word);
    })));
  }
}

function small(id, name, why) {
  return element("figure", {}, element("img", {src: `/thumbnails/${id}`, alt: `${name}, which ${why}`}), element("figcaption", {textContent: name}));
}

function chip(text, onclick) {
  return element("button", {type: "button", className: "chip", textContent: text, onclick});
}

async function add(then) {
  await taking.catch(() => null); // files may be on their way; what was wrong with them is shown
  if (!pictures.size) throw new Error("add pictures first");
  await Promise.all([...pictures.values()].map(({sent}) => sent)); // a crop may be on its way
  const refused = [...pictures.values()].find(({fault}) => fault);
  if (refused) throw new Error(`${refused.name} cannot be used as it is cropped: ${refused.fault}; crop it otherwise or leave it out`);
  const values = Object.fromEntries(["name", "word", "kind", "short", "long", "source", "licence", "consent", "undeclared"].map(name => [name, form.elements[name].value.trim()]));
  const sent = [...pictures.values()].map(({id, name, context}) => ({id, name, context: context()}));
  const {concept} = await ask("POST", "/api/concepts", {...values, pictures: sent});
  let next = `/concepts/${concept}`;
  if (then === "build") {
    try {
      await ask("POST", "/api/build", {concepts: [concept]});
      next = "/build";
    } catch (error) {
      sessionStorage.setItem("said", `${concept} is added, but not built: ${error.message}`); // its page says it
    }
  }
  location.assign(next);
}

// Files may be dropped anywhere: beside a smaller zone the browser would open them in place of the page. A dragged text goes its own way.
["dragover", "dragenter", "dragleave", "drop"].forEach(name => addEventListener(name, event => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.toggle("over", name !== "drop" && !(name === "dragleave" && event.relatedTarget === null)); // null: outside the window
  if (name === "drop") doing(null, () => take([...event.dataTransfer.files]));
}));
document.querySelector("#files").addEventListener("change", event => doing(null, async () => {
  await take([...event.target.files]);
  event.target.value = "";
}));
document.querySelectorAll("[data-fill]").forEach(chip => chip.addEventListener("click", () => form.elements[chip.dataset.fill].value = chip.textContent));
form.addEventListener("submit", event => {
  event.preventDefault();
  if (adding) return; // by the other button
  adding = true;
  doing(event.submitter, () => add(event.submitter?.value ?? "build")).finally(() => adding = false);
});
