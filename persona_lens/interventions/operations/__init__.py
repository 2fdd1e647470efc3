"""What can be done to a residual vector, one small class each, the formula in its first line.

`h` is the residual vector of one token, `v` the unit vector of the direction at that layer, `p = <h, v>` the
projection, `s` the strength (1 unless said otherwise). Strength 0 changes nothing, whatever the operation; it may
be one number or one for each row of the batch. Every operation moves a token within the plane of `h` and `v`:
`h <- a h + b v`, and says `a` and `b`. A new one is a subclass of `Operation`: nothing else has to know of it.

Examples:
    >>> import numpy as np, torch
    >>> from persona_lens.interventions import Direction, Floor
    >>> direction = Direction("assistant", (0,), np.array([[1.0, 0.0]]))
    >>> floor = Floor(direction, thresholds=np.array([2.0]))
    >>> floor.move(torch.tensor([1.5, 3.0]), torch.tensor([9.0, 9.0]), at=0, strength=1.0).shift
    tensor([0.5000, 0.0000])
"""
