"""Interventions on the residual stream: operations, plans, receipts. Knows nothing of personas and of models.

    from persona_lens.interventions import Direction, Floor, Plan

    plan = Plan.of(Floor(Direction("assistant", (14, 15), vectors), thresholds=[3.0, 3.2]))
    with model.intervene(plan.where("generated")) as receipt:
        model.chat("Who are you?")
    print(receipt)

Which tokens? `where`. Which layer? The residual stream after block *i*, `blocks.{i}.hook_resid_post`. How strong?
The `PersonaSpace` makes plans in units that carry from model to model. Did anything happen? The receipt says.
"""

from persona_lens.interventions.directions import Direction
from persona_lens.interventions.operations.bounding import Band, Ceil, Floor
from persona_lens.interventions.operations.gating import Gate
from persona_lens.interventions.operations.operation import Operation
from persona_lens.interventions.operations.rotating import Rotate
from persona_lens.interventions.operations.shifting import Ablate, Add, Set
from persona_lens.interventions.origin import Origin
from persona_lens.interventions.plan import Plan, Step
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.where import Where

__all__ = [
    "Ablate",
    "Add",
    "Band",
    "Ceil",
    "Direction",
    "Floor",
    "Gate",
    "Operation",
    "Origin",
    "Plan",
    "Receipt",
    "Rotate",
    "Set",
    "Step",
    "Where",
]
