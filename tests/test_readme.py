"""What the two READMEs name exists, and both say the same: commands, outputs, files, config keys, headings."""

import ast
import inspect
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest

from jaxcls import main, models
from jaxcls.augment.device import DEVICE
from jaxcls.augment.host import HOST
from jaxcls.cli import command, run_config
from jaxcls.cli.arguments import take_settings
from jaxcls.defaults import RENAMED, default_config, flatten
from jaxcls.training import build

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.zh-CN.md"]
DOCS = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
PAGES = [*READMES, "CONTRIBUTING.md", *(f"docs/{name}" for name in DOCS)]
NO_KEYS = {"key", "batch_siz", *RENAMED}  # stands for any; a mistake that is shown; names of before
TOOLS = {"source"}  # commands that come from elsewhere


def read(page):
    """A page, less the diffs of CONTRIBUTING.md, which add what is not there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"^```diff\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(page, kind):
    """The fenced blocks of one kind, as texts."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)


def commands(page):
    """Every command of a page as a list of words."""
    return [shlex.split(line, comments=True) for block in blocks(page, "bash") for line in block.splitlines()]


def options(words):
    """The names of a command's options, without values."""
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def headings(page):
    """The level of every heading, in order."""
    prose = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    return [len(level) for level in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def test_both_have_the_same_commands():
    assert commands(READMES[0]) == commands(READMES[1])
    assert len(commands(READMES[0])) > 8


def test_both_have_the_same_structure():
    assert headings(READMES[0]) == headings(READMES[1])
    tables = [re.findall(r"^\|", read(page), re.MULTILINE) for page in READMES]
    assert len(tables[0]) == len(tables[1])
    items = [re.findall(r"^- ", read(page), re.MULTILINE) for page in READMES]
    assert len(items[0]) == len(items[1])


def test_both_name_the_same_things():
    """Whatever stands in backquotes, paths, keys and options, less names that a translation may change."""
    prose = [re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL) for page in READMES]
    english, chinese = (set(re.findall(r"`([^`\n]+)`", text)) for text in prose)
    assert {name for name in english ^ chinese if name.isascii()} <= {"runs/<config name>"}
    assert blocks(READMES[0], "text")[:2] == blocks(READMES[1], "text")[:2]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", read(page))
    assert [x for x in links if "://" not in x and not (ROOT / page).parent.joinpath(x).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    text = re.sub(r"\w+/PATH", "", read(page))
    paths = re.findall(r"(?<![\w/.])(?:(?:jaxcls|configs|scripts|tests|docs|\.ci)/[\w./-]*\w)", text)
    assert len(paths) > 10 or page not in READMES
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_config_keys_exist(page):
    keys = {key for key, _ in flatten(default_config())}
    named = set(re.findall(r"config\.((?!py\b|json\b)[a-z_]+(?:\.[a-z_0-9]+)*)", read(page)))
    named = {"model.fields" if name.startswith("model.fields") else name for name in named}
    assert named - keys - NO_KEYS == set()


def test_commands_are_known():
    """Scripts exist; command lines parse, their config loads and resolves."""
    for words in commands(READMES[0]):
        if words[:3] == ["python", "-m", "jaxcls.main"]:
            args = main.parse(words[3:])
            assert build.resolve(
                run_config.read(args.config.replace("configs", f"{ROOT}/configs"), None, args.settings)[0]
            )
        elif words[0] == "jaxcls":
            settings, rest = take_settings(words[2:])
            args = command.parser(words[1]).parse_args(rest)
            if "config" in args and args.config:
                assert build.resolve(run_config.read(args.config, None, settings)[0])
        elif words[0].startswith("scripts/"):
            assert (ROOT / words[0]).stat().st_mode & 0o100, f"{words[0]} is not executable"
        else:
            assert words[0] in TOOLS


def test_the_readme_guides_and_does_not_grow():
    assert all(len(read(page).splitlines()) <= 200 for page in READMES)


def rows(title):
    """The first cells of the table of docs/configs.md whose header begins with `title`: what stands in backquotes."""
    table = read("docs/configs.md").partition(f"\n| {title} |")[2].partition("\n\n")[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


def test_reference_has_every_model():
    patterns = rows("models")
    assert [pattern for pattern in patterns if not models.list_models(pattern)] == []
    assert [name for name in models.list_models() if not any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_reference_names_fields_that_exist():
    table = read("docs/configs.md").partition("\n| models | fields |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        names, fields = (re.findall(r"`(\w[\w*]*)`", cell) for cell in line.split("|")[1:3])
        fields = set(fields) - {"se", "eca", "cbam", "imagenet", "cifar", "deep", "A", "B"}
        for name in (name for pattern in names for name in models.list_models(pattern)):
            assert [field for field in fields if not hasattr(models.create(name, num_classes=10), field)] == [], name


def test_reference_has_every_transform_with_its_defaults():
    transforms = {**HOST, **DEVICE}
    calls = [ast.parse(text, mode="eval").body for text in rows("transform")]
    assert {node.func.id if isinstance(node, ast.Call) else node.id for node in calls} == transforms.keys()
    for node in (node for node in calls if isinstance(node, ast.Call)):
        parameters = inspect.signature(transforms[node.func.id]).parameters
        for given in node.keywords:
            assert parameters[given.arg].default == pytest.approx(ast.literal_eval(given.value), abs=1e-3)


def test_config_files_are_all_named():
    text = read("docs/recipes.md")
    assert [path.name for path in (ROOT / "configs").glob("*.py") if f"configs/{path.name}" not in text] == []
