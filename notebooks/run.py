"""Run every notebook and keep its outputs, figures as pictures so that they stay small and show everywhere.

python notebooks/run.py            # all
python notebooks/run.py 01 03      # some
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
CELL_SECONDS = 600


def run(path: Path, *, renderer: str) -> nbformat.NotebookNode:
    """Run a notebook in its own folder and return it with its outputs; the first error stops it."""
    os.environ["PLOTLY_RENDERER"] = renderer
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tells where it is installed
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    return notebook


def main(wanted: list[str]) -> None:
    """Run those whose names begin as wanted; all if nothing is."""
    for path in sorted(HERE.glob("[0-9]*.ipynb")):
        if wanted and not path.name.startswith(tuple(wanted)):
            continue
        notebook = run(path, renderer="png")
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # when each cell ran is nobody's business
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
