// The build that is running, whoever started it, or the last one; and what is stale.
import {ask, doing, element, follow, say, swap} from "./app.js";

const at = id => document.querySelector(`#${id}`);
let running = null, asked = 0, seen = "", anything = true; // is stale

// Shows what can be pressed; the focus goes from a button that no longer can be to the other one, or to the headline.
function offer() {
  const pressed = [at("start"), at("cancel")].includes(document.activeElement);
  at("start").disabled = running || !anything;
  at("cancel").hidden = !running;
  if (pressed) at(running ? "cancel" : anything ? "start" : "headline").focus();
}

function row(concept, work, previews, begun) {
  const total = work.steps ?? 1, done = work.step ?? 0;
  const bar = {
    waiting: () => element("span", {className: "quiet", textContent: "waits for its turn"}),
    working: () => work.steps
      ? element("span", {}, element("progress", {max: total, value: done, ariaLabel: `${concept}: ${work.stage}`}), element("small", {textContent: `${done} of ${total}`}))
      : element("progress", {ariaLabel: `${concept}: ${work.stage}`}),
    built: () => element("span", {textContent: "built"}),
    failed: () => element("span", {className: "error-text", textContent: work.error}),
  }[work.state]();
  const samples = previews.map(name => element("img", {
    src: `/pictures/previews/${concept}/${name}?${begun}`, alt: `${concept} after ${+name.replace(".png", "")} steps`, title: `after ${+name.replace(".png", "")} steps`,
    onload: event => event.target.classList.toggle("pixel-art", event.target.naturalHeight <= 128),
  }));
  return element("tr", {id: `work-${concept}`}, element("td", {}, element("a", {href: `/concepts/${concept}`, textContent: concept})), element("td", {textContent: work.stage ?? ""}),
    element("td", {}, bar, ...(samples.length ? [element("div", {className: "previews"}, ...samples)] : [])));
}

function headline(build) {
  const concepts = Object.values(build.concepts), built = concepts.filter(one => one.state === "built").length;
  const failed = concepts.filter(one => one.state === "failed").length;
  if (build.running && concepts.some(one => one.state !== "built")) return `A build is running: ${built} of ${concepts.length} done.`;
  if (build.running || build.starting) return "A build is starting.";
  if (build.begun && !build.ended) return "The last build was interrupted; what was finished stays, and the next build goes on from there.";
  if (build.ended) return `The last build ended ${build.ended.slice(0, 16).replace("T", " ")} UTC: ${built} built${failed ? `, ${failed} failed` : ""}.`;
  return "";
}

async function stale() {
  const turn = ++asked;
  try {
    const found = Object.entries(await ask("GET", "/api/stale"));
    if (turn !== asked) return; // a later question is on its way
    swap(at("stale"), element("ul", {id: "stale", className: "timeline"}, ...found.map(([concept, stages]) => {
      const reasons = Object.entries(stages).filter(([, why]) => why.join() !== "never built").map(([stage, why]) => `${stage}: ${why.join(", ")}`);
      return element("li", {}, element("a", {href: `/concepts/${concept}`, textContent: concept}),
        element("span", {className: "quiet", textContent: reasons.join("; ") || (running ? "the build is checking it" : Object.keys(stages).length ? "never built" : "being checked")}));
    })));
    if (!found.length) at("stale").append(element("li", {className: "quiet", textContent: "Every concept is up to date."}));
    anything = found.length > 0;
    offer();
  } catch (error) {
    say(error.message, true);
  }
}

follow("/api/build/events", build => {
  const now = running = build.running || build.starting, state = [now, build.begun, build.ended].join();
  offer();
  at("headline").textContent = headline(build);
  at("work").hidden = !Object.keys(build.concepts).length;
  at("work-title").textContent = now ? "At work" : "The last build";
  const rows = Object.entries(build.concepts).map(([concept, work]) => row(concept, work, build.previews[concept] ?? [], build.begun));
  const old = [...at("rows").rows];
  if (rows.map(({id}) => id).join() === old.map(({id}) => id).join()) { // a link that is renewed between press and release is not clicked
    rows.forEach((made, index) => [...made.cells].slice(1).forEach((cell, place) => old[index].cells[place + 1].replaceWith(cell)));
  } else swap(at("rows"), element("tbody", {id: "rows"}, ...rows));
  at("logged").hidden = !build.log;
  if (at("log").textContent !== build.log) {
    at("log").textContent = build.log;
    at("log").scrollTop = at("log").scrollHeight;
  }
  if (state !== seen) { // a whole build may have passed while nobody saw the page
    seen = state;
    stale();
  }
});
at("start").addEventListener("click", event => doing(event.target, () => ask("POST", "/api/build", {concepts: []})));
at("cancel").addEventListener("click", event => doing(event.target, async () => say((await ask("DELETE", "/api/build")).said)));
