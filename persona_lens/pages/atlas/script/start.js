// The atlas: one state (layer, selected unit, directions of the map, list of the ranking), and panels that draw it.

import { drawRest, readLink, showLayer } from "./actions.js";
import { drawCard } from "./card.js";
import { fillControls, listen, listenToPlots, listenToRest } from "./controls.js";
import { DEFAULT, traits } from "./data.js";
import { drawDetail } from "./detail.js";
import { decodeTraitRoles } from "./heat.js";
import { buildSweep } from "./layers.js";
import { buildLegend, drawMap } from "./map.js";
import { drawRanking, markRanking } from "./ranking.js";
import { drawReplies } from "./replies.js";
import { state } from "./state.js";

async function start() {
  readLink();
  fillControls();
  buildLegend();
  showLayer();
  [drawRanking, drawDetail, drawReplies, drawCard].forEach((draw) => draw());
  listen();
  await drawMap();
  performance.mark("first view"); // read by benchmarks/atlas.py
  listenToPlots();
  buildSweep();
  if (traits.length) await decodeTraitRoles();
  // A frame with the first view is shown before the rest is drawn.
  setTimeout(() => {
    drawRest();
    state.drawn = true;
    listenToRest();
    markRanking(state.selected !== DEFAULT);
    document.documentElement.dataset.ready = "true";
  }, 0);
}

start();
