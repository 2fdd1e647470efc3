"""Conversations of a model with users: scripted, played by a model here, or by one behind a server.

    users = [ScriptedUser(script) for script in scripts]
    plain = simulate(model, users, turns=8, layers=[20], out="sims/plain")
    capped = simulate(model, users, turns=8, layers=[20], plan=space.floor(percentile=75), out="sims/capped")

Every arm hears the same messages where the users are scripted. Killed at any moment, the same call continues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persona_lens.drift.simulation.folder import SimulationFolder
from persona_lens.drift.simulation.simulated import Batch, Simulated
from persona_lens.drift.simulation.simulation import Simulation
from persona_lens.drift.simulation.users import User
from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.model.checking import checked_layers
from persona_lens.progress import StageProgress
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


def simulate(
    model: PersonaModel,
    users: Sequence[User],
    *,
    turns: int = 12,
    sampling: Sampling | None = None,
    system: str = "",
    plan: Plan | None = None,
    plan_name: str | None = None,
    layers: Sequence[int] | None = None,
    out: str | Path | None = None,
    batch_size: int = 16,
    cached: bool = True,
    progress: bool = True,
) -> Simulated:
    """Have a model talk with users, and pool the residual stream over each of its replies on the way.

    Args:
        model: Answers.
        users: One for each conversation; their names are the ids of the conversations.
        turns: Most replies of a conversation.
        sampling: Of the replies; the defaults of `Sampling` if left out.
        system: What the model is told.
        plan: Acts on the model while it answers, on no user, and on what is read of the replies.
        plan_name: What the conversations call it; by default what it does.
        layers: Blocks to read; none by default.
        out: Keep the conversations in this folder, and continue what is there.
        batch_size: Conversations at a time; with them come other replies.
        cached: Keep keys and values from turn to turn, where that gives the same replies; the conversations tell
            whether it was done.
        progress: Show a progress bar on standard error.

    Returns:
        All conversations.

    Raises:
        RunError: No users, or two of one name; the folder holds a simulation of other inputs, or another process
            writes to it.
        InterventionError: The plan does not fit the model, or a plan is in force already.
        TranscriptError: The template refuses a conversation.
        EndpointError: The server of a simulated user; finished batches are kept.

    Source: paper section 4.1.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> from persona_lens.drift.simulation import ScriptedUser
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> user = ScriptedUser(["Who are you?", "Are you sure?"], name="sure")
        >>> said = simulate(model, [user], sampling=Sampling(max_new_tokens=6, temperature=0), layers=[20],
        ...                 progress=False)
        >>> said.conversations[0].n_turns, said.conversations[0].about["ended"], said.means.shape
        (2, 'user', (2, 1, 576))
    """
    simulation = Simulation(
        model,
        tuple(users),
        turns=turns,
        sampling=sampling or Sampling(),
        system=system,
        plan=plan,
        plan_name=_named(plan) if plan_name is None else plan_name,
        layers=() if layers is None else checked_layers(layers, model.n_layers),
        batch_size=batch_size,
        cached=cached,
    )
    return run(simulation, out, progress=progress)


def run(
    simulation: Simulation, out: str | Path | None = None, *, progress: bool = True
) -> Simulated:
    """Have the conversations that are not there yet; arguments and errors as for `simulate`."""
    if out is None:
        conditions = simulation.conditions
        made: dict[int, Batch] = {}
        _work_off(simulation, lambda number: number in made, made.__setitem__, progress)
        return Simulated.of([made[number] for number in sorted(made)], conditions)
    folder = SimulationFolder(out)
    with folder.writing():
        folder.start(simulation.conditions)
        _work_off(
            simulation, folder.has, lambda number, batch: folder.keep(batch, number), progress
        )
        return folder.finish()


def _work_off(
    simulation: Simulation,
    has: Callable[[int], bool],
    keep: Callable[[int, Batch], None],
    shown: bool,
) -> None:
    """Have every batch that is not there."""
    batches = simulation.batches()
    most = [simulation.most_replies(batch) for batch in batches]
    todo = [number for number in range(len(batches)) if not has(number)]
    if not todo:
        return
    bar = StageProgress("Simulating", sum(most), shown=shown)
    done = sum(most) - sum(most[number] for number in todo)
    bar.console.print(f"{simulation.workload}.", markup=False, highlight=False)
    if done:
        bar.console.print(
            f"Continuing: {len(batches) - len(todo)} of {len(batches)} batches are there."
        )
    with bar.running(done):
        for number in todo:
            played = simulation.play(
                number, on_replies=lambda replies, _tokens: bar.advance(replies)
            )
            keep(number, Batch.of(played, simulation, number))
            done += most[number]
            bar.reach(done)  # users may have ended their conversations before


def _named(plan: Plan | None) -> str:
    """What a plan does, in a few words."""
    if plan is None:
        return ""
    steps = [
        f"{step.operation.name} {step.operation.direction.name}"
        for step in checked_plan(plan).steps
    ]
    return " + ".join(dict.fromkeys(steps)) or "nothing"
