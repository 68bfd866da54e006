"""The worst phrases stay out of docstrings, comments, strings and pages.

A rule is for a phrase that no one would say in a code review. Its examples show what it finds, what to write
instead, and that it leaves natural English alone. If a rule finds a quotation, add its line to QUOTED.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

TOP: Final = Path(__file__).parents[1]

# What is checked: files, and folders with everything below them.
CHECKED: Final = ("README.md", "CHANGELOG.md", "kalshi_feed", "samples", "tests")

# Not .json: the published schemas are the exchange's own words.
KINDS: Final = ("*.py", "*.md", "*.js", "*.html", "grafana_dashboard.json")

# Text that may contain such a phrase, with its spaces collapsed: a paragraph of it is enough.
QUOTED: Final = frozenset[str]()


class Rule(NamedTuple):
    """``pattern`` finds ``bad`` and not ``good``, which is also what to write instead."""

    pattern: str
    bad: str
    good: str


RULES: Final = (
    Rule(
        r"(?<!here )\b(?:is|are|was|were) no (?!longer|more|less|use|need|way|doubt|different|better|worse"
        r"|later|earlier|sooner|larger|smaller|greater|other|one|bid|price|side|such)[a-z]",
        "'x' is no file, and what is no number is refused",
        "'x' is not a file; there is no number; it is no longer one, and no more than 3",
    ),
    Rule(r"\bin vain\b", "waited 10 s in vain", "timed out after 10 s"),
    Rule(r"\bfor ever\b", "None waits for ever", "None waits indefinitely; forever; for good"),
    Rule(r"\bheirs?\b", "its heirs' business", "up to subclasses"),
    Rule(r"\banew\b", "it is asked for anew", "it is asked for again"),
    Rule(r"\bwho(?:m)?ever\b", "whoever holds the lock", "the thread that holds the lock"),
    Rule(
        r"\b(?:[Nn]o|[Ss]ome)body (?:else )?"
        r"(?:wants?|waits?|holds?|keeps?|looks?|hears?|tells?|refers?|does)\b",
        "nobody wants it any more, unless somebody does",
        "it is no longer wanted; nobody has subscribed to it; nobody knows; someone waits for it",
    ),
    Rule(
        r"\b(?:as|be|is) a text\b(?! \w)|\btexts\b|\btext of (?:its|their) own\b",
        "must be a text or a list of texts",
        "must be a string or a list of strings; it is a text file",
    ),
    Rule(
        r"\btold\b(?! (?:apart|to|not to|you|us|me|him|her|them|the (?:user|exchange|feed|reader|server))\b)",
        "each fault is told once",
        "each fault is reported once; two of them can be told apart",
    ),
    Rule(r"(?:^|[.;:] )[Ee]lse (?:it|the|an?|they|there|this|nothing|no|we|you|one)\b", "Else it ends.",
         "Otherwise it ends; if not, something else is done."),
    Rule(r"\bnone of ours\b|\b(?:snapshot|delta|frame|market)s? of theirs\b", "a sid that is none of ours",
         "a sid that is not ours; a bug of ours"),
    Rule(r"\bwhat (?:came|becomes|became) of (?:it|them)\b", "what came of it is left", "the rest is left"),
    Rule(r"\b(?:dialled|behaviour|colour|favour|neighbour|whilst|organise|recognise)", "it is dialled again",
         "it is dialed again, with the same behavior"),
    Rule(r"\bknows? no (?!more|less|one|other|better)[a-z]", "the exchange knows no market A",
         "the exchange does not know the market A, and knows no more"),
    Rule(r"\b(?:that|which) (?:is|are) none\b(?! of)", "numbers that are none",
         "invalid numbers; there is none"),
    Rule(r"\bbelongs? into\b", "details belong into a guide", "details belong in a guide"),
    Rule(r"\b[Tt]he way of (?:an? |frames\b|messages\b)", "The way of a frame",
         "The path of a frame, by way of a proxy"),
    Rule(r"(?:^|[.!?] )Also (?:if|for|after|when|in|at|with)\b", "Also after a reconnect.",
         "That includes a reconnect. Also: a reconnect."),
    Rule(r"^See \w+(?:\(\))?\.$", "See Host.", "Start the thread. See Host."),
    Rule(r"[Mm]ust not import\b", "Owns x. Must not import anything.", "Owns x."),
)  # fmt: skip


def prose(text: str, *, is_python: bool) -> Iterator[str]:
    """The paragraphs of a page, or a module's strings and comments, with their white space collapsed."""
    if not is_python:
        yield from (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
        return
    comment: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comment.append(token.string.lstrip("# "))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE):
            if comment:
                yield " ".join(comment)
                comment = []
            if token.type == tokenize.STRING:
                yield " ".join(token.string.lstrip("rbfRBF").strip("\"'").split())
            elif tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
                yield " ".join(token.string.split())


def findings(text: str, *, is_python: bool) -> list[str]:
    """Each phrase that a rule finds, with what surrounds it and what to write instead."""
    found = []
    for piece in prose(text, is_python=is_python):
        for rule in RULES:
            match = re.search(rule.pattern, piece)
            if match and piece not in QUOTED:
                around = piece[max(match.start() - 40, 0) : match.end() + 40]
                found.append(f"{around!r}: write as in {rule.good!r}")
    return found


@pytest.mark.parametrize("place", CHECKED)
def test_the_worst_phrases_stay_out(place: str) -> None:
    path = TOP / place
    files = [path] if path.is_file() else [file for kind in KINDS for file in path.rglob(kind)]
    assert files, "nothing has that name"
    found = {
        str(file): findings(file.read_text(encoding="utf-8"), is_python=file.suffix == ".py")
        for file in sorted(files)
        if file != Path(__file__)  # its examples are what it looks for
    }
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.bad)
def test_a_rule_finds_the_phrase_and_leaves_natural_english_alone(rule: Rule) -> None:
    assert re.search(rule.pattern, rule.bad) and not re.search(rule.pattern, rule.good)


def test_every_kind_of_prose_is_read() -> None:
    module = """
'''A wait that ends
in vain.'''
# None waits for
# ever
raise ValueError(f"{path} is no file") from None
"""
    assert [phrase.split(":")[0] for phrase in findings(module, is_python=True)] == [
        "'A wait that ends in vain.'",
        "'None waits for ever'",
        "'is no file'" if sys.version_info >= (3, 12) else "'{path} is no file'",
    ]
    assert len(findings("A heir,\nfor\never\n\nin vain", is_python=False)) == 3
