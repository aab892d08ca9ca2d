"""`temlib measure | validate`: diameters, and how wrong they are."""

import os
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from temlib.commands import app, found, not_computed, one_sentence, refuse, shown_on
from temlib.errors import TemlibError


@app.command()
def measure(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FRAME...",
            show_default=False,
            help="Microscope files, folders or patterns; frames and movies, raw or denoised by temlib.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="CSV",
            help="A .csv: receives one row a particle and image, written anew after each input; with .json after it "
            "where they come from.",
        ),
    ],
    model: Annotated[
        str, typer.Option(metavar="best|fast|CARD", help="With which particles are found in raw frames.")
    ] = "best",
    overlay: Annotated[
        Literal["png"] | None, typer.Option(help="Also pictures of the particles, beside the table.")
    ] = None,
):
    """Diameters of particles with their standard errors: spheres, fitted to what the camera recorded."""
    from tqdm import tqdm

    from temlib import networks
    from temlib.inputs import stem_of
    from temlib.measuring import measure_file, workers, write_table

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_sentence():
        if output.suffix.lower() != ".csv" or output.is_dir():
            raise TemlibError(f"{output} is no table: the output is a file, NAME.csv.")
        network = networks.load(model)
        output.parent.mkdir(parents=True, exist_ok=True)
    paths, failed = found(inputs, denoised=True)

    root = os.path.commonpath([path.resolve().parent for path in paths]) if paths else ""
    names = [path.resolve().relative_to(root) for path in paths]
    stems = [name.with_name(stem_of(path)) for name, path in zip(names, paths, strict=True)]
    often = Counter(stems)
    tables, records = [], []

    def keep(table, record):
        with one_sentence():
            write_table(output, [*tables, table], [*records, record], network)

    for path, name, stem in zip(paths, names, stems, strict=True):
        picture = f"{stem if often[stem] == 1 else name}_overlay"
        # a pool for each input: a worker that was killed breaks its pool
        with workers() as pool, tqdm(desc=stem_of(path), unit="image", delay=1, disable=None) as bar:
            try:
                table, record = measure_file(
                    path,
                    network,
                    name=name,
                    each=partial(_fits, pool),
                    overlay=output.parent / picture if overlay else None,
                    progress=shown_on(bar),
                    keep=keep,
                )
            except (TemlibError, OSError, MemoryError, RuntimeError) as error:
                bar.close()
                known = isinstance(error, (TemlibError, OSError))
                refuse(error if known else not_computed(path, error, "bin the frame"))
                failed += 1
                continue
        keep(table, record)
        tables.append(table)
        records.append(record)
        print(f"{path.name}: {_counted(table, record)}")
        for note in record["notes"]:
            print(f"note: {path.name}: {note}", file=sys.stderr)
        if record["interrupted"]:
            raise typer.Exit(130)
        failed += record["measured_images"] < record["images"]
    if failed:
        raise typer.Exit(1 if tables else 2)


def _fits(pool, fitted, *groups):
    """As `map`, in a pool of processes, with a bar for what takes long."""
    from tqdm import tqdm

    bar = {"total": len(groups[0]), "desc": "fits", "unit": "group", "delay": 2, "leave": False, "disable": None}
    return tqdm(pool.map(fitted, *groups), **bar)


def _counted(table, record):
    """What was found in a file, in words."""
    least_nm, most_nm = record["sizes_nm"]
    sought = f"{least_nm:.3g} to {most_nm:.3g} nm are looked for"
    significant = table["significant"].astype("boolean")
    if significant.isna().any():
        return f"{len(table)} particles ({sought}); which of them noise could have made is not known"
    said = f"{significant.sum()} {'particle' if significant.sum() == 1 else 'particles'} ({sought})"
    if record["images"] > 1:
        number = table.loc[significant, "particle"].nunique()
        said = (
            f"{number} particles ({sought}) in {record['measured_images']} images, measured {significant.sum()} times"
        )
    others = int((~significant).sum())
    return f"{said}; {others} more {'is' if others == 1 else 'are'} not significant" if others else said


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="Sets of one HDE and its LDE frames of one field, in any subfolders.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Receives validation.csv and the particles behind it.")
    ],
    model: Annotated[
        str, typer.Option(metavar="best|fast|CARD", help="With which particles are found in LDE frames.")
    ] = "best",
):
    """How wrong are diameters in your own LDE frames, by your own HDE frames?"""
    from tqdm import tqdm

    from temlib import networks
    from temlib.measuring import workers
    from temlib.validation import validate as compare

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_sentence():
        if output.exists() and not output.is_dir():
            raise TemlibError(f"{output} is a file: the output is a folder.")
    with one_sentence(), workers() as pool, tqdm(unit="field", delay=1, disable=None) as bar:
        table, refusals = compare(folder, networks.load(model), output, each=pool.map, progress=shown_on(bar))
    for sentence in refusals:
        refuse(sentence)
    names = {
        "n": "measurements",
        "found": "share found",
        "bias_nm": "bias (nm)",
        "spread_nm": "spread (nm)",
        "coverage": "in 90 % interval: sphere",
        "coverage_any_shape": "any shape",
    }
    print(table[["method", "d_prime", *names]].rename(columns=names).round(2).to_string(index=False))
    print("spread: median error / 0.67, inf where less than half is found; of stated 90 % intervals, 0.9 should hold:")
    print("of spheres those of diameter_error_nm, of other bodies those of diameter_error_any_shape_nm (any shape)")
    print("HDE frames have errors of their own, which are among these")
    for row in table.drop_duplicates("method").itertuples():
        interval = f"{row.false_per_field_low:.2f} to {row.false_per_field_high:.2f}"
        print(
            f"{row.method}: {row.false_per_field:.2f} ({interval}) particles of 30 nm and 3 % contrast or more a field "
            f"of 1.53 um where the HDE frame shows none; {row.significant_false_per_field:.2f} are significant"
        )
    print(f"{output / 'validation.csv'}: diameters of LDE frames against those of the HDE frames of the same fields")
    if refusals:
        raise typer.Exit(1)
