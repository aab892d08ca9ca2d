"""Read and check a run profile: `params/<name>.yaml`, a flat table of key and value.

A key means something because a notebook has it in its cell tagged `parameters`; a key that
no notebook knows is refused before anything runs, since papermill would only warn.
"""

import ast
import difflib
import json

import yaml

from temlib.errors import ProfileError
from temlib.paths import NOTEBOOKS, PARAMS

CHOICES = {"mode": ("corrected", "faithful"), "precision": ("auto", "32-true", "bf16-mixed")}
MAY_BE_ZERO = {"seed", "hde_frames_kept", "latency_warmup", "size_tuning_fields", "empty_fields", "other_fields"}
GIVEN_BY_THE_RUNNER = {"run_dir"}


def notebook_paths():
    """The numbered notebooks, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def notebook_parameters(path):
    """The literals of a notebook's cell tagged `parameters`, as a dict."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            assignments = ast.parse("".join(cell["source"])).body
            return {line.targets[0].id: ast.literal_eval(line.value) for line in assignments}
    return {}


def load_profile(name):
    """Profile `name` as a dict, with every key known and of the type that its notebook shows.

    Raises
    ------
    ProfileError
        If there is no such profile, a key is unknown, missing or of another type.
    """
    known = sorted(path.stem for path in PARAMS.glob("*.yaml"))
    if name not in known:
        raise ProfileError(
            f"There is no profile {name!r}: choose one of {', '.join(known)}, or add params/{name}.yaml."
        )
    path = PARAMS / f"{name}.yaml"
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())  # the parser speaks in several lines
        raise ProfileError(f"params/{path.name} is no valid YAML ({where}): mend that line.") from error
    if not isinstance(profile, dict):
        raise ProfileError(f"params/{path.name} holds no lines `key: value`: copy from params/laptop.yaml.")

    examples = {}
    for notebook in notebook_paths():
        examples |= notebook_parameters(notebook)
    for key in GIVEN_BY_THE_RUNNER:
        examples.pop(key, None)
    for key, value in profile.items():
        if key not in examples:
            near = difflib.get_close_matches(str(key), examples, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it, or give it to a notebook."
            raise ProfileError(f"params/{path.name} has the key {key!r}, which no notebook knows: {hint}")
        if not _same_kind(value, examples[key]):
            raise ProfileError(
                f"params/{path.name} gives {key} = {value!r}, a {type(value).__name__}: "
                f"a {type(examples[key]).__name__} like {examples[key]!r} is needed."
            )
        if key in CHOICES and value not in CHOICES[key]:
            raise ProfileError(f"params/{path.name} gives {key} = {value!r}: choose one of {', '.join(CHOICES[key])}.")
        if type(value) is int and value < (0 if key in MAY_BE_ZERO else 1):
            raise ProfileError(
                f"params/{path.name} gives {key} = {value}: {0 if key in MAY_BE_ZERO else 1} or more is needed."
            )
    missing = sorted(examples.keys() - profile.keys())
    if missing:
        raise ProfileError(f"params/{path.name} lacks {', '.join(missing)}: copy from params/laptop.yaml.")
    return profile


def _same_kind(value, example):
    if isinstance(example, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(example)
