"""A result of a run: figure, numbers and provenance under one stem."""

import json
from pathlib import Path

from temlib.paths import whole_file
from temlib.provenance import describe


def save(figure, table, stem, out_dir, *, inputs=()):
    """Write `<stem>.png`, `<stem>.csv` and `<stem>.json` into `out_dir`.

    Parameters
    ----------
    figure : matplotlib Figure or None
        Saved at 200 dpi; None for a table without a figure.
    table : pandas.DataFrame
        Every plotted number, without its index; ten significant digits, so that
        the same run gives the same bytes.
    stem : str
        Name of the result, as the paper numbers it (`figure_5_histograms`).
    out_dir : path
        `runs/<profile>/figures`; the provenance is read from its parent.
    inputs : iterable of path
        Files the result was made from.
    """
    out_dir = Path(out_dir)
    if figure is not None:
        with whole_file(out_dir / f"{stem}.png") as partial:
            figure.savefig(partial, dpi=200, bbox_inches="tight")
    with whole_file(out_dir / f"{stem}.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.10g")
    with whole_file(out_dir / f"{stem}.json") as partial:
        partial.write_text(json.dumps(describe(out_dir.parent, inputs), indent=2) + "\n")
