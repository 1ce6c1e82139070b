"""Configuration: where each value is from, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from palmette.coordination.errors import PalmetteError
from palmette.coordination.values import Amounts
from palmette.servers.config import Config, load


class Layers:
    """A home with a user's config, and a repository with its own."""

    def __init__(self, directory: Path) -> None:
        self.user = directory / "home" / "palmette" / "config.toml"
        self.repository = directory / "repository"
        self.theirs = self.repository / ".palmette" / "config.toml"
        self.user.parent.mkdir(parents=True)
        self.theirs.parent.mkdir(parents=True)

    def load(self, flags: dict[str, Any] | None = None, **environment: str) -> Config:
        environ = {"XDG_CONFIG_HOME": str(self.user.parent.parent), **environment}
        return load(flags, repository=str(self.repository), environ=environ)

    def refusal(self, **environment: str) -> PalmetteError:
        with pytest.raises(PalmetteError) as caught:
            self.load({}, **environment)
        assert caught.value.code == "bad_config"
        assert caught.value.hint
        return caught.value


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


@pytest.mark.rule("B15")
def test_nothing_configured_means_the_defaults(layers: Layers) -> None:
    config = layers.load()
    assert config.pool() == Amounts(5_000_000, None, 400, 7_200)
    assert (config.of("max_depth"), config.of("grace_s")) == (4, 10.0)
    assert 1 <= config.of("max_live") <= 8
    assert {value.source for value in config.values.values()} == {"default"}


def test_a_flag_beats_the_environment_and_that_the_users_config(layers: Layers) -> None:
    layers.user.write_text('[limits]\nturns = 7\nusd = 1.25\n[run]\nmodel = "theirs"\n')
    assert (layers.load().of("turns"), layers.load().values["turns"].source) == (7, str(layers.user))
    environment = layers.load(PALMETTE_TURNS="9").values["turns"]
    assert (environment.value, environment.source) == (9, "environment PALMETTE_TURNS")
    flag = layers.load({"turns": 11, "usd": None}, PALMETTE_TURNS="9")
    assert (flag.of("turns"), flag.values["turns"].source) == (11, "flag")
    assert flag.pool().usd == 1_250_000
    assert layers.load().of("model") == "theirs"


def test_a_repository_only_lowers_limits(layers: Layers) -> None:
    layers.theirs.write_text("[limits]\nturns = 5\nusd = 100\ntokens = 1000\n")
    config = layers.load({"turns": 50})
    assert (config.of("turns"), config.values["turns"].source) == (5, str(layers.theirs))
    assert config.of("usd") == 5.0
    assert config.of("tokens") == 1000


def test_a_repositorys_checks_hold(layers: Layers) -> None:
    layers.theirs.write_text('[[checks]]\nid = "tests"\nkind = "tests"\nspec = {command = ["pytest"]}\n')
    config = layers.load()
    assert config.checks == ({"id": "tests", "kind": "tests", "spec": {"command": ["pytest"]}},)
    assert config.checks_source == str(layers.theirs)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[run]\nmodel_source = "http://evil.example"\n', "run"),
        ('[[hooks]]\nkinds = ["node_settled"]\ncommand = ["sh"]\n', "hooks"),
        ('[notify]\ncommand = ["sh"]\n', "notify"),
        ("[server]\nport = 1\n", "server"),
        ("[limits]\nmax_live = 1\n", "limits.max_live"),
    ],
)
def test_what_executes_or_leads_elsewhere_is_not_taken_from_a_repository(layers: Layers, text: str, key: str) -> None:
    layers.theirs.write_text(text)
    message = layers.refusal().message
    assert str(layers.theirs) in message
    assert f"{key} may not come from a repository" in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[limits]\nturn = 1\nusd = -1\n", "limits.turn is not a key"),
        ("[limits]\nturn = 1\nusd = -1\n", "limits.usd"),
        ("[limits]\nusd = 0.0000001\n", "limits.usd"),
        ("[limits]\nturns = 1.5\n", "limits.turns"),
        ("[limits]\nusd = nan\n", "limits.usd"),
        ("limits = 3\n", "limits"),
        ("[prices]\nx = 1\n", "prices is not a key"),
        ('[[hooks]]\nkinds = ["nonsense"]\ncommand = ["true"]\n', "nonsense"),
        ("[limits", "no TOML"),
    ],
)
def test_a_config_that_is_wrong_is_refused_by_file_and_key(layers: Layers, text: str, key: str) -> None:
    layers.user.write_text(text)
    message = layers.refusal().message
    assert str(layers.user) in message
    assert key in message


def test_bytes_that_are_no_text_are_refused(layers: Layers) -> None:
    layers.user.write_bytes(b"\xff\xfe")
    assert "no TOML" in layers.refusal().message


def test_a_wrong_variable_is_named(layers: Layers) -> None:
    assert "PALMETTE_TURNS" in layers.refusal(PALMETTE_TURNS="many").message
    assert layers.load(PALMETTE_TURNS="").of("turns") == 400


def test_the_json_form_names_each_source(layers: Layers) -> None:
    layers.user.write_text('[[hooks]]\nkinds = ["node_settled"]\ncommand = ["true"]\n')
    shown = layers.load().as_dict()
    assert shown["hooks"] == {
        "value": [{"kinds": ["node_settled"], "command": ["true"]}],
        "source": str(layers.user),
    }
    assert shown["turns"] == {"value": 400, "source": "default"}
