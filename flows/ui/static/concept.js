// What a person does to a concept: the commands promote, rollback, revoke, reinstate, rescore, build, lineage and export.
import {ask, doing, element, say} from "./app.js";

const key = document.querySelector("#concept").dataset.key, dialog = document.querySelector("#reason");
const QUESTIONS = {
  promote: ["Promote", version => `The gate compares ${version ? `v${version}` : "the challenger"} with the champion and says what it decides. Give a reason to promote other pictures, another base or a held-back version.`, false],
  rollback: ["Roll back", () => "The previous champion becomes champion again. A second rollback undoes the first.", false],
  revoke: ["Revoke", () => "Every alias is taken away, and the concept is not trained again. Everyone who uses it is shown the reason.", true],
  reinstate: ["Reinstate", () => "The concept gets back the aliases that it had.", false],
};

function question(action, version) {
  const [title, text, needed] = QUESTIONS[action], why = dialog.querySelector("#reason-why");
  dialog.querySelector("h2").textContent = `${title} ${key}`;
  dialog.querySelector("#reason-text").textContent = text(version);
  dialog.querySelector("[value=yes]").textContent = title;
  [why.value, why.required, dialog.returnValue] = ["", needed, "no"];
  dialog.showModal();
  return new Promise(answer => dialog.addEventListener("close", () => answer(dialog.returnValue === "yes" ? why.value : null), {once: true}));
}

async function act(button) {
  const action = button.dataset.do, version = button.dataset.version ? +button.dataset.version : null;
  if (action === "build") {
    await ask("POST", "/api/build", {concepts: [key]});
    location.assign("/build");
    return;
  }
  const why = action === "rescore" ? "" : await question(action, version);
  if (why === null) return;
  if (action === "rescore") say("scoring; this takes a while");
  const {said} = await ask("POST", `/api/concepts/${key}/${action}`, action === "rescore" ? {version} : {version, why});
  sessionStorage.setItem("said", said);
  location.reload();
}

async function lineage(button) {
  const found = await ask("GET", `/api/concepts/${key}/lineage?version=${button.dataset.lineage}`), box = document.querySelector("#lineage");
  box.querySelector("h2").textContent = `${key} v${found.version}`;
  box.querySelector("#lineage-links").replaceChildren(...Object.entries(found.links).map(([name, link]) =>
    element("p", {}, element("b", {className: `verdict-${link.verdict}`, textContent: link.verdict}), ` ${name}: ${link.said}`)));
  box.showModal();
}

async function download(button) {
  const style = button.dataset.export, answer = await fetch(`/api/concepts/${key}/export/${style}`);
  if (!answer.ok) throw new Error((await answer.json()).error);
  const name = /filename="(.*)"/.exec(answer.headers.get("content-disposition"))[1], address = URL.createObjectURL(await answer.blob());
  element("a", {href: address, download: name}).click();
  URL.revokeObjectURL(address);
}

document.querySelectorAll("[data-do]").forEach(button => button.addEventListener("click", () => doing(button, () => act(button))));
document.querySelectorAll("[data-lineage]").forEach(button => button.addEventListener("click", () => doing(button, () => lineage(button))));
document.querySelectorAll("[data-export]").forEach(button => button.addEventListener("click", () => doing(button, () => download(button))));
if (sessionStorage.getItem("said")) say(sessionStorage.getItem("said"));
sessionStorage.removeItem("said");
ask("GET", "/api/states").then(found => {
  const {state, why} = found[key] ?? {state: "", why: ""}, mark = document.querySelector("#state");
  mark.textContent = state;
  mark.className = `state ${state === "up to date" ? "current" : state.split(" ")[0]}`;
  if (["stale", "failed", "building"].includes(state)) document.querySelector("#why").textContent = why;
}).catch(() => {});
