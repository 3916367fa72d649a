import pytest

from nanoide.core.chat import Context, Fill, Message, Prompt, Reflex
from nanoide.routing.redact import Redactor, size

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
