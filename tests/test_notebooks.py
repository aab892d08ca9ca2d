"""The rules that hold for every notebook, whichever there are."""

import ast
import io
import json
import re
import tokenize

import pytest
import yaml

from temlib.paths import NOTEBOOKS, PARAMS, ROOT
from temlib.settings import GIVEN_BY_THE_RUNNER, notebook_parameters, notebook_paths

NOTEBOOK_PATHS = notebook_paths()
PROFILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(PARAMS.glob("*.yaml"))}
MAY_IMPORT_TORCH = {"03", "04", "07", "08", "10"}
LONGEST_CELL = 20  # lines; 15 is what a cell aims at

every_notebook = pytest.mark.parametrize("path", NOTEBOOK_PATHS, ids=lambda path: path.stem)
every_profile = pytest.mark.parametrize("name", PROFILES)


def cells_of(path, kind):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell | {"text": "".join(cell["source"])} for cell in cells if cell["cell_type"] == kind]


def code_of(path):
    return ast.parse("\n".join(cell["text"] for cell in cells_of(path, "code")))


def parameter_cells(path):
    return [cell for cell in cells_of(path, "code") if "parameters" in cell["metadata"].get("tags", [])]


def known_keys():
    return set().union(*(notebook_parameters(path) for path in NOTEBOOK_PATHS)) - GIVEN_BY_THE_RUNNER


def imports(tree):
    """Dotted names that a notebook or module imports when it is loaded: not inside its functions."""
    names, nodes = set(), [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif not isinstance(node, ast.FunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return names


def imports_through_temlib(names):
    """`names` and what the modules of temlib among them import in their turn."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name.split(".")[0] == "temlib":
            stem = ROOT.joinpath(*name.split("."))
            for source in (stem.with_suffix(".py"), stem / "__init__.py"):
                if source.is_file():
                    waiting |= imports(ast.parse(source.read_text(encoding="utf-8"))) - found
    return found


def saved_results(path):
    """`{stem: has a figure}` of the calls of record.save in a notebook."""
    results = {}
    for node in ast.walk(code_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "record.save":
            given = dict(zip(("figure", "table", "stem", "out_dir"), node.args, strict=False))
            given |= {keyword.arg: keyword.value for keyword in node.keywords}
            assert isinstance(given["stem"], ast.Constant), "a stem is written out, so that it can be looked for"
            results[given["stem"].value] = ast.unparse(given["figure"]) != "None"
    return results


@every_notebook
def test_a_notebook_is_stored_without_outputs(path):
    for cell in cells_of(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


@every_notebook
def test_a_notebook_opens_with_its_number_its_question_and_what_it_reads_and_writes(path):
    opening = cells_of(path, "markdown")[0]["text"]
    assert opening.startswith(f"# {path.stem[:2]} ")
    assert "?" in opening
    for word in ("reads", "writes", "minute"):
        assert word in opening.lower()


@every_notebook
def test_a_notebook_has_one_parameters_cell_of_literals_with_a_comment_each(path):
    (cell,) = parameter_cells(path)
    statements = ast.parse(cell["text"]).body
    tokens = tokenize.generate_tokens(io.StringIO(cell["text"]).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for statement in statements:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        ast.literal_eval(statement.value)
        assert statement.end_lineno in commented, f"{ast.unparse(statement)} says no unit or meaning"
    assert "run_dir" in notebook_parameters(path)


@every_notebook
def test_every_parameter_of_a_notebook_is_used_by_it(path):
    code = [cell["text"] for cell in cells_of(path, "code") if cell not in parameter_cells(path)]
    used = {node.id for node in ast.walk(ast.parse("\n".join(code))) if isinstance(node, ast.Name)}
    assert set(notebook_parameters(path)) <= used


@every_notebook
def test_a_cell_of_code_is_short(path):
    for cell in cells_of(path, "code"):
        lines = cell["text"].splitlines()
        assert len(lines) <= LONGEST_CELL or cell in parameter_cells(path), lines[0]


@every_notebook
def test_only_the_notebooks_that_run_a_network_import_torch(path):
    packages = {name.split(".")[0] for name in imports_through_temlib(imports(code_of(path)))}
    if path.stem[:2] not in MAY_IMPORT_TORCH:
        assert not packages & {"torch", "torchvision", "pytorch_lightning", "segmentation_models_pytorch"}


@every_notebook
def test_a_notebook_leaves_matplotlib_to_temlib_figures(path):
    assert not {name for name in imports(code_of(path)) if name.split(".")[0] == "matplotlib"}


@every_notebook
def test_every_figure_of_a_notebook_is_shown_from_the_reference_run(path):
    text = "\n".join(cell["text"] for cell in cells_of(path, "markdown"))
    shown = re.findall(r"!\[[^\]]*\]\(\.\./figures/([\w.]+)\.png\)", text)
    assert sorted(shown) == sorted(stem for stem, has_figure in saved_results(path).items() if has_figure)


@every_notebook
def test_a_result_is_named_after_the_paper_or_after_its_notebook(path):
    for stem in saved_results(path):
        assert re.match(rf"(figure_\d_|table_\d_|{path.stem[:2]}_)\w+$", stem), stem


def test_no_two_notebooks_save_a_result_under_one_name():
    stems = [stem for path in NOTEBOOK_PATHS for stem in saved_results(path)]
    assert len(stems) == len(set(stems))


@every_profile
def test_the_keys_of_a_profile_are_the_parameters_of_the_notebooks(name):
    assert set(PROFILES[name]) == known_keys()


@pytest.mark.skipif("laptop" not in PROFILES, reason="params/laptop.yaml is not there")
@every_notebook
def test_a_notebook_opened_by_itself_runs_with_the_values_of_the_laptop_profile(path):
    shown = notebook_parameters(path)
    assert shown.pop("run_dir") == "../runs/laptop"
    laptop = {key: PROFILES["laptop"][key] for key in shown}
    assert shown == laptop
    assert {key: type(value) for key, value in shown.items()} == {k: type(v) for k, v in laptop.items()}


def test_every_notebook_has_a_number_of_its_own():
    numbers = [path.stem[:2] for path in NOTEBOOKS.glob("*.ipynb")]
    assert all(number.isdigit() for number in numbers) and len(numbers) == len(set(numbers))
