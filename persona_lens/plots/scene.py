"""The persona map in three dimensions, to be turned with the mouse."""
from __future__ import annotations
import plotly.graph_objects as go
from persona_lens.plots.view import MapView
def draw_scene(view: MapView) -> go.Figure:
    raise NotImplementedError
