"""`report.html`: a run on one self-contained page, the paper's numbers beside its own.

Joins what is in a run's folder: numbers from the csv files, the figures, and the sentences
that the executed notebooks print under them. Computes nothing; what is missing is left out.
"""

import base64
import datetime
import io
import json
import re
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from temlib.paths import load_npz, whole_file
from temlib.provenance import describe
from temlib.reference import LOST, compare, is_authors_data, origin_of

TEMPLATES = Path(__file__).parent / "templates"
IMAGE_BYTES = 5_500_000  # of all figures together; base64 adds a third, and the page stays below 8 MB
WIDEST_PX = 1500
PAGE_WIDE_PX = 1440  # a figure as wide as a page of the paper, at 200 dpi
MOST_ROWS = 60  # of a table, on the page
VERDICTS = {  # sign and colour class; no verdict is told by its colour alone
    "reproduced": ("✓", "good"),
    "not comparable, claim holds": ("✓", "holds"),
    "not comparable, claim differs": ("✗", "differs"),
    LOST: ("⊘", "differs"),
    "differs": ("✗", "differs"),
    "not comparable, claim not resolved": ("~", "open"),
    "not comparable": ("≠", "open"),
    "not measurable": ("⊘", "open"),
    "not measured": ("–", "open"),
    "not run": ("–", "open"),
}
DATA = {
    "simulated": "simulated frames",
    "zenodo": "the authors' frames",
    "unknown": "frames of unknown origin",
}


def write_report(run_dir):
    """Write `<run_dir>/figures/report.html` from what the run has so far.

    Parameters
    ----------
    run_dir : path
        `runs/<profile>`.

    Returns
    -------
    Path
        The page: below 8 MB, and needing nothing but itself.
    """
    run_dir = Path(run_dir)
    figures_dir = run_dir / "figures"
    origin = origin_of(run_dir)
    source = "zenodo" if is_authors_data(origin["source"]) else origin["source"]
    comparison = compare(figures_dir, **origin)
    rows = comparison_rows(comparison, figures_dir)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    environment.trim_blocks = environment.lstrip_blocks = True
    page = environment.get_template("report.html.j2").render(
        title="Fast improvement of TEM images with low-dose electrons, run again",
        lead=lead(comparison, DATA.get(source, f"the frames in {source}")),
        pictures=before_after(run_dir),
        rows=rows,
        sections=sections(rows),
        verdicts=[
            {"name": name, "sign": sign, "tone": tone, "count": (comparison.verdict == name).sum()}
            for name, (sign, tone) in VERDICTS.items()
            if (comparison.verdict == name).any()
        ],
        figures=figure_entries(run_dir),
        **conditions(run_dir),
    )
    path = figures_dir / "report.html"
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def lead(comparison, data):
    """The page's first sentences: what was found, in counts."""
    counts = comparison.verdict.value_counts()
    reproduced, differs, holds, against, lost = (
        counts.get(name, 0)
        for name in (
            "reproduced",
            "differs",
            "not comparable, claim holds",
            "not comparable, claim differs",
            LOST,
        )
    )
    text = (
        f"{len(comparison)} numbers of the paper, said or implied, are listed here; this run on {data} has "
        f"{comparison.run.notna().sum()} of them."
    )
    if reproduced + differs:
        text += f" {reproduced} are reproduced within the paper's own spread and {differs} differ."
    if holds + against + lost:
        text += (
            " Other frames, another treatment or another computer cannot reproduce a number, but they can test what "
            f"the paper says with it: that holds {holds} times and differs {against + lost} times"
        )
        text += f", {lost} of them because what the paper measured cannot be measured here." if lost else "."
    if data == DATA["simulated"]:
        text += " Exposures, doses, contrasts and where particles lie hold because the simulation was given them."
    return text


def comparison_rows(comparison, figures_dir):
    """The comparison as the page's table shows it: texts, signs, links."""
    rows = []
    for claim in comparison.to_dict("records"):
        sign, tone = VERDICTS[claim["verdict"]]
        where, _, said = claim["verdict"].rpartition(", ")
        short, _, how = said.rstrip(")").partition(" (")
        run = number_text(claim["run"], claim["run_spread"]).replace("-", "−")
        linked = (figures_dir / f"{claim['stem']}.csv").is_file()
        rows.append(
            {name: claim[name] for name in "id section quantity paper unit place claim verdict".split()}
            | {"run": run, "sign": sign, "tone": tone, "short": short, "small": how or where}
            | {"link": claim["stem"] if linked else ""}
        )
    return rows


def sections(rows):
    """The rows under their headings, in the paper's order."""
    names = dict.fromkeys(row["section"] for row in rows)
    return [
        {
            "name": name,
            "anchor": re.sub(r"\W+", "-", name.lower()),
            "rows": [row for row in rows if row["section"] == name],
        }
        for name in names
    ]


def number_text(number, spread=np.nan):
    """A number for reading: three digits, or as many as its spread makes sense of."""
    if not np.isfinite(number):
        return "–"
    if spread >= 5e-5:  # NaN is not
        decimals = min(4, max(0, 1 - int(np.floor(np.log10(spread)))))
        return f"{number:.{decimals}f} ± {spread:.{decimals}f}"
    if abs(number) >= 1e5:
        mantissa, exponent = f"{number:.1e}".split("e")
        return f"{mantissa} × 10" + str(int(exponent)).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def before_after(run_dir):
    """One field of the validation set as LDE, output and HDE image; None where there is none yet."""
    fields_file, outputs = run_dir / "data" / "fields.csv", sorted(run_dir.glob("outputs/unet_*"))
    if not fields_file.is_file() or not outputs:
        return None
    fields = pd.read_csv(fields_file)
    fields = fields[fields.split == "val"].sort_values(
        "material", key=lambda materials: materials != "silicate", kind="stable"
    )
    for row in fields.itertuples():
        files = run_dir / "pairs" / f"{row.field}.npz", outputs[0] / f"{row.field}.npz"
        if all(file.is_file() for file in files):
            break
    else:
        return None
    pair, output = map(load_npz, files)
    images = {"lde": pair["lde"][0], "output": output["output"][0], "hde": pair["hde"]}
    pictures = {name: _data_address(_grey(image), quality=85) for name, image in images.items()}
    rows, cols = images["lde"].shape
    pictures["caption"] = (
        f"Validation field {row.field}, {rows} × {cols} pixels. Drag across the left image, or use the arrow "
        "keys. Each image has its own grey scale, from its 0.5th to its 99.5th percentile."
    )
    return pictures


