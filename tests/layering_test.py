"""Imports go one way, and `import trustjax` stays light."""

import ast
import pathlib
import subprocess
import sys

import pytest

import trustjax

ROOT = pathlib.Path(__file__).parents[1] / "trustjax"

# What each part may import of the others. A part not named here fails the test.
FOUNDATION = {
    "typing",
    "_network_questions",
    "_validate",
    "_numerics",
    "_inputs",
    "_meshes",
    "_platform",
    "_windows",
    "_pieces",
    "_depthwise",
    "_extras",
    "_files",
    "_npz",
    "_questions",
    "_fingerprint",
    "_paths",
    "_meeting",
    "_processes",
}
PIECES = FOUNDATION | {"ingredients", "targets", "losses", "statistics"}
ENGINE = PIECES | {"transforms", "gradients"}
PASSES = ENGINE | {"passes"}
METHODS = PASSES | {"bridge", "models", "preprocessing"}
ALLOWED = {
    "typing": set(),
    "_network_questions": {"_questions"},
    "_validate": {"typing", "_numerics"},
    "_numerics": {"typing"},
    "_inputs": {"_validate"},
    "_meshes": set(),
    "_platform": set(),
    "_windows": set(),
    "_pieces": {"_validate"},
    "_depthwise": set(),
    "_extras": set(),
    "_progress": {"typing", "_extras"},
    "_files": set(),
    "_npz": set(),
    "_questions": set(),
    "_fingerprint": set(),
    "_paths": set(),
    "_meeting": set(),
    "_launch": {"_meeting", "_ending"},
    "_processes": {"_meeting"},
    "_ending": set(),
    "ingredients": FOUNDATION,
    "targets": FOUNDATION,
    "losses": FOUNDATION | {"targets"},
    "statistics": FOUNDATION,
    "preprocessing": FOUNDATION,
    "bridge": FOUNDATION | {"weights"},
    "transforms": PIECES,
    "gradients": PIECES | {"transforms"},
    "metrics": FOUNDATION,
    "models": FOUNDATION | {"bridge", "preprocessing", "weights"},
    "data": FOUNDATION | {"preprocessing"},
    "weights": FOUNDATION,
    "passes": ENGINE,
    "scores": PASSES,
    "explain": PASSES,
    "introspection": METHODS | {"train", "data", "scoring"},
    "interventions": METHODS | {"scores", "explain", "metrics"},
    "oracles": METHODS | {"train", "data", "metrics", "scores", "scoring"},
    "detectors": METHODS | {"metrics", "scores"},
    "train": METHODS | {"data"},
    "assess": FOUNDATION | {"metrics", "scores", "statistics"},
    "report": FOUNDATION | {"assess", "metrics", "statistics"},
    "scoring": METHODS | {"data", "scores", "explain", "detectors", "metrics"},
}
ALLOWED["pipeline"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"_ending", "_launch", "cli"}
MAY_IMPORT_FLAX = {"bridge", "models", "oracles", "introspection", "detectors"} | {
    "train",
    "weights",
}


def parts():
    """Yields (part, file) for every module of the library."""
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative.parts != ("__init__.py",):
            yield relative.parts[0].removesuffix(".py"), path


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("part", "path"),
    [pytest.param(*p, id=str(p[1].relative_to(ROOT))) for p in parts()],
)
def test_imports_go_one_way(part, path):
    known = set(ALLOWED)
    assert part in known, f"{part} has no place in the layers: add it to ALLOWED"
    for module in imported_modules(path):
        top, _, rest = module.partition(".")
        target = rest.partition(".")[0]
        if top == "trustjax" and target in known:
            assert target == part or target in ALLOWED[part], f"{part} imports {target}"
        assert top not in {"experiments", "benchmarks", "tests", "tensorflow"}
        if top == "flax":
            assert part in MAY_IMPORT_FLAX, f"{part} imports flax"


def test_import_is_light():
    code = (
        "import sys, trustjax; heavy = {'flax', 'tensorflow_datasets', 'matplotlib',"
        "'sklearn', 'orbax', 'grain', 'tyro', 'jinja2', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_part_is_reached_by_attribute():
    public = {part for part, _ in parts() if not part.startswith("_")} - {"cli"}
    assert public | {"__version__"} == set(dir(trustjax))
    for name in ("metrics", "scores"):
        assert getattr(trustjax, name).__name__ == f"trustjax.{name}"
