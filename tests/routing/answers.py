"""An answer with everything in it that is hard to break and to join."""

import random

ANSWER = (
    "The session keeps its token until eighty percent of its lifetime are gone. Then it asks again, quietly, "
    "so that a slow request does not meet a dead token.\n\n"
    "```python\ndef refresh(token: Token) -> Token:\n    if token.age < 0.8 * token.life:\n        return token\n"
    "    return ask(token.name)\n```\n\n"
    "会话在令牌过期之前更新它，这样缓慢的请求就不会遇到已经过期的令牌。トークンは静かに更新され、誰も待つ必要がない。\n\n"
    "👩\u200d💻 ships it 🇩🇪 ❤\ufe0f, Ame\u0301lie reads the cafe\u0301's menu — «done», she says. 🎉🎉 "
    "That is all there is."
)
"""Prose, a code fence, CJK, emoji and combining characters."""


def pieces(text: str, dice: random.Random) -> list[str]:
    """As tokens come: a few characters each."""
    found: list[str] = []
    while text:
        size = dice.randint(1, 9)
        found.append(text[:size])
        text = text[size:]
    return found
