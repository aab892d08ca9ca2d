"""`temlib simulate | fetch | index`: frames to work with."""

from pathlib import Path
from typing import Annotated

import typer

from temlib.commands import app, one_sentence, refuse


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Receives fields.csv, truth.csv and the frames.")],
    fields: Annotated[int, typer.Option(min=1, help="Fields of view a material, for training.")] = 8,
    validation: Annotated[int, typer.Option(min=1, help="The same, for validation.")] = 3,
    size: Annotated[int, typer.Option(min=32, help="Edge of an LDE frame [px]: at least 560 nm of specimen.")] = 256,
    pixel_size_nm: Annotated[float, typer.Option(min=0.1, help="LDE pixel on the specimen [nm].")] = 2.9885,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
):
    """Write simulated sets as a microscope records them: one HDE and two LDE frames each."""
    from tqdm import tqdm

    from temlib.phantom import MATERIALS
    from temlib.simulate import simulate as write

    total = len(MATERIALS) * (fields + validation)
    with one_sentence(), tqdm(total=total, unit="field", delay=1) as bar:
        write(
            folder,
            train_fields=dict.fromkeys(MATERIALS, fields),
            validation_fields=dict.fromkeys(MATERIALS, validation),
            hde_frames_kept=max(fields, validation),
            seed=seed,
            size_px=size,
            binning=8,
            pixel_size_nm=pixel_size_nm,
            max_drift_px=3.0,
            report=lambda _: bar.update(),
        )
    print(f"{total} fields are in {folder}; {folder / 'fields.csv'} lists their frames")


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(help="Where to; about as the record's size, twice for archives.")],
    doi: Annotated[str, typer.Option(help="A Zenodo record.")] = "10.5281/zenodo.7024737",
):
    """Download the authors' data from Zenodo, unpack it, and index it."""
    from temlib.zenodo import fetch as download

    with one_sentence():
        download(folder, doi=doi)
    index(folder)


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Frames of one camera, in any subfolders.")],
):
    """Find the sets of HDE and LDE frames in a folder and write its fields.csv, or check the one that it has."""
    from temlib.dataset import count_images
    from temlib.fields import index_folder, write_fields

    table = folder / "fields.csv"
    with one_sentence():
        if table.exists():
            print(f"{table} is there already, so its sets are checked; delete it to have the folder looked through")
        found, refusals = index_folder(folder)
        for sentence in refusals:
            refuse(sentence)
        if found.empty:
            raise typer.Exit(2)
        if not table.exists():
            write_fields(found, table)
        print(count_images(found).to_string(index=False))
        print(f"{len(found)} pairs in {table}" + (" can be used" if refusals else ""))
    if refusals:
        raise typer.Exit(1)
