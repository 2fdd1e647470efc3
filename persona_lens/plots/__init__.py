from persona_lens.plots.maps import persona_map
