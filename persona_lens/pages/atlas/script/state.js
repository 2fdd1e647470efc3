// What is shown: all panels draw from this.

import { atlas, DEFAULT, nComponents } from "./data.js";

export const state = {
  layer: atlas.anchor, selected: DEFAULT, hidden: new Set(), x: "pc1", y: nComponents > 1 ? "pc2" : "axis", list: "role", show: "all",
  drawn: false, // plots other than the map are there
};
