// Completes the new words of a prompt: < opens the list, the arrows choose, Enter or Tab takes, Escape closes.

export function complete(field, list, words) {
  let chosen = 0, found = [];

  const typed = () => /<[^<>\s]*$/.exec(field.value.slice(0, field.selectionStart))?.[0] ?? null;

  function show() {
    const start = typed();
    found = start === null ? [] : words.filter(word => word.toLowerCase().startsWith(start.toLowerCase())).slice(0, 8);
    chosen = Math.min(chosen, Math.max(0, found.length - 1));
    list.replaceChildren(...found.map((word, index) => {
      const option = document.createElement("li");
      option.textContent = word;
      option.id = `option-${index}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", index === chosen);
      option.addEventListener("pointerdown", event => {
        event.preventDefault();
        take(word);
      });
      return option;
    }));
    field.setAttribute("aria-expanded", found.length > 0);
    if (found.length) field.setAttribute("aria-activedescendant", `option-${chosen}`);
    else field.removeAttribute("aria-activedescendant");
  }

  function take(word) {
    const end = field.selectionStart, start = typed();
    if (start !== null) field.setRangeText(word, end - start.length, end, "end"); // else the cursor has left the word
    close();
  }

  function close() {
    found = [];
    list.replaceChildren();
    field.setAttribute("aria-expanded", false);
    field.removeAttribute("aria-activedescendant");
  }

  field.addEventListener("input", show);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", event => {
    if (!found.length) return;
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) {
      chosen = (chosen + step + found.length) % found.length;
      show();
    } else if (event.key === "Enter" || event.key === "Tab") take(found[chosen]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
