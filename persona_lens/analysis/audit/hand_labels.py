"""Replies for a person to label, blind to what the judges say, and the person's labels back.

    export_sample(RunFolder("runs/first"), "hand.csv", n=120)
    # hand.csv goes to a person, with hand-instructions.txt; hand-design.json stays behind
    labelled = read_labelled(RunFolder("runs/first"), "hand.csv")
    hand_agreement(labelled, verdict_frame(RunFolder("runs/first")))

The sample is stratified by what all judges say of a reply together ("fully / not" is one stratum of two judges):
half of it is shared out evenly among the strata, so that disagreements and rare labels are well covered, and half
in proportion to their sizes, so that no reply has less than half the chance it has in a plain sample. Within a
stratum every reply has the same chance, and draws are spread over its roles. What was oversampled is weighted
down again by `hand_agreement`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from persona_lens.analysis.audit.stratified import draw_rows
from persona_lens.analysis.audit.verdicts import judges_of, verdict_frame
from persona_lens.errors import RunError
from persona_lens.files import whole_or_nothing
from persona_lens.judges.base import LABELS
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.tables import read_record, write_record

COLUMNS = ("id", "role", "description", "what_shows_it", "question", "reply", "label")
NO_LABEL = "none"
_REPLY = ["name", "prompt_index", "question_id", "sample"]
_FORMULA = tuple("=+-@＝＋－＠")
_CONTROL = ("\t", "\r")
_SHOWN_FAULTS = 5

_INSTRUCTIONS = """\
How far does each reply play its role?

A language model was told to be the role named in column "role" and was asked the question. Read its reply, and
write one of these words into column "label":

  not        It answers as the AI that wrote it would answer anyone, or refuses as that AI does. Nothing of the
             role can be heard.
  somewhat   It says that it is an AI, and yet something of the role can be heard: its voice, its views, its world.
  fully      It is the role throughout and never admits to being an AI. A name and a life of its own count as
             playing the role; so does a refusal that the role itself would give.

Judge what the reply says, not whether it is right or well written. "description" and "what_shows_it" tell what
the role is. Leave the label empty where you cannot decide. Go through the rows in their order: if you stop early,
those that you have done are still a fair sample. Change nothing but column "label", and save as CSV; commas or
semicolons will do.

Before you are done, do not look at what any judge says, nor at
{design}.

Texts that begin with = + - or @ have an apostrophe in front, so that no spreadsheet takes them for a formula. It
is not part of the reply.
"""


def export_sample(
    run: RunFolder,
    path: str | Path,
    n: int = 120,
    judges: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write role replies for a person to label.

    Args:
        run: A labelled run.
        path: The CSV file to write: UTF-8 with a byte order mark, which spreadsheets need to know it.
        n: Replies; all there are if there are fewer.
        judges: Keys of the judges whose labels make the strata, or beginnings of them; all by default.
        seed: Of the draw.

    Returns:
        The sheet, the instructions, and the design: which stratum each reply was drawn from, how large that is,
        and of which replies the sheet is.

    Raises:
        RunError: The sheet is there already, is not called `.csv`, or `n` is less than one; or no judge has
            labelled the run.
    """
    sheet = Path(path)
    check_target(sheet, n)
    frame = verdict_frame(run, judges)
    roles = frame.loc[frame["kind"] == "role"].reset_index(drop=True)
    roles["stratum"] = _strata(roles)
    sizes = roles["stratum"].value_counts()
    rng = np.random.default_rng(seed)
    # In random order: by stratum, neighbours would tell what the judges say.
    chosen = rng.permutation(draw_rows(roles, n, rng))
    sample = roles.loc[chosen, [*_REPLY, "stratum"]]
    sample["stratum_size"] = sample["stratum"].map(sizes)
    sample.insert(0, "id", [_reply_id(**row) for row in sample[_REPLY].to_dict("records")])
    texts, digests = _texts(run, sample)

    design, instructions = beside(sheet, "design.json"), beside(sheet, "instructions.txt")
    write_record(
        design,
        {
            "judges": judges_of(frame),
            "seed": seed,
            "strata": {str(name): int(size) for name, size in sizes.items()},
            "sample": sample.to_dict("records"),
            "replies": digests,
        },
    )
    with whole_or_nothing(instructions) as partial:
        partial.write_text(_INSTRUCTIONS.format(design=design.name), "utf-8")
    with whole_or_nothing(sheet) as partial:
        partial.write_bytes(sheet_text(texts).encode("utf-8-sig"))
    return [sheet, instructions, design]


def read_labelled(
    run: RunFolder, path: str | Path, *, design: str | Path | None = None
) -> pd.DataFrame:
    """What the person said of the replies `export_sample` wrote.

    Args:
        run: The run they were drawn from.
        path: The sheet, labelled as far as it goes; rows may be missing or in another order.
        design: The design, if it does not lie beside the sheet under its own name.

    Returns:
        One row a reply of the sample: `id`, `name`, `prompt_index`, `question_id`, `sample`, `stratum`,
        `stratum_size` (replies of the run in it) and `label`, missing where the person gave none.

    Raises:
        RunError: A label that is not one of `not`, `somewhat` and `fully`, an unknown or repeated id, columns that
            are missing; or the run holds other replies than those that were labelled. Rows are counted as
            spreadsheets do, the header being row 1.
    """
    sheet = Path(path)
    plan_file = beside(sheet, "design.json") if design is None else Path(design)
    try:
        plan = read_record(plan_file)
    except FileNotFoundError as error:
        raise RunError(
            f"the design of {sheet} is missing",
            expected=plan_file,
            remedy="put it there or pass design=...: without it the sample cannot be weighted",
        ) from error
    _check_replies(run, plan["replies"])
    sample = pd.DataFrame(plan["sample"])
    given = read_sheet(sheet, set(sample["id"]))
    sample["label"] = pd.Categorical(sample["id"].map(given), LABELS, ordered=True)
    return sample


