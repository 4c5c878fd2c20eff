// Asking people: a new questionnaire, answers that came as files, and what all of them say.
import {ask, doing, say} from "./app.js";

const opinions = document.querySelector("#opinions"), answers = document.querySelector("#answers"), made = document.querySelector("#new");

let asked = 0;

async function show() {
  const turn = ++asked, answer = await fetch("/people/opinions").catch(() => null);
  if (turn !== asked) return; // a later question is on its way
  if (answer?.ok) opinions.innerHTML = await answer.text(); // its text is escaped, and the policy runs no script in it
  else opinions.textContent = answer ? `the app answered ${answer.status}` : "the app does not answer";
}

answers.addEventListener("submit", event => event.preventDefault());
document.querySelector("#files").addEventListener("change", event => doing(null, async () => {
  const refused = document.querySelector("#refused");
  refused.textContent = "";
  try {
    const files = await Promise.all([...event.target.files].map(async file => ({name: file.name, text: await file.text()})));
    say((await ask("POST", "/api/answers", {files, replace: document.querySelector("#replace").checked})).said);
    await show();
  } catch (error) {
    refused.textContent = error.message;
  }
  event.target.value = "";
}));
made?.addEventListener("submit", event => {
  event.preventDefault();
  const chosen = new FormData(made);
  doing(event.submitter, async () => {
    const numbers = Object.fromEntries(["items", "checks", "seed"].map(name => [name, Number(chosen.get(name))]));
    await ask("POST", "/api/questionnaires", {concepts: chosen.getAll("concept"), ...numbers});
    location.reload();
  });
});
show();
