"""Which files are nobody's business: secrets by name, and patterns as in a .gitignore. No I/O."""

import re
from collections.abc import Iterable

_SECRET_NAME = re.compile(
    r"""(?ix)
    \.env(\..*)? | .*\.env | \.envrc
    | .*\.(pem|key|p8|p12|pfx|ppk|jks|keystore|kdbx|gpg|pgp|asc|age|ovpn)
    | id_(rsa|dsa|ecdsa|ed25519)(\..*)?
    | \.(netrc|pypirc|npmrc|pgpass|htpasswd|git-credentials|dockercfg|my\.cnf|vault_pass|vault_pass\.txt)
    | _netrc
    | (credentials?|secrets?)(\.(json|ya?ml|toml|ini|txt|xml|properties|cfg|conf))?
    | .*service[-_]account.*\.json | client_secret.*\.json
    | .*\.tfstate(\.backup)? | .*\.tfvars
    """
)
_SAMPLE = re.compile(r"(?i)\.env\.(example|sample|template|dist)|.*\.pub")
_SECRET_FOLDER = frozenset({".ssh", ".gnupg", ".aws", ".azure", ".kube", ".git", ".hg", ".svn", ".password-store"})


def is_secret(path: str) -> bool:
    """True when a file of this name usually holds keys or passwords; such files are never searched."""
    parts = path.replace("\\", "/").split("/")
    if any(part.lower() in _SECRET_FOLDER for part in parts[:-1]):
        return True
    return bool(_SECRET_NAME.fullmatch(parts[-1])) and not _SAMPLE.fullmatch(parts[-1])


class Ignore:
    """Patterns as a .gitignore has them: comments, `!`, `dir/`, a leading `/`, `*`, `?`, `[…]` and `**`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            pattern = line.rstrip("\r\n").rstrip()
            if not pattern or pattern.startswith("#"):
                continue
            keep = pattern.startswith("!")
            try:
                self._rules.append((re.compile(_regex(pattern[keep:])), keep))
            except re.error:
                continue  # a pattern that is none ignores nothing, as in git

    def __call__(self, path: str) -> bool:
        """True when `path`, relative with forward slashes, is to be left out. The last rule that fits decides."""
        ignored = False
        for rule, keep in self._rules:
            if ignored == keep and rule.match(path):
                ignored = not keep
        return ignored


def _regex(pattern: str) -> str:
    anchored = "/" in pattern.rstrip("/")
    folder = pattern.endswith("/")
    body = pattern.strip("/")
    out: list[str] = []
    at = 0
    while at < len(body):
        if body.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif body.startswith("**", at):
            out.append(".*")
            at += 2
        elif body[at] == "*":
            out.append("[^/]*")
            at += 1
        elif body[at] == "?":
            out.append("[^/]")
            at += 1
        elif body[at] == "[" and "]" in body[at + 2 :]:
            end = body.index("]", at + 2)
            inner = body[at + 1 : end].replace("\\", r"\\")
            out.append("[" + ("^" + inner[1:] if inner.startswith("!") else inner) + "]")
            at = end + 1
        else:
            at += 1 if body[at] == "\\" and at + 1 < len(body) else 0
            out.append(re.escape(body[at]))
            at += 1
    start = "" if anchored else "(?:.*/)?"
    return start + "".join(out) + ("/" if folder else "(?:/|$)")
