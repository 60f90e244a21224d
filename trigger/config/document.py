"""A YAML file as plain values that still know where they stand.

Scalars stay the characters that were written: `0123`, `no` and `1e10` are texts here, and what reads them says what
they are. Refused, because a config needs none of it and each has bitten somebody: tags, duplicate keys, keys that are
not text, a second document, deep nesting, and aliases that contain themselves or multiply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from yaml import MappingNode, Node, ScalarNode, SequenceNode, YAMLError
from yaml._yaml import CParser

from trigger.config.references import Quoted
from trigger.errors import ConfigError, Mistake

MAX_DEPTH = 64
ALIAS_BUDGET = 10_000  # values that aliases may add to those written
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
MERGE = "<<"
Path = Sequence[Hashable]

# What YAML 1.1 (and libyaml) lets a file hold, negated; a BOM counts only at its start, where it is taken off.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
# Where libyaml is more lenient than YAML 1.2: a lone ! before a value, which it passes over, and a ? that it takes off
# the word behind it.
_LONE_TAG = re.compile(r"(&\S+\s+)?!(<!>)?(?=\s|$)")
_LENIENT = re.compile(r"!(<!>)?(\s|$)|[\[{,]\s*\?\S")
_SHOWN = re.compile(r"[\w.@+-]{1,64}")
_SECRET_PARTS = frozenset({"auth", "operators"})
_AUTH_KEYS = frozenset({"mode", "token", "tokens", "users"})


class _Unknown:
    """The type of UNKNOWN."""


# Stands for a text whose reference could not be replaced: that is reported once, and nothing else is said about it.
UNKNOWN: Any = _Unknown()


class _TooDeepError(Exception):
    """Raised out of the parser, before it has recursed far; carries the mark of the place."""

    def __init__(self, mark: Any) -> None:
        super().__init__()
        self.line = mark.line + 1
        self.column = mark.column + 1


class _Parser(CParser):
    """PyYAML's C parser that resolves no tags: they cost most of its time, and here they are refused anyway."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = 0
        self._depth = 0

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, parent: Node | None, index: Any) -> None:
        self.nodes += 1
        self._depth += 1
        if self._depth > MAX_DEPTH + 1 and parent is not None:
            raise _TooDeepError(parent.start_mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class Document:
    """One parsed YAML file. `root` is its top node, a mapping; `file` is how mistakes call it."""

    def __init__(self, file: str, text: str) -> None:
        """Parse `text`; raises ConfigError when it is not one YAML document with a mapping at its top."""
        self.file = file
        self.mistakes: list[Mistake] = []
        self._entries_of: dict[int, dict[Hashable, tuple[Node, Node]]] = {}
        forbidden = _FORBIDDEN.search(text)
        if forbidden:
            before = text[: forbidden.start()]
            raise self._refusal(
                before.count("\n") + 1,
                len(before) - (before.rfind("\n") + 1) + 1,
                f"the character U+{ord(forbidden[0]):04X} has no place in a YAML file; "
                'in a double-quoted text it is written "\\u…"',
            )
        try:
            parser = _Parser(text)
            root = parser.get_single_node()
        except _TooDeepError as deep:
            raise self._refusal(deep.line, deep.column, f"is nested deeper than {MAX_DEPTH} levels") from None
        except YAMLError as error:
            raise self._syntax_error(error, text) from None
        if root is None:
            raise self._refusal(1, 1, "the file is empty: it needs at least `modules:`")
        self._text = text if _LENIENT.search(text) else ""
        self.budget = parser.nodes + ALIAS_BUDGET  # values that it may have, those of aliases counted
        if not isinstance(root, MappingNode):
            mark = root.start_mark
            raise self._refusal(
                mark.line + 1, mark.column + 1, "the file must be a mapping, with keys such as `modules:`, at its top"
            )
        self.root = root

    def values(self, replace: Callable[[str], str]) -> dict[str, Any]:
        """The file as dicts, lists, None and texts: str where plain, Quoted where quoted.

        `replace` is called with each text that holds "${". What is wrong joins `mistakes`.
        Raises ConfigError where going on is pointless: aliases that explode.
        """
        values: dict[str, Any] = _Conversion(self, replace).mapping(self.root)
        return values

    def report(self, path: Path, message: str, node: Node | None = None) -> None:
        """Add a mistake about the value at `path`, at `node` if that is a better place than its key."""
        self.mistakes.append(self.mistake(path, message, node))

    def mistake(self, path: Path, message: str, node: Node | None = None) -> Mistake:
        """A Mistake about the value at `path`, placed at its key, or at the nearest key above it that exists."""
        line, column = self.place(path) if node is None else (node.start_mark.line + 1, node.start_mark.column + 1)
        return Mistake(self.file, line, column, self._shown(path), message)

    def place(self, path: Path) -> tuple[int, int]:
        """Line and column, from 1, of the key (in a list: the item) that `path` leads to."""
        node: Node = self.root
        mark = None
        for step in path:
            entry = self.entries(node).get(step)
            if entry is None:
                break
            mark, node = entry[0].start_mark, entry[1]
        return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)

    def find(self, path: Path) -> Node | None:
        """The node that `path` leads to, through aliases and merges."""
        node: Node = self.root
        for step in path:
            entry = self.entries(node).get(step)
            if entry is None:
                return None
            node = entry[1]
        return node

    def entries(self, node: Node) -> dict[Hashable, tuple[Node, Node]]:
        """Return the entries of a node: key or index -> the node of the key (in a list: the item) and of the value."""
        known = self._entries_of.get(id(node))
        if known is None:
            known = self._entries_of[id(node)] = {}
            if isinstance(node, SequenceNode):
                known.update({index: (item, item) for index, item in enumerate(node.value)})
            elif isinstance(node, MappingNode):
                for key, value in node.value:
                    if isinstance(key, ScalarNode):
                        known.setdefault(key.value, (key, value))
                merged = known.get(MERGE)
                if merged:
                    for part in merged[1].value if isinstance(merged[1], SequenceNode) else [merged[1]]:
                        for name, entry in self.entries(part).items():
                            known.setdefault(name, entry)
        return known

    def is_tagged(self, node: Node) -> bool:
        """Whether a tag stands before a value, also one that the parser passes over."""
        return bool(node.tag or (self._text and _LONE_TAG.match(self._text, node.start_mark.index)))

    def lost_mark(self, key: Node) -> bool:
        """Whether the parser has taken a ? off a key that begins with one."""
        return bool(self._text) and self._text[: key.start_mark.index].endswith("?")

    def _shown(self, path: Path) -> str:
        """The dotted path; what may be a secret in the place of a key ("token abc" for "token: abc") is left out."""
        shown = []
        node: Node | None = self.root
        guarded = False
        for step in path:
            entry = self.entries(node).get(step) if node is not None else None
            node = entry[1] if entry else None
            bare = isinstance(node, ScalarNode) and not node.style and node.value in NULLS
            text = str(step)
            if guarded and text not in _AUTH_KEYS and isinstance(step, str) and (bare or not _SHOWN.fullmatch(text)):
                text = "…"
            elif not _SHOWN.fullmatch(text):
                text = "…" if bare else ascii(text[:64])
            shown.append(text)
            guarded = guarded or step in _SECRET_PARTS
        return ".".join(shown)

    def refusal_at(self, path: Path, message: str, node: Node) -> ConfigError:
        return ConfigError([*self.mistakes, self.mistake(path, message, node)])

    def _refusal(self, line: int, column: int, message: str) -> ConfigError:
        return ConfigError([Mistake(self.file, line, column, "", message)])

    def _syntax_error(self, error: YAMLError, text: str) -> ConfigError:
        """Return the mistake that PyYAML found, without the text that it would quote: that may hold a secret."""
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or "it can't be parsed"
        context = getattr(error, "context", None) or ""
        line = mark.line if mark else 0
        if context.startswith("expected a single document"):
            message = "a second YAML document begins here; a config is one document"
        else:
            message = f"not valid YAML: {f'{context}, ' if context else ''}{problem}{self._hint(problem, line, text)}"
        return self._refusal(line + 1, mark.column + 1 if mark else 1, message)

    @staticmethod
    def _hint(problem: str, number: int, text: str) -> str:
        lines = text.split("\n", number + 1)
        line = lines[number] if number < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return "; the line is indented with a tab, YAML wants spaces"
        if "cannot start any token" in problem:
            return "; quote a text that begins with a special character such as % @ ` or a tab"
        if "{{" in line:
            return "; quote a text that holds {{"
        if "${" in line and ("," in problem or "mapping" in problem):
            return '; between { } or [ ] a reference must be quoted: "${NAME}"'
        if "mapping values are not allowed" in problem:
            return "; quote a text that holds ': '"
        if "alias" in problem:
            return "; quote a text that begins with '*'"
        return ""


