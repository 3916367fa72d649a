from pathlib import Path

import pytest

from nanoide.backends.keys import held, read_key, scrubbed, secretive
from nanoide.core.errors import BackendError
from nanoide.settings import Key


def _fails(key: Key) -> BackendError:
    with pytest.raises(BackendError) as caught:
        read_key(key, {})
    assert caught.value.outcome == "auth"
    return caught.value


def test_a_key_comes_from_the_environment() -> None:
    """Blanks around it are not part of it; a missing one is named in the hint."""
    assert read_key(Key(env="ACME_KEY"), {"ACME_KEY": " k-1\n"}) == "k-1"
    error = _fails(Key(env="ACME_KEY"))
    assert "ACME_KEY" in error.message
    assert "ACME_KEY" in error.hint


def test_a_key_comes_from_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """0600 is read; 0644, a folder, a pipe, an empty file and a missing one are refused with a hint."""
    file = tmp_path / "key"
    file.write_text("k-2\n")
    file.chmod(0o600)
    assert read_key(Key(file=str(file)), {}) == "k-2"
    file.chmod(0o644)
    assert "chmod 600" in _fails(Key(file=str(file))).hint
    assert "k-2" not in str(_fails(Key(file=str(file))))
    assert _fails(Key(file=str(tmp_path)))
    assert _fails(Key(file=str(tmp_path / "none")))
    file.write_text("")
    file.chmod(0o600)
    assert _fails(Key(file=str(file)))


def test_without_the_keyring_package_the_error_says_so() -> None:
    """The package keyring is no dependency of ours."""
    assert "keyring" in _fails(Key(keyring="acme/me")).message


def test_a_key_with_a_line_break_inside_is_refused() -> None:
    """It would break out of its header."""
    with pytest.raises(BackendError, match="no key has"):
        read_key(Key(env="A"), {"A": "one\r\nx-evil: two"})


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    """A scrubbed environment keeps what is no secret."""
    assert scrubbed({"PATH": "/bin", "A_KEY": "x", "MY_TOKEN": "x", "SECRET_X": "x", "PASSWORDS": "x"}) == {
        "PATH": "/bin"
    }
    assert not secretive("KEYBOARD")
    assert not secretive("MONKEY")


def test_held_keys_are_those_that_can_be_read() -> None:
    """A missing key is no error here, and long secrets of the environment count too."""
    environ = {"A": "key-of-a", "MY_TOKEN": "t" * 20, "SHORT_KEY": "abc", "PATH": "/usr/local/bin/long"}
    assert set(held([Key(env="A"), Key(env="B")], environ)) == {"key-of-a", "t" * 20}
