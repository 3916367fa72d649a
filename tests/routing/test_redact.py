import re
import string
from base64 import b64encode, urlsafe_b64encode
from json import dumps
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.chat import Context, Fill, Message, Prompt, Reflex
from nanoide.routing.redact import Redactor, size, texts

B64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"

# Put together here, so that no scanner takes this file for a leak.
SECRETS = [
    ("AKIA" + "IOSFODNN7EXAMPLE", "AWS key"),
    ("ghp_" + "a1B2" * 9, "GitHub token"),
    ("github_pat_" + "11ABCDEFG0" * 4, "GitHub token"),
    ("glpat-" + "x1Y2z3" * 4, "GitLab token"),
    ("sk-ant-" + "api03-" + "aB3" * 20, "Anthropic key"),
    ("sk-proj-" + "aB3_" * 12, "OpenAI key"),
    ("sk-" + "aB3d" * 12, "OpenAI key"),
    ("xoxb-" + "123456789012-abcdefghij", "Slack token"),
    ("AIza" + "SyA" + "b1C2" * 8, "Google key"),
    ("sk_live_" + "aB3d" * 6, "Stripe key"),
    ("npm_" + "aB3d" * 9, "npm token"),
    ("xai-" + "aB3d" * 12, "xAI key"),
    ("gsk_" + "aB3d" * 13, "Groq key"),
    ("SG." + "aB3-" * 5 + "xy." + "aB3_" * 10 + "xyz", "SendGrid key"),
    ("hvs." + "aB3_" * 8, "Vault token"),
    ("dckr_pat_" + "aB3-" * 6, "Docker token"),
    ("GOCSPX-" + "aB3-" * 7, "Google secret"),
    ("hf_" + "aB3d" * 9, "Hugging Face token"),
    (
        "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "JSON Web Token",
    ),
    (f"-----BEGIN RSA PRIVATE KEY-----\n{B64}\n{B64}\n-----END RSA PRIVATE KEY-----", "private key"),
    (f"-----BEGIN OPENSSH PRIVATE KEY-----\n+{B64}\n+{B64}\n", "private key"),
]


@pytest.mark.parametrize(("secret", "what"), SECRETS)
def test_a_secret_of_a_known_form_is_hidden_wherever_it_stands(secret: str, what: str) -> None:
    """In the system text, in a message, before and after the cursor."""
    text = f"before '{secret}' after"
    prompt = Prompt(system=text, messages=(Message("user", text),), fill=Fill(prefix=text, suffix=text))
    clean, hidden = Redactor().prompt(prompt)
    assert clean.fill is not None
    for each in (clean.system, clean.messages[0].text, clean.fill.prefix, clean.fill.suffix):
        assert secret.strip() not in each
        assert B64 not in each
        assert each.startswith("before '")
        assert f"[hidden: {what}]" in each
    assert hidden == (f"4 × {what}",)


def test_what_stands_around_a_secret_stays() -> None:
    """The name of the setting and the address are no secret."""
    clean, hidden = Redactor().text(
        "aws_secret_access_key = "
        + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
        + "\npostgres://me:hunter22@db.example/x"
    )
    assert clean == (
        "aws_secret_access_key = [hidden: AWS secret]\npostgres://me:[hidden: password in an address]@db.example/x"
    )
    assert hidden == ("AWS secret", "password in an address")


def test_a_key_that_we_hold_is_hidden_without_any_form() -> None:
    """Exactly, the longest first; short words are left alone."""
    redactor = Redactor(["my-own-key-of-no-form", "my-own-key-of-no-form-but-longer", "word"])
    clean, hidden = redactor.text("a my-own-key-of-no-form-but-longer word")
    assert clean == "a [hidden: key] word"
    assert hidden == ("key of this machine",)


