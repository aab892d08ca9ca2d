import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jinja2", reason="the extra [paper] is not installed")
from PIL import Image

from temlib import report
from temlib.paths import save_npz
from temlib.reference import compare


@pytest.fixture
def run_dir(tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    table = pd.DataFrame(
        {
            "material": "Ni",
            "method": ["output", "blank"],
            "mae_on_hde_scale": [0.05, 0.08],
            "mae_on_hde_scale_sd": 0.01,
        }
    )
    table.to_csv(figures / "table_2_quality.csv", index=False)
    noise = np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(figures / "table_2_quality.png")
    cells = [
        {"source": ['record.save(figure, table, "table_2_quality", out_dir)'], "outputs": []},
        {"source": ["![](../figures/table_2_quality.png)"]},
        {"source": ["display()"], "outputs": [{"data": {"text/markdown": ["Notice: <b> is 5 & more."]}}]},
    ]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "04_evaluation.ipynb").write_text(json.dumps({"cells": cells}))
    profile = {"name": "smoke", "parameters": {"source": "simulated", "seed": 5}}
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    return tmp_path


def page_of(run_dir):
    return report.write_report(run_dir).read_text(encoding="utf-8")


def test_the_page_needs_no_other_file(run_dir):
    page = page_of(run_dir)
    assert 'src="data:image/webp;base64,' in page
    assert 'src="http' not in page and "<link" not in page


def test_numbers_verdicts_and_conditions_stand_on_the_page(run_dir):
    page = page_of(run_dir)
    assert "0.075 ± 0.026" in page  # the paper's MAE for Ni
    assert "0.050 ± 0.010" in page
    assert "claim holds" in page and "not run" in page
    assert "smoke" in page and "seed" in page


@pytest.fixture
def lost_particle(run_dir):
    """Figure 6 with a diameter and an edge in the HDE image and none in the output."""
    sizes = {"diameter_nm": [95.0, None], "diameter_se_nm": 1.0, "edge_width_nm": [5.0, None], "edge_width_se_nm": 1.0}
    table = pd.DataFrame({"figure": 6, "image": ["HDE", "output"], "particle": 1} | sizes)
    table.to_csv(run_dir / "figures" / "06_sizes.csv", index=False)
    return run_dir


def test_a_lost_particle_counts_among_what_differs(lost_particle):
    # the MAE of Ni holds; the diameter and the edge in the output, and the change of the diameter, do not
    page = page_of(lost_particle)
    assert "because the simulation was given them" in page
    assert "holds 1 times and differs 3 times, 3 of them because what the paper measured cannot be measured" in page


def test_the_verdict_on_a_lost_particle_has_a_sign_and_a_tone(lost_particle):
    comparison = compare(lost_particle / "figures", source="simulated")
    rows = {row["id"]: row for row in report.comparison_rows(comparison, lost_particle / "figures")}
    row = rows["single_output"]
    assert (row["sign"], row["tone"], row["short"], row["small"]) == ("⊘", "differs", "claim differs", "not measurable")
    assert rows["single_hde"]["short"] == "not comparable" and rows["single_hde"]["small"] == ""


def test_numbers_that_a_run_lacks_are_not_counted_as_had(lost_particle):
    # MAE of Ni, diameter and edge in the HDE image
    assert "this run on simulated frames has 3 of them" in page_of(lost_particle)


def test_the_folder_that_zenodo_is_fetched_to_is_told_as_the_authors_frames(run_dir):
    (run_dir / "profile.json").write_text('{"name": "own", "parameters": {"source": "data/zenodo"}}')
    assert "this run on the authors&#39; frames has" in page_of(run_dir)


def test_a_number_leads_to_its_figure_only_where_there_is_one(run_dir):
    page = page_of(run_dir)
    assert 'href="#table_2_quality"' in page and 'id="table_2_quality"' in page
    assert 'href="#table_3_latency"' not in page


def test_the_notebooks_sentence_stands_under_its_figure_and_is_escaped(run_dir):
    page = page_of(run_dir)
    assert "Notice: &lt;b&gt; is 5 &amp; more." in page
    assert "made by notebook 04_evaluation" in page


def test_a_run_that_has_made_nothing_still_gets_a_page(tmp_path):
    assert "No figure has been made yet." in page_of(tmp_path)


def test_figures_are_squeezed_into_the_budget(run_dir, monkeypatch):
    monkeypatch.setattr(report, "IMAGE_BYTES", 100_000)
    image = report.figure_entries(run_dir)[0]["image"]
    assert len(image) * 3 / 4 <= 100_000 < (run_dir / "figures" / "table_2_quality.png").stat().st_size


def test_the_first_silicate_field_of_the_validation_set_is_shown_before_and_after(run_dir):
    data = run_dir / "data"
    data.mkdir()
    pd.DataFrame(
        {
            "field": ["silicate_train_000", "Ni_val_000", "silicate_val_000"],
            "material": ["silicate", "Ni", "silicate"],
            "split": ["train", "val", "val"],
        }
    ).to_csv(data / "fields.csv", index=False)
    image = np.random.default_rng(0).random((1, 8, 12))
    for field in ("Ni_val_000", "silicate_val_000"):
        save_npz(run_dir / "pairs" / f"{field}.npz", lde=image, hde=image[0])
        save_npz(run_dir / "outputs" / "unet_corrected" / f"{field}.npz", output=image)
    assert "Validation field silicate_val_000, 8 × 12 pixels" in page_of(run_dir)


@pytest.mark.parametrize(
    ("number", "spread", "text"),
    [
        (0.0341, np.nan, "0.0341"),
        (95.24, np.nan, "95.2"),
        (1204.4, np.nan, "1204"),
        (4.2e9, np.nan, "4.2 × 10⁹"),
        (0.3, 0.0168, "0.300 ± 0.017"),
        (95.24, 2.06, "95.2 ± 2.1"),
        (1776.4, 623.1, "1776 ± 623"),
        (np.nan, np.nan, "–"),
        (0.0, np.nan, "0"),
    ],
)
def test_numbers_are_written_for_reading(number, spread, text):
    assert report.number_text(number, spread) == text
