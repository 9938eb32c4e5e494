"""The repository tests itself: the habits of CONTRIBUTING.md, as far as a program can see them.

Knows the source as text and as syntax trees. Refuses to know what the program does.
"""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500

# Names for things whose authors did not know what they were.
BANNED_WORDS = {"base", "common", "helper", "helpers", "manager", "misc", "stuff", "util", "utils"}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def tracked_files() -> list[Path]:
    """All files that are, or by their names would be, in the repository."""
    # The owner of a checkout in continuous integration need not be the one who runs the tests.
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted({ROOT / name for name in names if name and (ROOT / name).is_file()})


TRACKED = tracked_files()
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8", errors="replace") for path in TRACKED}
TREES = {
    name: ast.parse(text, name)
    for name, text in TEXTS.items()
    if name.endswith(".py") and name.startswith(("src/", "tests/", "benchmarks/"))
}


def definitions(tree: ast.AST) -> Iterator[Definition]:
    return (node for node in ast.walk(tree) if isinstance(node, Definition))


def matches(pattern: str) -> Iterator[str]:
    """Where a pattern is found in the repository, as `file:line: text`."""
    expression = re.compile(pattern)
    for name, text in TEXTS.items():
        for number, line in enumerate(text.splitlines(), 1):
            if expression.search(line):
                yield f"{name}:{number}: {line.strip()}"


def test_the_source_is_seen() -> None:
    assert "src/relaunch/__init__.py" in TREES
    assert "tests/test_repository.py" in TREES


def test_functions_and_files_are_short() -> None:
    long_files = [name for name in TREES if len(TEXTS[name].splitlines()) >= FILE_LINES_MAX]
    long_functions = [
        f"{name}:{node.lineno}: {node.name}"
        for name, tree in TREES.items()
        for node in definitions(tree)
        if not isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno + 1 >= FUNCTION_LINES_MAX
    ]
    assert not long_files + long_functions


def last_word(name: str) -> str:
    """The last word of a name in snake_case or CamelCase."""
    return re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)[-1].lower() if re.search("[A-Za-z]", name) else ""


@pytest.mark.parametrize(
    ("name", "word"), [("JobManager", "manager"), ("_string_utils", "utils"), ("base", "base"), ("HTTPBase", "base")]
)
def test_last_word(name: str, word: str) -> None:
    assert last_word(name) == word


def test_names_say_what_a_thing_is() -> None:
    modules = [(name, part) for name in TREES for part in Path(name).with_suffix("").parts]
    inside = [(f"{name}:{node.lineno}", node.name) for name, tree in TREES.items() for node in definitions(tree)]
    assert not [f"{where}: {name}" for where, name in modules + inside if last_word(name) in BANNED_WORDS]


