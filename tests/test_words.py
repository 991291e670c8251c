import re
import string
from typing import get_args

import pytest
from said import described, said

from smallset.compare.spec import IN_PLACE, RUN_WITH, built_in_studies
from smallset.data.pictures import reasons
from smallset.errors import ConfigError
from smallset.models.registry import MODELS
from smallset.paired import Verdict
from smallset.show.study_figures import AXIS_NAMES
from smallset.words import catalogue, language, recognised, text, translate

SPOKEN = {**said(), **dict.fromkeys(AXIS_NAMES.values(), "AXIS_NAMES")}
# Chosen by their value at run time.
SPOKEN |= dict.fromkeys(["train", "val", "test"], "values")
SPOKEN |= dict.fromkeys(get_args(Verdict), "values")
SPOKEN |= dict.fromkeys(
    ["keep", "relabel", "drop", "posterior", "pruning", "contradicted"], "values"
)
SPOKEN |= dict.fromkeys(reasons(), "pictures.py")
SPOKEN |= dict.fromkeys(described(), "serve.py")
for study, spec in built_in_studies().items():
    labels = {label for chart in spec.charts for label in chart.curves} - set(MODELS)
    titles = [spec.title, spec.about, *(chart.title for chart in spec.charts)]
    SPOKEN |= dict.fromkeys([*titles, *labels, *IN_PLACE, *RUN_WITH], f"{study}.toml")


def has_words(template):
    return bool(re.search(r"[A-Za-z]", re.sub(r"\{.*?\}", "", template)))


def places(template):
    """The places of a template with their formats."""
    return sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name)


def test_the_reader_of_the_source_finds_each_kind_of_sentence():
    assert {"mistakes.py", "run.html", "run.js", "study.js", "run_plots.py"} <= set(SPOKEN.values())


def test_every_sentence_has_a_chinese_one():
    missing = {t: SPOKEN[t] for t in filter(has_words, SPOKEN) if t not in catalogue()}
    assert missing == {}
    spoken = {t: zh for t, zh in catalogue().items() if has_words(t)}
    assert [t for t, zh in spoken.items() if not re.search(r"[一-鿿]", zh)] == []


def test_no_translation_is_left_of_a_sentence_that_is_gone():
    assert set(catalogue()) - set(SPOKEN) == set()


def test_a_translation_has_the_same_places():
    other = [t for t, zh in catalogue().items() if places(zh) != places(t)]
    assert other == []


def test_a_text_inside_a_text_is_said_in_the_same_language():
    inner = text("{a} and {b}", a="x", b="y")
    assert text("Often confused: {names}.", names=inner).say("zh") == (
        "经常互相混淆：x 与 y。"  # noqa: RUF001
    )
    assert text("Often confused: {names}.", names=inner).say("en").endswith("x and y.")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "1 image lies far from 1 class"),
        (0, "0 images lie far from 0 classes"),
        (21, "21 images lie far from 21 classes"),
    ],
)
def test_one_of_something_is_singular_in_english(count, expected):
    assert text("{n} images lie far from {n} classes", n=count).say("en") == expected
    assert (
        text("{n:.1f} points, {n} epochs of 1,001 images", n=1)
        .say("en")
        .endswith("1 epoch of 1,001 images")
    )
    assert text("0\N{EN DASH}1 images").say("en") == "0\N{EN DASH}1 images"


def test_a_study_with_another_network_keeps_its_chinese():
    title, about = (text(each, study=study, network="a_1", others="b, c") for each, study in
                    zip(IN_PLACE, ("Losses", "A probe."), strict=True))  # fmt: skip
    assert recognised(title.say("en"), IN_PLACE).say("zh") == "损失函数（以 a_1 代替 b, c）"  # noqa: RUF001
    for own in (about.say("en"), "Mine {0} (once)", "Classes {of} it"):
        assert [recognised(own, (*IN_PLACE, *RUN_WITH)).say(lang) for lang in ("en", "zh")] == [
            own,
            own,
        ]


def test_what_nobody_translated_stays_english():
    assert translate("no such sentence", "zh") == "no such sentence"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW.UTF-8", "LANG": "de_DE.UTF-8"}, "zh"),
    ],
)
def test_the_language_is_that_of_the_locale(monkeypatch, variables, expected):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language() == expected
    assert language("zh") == "zh"


@pytest.mark.parametrize("setting", ["fr", "", "EN", "zh_CN.UTF-8", "chinese"])
def test_a_language_that_is_not_spoken_is_refused_with_those_that_are(setting):
    said = f"the language is en, zh, or auto for that of the locale, got {setting!r}"
    with pytest.raises(ConfigError, match=re.escape(said)):
        language(setting)
