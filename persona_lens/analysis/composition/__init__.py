"""What roles are made of: traits beside axis, components and roles; roles rebuilt from few traits, held out.

    from persona_lens.analysis.composition import explain, reconstruct, trait_view

    trait_view(space, layer=15)              # which traits point to the Assistant, against an honest null
    explain(space, "pirate", layer=15)       # the five traits that compose a role
    reconstruct(space).plot()                # how much few traits explain, against random directions, by layer

Whether a composition does what the role does is asked of the model by `persona_lens.evals.composed_steering`.
"""

from persona_lens.analysis.composition.explaining import composed_direction, explain
from persona_lens.analysis.composition.reconstructing import reconstruct
from persona_lens.analysis.composition.reconstruction import Reconstruction
from persona_lens.analysis.composition.viewing import aligned, trait_view

__all__ = [
    "Reconstruction",
    "aligned",
    "composed_direction",
    "explain",
    "reconstruct",
    "trait_view",
]
