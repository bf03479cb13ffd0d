"""The house: packages resolve inside the root, nobody else claims them, the README is true."""

import importlib.metadata
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("strategies", "agents", "learning", "backtest", "live", "config", "ops")


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_resolves_inside_the_root(package):
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == ROOT / package


def test_no_other_distribution_claims_a_package():
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["quarterdeck"])) == {"quarterdeck"}


def test_every_package_is_typed():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)


def test_the_readme_names_each_folder_once():
    tree = (ROOT / "README.md").read_text().split("```text\n")[1].split("```")[0]
    named = re.findall(r"^(\S+)/ ", tree, flags=re.MULTILINE)
    tracked = {*PACKAGES, "tests", "docs"}
    assert sorted(named) == sorted(tracked)
    for name in re.findall(r"^  (\S+)", tree, flags=re.MULTILINE):
        assert list(ROOT.glob(f"*/{name}")), name


def test_documented_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def code_paths(text: str) -> set[str]:
    """Return the files and folders of the seven packages that a page names in backticks."""
    return set(re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w/.-]*)`", text))


def test_every_file_that_a_page_names_exists():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for path in code_paths(page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_way_of_a_headline_is_at_most_twelve_files_and_each_has_what_is_to_be_read():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| `([^`]+)` \|[^|]+\| ([^|]+) \|$", page, flags=re.MULTILINE)
    assert 8 <= len(rows) <= 12
    for path, names in rows:
        source = (ROOT / path).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            for part in name.split("."):
                assert re.search(rf"^ *(def|class) {part}\b", source, flags=re.MULTILINE), name


LONGEST = 500  # lines of a file; the joint trainer reads top to bottom and may have more
JOINT_TRAINER = "learning/allocator/training/joint/joint.py"
MOST_FILES = 15  # of a folder's own


def modules() -> list[Path]:
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def test_no_folder_holds_more_files_than_one_sees_at_a_glance():
    folders = Counter(path.parent for path in modules())
    assert {str(f): n for f, n in folders.items() if n > MOST_FILES} == {}


def test_no_file_is_longer_than_one_reads_in_one_go():
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in modules()}
    assert {f: n for f, n in lines.items() if n > LONGEST and f != JOINT_TRAINER} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_name_stands_twice_in_a_package(package):
    names = Counter(
        path.name
        for path in modules()
        if path.is_relative_to(ROOT / package) and path.name != "__init__.py"
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_code_cites_methods_and_papers_and_no_row_of_a_plan():
    assert [str(p) for p in modules() if re.search(r"\bSPEC\b", p.read_text())] == []
