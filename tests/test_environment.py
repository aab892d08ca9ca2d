"""The three lists of packages agree: pyproject.toml, environment.yml, requirements.lock; and name what is imported."""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml

from temlib.paths import ROOT

CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge's name is not PyPI's
NOT_A_DEPENDENCY = {"python", "pip"}
NOT_ON_CONDA_FORGE = ["bm3d"]


# What the commands simulate, fetch, index, denoise and measure begin with
CORE = "cli simulate zenodo dataset fields frames filters particles line_profiles denoising inference".split()
USED_WHERE_INSTALLED = {
    "networks": {"torch", "safetensors"},  # on a GPU; the CPU needs neither
    "filters": {"bm3d"},  # for a comparison that no command makes
}


def code_of(path):
    """A module, or a notebook's code, as a syntax tree."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    return ast.parse(text)


def imported(nodes):
    """Dotted names that these statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def others(path):
    """Top-level names of the packages that a file imports anywhere, without Python's own and this project's."""
    names = {name.split(".")[0] for name in imported(ast.walk(code_of(path)))}
    return names - sys.stdlib_module_names - {"temlib", *(file.stem for file in path.parent.glob("test_*.py"))}


def with_what_they_import(modules):
    """Files of temlib's modules and of those that are imported with them."""
    found, waiting = {}, [f"temlib.{name}" for name in modules]
    while waiting:
        name = waiting.pop()
        file = ROOT / f"{name.replace('.', '/')}.py"
        if name not in found and file.is_file():
            found[name] = file
            waiting += imported(code_of(file).body)
    return found.values()


def distribution(requirement):
    """`rosettasciio` of `RosettaSciIO[zspy]>=0.9; extra == "x"`: the name as PEP 503 normalises it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def direct(project):
    """Names of the direct dependencies, with every extra."""
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return {distribution(requirement) for requirements in lists for requirement in requirements}


@pytest.fixture(scope="module")
def lock():
    return (ROOT / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


@pytest.mark.parametrize("folder", ["temlib", "tests", "notebooks"])
def test_every_package_that_is_imported_is_a_direct_dependency(direct, folder):
    provider = packages_distributions()
    for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).glob("*.ipynb")]:
        for name in others(path):
            assert direct & {distribution(one) for one in provider.get(name, [name])}, f"{path.name}: {name}"


def test_the_commands_of_a_microscope_s_computer_import_core_dependencies_only(project):
    core = {distribution(requirement) for requirement in project["dependencies"]}
    provider = packages_distributions()
    for path in with_what_they_import(CORE):
        for name in others(path) - USED_WHERE_INSTALLED.get(path.stem, set()):
            assert core & {distribution(one) for one in provider.get(name, [name])}, f"{path.name}: {name}"


def test_what_temlib_imports_is_core_or_of_the_extra_paper(project):
    needed = project["dependencies"] + project["optional-dependencies"]["paper"]
    provider = packages_distributions()
    for path in (ROOT / "temlib").rglob("*.py"):
        for name in others(path):
            found = {distribution(one) for one in provider.get(name, [name])}
            assert found & {distribution(requirement) for requirement in needed}, f"{path.name}: {name}"


def test_conda_users_get_the_same_direct_dependencies(direct, conda):
    named = {re.split(r"[=<> ]", entry)[0] for entry in conda["dependencies"] if isinstance(entry, str)}
    assert named - NOT_A_DEPENDENCY == {CONDA_NAMES.get(name, name) for name in direct - set(NOT_ON_CONDA_FORGE)}


def test_conda_users_get_everything_from_conda_forge_that_it_has(conda):
    assert conda["channels"] == ["conda-forge"]
    assert [entry for entry in conda["dependencies"] if isinstance(entry, dict)] == [
        {"pip": [*NOT_ON_CONDA_FORGE, "-e ."]}
    ]


def test_conda_users_get_a_python_that_the_project_supports(project, conda):
    (python,) = (entry for entry in conda["dependencies"] if isinstance(entry, str) and entry.startswith("python="))
    assert python == f"python={project['requires-python'].removeprefix('>=')}"


def test_the_lock_pins_every_package_with_its_hashes_and_every_direct_dependency_among_them(direct, lock):
    packages = re.findall(r"^[A-Za-z].*$", lock.replace("\\\n", " "), flags=re.MULTILINE)
    for package in packages:
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", package), package
    assert direct <= {distribution(package) for package in packages}


def test_the_lock_names_no_index_and_no_other_address(lock):
    assert "://" not in lock
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", lock, flags=re.MULTILINE)


def test_the_core_holds_no_torch(project):
    # its 5 GB do not belong on a microscope's computer
    core = {distribution(requirement) for requirement in project["dependencies"]}
    assert not {name for name in core if "torch" in name or "lightning" in name}


def test_the_citation_names_this_version_and_licence(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["version"], citation["license"]) == (
        project["name"],
        project["version"],
        project["license"],
    )
    assert citation["references"][0]["doi"] == "10.1017/S1431927621013799"
