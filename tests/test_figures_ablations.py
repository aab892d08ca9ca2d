import pandas as pd

from temlib import ablations
from temlib.figures import ablations as figures


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


NAMES = ["quarter turns", "ImageNet instead of random weights", "1/2 of the training fields, as many steps"]


def rows(run, **changes):
    table = ablations.comparisons(NAMES)
    numbers = {
        "difference_db": -0.4,
        "low_db": -0.6,
        "high_db": -0.2,
        "fields_low_db": -0.7,
        "fields_high_db": -0.1,
        "seeds_db": "-0.3 -0.4 -0.5",
        "verdict": "worse",
    }
    return table.assign(run=run, **(numbers | changes))


def test_what_is_not_available_and_what_the_paper_says_are_told_beside_the_differences():
    table = rows("this run")
    absent = table["variant"] == "pretrained"
    table.loc[absent, ["difference_db", "low_db", "high_db"]] = float("nan")
    table.loc[absent, "verdict"] = "not available here"
    said = texts(figures.differences(table))
    assert said.count("not available here") == 1
    assert "paper: not effective" in said and "paper: did this" in said


def test_each_comparison_has_one_line_of_the_axis_though_two_runs_show_it():
    figure = figures.differences(pd.concat([rows("this run").iloc[:1], rows("study")]))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [
        "quarter turns",
        "ImageNet instead of random weights",
        "1/2 of the training fields, as many steps",
    ]
    assert {"this run", "study"} <= {text.get_text() for text in figure.legends[0].texts}


def test_an_interval_over_seeds_that_is_wider_than_all_else_ends_in_an_arrow():
    table = rows("study").assign(low_db=[-9.0, -0.6, -0.6], high_db=[8.0, -0.2, -0.2])
    [axes] = figures.differences(table).axes
    left, right = axes.get_xlim()
    arrows = [(line.get_marker(), line.get_xdata()[0]) for line in axes.lines if line.get_marker() in "<>"]
    assert -1 < left < -0.7 and 0 < right < 0.1  # of the fields' interval, and of none
    assert arrows == [("<", left), (">", right)]


def test_losses_that_are_not_resolved_stand_in_brackets():
    cells = [("2", "2", 0.0, True), ("10", "10", 0.0, True), ("2", "10", 3.24, True), ("10", "2", 0.51, False)]
    matrix = pd.DataFrame(cells, columns=["trained_at", "tested_at", "loss_db", "resolved"])
    # a row a dose of training, from above: 2 tested at 2 and at 10, then 10 tested at 2 and at 10
    assert texts(figures.doses(matrix)) == ["0.0", "3.2", "(0.5)", "0.0"]
