"""The atlas of a large space: seconds to write it, megabytes, and how soon a browser shows it.

The space has every role and trait of the catalogue (515 vectors), 30 layers and 576 dimensions, filled with
made-up vectors whose layers are alike as those of a model are. `--space` takes a saved space instead.

The page is opened in headless Chromium from a file. First paint is what the browser reports of itself
(PerformancePaintTiming), first view is when map, ranking and detail are there, ready when every panel is. The
browser is started once, and the first opening is not counted.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import choreographer
import numpy as np
from harness import add_rounds, heading, markdown, parser

from persona_lens import PersonaSpace, load_roles, load_traits
from persona_lens.pages.atlas import atlas

N_LAYERS, D_MODEL, LATENT = 30, 576, 40
SIZE_LIMIT_MB, PAINT_LIMIT_S = 10.0, 2.0
_PATIENCE_S = 60.0
_TIMES = """JSON.stringify({
  ready: document.documentElement.dataset.ready === "true",
  errors: document.documentElement.dataset.errors || "",
  paint: Object.fromEntries([...performance.getEntriesByType("paint"), ...performance.getEntriesByType("mark")]
    .map((entry) => [entry.name, entry.startTime])),
  now: performance.now(),
})"""


def synthetic(n_layers: int) -> PersonaSpace:
    """The whole catalogue with vectors of a falling spectrum, each layer close to the one before."""
    rng = np.random.default_rng(0)
    roles, traits = load_roles("full"), load_traits("full")
    names = [role.name for role in roles], [trait.name for trait in traits]
    n_vectors = 1 + len(names[0]) + len(names[1])
    falling = np.arange(1, LATENT + 1) ** -0.8
    values = np.empty((n_vectors, n_layers, D_MODEL), np.float32)
    scores, basis = rng.normal(size=(n_vectors, LATENT)), rng.normal(size=(LATENT, D_MODEL))
    noise = rng.normal(size=(n_vectors, D_MODEL))
    for layer in range(n_layers):
        scores = 0.95 * scores + 0.3 * rng.normal(size=scores.shape)
        noise = 0.8 * noise + 0.6 * rng.normal(size=noise.shape)
        values[:, layer] = (scores * falling) @ basis + 0.5 * noise
    about = {role.name: {"group": role.group, "description": role.description} for role in roles}
    about |= {trait.name: {"description": trait.description} for trait in traits}
    n_roles = 1 + len(names[0])
    return PersonaSpace.from_vectors(
        dict(zip(names[0], values[1:n_roles], strict=True)),
        values[0],
        dict(zip(names[1], values[n_roles:], strict=True)),
        about=about,
    ).fit()


async def opened(page: Path, rounds: int) -> list[dict[str, float]]:
    """First paint, first contentful paint and readiness of a page in seconds, each round in a new tab."""
    found = []
    async with choreographer.Browser(headless=True) as browser:
        for number in range(rounds + 1):
            tab = await browser.create_tab(f"{page.resolve().as_uri()}?{number}")
            times = await _wait(tab)
            await browser.close_tab(tab.target_id)
            if times["errors"]:
                raise SystemExit(f"the page reports errors: {times['errors']}")
            seconds = {name: value / 1000 for name, value in times["paint"].items()}
            found.append({**seconds, "ready": times["now"] / 1000})
    return found[1:]


async def _wait(tab: Any) -> dict[str, Any]:
    end = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < end:
        reply = await tab.send_command("Runtime.evaluate", params={"expression": _TIMES})
        times = json.loads(reply["result"]["result"].get("value") or "{}")
        if times.get("ready") and times["paint"]:
            return times
        await asyncio.sleep(0.02)
    raise SystemExit(f"the page was not drawn within {_PATIENCE_S:.0f} s")


def main() -> None:
    """Write, weigh and open the page."""
    options = parser(__doc__)
    add_rounds(options, 5)
    options.add_argument("--space", type=Path, help="a saved space; a made-up one by default")
    args = options.parse_args()
    space = (
        PersonaSpace.load(args.space) if args.space else synthetic(4 if args.quick else N_LAYERS)
    )
    n_vectors = len(space.table.axis_rows()) + len(space.table.trait_rows())
    heading(
        f"Atlas of {n_vectors} vectors, {len(space.layers_)} layers, {space.table.d_model} dimensions"
    )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "atlas.html"
        seconds = []
        for _ in range(args.rounds):
            start = time.perf_counter()
            atlas(space, page)
            seconds.append(time.perf_counter() - start)
        size = page.stat().st_size / 1e6
        times = asyncio.run(opened(page, args.rounds))
    rows = [("writing, seconds", _summary(seconds)), ("size, MB", f"{size:.2f}")]
    rows += [(f"{name}, seconds", _summary([entry[name] for entry in times])) for name in times[0]]
    print(markdown(("what", "median [min, max]"), rows), end="\n\n")
    paint, view = (
        statistics.median(entry[name] for entry in times)
        for name in ("first-contentful-paint", "first view")
    )
    for met, text in (
        (size < SIZE_LIMIT_MB, f"smaller than {SIZE_LIMIT_MB:.0f} MB: {size:.2f}"),
        (
            paint < PAINT_LIMIT_S,
            f"first contentful paint within {PAINT_LIMIT_S:.0f} s: {paint:.2f}",
        ),
        (view < PAINT_LIMIT_S, f"map, ranking and detail within {PAINT_LIMIT_S:.0f} s: {view:.2f}"),
    ):
        print(f"- {'met' if met else 'MISSED'}: {text}")


def _summary(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    main()