def as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: what might be one gets an apostrophe in front.

    Examples:
        >>> as_text("=1+1"), as_text(" -5 is my answer"), as_text("a = b")
        ("'=1+1", "' -5 is my answer", 'a = b')
    """
    return f"'{cell}" if cell.startswith(_CONTROL) or cell.lstrip().startswith(_FORMULA) else cell


def _strata(roles: pd.DataFrame) -> pd.Series:
    """What all judges say of each reply, in one word each."""
    labels = [
        roles[f"label:{judge}"].astype(object).fillna(NO_LABEL).astype(str)
        for judge in judges_of(roles)
    ]
    return labels[0].str.cat(labels[1:], sep=" / ")


def _texts(run: RunFolder, sample: pd.DataFrame) -> tuple[list[list[str]], dict[str, str | None]]:
    """The rows of the sheet, and the digests of the replies of every shard in it."""
    opened = run.opened()
    shards = {(s.name, s.prompt_index): s for s in opened.shards if s.kind == "role"}
    texts: dict[str, list[str]] = {}
    digests = {}
    for key in dict.fromkeys(zip(sample["name"], sample["prompt_index"], strict=True)):
        shard = shards[key]
        digests[shard.key] = opened.replies_digest(shard)
        about = opened.manifest.about.get(f"role-{shard.name}", {})
        told = [str(about.get(key) or "") for key in ("description", "rubric")]
        role = str(about.get("original_name") or shard.name.replace("_", " "))
        for request, reply in zip(shard.requests, opened.read_replies(shard), strict=True):
            reply_id = _reply_id(
                shard.name, shard.prompt_index, request.question_id, request.sample
            )
            texts[reply_id] = [reply_id, role, *told, request.question, reply.answer, ""]
    return [texts[reply_id] for reply_id in sample["id"]], digests


def sheet_text(texts: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> str:
    """The sheet as CSV, each cell safe from being taken for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([as_text(cell) for cell in row] for row in texts)
    return file.getvalue()


def read_sheet(
    sheet: Path, known: set[str], labels: Sequence[str] = LABELS, columns: Sequence[str] = COLUMNS
) -> dict[str, str]:
    """The label of every reply that has one.

    Raises:
        RunError: As for `read_labelled`.
    """
    # Ids and labels are ASCII, so it does not matter if a spreadsheet saved texts in another encoding.
    text = sheet.read_text("utf-8-sig", errors="replace")
    header = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count))
    missing = {"id", "label"} - set(rows.fieldnames or ())
    if missing:
        raise RunError(
            f"{sheet} has no column {' and no column '.join(sorted(missing))}",
            expected=", ".join(columns),
            given=header.strip()[:80],
        )
    found: dict[str, str] = {}
    faults: list[str] = []
    for number, row in enumerate(rows, start=2):
        reply_id, label = (str(row[name] or "").strip() for name in ("id", "label"))
        if reply_id not in known:
            faults.append(f"row {number}: unknown id {reply_id!r}")
        elif reply_id in found:
            faults.append(f"row {number}: {reply_id} once more")
        elif label.lower() not in ("", *labels):
            faults.append(f"row {number}: {label!r}")
        found[reply_id] = label.lower()
    if faults:
        more = f" and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise RunError(
            f"{sheet} holds what cannot be read: {'; '.join(faults[:_SHOWN_FAULTS])}{more}",
            expected=f"{', '.join(labels)} or nothing, once for each id that was given out",
            remedy="mend those rows",
        )
    return {reply_id: label for reply_id, label in found.items() if label}


def check_target(sheet: Path, n: int) -> None:
    """Refuse a sheet that is there already, is no CSV file, or would be of no reply.

    Raises:
        RunError: That is so.
    """
    if sheet.suffix.lower() != ".csv":
        raise RunError("a sheet for labels is a CSV file", expected="a name in .csv", given=sheet)
    if sheet.exists():
        raise RunError(
            f"{sheet} is there already, and may hold somebody's labels",
            remedy="choose another name, or remove it",
        )
    if n < 1:
        raise RunError("a sample holds at least one reply", given=n)


def _check_replies(run: RunFolder, digests: Mapping[str, str | None]) -> None:
    opened = run.opened()
    shards = {shard.key: shard for shard in opened.shards}
    for key, digest in digests.items():
        if key not in shards or opened.replies_digest(shards[key]) != digest:
            raise RunError(
                f"the labels of {key} are about other replies than those in {run.path}",
                remedy="read them with the run they were drawn from",
            )


def beside(sheet: Path, ending: str) -> Path:
    """A file of a sheet: `hand.csv` has `hand-design.json`."""
    return sheet.with_name(f"{sheet.stem}-{ending}")


def _reply_id(name: str, prompt_index: int, question_id: str, sample: int) -> str:
    return f"role-{name}-p{prompt_index}/{question_id}/{sample}"