def _grey(image):
    low, high = np.percentile(image, [0.5, 99.5])
    return Image.fromarray(np.uint8(255 * np.clip((image - low) / (high - low), 0, 1)))


def figure_entries(run_dir):
    """Every result of the run in the order of `captions.csv`, unlisted ones last."""
    captions = pd.read_csv(TEMPLATES / "captions.csv").set_index("stem").fillna("")
    stems = [file.stem for file in sorted((run_dir / "figures").glob("*.csv")) if file.stem != "99_report"]
    order = {stem: number for number, stem in enumerate(captions.index)}
    stems.sort(key=lambda stem: order.get(stem, len(order)))
    pngs = [run_dir / "figures" / f"{stem}.png" for stem in stems]
    budget = IMAGE_BYTES // max(1, sum(png.is_file() for png in pngs))
    found = notices(run_dir, stems)
    entries = []
    for stem, png in zip(stems, pngs, strict=True):
        unlisted = {"title": stem.replace("_", " "), "caption": ""}
        listed = captions.loc[stem] if stem in captions.index else unlisted
        entries.append(
            {
                "stem": stem,
                "title": listed["title"],
                "caption": listed["caption"],
                **(embedded(png, budget) if png.is_file() else {}),
                **({} if png.is_file() and not stem.startswith("table_") else html_table(png.with_suffix(".csv"))),
                **found.get(stem, {"notebook": "", "notices": []}),
            }
        )
    return entries


def notices(run_dir, stems):
    """What the executed notebooks say under each figure: stem -> notebook and its sentences.

    A sentence belongs to the results that its own cell saves or shows, or else to those of the
    last cell before it that does.
    """
    found = {}
    for file in sorted((run_dir / "notebooks").glob("*.ipynb")):
        named = []
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            named = [stem for stem in stems if re.search(rf'"{stem}", |figures/{stem}\.png', source)] or named
            for output in cell.get("outputs", []):
                text = "".join(output.get("data", {}).get("text/markdown", ""))
                if text.startswith("Notice"):
                    for stem in named:
                        entry = found.setdefault(stem, {"notebook": file.stem, "notices": []})
                        entry["notices"].append(re.sub(r"[*`$]", "", text))
    return found


def embedded(png, budget):
    """A figure as a data address of at most `budget` bytes, and its width on the page in per cent."""
    with Image.open(png) as image:
        image = image.convert("RGB")
    width = min(100, 100 * image.width / PAGE_WIDE_PX, 110 * image.width / image.height)  # fits a screen
    image.thumbnail((WIDEST_PX, 3 * WIDEST_PX), Image.Resampling.LANCZOS)
    attempts = [{"lossless": True}, *({"quality": quality} for quality in (90, 80, 65, 45, 25, 10))]
    for options in attempts:
        address = _data_address(image, **options)
        if len(address) * 3 / 4 <= budget:
            break
    return {"image": address, "width": round(width)}


def _data_address(image, **options):
    file = io.BytesIO()
    image.save(file, "webp", method=6, **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def html_table(csv):
    """A csv file for reading: first rows, number of rows, and whether it needs folding."""
    try:
        table = pd.read_csv(csv)
    except pd.errors.EmptyDataError:
        return {}
    shown = table.head(MOST_ROWS).rename(columns=lambda name: name.replace("_", " "))
    texts = shown.select_dtypes("float").map(number_text)
    shown = shown.assign(**texts).astype(object).where(shown.notna(), "–")
    folded = len(table) > 14 or len(table.columns) > 10
    return {"table": shown.to_html(index=False, border=0), "n_rows": len(table), "folded": folded}


def conditions(run_dir):
    """Profile, machine, versions, commits and date, from the provenance beside the figures."""
    here = describe(run_dir)
    stored = [json.loads(file.read_text()) for file in sorted((run_dir / "figures").glob("*.json"))]
    stored.append(here)
    commits = dict.fromkeys(
        f"{entry['git_commit'][:10]}{' with changes' if entry['git_dirty'] else ''}"
        for entry in stored
        if entry["git_commit"]
    )
    machines = dict.fromkeys(
        f"{entry['hardware']['processor']}, {entry['hardware']['cores']} cores, {entry['hardware']['system']}"
        for entry in stored
    )
    minutes_file = run_dir / "minutes.json"
    minutes = json.loads(minutes_file.read_text()) if minutes_file.is_file() else {}
    listed = {
        "Profile": here["profile"] or run_dir.name,
        "Data": origin_of(run_dir)["source"],
        "Machine": "; ".join(machines),
        "Commit": "; ".join(commits) or "no git checkout",
        "Minutes": ", ".join(f"{name} {value:.1f}" for name, value in minutes.items()) or "not measured",
        "Versions": ", ".join(f"{name} {number}" for name, number in stored[-1]["versions"].items() if number),
        "Page written": datetime.date.today().isoformat(),
    }
    return {"conditions": listed.items(), "parameters": (here["parameters"] or {}).items()}
