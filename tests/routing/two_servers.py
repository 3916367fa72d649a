"""A config.toml with two servers, one near and one elsewhere."""

import json
from collections.abc import Sequence

_CONFIG = """
[[backend]]
name = "near"
kind = "openai"
base_url = "{near}"
model = "m"

[[backend]]
name = "far"
kind = "openai"
base_url = "{far}"
where = "lan"
model = "m"

[route.default]
ladder = {ladder}
egress = "remote"
"""


def config(*, near: str, far: str, ladder: Sequence[str] = ("far", "near", "reflex")) -> str:
    """The text of the file."""
    return _CONFIG.format(near=near, far=far, ladder=json.dumps(ladder))
