/* Figures have a size of their own: where there is less room they are made smaller, as they are. */
function fitFigures() {
  for (const holder of document.querySelectorAll(".drawn")) {
    const figure = holder.querySelector(".plotly-graph-div");
    if (!figure) continue;
    const wide = figure.offsetWidth;
    const scale = Math.min(1, holder.clientWidth / wide);
    figure.style.transformOrigin = "0 0";
    figure.style.transform = scale < 1 ? `scale(${scale})` : "";
    holder.style.height = `${figure.offsetHeight * scale}px`;
  }
}

function startReport() {
  fitFigures();
  window.addEventListener("resize", fitFigures);
  document.documentElement.dataset.ready = "true";
}

window.addEventListener("load", startReport);
