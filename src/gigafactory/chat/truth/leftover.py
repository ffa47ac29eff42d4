"""What a sentence of a source may say beyond a claim without weakening it: a closed list.

A source supports a claim where every word of the sentence is either taken by the claim or part of
something on this list. What is not on it may change the meaning, and then the claim is not
supported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gigafactory.chat.truth.circumstances import CIRCUMSTANCES
from gigafactory.chat.truth.forms import verb_form
from gigafactory.chat.truth.lexicon import (
    ADVERBS_OF_NOW,
    COLOURS,
    COUNTS,
    FINISHED,
    HARMLESS_ADVERBS,
    HELPERS,
    NEGATING_CHAINS,
    NEGATIONS,
    ONE_OF_PAIRS,
    OUTCOMES,
    PLAIN_QUALITIES,
    PREPOSITIONS,
    TIME_NOUNS,
    TITLES,
)
from gigafactory.chat.truth.plain import has_finite, is_known_verb, is_narrow, is_plain_talk
from gigafactory.chat.truth.quantities import Bound, Dimension
from gigafactory.chat.truth.scene import Scene, Stand
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item, Kind

Rule = Callable[[Scene, int], int]
"""Where what may be left out from a place on ends; the place itself if nothing may."""

_ARTICLES = frozenset(["the", "a", "an", "its", "their", "his", "her"])
_QUOTES = frozenset('"“”„«»:')
_LEAST_BOUNDS = (Bound.EXACT, Bound.ABOUT, Bound.MORE, Bound.AT_LEAST)
_LONGEST_INSERT = 14
#: a former teacher may be many things now; what was hurt is nobody's business of what happened
_PAST_OFFICE = frozenset(["former"])
_NO_ONE = frozenset(["nobody", "nothing"])
_WITHOUT = frozenset(["without"])
_OF_LISTS = frozenset(["of"])
_OF_TAILS = frozenset(["of", "from", "since", "up", "down"])
_OF_COMPARISONS = _OF_TAILS | {"than"}
_OF_DEEDS = frozenset(["of", "from", "to", "into", "with", "without", "up"])


def left_over(scene: Scene) -> str:
    """The first words that the claim would have to repeat; empty where there are none."""
    at = 0
    while at < len(scene.items):
        if at in scene.taken:
            at += 1
            continue
        end = next((end for rule in _RULES if (end := rule(scene, at)) > at), at)
        if end == at:
            return " ".join(item.text for item in scene.part(at, at + 3))
        at = end
    return ""


def _sign(scene: Scene, at: int) -> int:
    item = scene.items[at]
    if item.kind is not Kind.SIGN:
        return at
    is_last = all(item.text in _QUOTES for item in scene.items[at + 1 :])
    is_end = item.text in (".", "!") and is_last
    quotes = bool(_QUOTES & scene.claimed) or scene.speaks
    is_quote = quotes and (item.text in _QUOTES or scene.word(at + 1) in _QUOTES)
    return at + (is_end or is_quote)


def _comma(scene: Scene, at: int) -> int:
    """Behind a lead, or before a circumstance."""
    if scene.word(at) != ",":
        return at
    is_led = scene.word(0) in PREPOSITIONS or scene.is_free(0) or scene.speaks
    is_behind_lead = is_led and (at < _LONGEST_INSERT or scene.speaks)
    is_before = scene.word(at + 1) in _ARTICLES or not scene.is_free(at + 1)
    is_circumstance = any(rule(scene, at + 1) > at + 1 for rule in CIRCUMSTANCES)
    is_claimed = "," in scene.claimed and is_before
    return at + ((is_behind_lead and is_before) or is_circumstance or is_claimed)


def _article(scene: Scene, at: int) -> int:
    return at + (scene.word(at) in _ARTICLES)


def _helper(scene: Scene, at: int) -> int:
    """The "was" of a passive, the "had" of a past."""
    after = at + 1
    while _is_between(scene, after):
        after += 1
    is_led = scene.word(at) in HELPERS and not scene.is_free(after)
    return at + (is_led and verb_form(scene.word(after)) is not None)


def _is_between(scene: Scene, at: int) -> bool:
    word = scene.word(at)
    return word in NEGATIONS or (word in HARMLESS_ADVERBS | HELPERS and scene.is_free(at))


def _denial(scene: Scene, at: int) -> int:
    """The claim denies as well: how, the grammar has compared."""
    if scene.stand is not Stand.DENIED:
        return at
    form = verb_form(scene.word(at))
    if form is not None and form.base in NEGATING_CHAINS and scene.word(at + 1) == "to":
        return at + 2
    return at + (scene.word(at) in ("not", "no", "nobody"))


def _adverb(scene: Scene, at: int) -> int:
    known = HARMLESS_ADVERBS if scene.is_event else ADVERBS_OF_NOW
    is_of_speech = scene.is_behind_speech(at) and scene.word(at) in HARMLESS_ADVERBS
    is_known = scene.word(at) in known and scene.stand is not Stand.DENIED
    return at + (is_known or is_of_speech)


def _count(scene: Scene, at: int) -> int:
    """How many, before what is counted: the grammar has compared it with the claim's "some"."""
    quantity = scene.items[at].quantity
    is_some = (
        quantity is not None
        and quantity.dimension is Dimension.COUNT
        and quantity.bound in _LEAST_BOUNDS
        and quantity.value >= 1
    )
    is_count = scene.word(at) in COUNTS or is_some
    return at + (is_count and not scene.is_free(at + 1) and scene.stand is not Stand.DENIED)


