"""Chat templates for models whose own is broken: the well-known ones, chosen by the tokens a model has. Pure."""

from collections.abc import Callable

from nanoide.core.value import Value


class StandIn(Value, frozen=True):
    """A template that many models share."""

    name: str
    marks: tuple[str, ...]
    """Special tokens that a model must have for it; without any, the architecture decides."""
    architectures: tuple[str, ...]
    """Beginnings of names, as GGUF has them in general.architecture."""
    source: str


STAND_INS = (
    StandIn(
        "ChatML",
        ("<|im_start|>", "<|im_end|>"),
        (),
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    StandIn(
        "Llama 3",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        (),
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
    StandIn(
        "Gemma",
        ("<start_of_turn>", "<end_of_turn>"),
        (),
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ),
    StandIn(
        "Phi 3",
        ("<|user|>", "<|assistant|>", "<|end|>"),
        (),
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    ),
    StandIn(
        "Mistral",
        ("[INST]", "[/INST]"),
        (),
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
        "{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}"
        "{% endfor %}",
    ),
    # Its brackets are plain text, in models from before there were tokens for them.
    StandIn(
        "Llama 2",
        (),
        ("llama", "mistral"),
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
        "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}"
        "{% endfor %}",
    ),
)


def stand_in(architecture: str, special: Callable[[str], bool]) -> StandIn | None:
    """The template for a model of that architecture; `special` says whether it has a special token of that name."""
    for each in STAND_INS:
        if each.marks and all(special(mark) for mark in each.marks):
            return each
        if any(architecture.startswith(name) for name in each.architectures):
            return each
    return None
