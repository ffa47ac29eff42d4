"""From the forms of words to the words: tables made once from the lexicon."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from gigafactory.chat.truth.lexicon import IRREGULAR, SYNONYMS, VERBS


class Tense(Enum):
    """When, as far as a verb's form tells."""

    PRESENT = auto()
    PAST = auto()


@dataclass(frozen=True, slots=True)
class Form:
    """What a form of a verb can be."""

    base: str
    tense: Tense | None = None
    """None: a participle or an -ing form only, which stands behind another verb."""
    is_participle: bool = False
    is_plain: bool = False
    """The bare verb, which may as well be a noun."""


_NO_PAST = ("hundred", "sacred", "kindred", "hatred", "naked", "wicked", "rugged")
_VOWELS = "aeiou"
_NO_PLURAL = ("ss", "us", "is")
_IRREGULAR_PLURALS = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "mice": "mouse",
    "wives": "wife",
    "lives": "life",
    "knives": "knife",
    "wolves": "wolf",
    "media": "media",
    "news": "news",
    "series": "series",
    "buses": "bus",
    "gases": "gas",
    "politics": "politics",
    "physics": "physics",
}


def _past(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ied"
    return verb + "ed"


def _doubled(verb: str) -> str | None:
    is_closed = len(verb) > 2 and verb[-1] not in _VOWELS + "wxyh" and verb[-2] in _VOWELS
    return verb + verb[-1] if is_closed and verb[-3] not in _VOWELS else None


def _present(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ies"
    return verb + "s"


def _gerund(verb: str) -> str:
    return verb[:-1] + "ing" if verb.endswith("e") and not verb.endswith("ee") else verb + "ing"


def _forms_of(verb: str) -> dict[str, Form]:
    forms = {verb: Form(verb, Tense.PRESENT, is_plain=True)}
    forms[_present(verb)] = Form(verb, Tense.PRESENT)
    doubled = _doubled(verb)
    forms[_gerund(verb)] = Form(verb)
    if doubled:
        forms[doubled + "ing"] = Form(verb)
    if verb in IRREGULAR:
        past, participle = IRREGULAR[verb]
        forms[participle] = Form(verb, None, is_participle=True)
        forms[past] = Form(verb, Tense.PAST, is_participle=past == participle)
    else:
        forms[_past(verb)] = Form(verb, Tense.PAST, is_participle=True)
        if doubled:
            forms[doubled + "ed"] = Form(verb, Tense.PAST, is_participle=True)
    return forms


def _all_forms() -> dict[str, Form]:
    forms: dict[str, Form] = {}
    for verb in sorted(VERBS):
        for text, form in _forms_of(verb).items():
            known = forms.get(text)  # "found": a past beats a bare verb
            if known is None or (known.is_plain and not form.is_plain):
                forms[text] = form
    for text, base in (("is", "be"), ("are", "be"), ("am", "be"), ("has", "have"), ("does", "do")):
        forms[text] = Form(base, Tense.PRESENT)
    forms["were"] = Form("be", Tense.PAST)
    # past forms that are bare verbs of something else: context is not looked at, so the common one
    forms["founded"] = Form("found", Tense.PAST, is_participle=True)
    forms["felled"] = Form("fell", Tense.PAST, is_participle=True)
    forms["fell"] = Form("fall", Tense.PAST)
    forms["found"] = Form("find", Tense.PAST, is_participle=True)
    return forms


FORMS = _all_forms()


def verb_form(word: str) -> Form | None:
    """What ``word`` (lower case) is as a verb; regular pasts of unknown verbs are recognised."""
    known = FORMS.get(word)
    if known is not None:
        return known
    if len(word) > 4 and word.endswith("ed") and not word.endswith(("eed", *_NO_PAST)):
        return Form(word.removesuffix("ed"), Tense.PAST, is_participle=True)
    return None


def singular(word: str) -> str:
    """The word without its plural ending, near enough to compare words with."""
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(_NO_PLURAL):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]


def meaning(word: str) -> str:
    """The word that stands for ``word`` and its synonyms; singular, lower case."""
    plain = singular(word.lower())
    return SYNONYMS.get(plain, plain)


def verb_meaning(base: str) -> str:
    """The verb that stands for ``base`` and its synonyms."""
    return SYNONYMS.get(base, base)


def positive(word: str) -> str:
    """An adjective without its comparative ending: deeper, deep."""
    if word.endswith("er") and len(word) > 4:
        stem = word[:-2]
        if stem.endswith("i"):
            return stem[:-1] + "y"
        if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "ls":
            return stem[:-1]
        return stem + "e" if stem + "e" in _SILENT_E else stem
    return word


_SILENT_E = frozenset(["large", "wide", "safe", "late", "fine", "rare", "pure", "nice"])