def test_ordinary_code_is_left_alone() -> None:
    """Names, hashes, CSS classes and public keys are no secrets."""
    code = (
        "class sk-loading-indicator-of-the-page:\n"
        "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n"
        "api_key = os.environ['API_KEY']\n-----BEGIN PUBLIC KEY-----\nhttps://example.com/a:b@c\n"
        "task-1234567890abcdefghijkl risk-management eyJhbGciOiJI\n"
    )
    assert Redactor().text(code) == (code, ())


def test_what_only_a_reflex_reads_does_not_leave() -> None:
    """The gathered context goes nowhere but to the skill's own script."""
    prompt = Prompt(messages=(Message("user", "é"),), reflex=Reflex("/x/reflex.py", Context(text="private")))
    clean, hidden = Redactor().prompt(prompt)
    assert clean.reflex is None
    assert hidden == ()
    assert size(clean) == 2


@pytest.mark.parametrize("before", ["", " ", "key=", "\\n", '{"a":"', "(", "\\t"])
def test_a_token_is_known_after_anything_that_is_no_word(before: str) -> None:
    """A line break in quoted text is no part of the word behind it; a word that only ends like one is left alone."""
    token = "ghp_" + "a1B2" * 9
    assert Redactor().text(before + token)[0] == before + "[hidden: GitHub token]"
    assert Redactor().text("x" + token)[0] == "x" + token


def test_a_private_key_that_is_cut_is_hidden_too() -> None:
    """Its end without its beginning, its beginning without its end, and the cursor in the middle of it."""
    begin, end = "-----BEGIN RSA PRIVATE KEY-----\n", "-----END RSA PRIVATE KEY-----"
    tail = Redactor().text(f"see here:\n\n{B64[:9]}\n{B64}\nab==\n{end}\nafter")[0]
    assert tail == "see here:\n\n[hidden: private key]\nafter"
    fill = Fill(prefix=f"a\n{begin}{B64}\n{B64[:30]}", suffix=f"{B64[30:]}\n{B64}\n{end}\nb")
    clean = Redactor().prompt(Prompt(fill=fill))[0].fill
    assert clean is not None
    assert (clean.prefix[:2], clean.suffix[-2:]) == ("a\n", "\nb")
    assert not any(B64[at : at + 9] in clean.prefix + clean.suffix for at in range(len(B64) - 9))


def test_a_secret_under_the_cursor_is_hidden_on_both_sides() -> None:
    """Neither half of it leaves."""
    token = "ghp_" + "a1B2" * 9
    for at in range(1, len(token)):
        clean, hidden = Redactor().prompt(Prompt(fill=Fill(prefix="k = " + token[:at], suffix=token[at:] + "\n")))
        assert clean.fill is not None
        assert (clean.fill.prefix, clean.fill.suffix) == ("k = [hidden: GitHub token]", "\n")
        assert hidden == ("GitHub token",)


def test_passwords_in_headers_and_addresses_are_hidden() -> None:
    """Also where there is no user before the colon."""
    clean, _ = Redactor().text("Authorization: Bearer abcdefghijklmnop1234\nredis://:hunter22@host/0")
    assert clean == "Authorization: Bearer [hidden: authorization]\nredis://:[hidden: password in an address]@host/0"
    for code in ('{"Authorization": f"Bearer {token}"}', "https://me@host/a:b", "http://localhost:8080/x@y"):
        assert Redactor().text(code) == (code, ())


KEYS = st.text(string.ascii_letters + string.digits + "-_+/=.:&%$ \"\\'", min_size=8, max_size=40)
PLAIN = st.text(string.ascii_letters + string.digits + " \n.%+/=", max_size=30)
WRITTEN = (
    lambda key: key,
    lambda key: quote(key),
    lambda key: quote(key, safe=""),
    lambda key: re.sub("%..", lambda found: found[0].lower(), quote(key, safe="")),
    quote_plus,
    lambda key: dumps(key)[1:-1],
    lambda key: key.encode().hex(),
)
"""A key as it may stand in a text, found again by the same means."""