def _is_template(node: Node) -> bool:
    """Whether a key is what YAML takes the inner braces of an unquoted {{ input.sku }} for."""
    return type(node) is MappingNode and node.flow_style and not any(value.value for _, value in node.value)


class _Conversion:
    """One walk over the nodes of a document. A class, for closures that call each other would never be freed."""

    def __init__(self, document: Document, replace: Callable[[str], str]) -> None:
        self.document = document
        self.replace = replace
        self.left = document.budget
        self.path: list[Hashable] = []
        self.active: set[int] = set()

    def value(self, node: Node) -> Any:
        self.left -= 1
        if self.document.is_tagged(node):
            # The tag is not shown: it may be a secret that begins with "!" and lacks its quotes.
            self.document.report(self.path, "tags are not allowed; quote a text that begins with '!'", node)
        if type(node) is ScalarNode:
            text: str = node.value
            if "${" in text:
                return self.replaced(text)
            if node.style:
                return Quoted(text)
            return None if text in NULLS else text
        active = self.active
        if id(node) in active:
            raise self.document.refusal_at(self.path, "this alias contains itself", node)
        if self.left < 0:
            message = f"aliases make this file more than {ALIAS_BUDGET} values larger"
            raise self.document.refusal_at(self.path, message, node)
        if len(active) >= MAX_DEPTH:
            raise self.document.refusal_at(self.path, f"is nested deeper than {MAX_DEPTH} levels", node)
        active.add(id(node))
        result = self.mapping(node) if type(node) is MappingNode else self.sequence(node)
        active.discard(id(node))
        return result

    def replaced(self, text: str) -> Any:
        try:
            return self.replace(text)
        except ValueError as error:
            self.document.report(self.path, str(error))
            return UNKNOWN

    def sequence(self, node: Node) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self.path.append(index)
            items.append(self.value(item))
            self.path.pop()
        return items

    def mapping(self, node: Node) -> dict[str, Any]:
        document, path = self.document, self.path
        result: dict[str, Any] = {}
        merged: list[dict[str, Any]] | None = None
        for key_node, value_node in node.value:
            if type(key_node) is not ScalarNode or document.is_tagged(key_node):
                hint = "; quote a text that begins with {{" if _is_template(key_node) else ""
                document.report(path, f"a key must be plain text{hint}", key_node)
                continue
            if document.lost_mark(key_node):
                document.report(path, "a key or text that begins with ? must be quoted here", key_node)
                continue
            key = key_node.value
            merges = key == MERGE and not key_node.style
            path.append(key)
            if merged is not None if merges else key in result:
                first = next(other for other, _ in node.value if other.value == key).start_mark.line + 1
                document.report(path, f"is given twice; the first is at line {first}", key_node)
            elif merges:
                merged = self.merged(value_node)
            else:
                result[key] = self.value(value_node)
            path.pop()
        for part in merged or ():
            for key, value in part.items():
                result.setdefault(key, value)
        return result

    def merged(self, node: Node) -> list[dict[str, Any]]:
        value = self.value(node)
        parts = value if isinstance(value, list) else [value]
        if all(isinstance(part, dict) for part in parts):
            return parts
        self.document.report(self.path, "only a mapping, or a list of mappings, can be merged with <<", node)
        return []
