"""What is said to whom calls from Python: the names of arguments, and what a config may be."""

from inspect import signature

import pytest
from support import picture

import smallset
from smallset import api
from smallset.api.in_python import python_names
from smallset.config import given_config, override
from smallset.errors import ConfigError, DataError


@pytest.fixture
def damaged(tmp_path):
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            picture(label, number).save(tmp_path / "set" / name / f"{number}.png")
    (tmp_path / "set/ant/0.png").write_bytes(b"no picture")
    return tmp_path / "set"


def test_an_error_from_python_names_the_argument_beside_the_flag(damaged, tmp_path, tiny):
    setting = "in Python: --skip-unreadable is RunConfig(data={'skip_unreadable': True})"
    with pytest.raises(DataError) as error:
        smallset.train(damaged, tiny(), out=tmp_path / "run")
    assert str(error.value).endswith(setting)
    with pytest.raises(DataError) as error:  # what the command line prints
        api.train(damaged, tiny(), out=tmp_path / "run")
    assert "in Python" not in str(error.value)
    assert "--skip-unreadable" in str(error.value)


@pytest.mark.parametrize(
    ("function", "message", "said"),
    [
        ("train", "give another --out, or --resume",
         ["--out is out=...", "--resume is resume=True"]),
        ("train", "use --set head=sgd", ["--set head=sgd is RunConfig(head='sgd')"]),
        ("train", "limit it (--set optim.grad_clip=1)",
         ["--set optim.grad_clip=1 is RunConfig(optim={'grad_clip': 1})"]),
        ("study", "or --skip-empty", ["--skip-empty is settings={'data.skip_empty': True}"]),
        ("predict_files", "give --format", ["--format is file_format=..."]),
        ("predict", "ask --folds of nobody", []),
        ("train", "import it (smallset weights import FILE --model NAME)", []),
        ("train", "a word--with dashes, --unheard", []),
    ],
)  # fmt: skip
def test_flags_are_named_as_the_function_that_was_called_takes_them(function, message, said):
    assert python_names(message, signature(getattr(smallset, function)).parameters) == said


def test_a_config_may_be_a_dict_with_groups_or_dotted_names():
    wanted = override(smallset.RunConfig(), {"epochs": 3, "data.folds": 5})
    assert given_config({"epochs": 3, "data": {"folds": 5}}) == wanted
    assert given_config({"epochs": 3, "data.folds": 5}) == wanted
    assert given_config(None) == smallset.RunConfig()
    with pytest.raises(ConfigError, match="no setting named 'epoch'; did you mean 'epochs'"):
        given_config({"epoch": 3})


def test_a_config_of_another_kind_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"config is a smallset.RunConfig or a dict .* 'a.toml'"):
        given_config("a.toml")


@pytest.mark.parametrize("function", ["train", "check", "best", "tune", "clean"])
def test_every_function_that_takes_a_config_takes_a_dict(function, damaged, tmp_path):
    more = {} if function == "check" else {"out": tmp_path / "out"}
    more |= {"nets": ["self"]} if function == "clean" else {}
    with pytest.raises(ConfigError, match="no setting named 'epoch'"):
        getattr(api, function)(damaged, config={"epoch": 1}, **more)
