"""The paper's own numbers."""

import pandas as pd

from temlib.paths import PAPER_TABLES


def paper_table(name):
    return pd.read_csv(PAPER_TABLES / f"{name}.csv")