@given(KEYS, st.lists(PLAIN, min_size=7, max_size=7), st.integers(0, 6), st.sampled_from(WRITTEN))
def test_a_key_that_we_hold_survives_in_no_field(key: str, around: list[str], place: int, written: object) -> None:
    """In whichever field, and in whichever of the usual forms it stands there."""
    assert callable(written)
    form: str = written(key)
    around[place] = f"{around[place]}{form}{around[place]}"
    system, first, second, partial, prefix, suffix, stop = around
    prompt = Prompt(
        system=system,
        messages=(Message("user", first), Message("assistant", second)),
        partial=partial,
        fill=Fill(prefix=prefix, suffix=suffix, path=stop),
        stop=(stop,),
        json_schema=first,
        grammar=second,
    )
    clean, hidden = Redactor([key]).prompt(prompt)
    assert clean.fill is not None
    left = (*texts(clean), *clean.stop, clean.json_schema, clean.grammar, clean.fill.path)
    assert not any(form in each for each in left if form not in "[hidden: key]")
    assert hidden


@given(KEYS, st.integers(1, 7), st.integers(1, 39), st.booleans())
def test_a_key_split_over_texts_is_hidden_in_all_of_them(key: str, one: int, two: int, fill: bool) -> None:
    """Over two messages or three, and over the two sides of the cursor."""
    cuts = sorted({min(one, len(key)), min(two, len(key))})
    parts = [key[start:end] for start, end in zip([0, *cuts], [*cuts, len(key)], strict=True)]
    if fill:
        prompt = Prompt(fill=Fill(prefix="a " + parts[0], suffix="".join(parts[1:]) + " z"))
    else:
        prompt = Prompt(messages=tuple(Message("user", part) for part in ("a ", *parts, " z")))
    clean, hidden = Redactor([key]).prompt(prompt)
    assert hidden == ("key of this machine",)
    assert key not in "".join(texts(clean))
    assert "".join(texts(clean)).replace("[hidden: key]", "") == "a  z"


@given(KEYS, st.binary(max_size=9), st.binary(max_size=9))
def test_a_key_within_something_in_base_64_is_hidden(key: str, before: bytes, after: bytes) -> None:
    """As in a header that names a user and a password: wherever it begins, what is left does not tell it."""
    data = before + key.encode() + after
    for encode in (b64encode, urlsafe_b64encode):
        clean, hidden = Redactor([key]).text(f"x {encode(data).decode()} y")
        assert hidden
        left = clean.removeprefix("x ").removesuffix(" y").split("[hidden: key]")
        assert sum(map(len, left)) <= len(b64encode(before)) + len(b64encode(after)) + 4


def test_nothing_is_lost_but_what_is_hidden() -> None:
    """Overlapping keys are one mark, and the texts around them stay."""
    redactor = Redactor(["abcdefgh1234", "1234ijklmnop"])
    clean, hidden = redactor.text("x abcdefgh1234ijklmnop y abcdefgh1234 z")
    assert clean == "x [hidden: key] y [hidden: key] z"
    assert hidden == ("2 × key of this machine",)


def test_a_variable_that_is_no_text_stops_nothing() -> None:
    """Odd bytes in the environment come as lone surrogates; the other keys are hidden all the same."""
    assert Redactor(["\udcff" * 20, "my-own-key-of-no-form"]).text("a my-own-key-of-no-form")[0] == "a [hidden: key]"


@pytest.mark.parametrize(
    "text",
    ["-eyJ" * 250_000 + ".eyJ", "-----BEGIN RSA PRIVATE KEY-----" * 30_000, ("+" * 8 + "A" * 15) * 40_000 + "-----END",
     "://a:" * 200_000 + "@", "-----END RSA PRIVATE KEY-----" * 30_000],
    ids=["tokens", "beginnings", "lines", "addresses", "ends"],
)  # fmt: skip
def test_a_hostile_text_does_not_hold_anybody_up(text: str) -> None:
    """A megabyte of what secrets begin with is looked through in its length, not in its square."""
    assert Redactor(["my-own-key-of-no-form"]).text(text + " my-own-key-of-no-form")[0].endswith("[hidden: key]")
