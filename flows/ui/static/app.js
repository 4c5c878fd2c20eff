// What every page needs: questions to the app, and a line that says what happened.

const token = document.querySelector("meta[name=write-token]").content;
const line = document.querySelector("#said");
let fading;

export function say(text, error = false) {
  clearTimeout(fading);
  line.textContent = text;
  line.classList.toggle("error", error);
  fading = setTimeout(() => line.textContent = "", error ? 12000 : 5000);
}

export async function ask(method, address, body) {
  const headers = method === "GET" ? {} : {"x-wordmint": token};
  if (body !== undefined && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address, {method, headers, body});
  } catch {
    throw new Error("the app does not answer; is `wordmint ui` still running?");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error || `the app answered ${answer.status}`);
  return content;
}

// Runs what a button does; the button is disabled meanwhile, and an error is shown.
export async function doing(button, work) {
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    say(error.message, true);
  } finally {
    if (button) button.disabled = false;
  }
}

// Follows server-sent events; the browser connects again by itself after an interruption.
export function follow(address, show) {
  const source = new EventSource(address);
  source.onmessage = event => show(JSON.parse(event.data));
  addEventListener("pagehide", () => source.close());
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list" && key !== "form") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
