"""An outline of code without a model: what is in it, what each part says of itself, who calls whom.

Python is read with its own parser; of other languages the lines that define something, of prose the
headings. A file that does not parse says where, and is outlined by its lines.
"""

import ast
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nanoide.core.chat import Context, Source
from nanoide.core.document import language_of, unified

PARTS = 60
"""Parts of one file that are listed."""

LONG = 60
"""Lines from which a function is called long."""

BRANCHY = 12
"""Branches from which a function is called branchy."""

SIZE_LIMIT = 500_000
"""Characters that are parsed; a larger text is outlined by its lines."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def answer(context: Context) -> str:
    """The outline of every text in the context."""
    sources = [source for source in context.sources if source.kind != "query"]
    if not sources and context.document is not None:
        document = context.document
        sources = [Source(kind="file", label=document.path, text=document.text, path=document.path)]
    if not sources:
        return "Give a file, a selection or code on standard input to explain."
    return "\n\n".join(_outline(source) for source in sources)


def _outline(source: Source) -> str:
    text = unified(source.text)
    name = source.label or "the text"
    if not text.strip():
        return f"{name} is empty."
    language = language_of(source.path or source.label) or _by_shebang(text)
    if language == "python" or (not language and _may_be_python(text)):
        return _python(name, text, max(source.line, 1))
    if language in {"markdown", "restructuredtext"} or not language:
        return _prose(name, text)
    return _by_lines(name, text, language)


def _by_shebang(text: str) -> str:
    first = text.split("\n", 1)[0]
    if not first.startswith("#!"):
        return ""
    return "python" if "python" in first else "shellscript" if re.search(r"\b(?:ba|z|k|da)?sh\b", first) else "script"


# Python


def _python(name: str, text: str, first: int) -> str:
    broken = ""
    try:
        if len(text) > SIZE_LIMIT:
            return _by_lines(name, text, "python")
        with warnings.catch_warnings(action="ignore"):  # what the code's strings do is not our concern
            tree = ast.parse(textwrap.dedent(text))
    except SyntaxError as error:
        number = (error.lineno or 1) + first - 1
        line = (error.text or "").strip()
        broken = f"\nLine {number} does not parse: {error.msg}" + (f": `{_short(line)}`" if line else "") + "."
        return _by_lines(name, text, "python") + broken
    except (ValueError, RecursionError, MemoryError) as error:
        return _by_lines(name, text, "python") + f"\nIt does not parse: {error}."
    return "\n".join(_Module(tree, first).lines(name, text))


class _Module:
    """One parsed file."""

    def __init__(self, tree: ast.Module, first: int) -> None:
        self._tree = tree
        self._shift = first - 1
        self._own = {node.name for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef)}
        self._callers: dict[str, list[str]] = {}
        for holder, node in self._functions(tree, ""):
            for called in _calls(node) & self._own:
                self._callers.setdefault(called, []).append(f"{holder}{node.name}")

    def lines(self, name: str, text: str) -> Iterator[str]:
        """The outline, line by line."""
        body = self._tree.body
        classes = sum(isinstance(node, ast.ClassDef) for node in body)
        functions = sum(isinstance(node, Function) for node in body)
        parts = [_count(classes, "class", "classes"), _count(functions, "function", "functions")]
        inside = " and ".join(part for part in parts if part)
        size = text.count("\n") + (not text.endswith("\n"))
        yield f"{name}: Python, {_count(size, 'line', 'lines')}" + (f", {inside}." if inside else ".")
        if said := _first_paragraph(ast.get_docstring(self._tree)):
            yield said
        if uses := _imports(self._tree):
            yield f"Uses {uses}."
        listed = 0
        for node in body:
            if listed >= PARTS:
                yield f"\n… and {sum(isinstance(each, Function | ast.ClassDef) for each in body) - listed} more parts."
                break
            if isinstance(node, Function | ast.ClassDef):
                yield ""
                yield from self._class(node, "") if isinstance(node, ast.ClassDef) else self._function(node, "", "")
                listed += 1
        yield from self._top_level(body)

    def _class(self, node: ast.ClassDef, indent: str) -> Iterator[str]:
        given = [ast.unparse(each) for each in (*node.bases, *node.keywords)]
        bases = ", ".join(_short(each, 60) for each in given)
        yield (
            f"{indent}class {node.name}" + (f"({bases})" if node.bases else "") + f"  line {node.lineno + self._shift}"
        )
        if said := _first_paragraph(ast.get_docstring(node)):
            yield f"{indent}    {said}"
        if decorators := _decorators(node):
            yield f"{indent}    {decorators}"
        fields = [
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]
        if fields:
            yield f"{indent}    fields: {_listed(fields, 10)}"
        methods = [each for each in node.body if isinstance(each, Function | ast.ClassDef)]
        for each in methods[:PARTS]:
            if isinstance(each, Function):
                yield from self._function(each, f"{indent}    ", node.name)
            else:
                yield from self._class(each, f"{indent}    ")
        if len(methods) > PARTS:
            yield f"{indent}    … and {len(methods) - PARTS} more methods."

    def _function(self, node: Function, indent: str, holder: str) -> Iterator[str]:
        kind = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
        returns = f" -> {_short(ast.unparse(node.returns), 60)}" if node.returns else ""
        arguments = _short(ast.unparse(node.args), 100)
        yield f"{indent}{kind}{node.name}({arguments}){returns}  line {node.lineno + self._shift}"
        if said := _first_paragraph(ast.get_docstring(node)):
            yield f"{indent}    {said}"
        notes = [note for note in (_decorators(node), self._relations(node, holder), _character(node)) if note]
        if notes:
            yield f"{indent}    {'; '.join(notes)}"

    def _relations(self, node: Function, holder: str) -> str:
        me = f"{holder}.{node.name}" if holder else node.name
        calls = sorted(_calls(node) & self._own - {node.name})
        callers = [each for each in dict.fromkeys(self._callers.get(node.name, [])) if each != me]
        said = [f"calls {_listed(calls, 6)}"] if calls else []
        if callers and not node.name.startswith("__"):
            said.append(f"called by {_listed(callers, 4)}")
        if node.name in _calls(node):
            said.append("recursive")
        return "; ".join(said)

    def _top_level(self, body: Sequence[ast.stmt]) -> Iterator[str]:
        """What the file does when it is run or imported, beside defining things."""
        names: list[str] = []
        for node in body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            names += [each.id for each in targets if isinstance(each, ast.Name)]
        if names:
            yield f"\nSets {_listed(names, 12)}."
        acting = [
            node for node in body if isinstance(node, ast.For | ast.While | ast.With | ast.If | ast.Try | ast.Expr)
        ]
        acting = [node for node in acting if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
        for node in acting[:6]:
            what = _short(ast.unparse(node).split("\n", 1)[0])
            main = "when run as a script" if "__main__" in what else "on import"
            yield f"Does `{what}` {main} (line {node.lineno + self._shift})."

    def _functions(self, node: ast.AST, holder: str) -> Iterator[tuple[str, Function]]:
        for each in ast.iter_child_nodes(node):
            if isinstance(each, Function):
                yield holder, each
            elif isinstance(each, ast.ClassDef):
                yield from self._functions(each, f"{each.name}.")


def _calls(node: ast.AST) -> set[str]:
    """Names that are called in `node`, methods by their last part."""
    called = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in called
        if isinstance(each, ast.Name | ast.Attribute)
    }


def _character(node: Function) -> str:
    """What a reader should be warned of, and what can come out beside the result."""
    inside = list(ast.walk(node))
    branches = sum(
        isinstance(each, ast.If | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.IfExp | ast.match_case)
        for each in inside
    )
    size = (node.end_lineno or node.lineno) - node.lineno + 1
    said: list[str] = []
    if size >= LONG:
        said.append(f"long ({size} lines)")
    if branches >= BRANCHY:
        said.append(f"{branches} branches")
    if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in inside):
        said.append("a generator")
    raised = [_raised(each) for each in inside if isinstance(each, ast.Raise) and each.exc is not None]
    if raised:
        said.append(f"raises {_listed(list(dict.fromkeys(raised)), 4)}")
    return "; ".join(said)


def _raised(node: ast.Raise) -> str:
    what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return _short(ast.unparse(what), 40) if what is not None else ""


def _decorators(node: Function | ast.ClassDef) -> str:
    return " ".join(f"@{_short(ast.unparse(each), 60)}" for each in node.decorator_list)


def _imports(tree: ast.Module) -> str:
    """The packages, with how many names come from each where that is more than one."""
    counts: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            counts.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            counts["." * node.level + (node.module or "")] += len(node.names)
    return _listed(list(counts), 12)


def _may_be_python(text: str) -> bool:
    if not re.search(r"^\s*(?:async def|def|class|import|from|return|for|if|while|with|@)\b", text, re.MULTILINE):
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(textwrap.dedent(text[:SIZE_LIMIT]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return bool(re.search(r"^\s*(?:def|class)\s+\w+.*:\s*$", text, re.MULTILINE))
    return True


# Other languages, and prose


class _Definition(NamedTuple):
    line: int
    depth: int
    text: str


_DEFINES = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([a-z]+\))?|unsafe|"
    r"override|inline|extern|const|virtual)\s+)*+"
    r"(?:(?:def|class|func|fn|function\*?|struct|enum|union|trait|interface|type|impl|module|namespace|package|object|"
    r"record|protocol|extension|macro_rules!|typedef|CREATE\s+(?:TABLE|VIEW|FUNCTION|INDEX))\b\s*\S"
    r"|(?:const\s+|let\s+|var\s+)?\w+\s*=\s*(?:async\s*)?(?:\([^()]*\)|\w+)\s*=>)"
)
"""Beginnings of definitions; `*+` because a line of modifiers alone must not be tried in every way."""

_NOT_DEFINING = re.compile(
    r"(?:if|else|for|while|switch|return|case|catch|do|new|throw|await|yield|elif|with|assert|except|raise|del|in)\b"
)
_LINE_LIMIT = 200
"""Characters of a line that can begin a definition."""


def _defines(line: str) -> bool:
    """True when the line, without its indentation, defines something."""
    if _NOT_DEFINING.match(line):
        return False
    if _DEFINES.match(line):
        return True
    head, paren, tail = line.partition("(")
    words = head.split()
    if not paren or not words or not re.fullmatch(r"[*&]*[\w:~]+", words[-1]):
        return False
    if len(words) == 1:  # a method: name(…) {
        return tail.endswith("{") and words[0].isidentifier()
    return not tail.endswith((";", ",")) and all(re.fullmatch(r"[\w<>\[\],*&:]+", word) for word in words)


def _by_lines(name: str, text: str, language: str) -> str:
    """An outline by the lines that define something."""
    lines = text.split("\n")
    size = len(lines) - (lines[-1] == "")
    found: list[_Definition] = []
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if len(bare) <= _LINE_LIMIT and _defines(bare):
            indent = line[: len(line) - len(line.lstrip())].expandtabs(4)
            found.append(_Definition(number, len(indent), bare.rstrip("{").rstrip()))
    head = f"{name}: {language or 'text'}, {_count(size, 'line', 'lines')}, outlined by its lines."
    if not found:
        return f"{head}\n{_contents(lines)}"
    depths = sorted({each.depth for each in found})[:3]
    shown = [each for each in found if each.depth in depths]
    rows = [f"{'    ' * depths.index(each.depth)}{_short(each.text)}  line {each.line}" for each in shown[:PARTS]]
    rest = [f"… and {len(shown) - PARTS} more parts."] if len(shown) > PARTS else []
    return "\n".join([head, *_comment(lines), *rows, *rest])


def _comment(lines: Sequence[str]) -> list[str]:
    """What the file says of itself at its beginning."""
    said: list[str] = []
    for line in lines[:12]:
        bare = line.strip()
        if bare.startswith(("#!", "<?", "use strict")) or not bare:
            continue
        if not bare.startswith(("//", "#", "/*", "*", "--", ";")):
            break
        said.append(bare.strip("/*#-;! ").strip())
    return [_short(" ".join(part for part in said if part), 240)] if any(said) else []


def _prose(name: str, text: str) -> str:
    """Headings, and how much there is."""
    lines = text.split("\n")
    fenced = False
    headings: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (match := re.match(r"(#{1,6})\s+(.+?)\s*#*$", line)):
            headings.append(f"{'  ' * (len(match[1]) - 1)}{match[2]}  line {number}")
        elif number > 1 and re.fullmatch(r"([=\-~^])\1{2,}", line) and lines[number - 2].strip():
            headings.append(f"{'' if line[0] == '=' else '  '}{lines[number - 2].strip()}  line {number - 1}")
    size = len(lines) - (lines[-1] == "")
    head = f"{name}: text, {_count(size, 'line', 'lines')}, {_count(len(text.split()), 'word', 'words')}."
    return "\n".join([head, *headings[:PARTS]]) if headings else f"{head}\n{_contents(lines)}"


def _contents(lines: Sequence[str]) -> str:
    first = next((line.strip() for line in lines if line.strip()), "")
    return f"It defines nothing that this outline knows. It begins: `{_short(first)}`"


# Words


def _first_paragraph(docstring: str | None) -> str:
    return _short(" ".join((docstring or "").split("\n\n", 1)[0].split()), 240)


def _listed(names: Sequence[str], limit: int) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, one: str, many: str) -> str:
    return "" if number == 0 and one != "line" else f"{number:,} {one if number == 1 else many}"


def _short(text: str, limit: int = 120) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
