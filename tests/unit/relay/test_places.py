"""Where an installation keeps its files."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from palmette.servers import places
from palmette.servers.places import PlaceError


def test_the_data_directory_is_the_flag_then_the_environment_then_the_home(tmp_path: Path) -> None:
    environ = {"PALMETTE_DATA": f"{tmp_path}/env", "XDG_DATA_HOME": f"{tmp_path}/xdg", "HOME": str(tmp_path)}
    assert places.data_directory(f"{tmp_path}/flag", environ) == f"{tmp_path}/flag"
    assert places.data_directory(None, environ) == f"{tmp_path}/env"
    del environ["PALMETTE_DATA"]
    assert places.data_directory(None, environ) == f"{tmp_path}/xdg/palmette"
    environ["XDG_DATA_HOME"] = "relative"
    assert places.data_directory(None, environ) == f"{tmp_path}/.local/share/palmette"


@pytest.mark.parametrize("flag", ["", "a\0b"])
def test_a_path_that_is_none_is_refused(flag: str) -> None:
    with pytest.raises(PlaceError) as caught:
        places.data_directory(flag)
    assert caught.value.code == "bad_path"


def test_two_names_of_one_data_directory_share_a_runtime_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    digest = hashlib.sha256(str(tmp_path / "data").encode()).hexdigest()[:12]
    found = {places.runtime_directory(f"{tmp_path}/{name}", environ) for name in ("data", "link")}
    assert found == {f"{tmp_path}/palmette/{digest}"}


@pytest.mark.parametrize("given", ["", "relative", "/no/such/directory"])
def test_without_a_usable_runtime_directory_it_lies_in_tmp(given: str) -> None:
    found = places.runtime_directory("/data", {"XDG_RUNTIME_DIR": given})
    assert os.path.dirname(found) == f"/tmp/palmette-{os.getuid()}"


def test_a_claimed_runtime_directory_is_private_and_found_from_any_environment(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    claimed = places.claim_runtime(data, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert stat.S_IMODE(os.stat(claimed).st_mode) == 0o700
    assert places.find_socket(data, environ={}) == f"{claimed}/mcp.sock"
    assert stat.S_IMODE(os.stat(places.runtime_pointer(data)).st_mode) == 0o600
    assert sorted(os.listdir(data)) == ["runtime"]


def test_a_record_of_a_runtime_directory_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    Path(places.runtime_pointer(str(tmp_path))).write_text("/no/such/place")
    assert places.find_socket(str(tmp_path), environ=environ).startswith(f"{tmp_path}/palmette/")


def test_a_runtime_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    (tmp_path / "palmette").mkdir(mode=0o700)
    (tmp_path / "palmette").chmod(0o750)
    with pytest.raises(PlaceError) as claimed:
        places.claim_runtime(str(tmp_path / "data"), environ)
    with pytest.raises(PlaceError) as found:
        places.find_socket(str(tmp_path / "data"), environ=environ)
    for error in (claimed.value, found.value):
        assert (error.code, error.hint) == ("not_private", f"chmod 700 {tmp_path}/palmette")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_runtime_directory_of_another_user_is_ignored(tmp_path: Path) -> None:
    """sudo keeps the XDG_RUNTIME_DIR of the person who called it."""
    os.chown(tmp_path, 12345, 12345)
    found = places.runtime_directory("/data", {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert os.path.dirname(found) == f"/tmp/palmette-{os.getuid()}"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PlaceError) as caught:
        places.private_directory(str(tmp_path))
    assert caught.value.code == "not_private"
    assert "12345" in caught.value.message


def test_a_socket_path_the_kernel_would_refuse_is_refused_with_what_to_do(tmp_path: Path) -> None:
    exact = "/" + "d" * (places.SOCKET_PATH_LIMIT - len("/") - len("/mcp.sock"))
    assert len(places.socket_path(exact, "mcp.sock")) == places.SOCKET_PATH_LIMIT
    with pytest.raises(PlaceError) as caught:
        places.socket_path(exact + "d", "mcp.sock")
    assert caught.value.code == "path_too_long"
    assert "XDG_RUNTIME_DIR" in caught.value.hint


def test_a_file_in_the_place_of_the_data_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(PlaceError) as caught:
        places.ensure_data_directory(str(tmp_path / "data"))
    assert caught.value.code == "unusable_directory"
