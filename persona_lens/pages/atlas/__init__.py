"""The atlas: a whole persona space as one web page that needs nothing else.

from persona_lens.pages.atlas import atlas

atlas(space, "atlas.html")
atlas(space, "atlas.html", sweep="sweeps/first")
"""

from persona_lens.pages.atlas.page import atlas

__all__ = ["atlas"]
