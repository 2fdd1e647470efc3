"""Interactive figures of a persona space, in one house style.

    from persona_lens.plots import axis_ranking, persona_map, save_figure, variance

    fig = persona_map(space, layer=20)
    fig.show()
    save_figure(fig, "map.html")       # self-contained; "map.png" and "map.svg" need a browser
    save_figure(variance(space), "variance.png")

Every figure is a `plotly.graph_objects.Figure`. Projections and scores are in the units of the residual stream,
Assistant is positive, and the line below the title says which model, hook point and how many replies.
"""

from persona_lens.plots.comparison import comparison_panels
from persona_lens.plots.comparison_scatter import comparison_scatter
from persona_lens.plots.composed_steering import composed_steering
from persona_lens.plots.conversation_trace import conversation_trace
from persona_lens.plots.curves import variance
from persona_lens.plots.dose_response import dose_response
from persona_lens.plots.drift_curves import drift_curves
from persona_lens.plots.emergence import emergence
from persona_lens.plots.export import (
    can_export_images,
    figure_files,
    save_figure,
    save_figures,
)
from persona_lens.plots.forecast_scores import forecast_scores
from persona_lens.plots.forecast_truth import forecast_truth, message_kinds
from persona_lens.plots.heatmaps import trait_heatmap
from persona_lens.plots.layer_choice import layer_choice
from persona_lens.plots.layer_map import layer_map
from persona_lens.plots.layer_sweep import layer_sweep
from persona_lens.plots.maps import persona_map
from persona_lens.plots.monitor_power import monitor_power
from persona_lens.plots.pareto import pareto
from persona_lens.plots.ranking import axis_ranking
from persona_lens.plots.reconstruction import reconstruction_curves, reconstruction_layers
from persona_lens.plots.similarity import layer_similarity
from persona_lens.plots.sinks import sinks

__all__ = [
    "axis_ranking",
    "can_export_images",
    "comparison_panels",
    "comparison_scatter",
    "composed_steering",
    "conversation_trace",
    "dose_response",
    "drift_curves",
    "emergence",
    "figure_files",
    "forecast_scores",
    "forecast_truth",
    "layer_choice",
    "layer_map",
    "layer_similarity",
    "layer_sweep",
    "message_kinds",
    "monitor_power",
    "pareto",
    "persona_map",
    "reconstruction_curves",
    "reconstruction_layers",
    "save_figure",
    "save_figures",
    "sinks",
    "trait_heatmap",
    "variance",
]
