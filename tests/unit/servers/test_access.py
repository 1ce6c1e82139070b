"""The installation's token, and who a bearer token stands for."""

import os
import stat
from pathlib import Path

import pytest

from palmette.coordination.errors import PalmetteError
from palmette.servers.access import Access, bearer_token, installation_token
from tests.support.bounded import bounded


def test_the_token_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    token = installation_token(str(tmp_path))

    assert installation_token(str(tmp_path)) == token
    assert len(token) >= 43  # 256 bits
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    installation_token(str(tmp_path))
    (tmp_path / "token").chmod(0o644)

    with pytest.raises(PalmetteError, match="yours alone") as refusal:
        installation_token(str(tmp_path))

    assert (refusal.value.code, refusal.value.hint) == ("bad_token_file", f"chmod 600 {tmp_path / 'token'}")


@pytest.mark.parametrize("content", ["", "short\n", "x" * 2000, "two words" * 8, "é" * 40])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(PalmetteError, match="holds no token"):
        installation_token(str(tmp_path))


def test_a_link_and_a_pipe_in_its_place_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x" * 43)
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PalmetteError, match="cannot be read"):
        installation_token(str(tmp_path))

    (tmp_path / "token").unlink()
    os.mkfifo(tmp_path / "token", 0o600)
    with pytest.raises(PalmetteError, match="yours alone"):
        installation_token(str(tmp_path))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearer " + "x" * 1001, None),
    ],
)
def test_only_a_bearer_token_is_one(header: str, token: str | None) -> None:
    assert bearer_token(header) == token


@pytest.mark.anyio
@pytest.mark.rule("W4")
@bounded(10)
async def test_the_persons_token_an_attempts_and_a_strangers() -> None:
    asked: list[str] = []

    async def is_live(digest: str) -> bool:
        asked.append(digest)
        return len(asked) == 1

    access = Access("the-installation", is_live)
    person = await access.caller("the-installation")
    attempt = await access.caller("an-attempts")
    stranger = await access.caller("an-attempts")

    assert person is not None
    assert person.token is None
    assert attempt is not None
    assert attempt.token == "an-attempts"
    assert stranger is None
    assert "an-attempts" not in repr(attempt)
    assert "an-attempts" not in "".join(asked)
