// Elements of a page. Names come from catalogues anybody may write: they only ever become text nodes.

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const fill = (node, ...children) => node.replaceChildren(...children);

// Many moves of a slider within a frame are drawn once.
let waiting = null;
export function soon(work) {
  if (waiting) cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => { waiting = null; work(); });
}
