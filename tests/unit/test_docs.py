"""The pages keep up with the code: links, paths, commands, settings and code blocks in them are real."""

import ast
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from jobs.settings import JobSettings
from settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
PAGES += sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))
FOLDERS = {folder.name for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")} | {".ci"}
FILE_NAMES = {
    file.name
    for folder in FOLDERS - {"build"}
    for file in (ROOT / folder).rglob("*")
    if file.is_file() and "node_modules" not in file.parts
} | {file.name for file in ROOT.iterdir()}
PLACEHOLDERS = {"NAME.md", "requirements.txt"}  # a client's file, and a bento's own
NOT_SETTINGS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"),  # programs that use S3 read them
    *("TORCH_BUILD", "PYTHON"),  # settings of scripts/setup
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "FBGEMM_ENABLE_INSTRUCTIONS"),  # PyTorch's libraries read them
    *("OCR_ENGINE", "OCR_API_URL", "OCR_API_KEY"),  # settings of the command
    *(
        "FORWARDED_ALLOW_IPS",
        "BENTOML_HOME",
        "HF_ENDPOINT",
        "OMP_WAIT_POLICY",
        "GOMP_SPINCOUNT",
        "HUB_ID",
        "JOB_ID",
        "NAME",
        "OCR_EVENTS",
        "OCR_JOBS",
        "PADDLEOCR_ACCESS_TOKEN",
        "PADDLEOCR_BASE_URL",
    ),  # other programs' own, placeholders, streams
}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
PATH = re.compile(r"(?<![\w./~:$-])\.?[\w-][\w.-]*(?:/[\w.@-]+)*/?")
SUFFIX = re.compile(r"\.(py|md|ya?ml|toml|conf|env|service|container|txt|json|png)$")
COMMAND = re.compile(r"(?<![\w./-])(?:scripts|benchmarks|training)/\w+(?:\.py)?")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
SETTING = re.compile(r"\b(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{2,}(?==))\b")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def code_in(text: str) -> list[str]:
    """Lines of code blocks, and code spans on one line each."""
    lines = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
    return lines + [span.replace("\n", " ") for span in SPAN.findall(FENCE.sub("", text))]


def anchors(text: str) -> set[str]:
    """Fragments of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *$", FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(next(name for n in range(len(found) + 1) if (name := f"{slug}-{n}" if n else slug) not in found))
    return found


def unresolved(page: str, target: str) -> str | None:
    """What is wrong with a link."""
    path, _, fragment = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists():
        return f"{target}: no such file"
    if fragment and fragment not in anchors(file.read_text()):
        return f"{target}: no such heading"
    return None


def exists(path: str) -> bool:
    """Whether a path from the root, or a bare file name, is one of the repository's."""
    return (ROOT / path).exists() if "/" in path.rstrip("/") or path.endswith("/") else path in FILE_NAMES


def table(page: str, heading: str) -> list[list[str]]:
    """Cells of the rows of the first table below a heading."""
    section = text_of(page).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page: str) -> None:
    text = SPAN.sub("", FENCE.sub("", text_of(page)))
    targets = [link or source for link, source in LINK.findall(text)]
    local = [target for target in targets if not target.startswith(("http://", "https://"))]
    assert [fault for target in local if (fault := unresolved(page, target))] == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    named = {path for code in code_in(text_of(page)) for path in PATH.findall(code)} - PLACEHOLDERS
    ours = {path for path in named if (path.split("/")[0] in FOLDERS and "/" in path) or SUFFIX.search(path)}
    assert [path for path in sorted(ours) if not exists(path.rstrip("."))] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_executable_and_have_the_options_shown(page: str) -> None:
    faults: list[str] = []
    for code in code_in(text_of(page)):
        for command, shown in re.findall(rf"({COMMAND.pattern})(.*?)(?={COMMAND.pattern}|$)", code):
            file = ROOT / command
            if not os.access(file, os.X_OK):
                faults.append(f"{command} is not executable")
            elif file.is_file():
                known = OPTION.findall(file.read_text())
                faults += [f"{command} has no {option}" for option in OPTION.findall(shown) if option not in known]
    assert faults == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: str) -> None:
    named = {name for code in code_in(text_of(page)) for name in SETTING.findall(code)}
    known = {name.upper() for model in (Settings, JobSettings) for name in model.model_fields}
    assert named - NOT_SETTINGS - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_parse(page: str) -> None:
    for language, block in FENCE.findall(text_of(page)):
        match language:
            case "python":
                ast.parse(block)
            case "json":
                json.loads(block)
            case "sh":
                assert subprocess.run(["bash", "-n"], input=block, text=True).returncode == 0
            case _:
                assert language == "", f"no check for {language}"


def test_the_readme_stays_short() -> None:
    lines = text_of("README.md").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


def test_each_of_the_ten_changes_touches_at_most_four_files_that_exist() -> None:
    changes = {name: SPAN.findall(files) for name, files, _ in table("docs/architecture.md", "Ten changes")}
    assert len(changes) == 10
    assert {name: files for name, files in changes.items() if not 1 <= len(files) <= 4} == {}
    assert [file for files in changes.values() for file in files if not exists(file)] == []


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    pins = {pin for extra in project["optional-dependencies"].values() for pin in extra}
    explained = [name for names, _ in table("CONTRIBUTING.md", "Dependencies") for name in names.split(", ")]
    assert sorted(explained) == sorted(pin.split("==")[0] for pin in pins)


def test_checks_find_what_is_wrong() -> None:
    assert unresolved("docs/api.md", "no.md") == "no.md: no such file"
    assert unresolved("docs/api.md", "modes.md#no") == "modes.md#no: no such heading"
    assert anchors("# A `b` (c)\n## A b\n## A b\n") == {"a-b-c", "a-b", "a-b-1"}
    assert code_in("```sh\nscripts/no --x\n```\n`a\nb`") == ["scripts/no --x", "a b"]
    assert not exists("engine/no.py")
    assert not exists("no.py")