def _quality(scene: Scene, at: int) -> int:
    """A new wing is a wing; the new wing is one of two."""
    if scene.word(at) not in PLAIN_QUALITIES or scene.is_free(at + 1):
        return at
    before = scene.word(at - 1)
    is_definite = before in _ARTICLES - {"a", "an"} or before == "'s" or before in COUNTS
    return at + (scene.is_event and at > 0 and not is_definite)


def _title(scene: Scene, at: int) -> int:
    following = scene.items[at + 1] if at + 1 < len(scene.items) else None
    is_before_name = following is not None and following.is_capital and not scene.is_free(at + 1)
    return at + (scene.word(at) in TITLES and is_before_name)


def _insert(scene: Scene, at: int) -> int:
    """ ", 51,", ", a teacher from Malmo,", ", who chairs the board,", ", built by monks,"."""
    if scene.word(at) != "," or scene.is_free(at - 1) or scene.items[at - 1].kind is not Kind.WORD:
        return at
    end = scene.end(at + 1, stops=",")
    if scene.word(end) != "," or end - at > _LONGEST_INSERT or not _goes_on(scene, end + 1):
        return at
    part = scene.part(at + 1, end)
    if len(part) == 1 and part[0].quantity:
        return end + 1
    if not part or not is_plain_talk(part, also=_PAST_OFFICE):
        return at
    first = part[0].lower
    is_noun = _is_noun(part)
    is_relative = first in ("who", "which") and find_verb(part[1:]) is not None
    return end + 1 if is_noun or is_relative or first in FINISHED else at


def _is_noun(part: Sequence[Item]) -> bool:
    """A noun with its article: what somebody or something is."""
    return part[0].lower in ("a", "an", "the", "its") and not has_finite(part)


def _goes_on(scene: Scene, at: int) -> bool:
    return not scene.is_free(at) or scene.word(at) in HELPERS | HARMLESS_ADVERBS


def _tail(scene: Scene, at: int) -> int:
    """What stands behind the last comma: a comparison, an outcome, what a name is."""
    end = scene.end(at + 1)
    part = scene.part(at + 1, end)
    if scene.word(at) != "," or not part or scene.word(end) not in ("", "."):
        return at
    if not is_narrow(part, links=_OF_COMPARISONS if part[0].quantity else _OF_TAILS):
        return at
    is_one = not any(item.lower == "and" for item in part)
    if not is_one or not is_plain_talk(part, also=_PAST_OFFICE | _NO_ONE):
        return at
    is_denied = scene.stand is Stand.DENIED
    return end if part[0].lower == "citing" or (not is_denied and _is_tail(scene, part)) else at


