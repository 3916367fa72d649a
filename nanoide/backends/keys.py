"""Where secrets come from. A key is read when it is needed, and its text appears in no error, log or argument list."""

import contextlib
import importlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast

from nanoide.core.errors import BackendError
from nanoide.settings import Key

_SECRETIVE = re.compile(r"(_|^)(KEY|TOKEN|PAT|CREDENTIALS?)$|SECRET|PASSWORD|PASSWD|PASSPHRASE", re.IGNORECASE)

_LARGEST = 64 * 1024
"""Bytes of a key file; more is no key."""


_TELLING = 16
"""Characters from which on a value in the environment is taken for a secret and not for a word."""


def secretive(name: str) -> bool:
    """True when an environment variable of that name probably holds a secret."""
    return _SECRETIVE.search(name) is not None


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without its secrets, for a child process that needs none."""
    return {name: value for name, value in environ.items() if not secretive(name)}


def read_key(key: Key, environ: Mapping[str, str] = os.environ) -> str:
    """The secret that `key` points to. Raises BackendError "auth" that says where it was looked for."""
    if key.env:
        secret = environ.get(key.env, "").strip()
        if not secret:
            raise _missing(f"no key: {key.env} is not set", f"export {key.env}=… and start the hub anew")
    elif key.file:
        secret = _from_file(Path(key.file).expanduser())
    else:
        secret = _from_keyring(key.keyring)
    if not secret.isascii() or not secret.isprintable():
        raise _missing("the key has characters that no key has", "look for line breaks and quotes around it")
    return secret


def held(keys: Iterable[Key], environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Every secret we can see: those that `keys` point to, and those of the environment. None of them may leave.

    A key that cannot be read is not held; whoever asks its backend hears why.
    """
    secrets = [value for name, value in environ.items() if secretive(name) and len(value) >= _TELLING]
    for key in keys:
        with contextlib.suppress(BackendError):
            secrets.append(read_key(key, environ))
    return tuple(secrets)


def _missing(message: str, hint: str) -> BackendError:
    return BackendError(message, outcome="auth", hint=hint)


def _from_file(path: Path) -> str:
    try:
        # Opened before it is looked at, and never waited for: a pipe or a device is refused, not read.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _missing(f"no key: {str(path)!r}: {error.strerror}", f"put the key into {path}, mode 0600") from error
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise _missing(f"no key: {str(path)!r} is not a regular file", "name a plain file with the key in it")
        if status.st_mode & 0o077:
            raise _missing(f"the key file {str(path)!r} can be read by others", f"chmod 600 {path}")
        text = os.read(number, _LARGEST + 1)
    finally:
        os.close(number)
    secret = text.decode("utf-8", "replace").strip()
    if not secret or len(text) > _LARGEST:
        raise _missing(f"no key: {str(path)!r} does not hold one", "put the key, and nothing else, into it")
    return secret


class _Keyring(Protocol):
    def get_password(self, service: str, user: str, /) -> str | None: ...


def _from_keyring(place: str) -> str:
    service, _, user = place.partition("/")
    try:
        keyring = cast("_Keyring", cast("object", importlib.import_module("keyring")))
    except ImportError as error:
        raise _missing(
            f"no key: the keyring entry {place!r} needs the package keyring",
            "install keyring beside nanoide, or use key = { env = … } or { file = … }",
        ) from error
    try:
        secret = keyring.get_password(service, user)
    except Exception as error:  # each keyring backend has errors of its own
        raise _missing(
            f"no key: the keyring cannot be asked: {type(error).__name__}", "unlock the keyring, or use another place"
        ) from error
    if not secret or not secret.strip():
        raise _missing(f"no key: the keyring has none for {place!r}", f"keyring set {service} {user}")
    return secret.strip()
