// Texts with marked passages; places are counted in code points, as the server counts them.

export const element = (name, className, text = "") => {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
};

// Nodes of a text, its spans [start, end] marked.
export const marked = (text, spans) => {
  const letters = Array.from(text);
  const pieces = [];
  let end = 0;
  for (const [start, stop] of [...spans].sort((a, b) => a[0] - b[0])) {
    if (start < end) continue;
    pieces.push(letters.slice(end, start).join(""), element("mark", "", letters.slice(start, stop).join("")));
    end = stop;
  }
  return [...pieces, letters.slice(end).join("")];
};
