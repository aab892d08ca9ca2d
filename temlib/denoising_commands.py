"""`temlib denoise | adapt | bench`: frames without their noise, networks for other cameras, and how fast they are."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from temlib.commands import app, found, not_computed, one_sentence, refuse, shown_on
from temlib.errors import TemlibError


@app.command()
def denoise(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            show_default=False,
            help="Microscope files, folders with their subfolders, or patterns; frames and movies. A folder "
            "Hour_HH/Minute_MM/Second_SS/*.dm4 is one movie.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Receives <stem>_denoised.<format>, with .json after it its provenance, with .mp4 its preview. What "
            "was made from the same input is replaced once the new file is whole; what was made from another one is "
            "kept.",
        ),
    ],
    model: Annotated[
        str, typer.Option(metavar="best|fast|CARD", help="A shipped network, or a card (.json).")
    ] = "best",
    format: Annotated[
        Literal["tif", "hspy", "zspy", "mrc"] | None,
        typer.Option(help="Of the output: float32, electrons per pixel.", show_default="tif; hspy for a movie"),
    ] = None,
    preview: Annotated[Literal["mp4"] | None, typer.Option(help="Also a film, raw beside denoised.")] = None,
):
    """Denoise frames and movies with a network that was trained in simulation, for dry films."""
    from tqdm import tqdm

    from temlib import networks
    from temlib.denoising import denoise_file
    from temlib.inputs import stem_of

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that half files are cleared away
    with one_sentence():
        network = networks.load(model)
        output.mkdir(parents=True, exist_ok=True)
    paths, failed = found(inputs)
    done = 0
    for path in paths:
        with tqdm(desc=stem_of(path), unit="image", delay=1, disable=None) as bar:
            try:
                record = denoise_file(
                    path, network, output, suffix=format, preview=bool(preview), progress=shown_on(bar)
                )
            except (TemlibError, OSError, MemoryError, RuntimeError) as error:
                bar.close()
                refuse(error if isinstance(error, (TemlibError, OSError)) else not_computed(path, error))
                failed += 1
                continue
        done += 1
        count, (rows, columns) = record["images"], record["shape_px"]
        print(f"{output / record['output']}: {count} x {rows} x {columns} px, {record['unit']}")
        for note in record["notes"]:
            print(f"note: {path.name}: {note}", file=sys.stderr)
    if failed:
        raise typer.Exit(1 if done else 2)


@app.command()
def adapt(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FRAMES|MOVIE...",
            show_default=False,
            help="Raw microscope files, folders or patterns: movies, and single frames of which two or more that "
            "follow each other show the same field.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="CARD",
            help="Receives the adapted network's card (.json), its weights beside it; `temlib denoise --model CARD` "
            "takes it.",
        ),
    ],
    minutes: Annotated[float, typer.Option(min=0.1, help="Of training; what was interrupted goes on.")] = 10.0,
    model: Annotated[
        str, typer.Option(metavar="best|fast|CARD", help="To start from: a shipped network, or a card (.json).")
    ] = "best",
):
    """Adapt a network to your camera and specimen, from low-dose frames alone; needs the extra [paper]."""
    from tqdm import tqdm

    from temlib.adapt import adapt_files

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    paths, refused = found(inputs)
    if not paths:
        raise typer.Exit(2)
    bar_format = "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"
    with one_sentence(), tqdm(total=60 * minutes, delay=1, disable=None, bar_format=bar_format) as bar:

        def progress(done, total, loss):
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(done - bar.n)

        try:
            card, unused = adapt_files(
                paths, output, model=model, minutes=minutes, report=tqdm.write, progress=progress
            )
        except KeyboardInterrupt as error:
            bar.close()
            print(
                "interrupted: the same command goes on from the last checkpoint, if there is one yet", file=sys.stderr
            )
            raise typer.Exit(130) from error
    for sentence in unused:
        refuse(sentence)
    state = "better than" if card["adaptation"]["score"]["improved"] else "unchanged from"
    print(f"{output}: {state} {card['adapted_from']['name']}; use it with: temlib denoise --model {output}")
    if refused or unused:
        raise typer.Exit(1)


@app.command()
def bench(
    size: Annotated[int, typer.Option(min=32, help="Edge of the frames [px].")] = 512,
    repeats: Annotated[int, typer.Option(min=1, help="Frames timed of each network on each runtime.")] = 100,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Receives the rows.")] = None,
):
    """Time every network on every runtime of this machine, in turns; ratios are to the paper's in eager PyTorch."""
    from temlib.bench import bench as time_all

    with one_sentence():
        table, at_once, left_out = time_all(size, repeats=repeats, json_file=json_file)
    print(table.drop(columns="size").to_string(index=False, float_format="{:.2f}".format, na_rep="-"))
    for row in at_once:
        print(f"{row['model']}, {row['threads']} frames at a time: {row['frames_per_s']:.0f} frames a second")
    for sentence in left_out:
        print(sentence)
