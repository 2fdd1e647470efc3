// Search by name, with suggestions that keys move through.

import { units } from "./data.js";
import { matches } from "./matching.js";
import { mark } from "./words.js";
import { byId, element, fill } from "../../shared/dom.js";

let active = -1;

export function suggest() {
  const places = matches(byId("search").value, units);
  active = places.length ? 0 : -1;
  fill(byId("suggestions"), ...places.map((place, index) => {
    const entry = element("li", { id: `suggestion-${index}` }, mark(units[place]), units[place].name,
      element("span", { className: "of" }, units[place].kind));
    entry.setAttribute("role", "option");
    entry.dataset.place = place;
    return entry;
  }));
  fill(byId("no-match"), byId("search").value.trim() && !places.length ?
    `No role or trait has “${byId("search").value.trim()}” in its name.` : "");
  showActive();
}

function showActive() {
  const entries = [...byId("suggestions").children];
  byId("suggestions").hidden = !entries.length;
  byId("search").setAttribute("aria-expanded", String(entries.length > 0));
  entries.forEach((entry, index) => entry.setAttribute("aria-selected", String(index === active)));
  if (active >= 0) byId("search").setAttribute("aria-activedescendant", `suggestion-${active}`);
  else byId("search").removeAttribute("aria-activedescendant");
}

export function closeSuggestions() {
  fill(byId("suggestions"));
  fill(byId("no-match"));
  active = -1;
  showActive();
}

export function searchKey(event, select) {
  const entries = byId("suggestions").children;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && entries.length) {
    active = (active + step + entries.length) % entries.length;
    showActive();
  } else if (event.key === "Enter" && entries[active]) select(Number(entries[active].dataset.place));
  else if (event.key === "Escape") closeSuggestions();
  else return;
  event.preventDefault();
}
