"""`forecast`: what the user's message tells of where the next reply will be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import Quiet, err, new_path, out, parse_names
from persona_lens.paths import check_path

app = typer.Typer()


@command(
    app,
    "persona-lens forecast traces/plain --out forecast",
    "persona-lens forecast traces/gemma --layer 22 --directions axis,pc2 --out forecast",
)
def forecast(
    *,
    traces: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACE...",
            parser=check_path,
            help="Folders that `trace --save` has written, of one model and layer.",
        ),
    ],
    folder: Annotated[Path, new_path("Folder for the forecaster, tables and figures.", "--out")],
    layer: Annotated[int | None, typer.Option(help="The first read by default.")] = None,
    directions: Annotated[
        str | None, typer.Option(help="Names separated by commas; all by default.")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="A sentence-transformers name or folder; the packaged one by default."),
    ] = None,
    permutations: Annotated[int, typer.Option(min=1, help="Draws of the null.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, null and samples.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Forecast the next reply's place from the user's message, held out, with baselines and nulls."""
    import pandas as pd  # noqa: PLC0415

    from persona_lens.drift import Trace  # noqa: PLC0415
    from persona_lens.drift.forecast import Forecaster, truth_beside  # noqa: PLC0415
    from persona_lens.embedding import MINILM  # noqa: PLC0415
    from persona_lens.plots import (  # noqa: PLC0415
        forecast_scores,
        forecast_truth,
        message_kinds,
        save_figures,
    )

    found = [Trace.load(path) for path in traces]
    chosen = found[0].layers[0] if layer is None else layer
    named = parse_names(directions) or list(found[0].directions)
    table = pd.concat([each.wide(chosen) for each in found], ignore_index=True)
    forecaster = Forecaster(
        embedder or MINILM, permutations=permutations, seed=seed, progress=not quiet
    )
    forecaster.fit(table, directions=named)
    forecaster.save(folder / "forecaster")
    forecaster.scores_.to_csv(folder / "scores.csv", index=False)
    explained = forecaster.explain(named[0])
    explained.kinds.to_csv(folder / "kinds.csv", index=False)
    explained.messages.to_csv(folder / "messages.csv", index=False)
    source = f"{found[0].card['model']['model']}, residual stream after block {chosen}"
    quantity = "projection on the Assistant Axis" if named[0] == "axis" else f"along {named[0]}"
    rows = truth_beside(forecaster, named[0])
    save_figures(
        {
            folder / "scores.html": forecast_scores(forecaster.scores_, source=source),
            folder / "truth.html": forecast_truth(
                rows,
                by="domain" if "domain" in rows.columns else None,
                source=source,
                quantity=quantity,
            ),
            folder / "kinds.html": message_kinds(explained.kinds, source=source, quantity=quantity),
        }
    )
    for note in forecaster.notes_:
        err.print(note, markup=False, highlight=False, soft_wrap=True)
    shown = ["direction", "target", "predictor", "split", "r2", "low", "high", "null_95"]
    table = forecaster.scores_[[*shown, "r2_in_sample", "n_rows"]]
    out.print(table.round(3).to_string(index=False), markup=False, highlight=False, soft_wrap=True)
    if forecaster.question_ is not None:
        out.print(
            forecaster.question(named[0]).sentence, markup=False, highlight=False, soft_wrap=True
        )
    err.print(f"Saved: {folder}", soft_wrap=True)