def _is_tail(scene: Scene, part: Sequence[Item]) -> bool:
    lowers = [item.lower for item in part]
    quantity = part[0].quantity
    is_share = quantity is not None and quantity.dimension is Dimension.FRACTION
    is_counted = quantity is not None and bool({"more", "fewer", "less", "later"} & set(lowers))
    is_moved = lowers[:2] in (["up", "from"], ["down", "from"])
    is_outcome = lowers[0] in OUTCOMES and scene.is_event
    return is_share or is_counted or is_moved or _is_noun(part) or is_outcome


def _deed(scene: Scene, at: int) -> int:
    """ "... and left the town without power": another deed of the same doer."""
    if scene.word(at) != "and" or scene.stand is Stand.DENIED:
        return at
    begin = at + 1
    while scene.word(begin) in HARMLESS_ADVERBS:
        begin += 1
    end = scene.end(begin)
    part = scene.part(begin, end)
    if not part or scene.word(end) not in ("", "."):
        return at
    is_habit = scene.stand is Stand.STATE and part[-1].lower in TIME_NOUNS  # freezes every winter
    is_whole = is_narrow(part[:-2] if is_habit else part, links=_OF_DEEDS)
    is_plain = is_plain_talk(part, also=_WITHOUT) and not any(i.lower == "and" for i in part)
    return end if is_whole and _is_deed(part[0].lower) and is_plain else at


def _is_deed(word: str) -> bool:
    return is_known_verb(word) or word in ("is", "are", "was", "were", "has", "had")


def _first_deed(scene: Scene, at: int) -> int:
    """ "The bridge [was designed by Otto Lang and] opened in 1936"."""
    end = scene.end(at)
    part = scene.part(at, end)
    if len(part) < 2 or part[-1].lower != "and" or scene.stand is Stand.DENIED:
        return at
    is_deed = _is_deed(part[0].lower) and at > 0 and not scene.is_free(at - 1)
    is_free_of_aims = not any(item.lower in ("to", "or") for item in part)
    is_verb_next = verb_form(scene.word(end)) is not None
    return end if is_deed and is_free_of_aims and is_verb_next and is_plain_talk(part) else at


def _listed(scene: Scene, at: int) -> int:
    """ "... and 12 doctors": another thing of which the same is said by itself."""
    if scene.word(at) != "and" or scene.is_free(at - 1) or scene.stand is Stand.DENIED:
        return at
    end = min(scene.end(at + 1, stops=","), at + 4)
    part = scene.part(at + 1, end)
    if not part or not is_plain_talk(part) or has_finite(part):
        return at
    if not part[0].is_capital and not is_narrow(part, links=_OF_LISTS):
        return at
    before = scene.items[at - 1]
    if part[0].is_capital:
        is_place = scene.word(at - 2) in ("in", "to", "from") and before.is_capital
        is_one = len(part) == 1 or not (part[1].is_capital or part[1].lower in ("'s", "of"))
        return at + 2 if is_place and is_one else at
    is_led = bool(part[0].quantity) or part[0].lower in ("a", "an", "the")
    is_pair = len(part) == 1 and scene.word(end) in (".", ",", "") and _is_pair(before, part[0])
    are_nouns = all(item.kind is Kind.WORD and item.lower not in PREPOSITIONS for item in part)
    are_many = before.lower.endswith("s") and part[-1].lower.endswith("s") and are_nouns
    return end if is_led or are_many or is_pair else at


def _is_pair(one: Item, other: Item) -> bool:
    """ "Tea and coffee", and not "black and white" or "rock and roll"."""
    words = {one.lower, other.lower}
    is_plain = all(i.kind is Kind.WORD and i.text.islower() for i in (one, other))
    return is_plain and not words & (COLOURS | ONE_OF_PAIRS)


_RULES: tuple[Rule, ...] = (
    _sign,
    _article,
    _helper,
    _denial,
    _adverb,
    _count,
    _quality,
    _title,
    _insert,
    _tail,
    _deed,
    _first_deed,
    _listed,
    *CIRCUMSTANCES,
    _comma,
)