def public_without_docstring(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        if not decorators & {"overload", "override", "setter"} and not ast.get_docstring(node):
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from public_without_docstring(node.body, f"{prefix}{node.name}.")


def test_public_things_have_docstrings() -> None:
    silent = [name for name, tree in TREES.items() if name.startswith("src/") and not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        if name.startswith("src/"):
            silent += public_without_docstring(tree.body, f"{name}: ")
    assert not silent


def test_modules_open_with_what_they_refuse_to_know() -> None:
    found = {name: ast.get_docstring(tree) or "" for name, tree in TREES.items() if name.startswith("src/relaunch/")}
    modules = {name: text for name, text in found.items() if Path(name).stem not in {"__init__", "__main__"}}
    assert modules
    assert not {name for name, text in modules.items() if not re.search(r"\b[Rr]efuses\s+to\b", text)}


# Each pattern is put together from pieces, so that this file does not hold what it looks for.
LEFT_UNDONE = r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b"
REASON = r"\W*\w[^\n]{8,}"
SILENCED = {
    "a type error": r"#\s*type:" + rf"\s*ignore(?!\[[\w, -]+\]\s*#{REASON})",
    "a lint": r"#\s*(?:ruff:\s*)?no" + rf"qa(?!:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*{REASON})",
    "a branch": r"#\s*pragma:" + rf"\s*no (?:cover|branch)(?!{REASON})",
    "a test": r"pytest\.(?:mark\.)?(?:sk" + r"ip|skipif|xf" + r"ail)\b(?!.*(?:reason=|\(f?[\"']\w))",
}


def test_nothing_is_left_undone() -> None:
    assert not list(matches(LEFT_UNDONE))


@pytest.mark.parametrize("what", SILENCED)
def test_what_silences_a_check_says_why(what: str) -> None:
    found = [line for line in matches(SILENCED[what]) if line.partition(":")[0] in TREES]
    assert not found, f"{what} is silenced without a reason on the same line"


@pytest.mark.parametrize(
    ("what", "line", "refused"),
    [
        ("a type error", "x = f()  # type:" + " ignore", True),
        ("a type error", "x = f()  # type:" + " ignore[misc]", True),
        ("a type error", "x = f()  # type:" + " ignore[misc]  # the library has no types", False),
        ("a lint", "x = f()  # no" + "qa", True),
        ("a lint", "x = f()  # no" + "qa: S108", True),
        ("a lint", "x = f()  # no" + "qa: S108, E501 - checked by the caller", False),
        ("a branch", "else:  # pragma:" + " no cover", True),
        ("a branch", "else:  # pragma:" + " no cover - only on kernels before 6.15", False),
        ("a test", "@pytest.mark.sk" + "ipif(not ROOT)", True),
        ("a test", "pytest.sk" + "ip()", True),
        ("a test", "pytest.sk" + "ip('no such kernel')", False),
    ],
)
def test_reasons_are_recognized(what: str, line: str, refused: bool) -> None:
    assert bool(re.search(SILENCED[what], line)) is refused


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """Neither the folders above this checkout, nor anybody's home."""
    ordinary = {Path(path) for path in ("/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp")}
    own = sorted({str(path) for path in [ROOT, *ROOT.parents] if path not in ordinary})
    paths = [rf"(?<![\w.~-]){re.escape(path)}(?![\w.-])" for path in own]
    assert not list(matches("|".join([*paths, r"/(?:home|Users)/(?!user\b)[a-z]\w*/"])))


def test_no_file_names_a_package_registry() -> None:
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("deb", "debian", "org"), ("crates", "io")]
    assert not list(matches("|".join(re.escape(".".join(host)) for host in hosts)))


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    lines = [line for line in TEXTS["constraints.txt"].splitlines() if not line.startswith("#")]
    assert lines
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]


def normal(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace("_", "-").lower()


def test_outside_libraries_are_declared_constrained_and_at_home() -> None:
    configuration = tomllib.loads(TEXTS["pyproject.toml"])
    declared = {normal(line) for line in configuration["project"]["dependencies"]}
    constrained = {normal(line) for line in TEXTS["constraints.txt"].splitlines()}
    contracts = {contract["id"]: contract for contract in configuration["tool"]["importlinter"]["contracts"]}
    homed = {normal(name) for name in contracts["homes"]["forbidden_modules"]}
    imported = set[str]()
    for name, tree in TREES.items():
        for node in ast.walk(tree) if name.startswith("src/") else ():
            match node:
                case ast.Import(names=names):
                    imported |= {alias.name.partition(".")[0] for alias in names}
                case ast.ImportFrom(module=str(module)):
                    imported.add(module.partition(".")[0])
    outside = {normal(name) for name in imported - sys.stdlib_module_names - {"relaunch"}}
    assert outside <= declared & homed
    assert declared <= constrained


def test_imports_keep_the_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_command_is_in_the_readme() -> None:
    from relaunch.cli.grammar import COMMANDS  # imported here: a broken command line shall fail this test alone

    readme = (ROOT / "README.md").read_text("utf-8")
    commands = [command.name for command in COMMANDS]
    assert commands
    assert not [name for name in commands if not re.search(rf"\blaunch (?:-\S+ \S+ )?{re.escape(name)}\b", readme)]


def test_clauses_are_defined_once_and_cited_by_tests() -> None:
    defined = Counter(re.findall(r"(?m)^\*\*([A-Z]\d+)\.?\*\*", (ROOT / "docs/protocol.md").read_text("utf-8")))
    cited = {
        clause
        for name, tree in TREES.items()
        for node in [tree, *definitions(tree)]
        if name.startswith("tests/") and isinstance(node, ast.Module | Definition)
        for clause in re.findall(r"\[([A-Z]\d+)\]", ast.get_docstring(node) or "")
    }
    assert defined
    assert not [clause for clause, count in defined.items() if count > 1], "defined twice"
    assert not sorted(defined.keys() - cited), "cited by no test"
    assert not sorted(cited - defined.keys()), "cited, and defined nowhere"


def test_the_wheel_holds_all_that_is_needed(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    run = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "relaunch/interfaces/io.relaunch.Launcher.varlink" in names
        assert "relaunch/py.typed" in names
        (script,) = [name for name in names if name.endswith(".data/scripts/launch")]
        assert archive.read(script).startswith(b"#!python\n")
