"""Conversations simulated: a model under test, users that are scripted or played, replies read on the way.

Examples:
    >>> user = ScriptedUser(["Hi", "Who are you?"], name="short")
    >>> simulate(model, [user], turns=2, layers=[20], out="sims/plain")  # doctest: +SKIP
    Simulated(1 conversations, 2 replies, layers [20])
"""

from persona_lens.drift.simulation.casts import everyday, played, scripted, served
from persona_lens.drift.simulation.folder import SimulationFolder
from persona_lens.drift.simulation.parts import Part
from persona_lens.drift.simulation.played_user import PlayedUser
from persona_lens.drift.simulation.served_user import ServedUser
from persona_lens.drift.simulation.simulated import Simulated
from persona_lens.drift.simulation.simulating import run, simulate
from persona_lens.drift.simulation.simulation import Simulation, Workload
from persona_lens.drift.simulation.users import ScriptedUser, User, UserTurn

__all__ = [
    "Part",
    "PlayedUser",
    "ScriptedUser",
    "ServedUser",
    "Simulated",
    "Simulation",
    "SimulationFolder",
    "User",
    "UserTurn",
    "Workload",
    "everyday",
    "played",
    "run",
    "scripted",
    "served",
    "simulate",
]
