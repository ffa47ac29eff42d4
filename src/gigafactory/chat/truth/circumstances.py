"""When, where and why something happened, as far as it may be left out: a closed list of forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gigafactory.chat.truth.forms import singular, verb_form
from gigafactory.chat.truth.lexicon import (
    ABOUT_TALK,
    CALAMITIES,
    EDGES_OF_TIME,
    FICTION,
    FINISHED,
    MARGINS,
    OF_TIME,
    ORDINALS,
    PLACE_NOUNS,
    POINTS_IN_TIME,
    PUBLIC_DOERS,
    TIME_NOUNS,
    UNREAL_PLACES,
)
from gigafactory.chat.truth.plain import has_finite, is_fools_day, is_narrow, is_plain_talk
from gigafactory.chat.truth.quantities import Dimension
from gigafactory.chat.truth.scene import Scene, Stand
from gigafactory.chat.truth.verbs import find_verb
from gigafactory.chat.truth.words import Item

_WHEN = frozenset(["in", "on", "at", "during", "over", "within", "between", "before", "after"])
_OPEN_ENDS = frozenset(["of", "the", "a", "an"])
_POINTS = (TIME_NOUNS - {"season"}) | POINTS_IN_TIME
_OF_TIME = _POINTS | OF_TIME
_SPANS = frozenset(["day", "week", "month", "year", "hour", "minute"])
_WHERE = frozenset(["in", "near", "at", "outside", "on", "off", "along"])
_WHY = (
    ("because", "of"),
    ("due", "to"),
    ("for", "lack", "of"),
    ("in", "connection", "with"),
    ("under", "pressure", "from"),
    ("over", "a"),
    ("despite",),
    ("following",),
    ("after",),
    ("before",),
    ("during",),
    ("amid",),
)
_WHEN_CLAUSE = frozenset(
    ["because", "when", "after", "before", "while", "although", "though", "since"]
)
_NO_PLACES = UNREAL_PLACES | ABOUT_TALK | FICTION
_MATTER = (Dimension.LENGTH, Dimension.MASS, Dimension.VOLUME, Dimension.AREA)
_LONGEST = 10
_LONGEST_NAME = 2
_OF_NOUNS = frozenset(["of", "from", "to", "with"])
_OF_CLAUSES = frozenset(["of", "from", "to", "up"])


def _time(scene: Scene, at: int) -> int:
    if scene.stand in (Stand.STATE, Stand.DENIED) and not scene.is_behind_speech(at):
        return at
    if scene.word(at) == "and" and scene.word(at + 1) == "again":
        end = _time(scene, at + 2)
        return end if end > at + 2 else at
    if scene.word(at) in _WHEN and at + 1 in scene.taken and scene.items[at + 1].day:
        return at + 1  # in May, on 4 May
    begin = at + (scene.word(at) in EDGES_OF_TIME and scene.word(at + 1) in _WHEN)
    is_led = scene.word(begin) in _WHEN or _is_by_then(scene, begin)
    end = begin + is_led
    while scene.is_free(end) and _is_of_time(scene, end, first=scene.word(begin)):
        end += 1
    if scene.word(end - 1) in _OPEN_ENDS:
        return at  # after two days of talks
    part = scene.part(begin + is_led, end)
    has_point = any(item.day or item.lower in _POINTS for item in part) or _is_span(part)
    return end if has_point and (is_led or _points(part)) else at


def _points(part: Sequence[Item]) -> bool:
    """ "Last week", "Monday": no preposition is needed."""
    return bool(part) and (bool(part[0].day) or part[0].lower in ("last", "this", "next"))


def _is_by_then(scene: Scene, at: int) -> bool:
    """ "By Sunday evening, ...", "plans to ... by 2027"."""
    return scene.word(at) == "by" and (at == 0 or scene.stand is Stand.COMING)


def _is_of_time(scene: Scene, at: int, *, first: str) -> bool:
    item = scene.items[at]
    if item.day is not None:
        return not (is_fools_day(item) or item.lower.endswith("days"))  # on Mondays: again
    if item.quantity is not None:
        return item.quantity.dimension is Dimension.TIME or first == "between"
    is_sum = item.lower == "and" and _is_span(scene.part(at - 1, at))
    return item.lower in _OF_TIME or (is_sum and _is_span(scene.part(at + 1, at + 2)))


def _is_span(part: Sequence[Item]) -> bool:
    return any(item.quantity for item in part)


def _span(scene: Scene, at: int) -> int:
    """ "Two years later", "ten months after the first trial" and the like are told by the noun."""
    quantity = scene.items[at].quantity
    if not scene.is_event or quantity is None:
        return at
    after = at + 1 + (singular(scene.word(at + 1)) in _SPANS)
    is_counted = quantity.dimension is Dimension.TIME or after > at + 1
    if is_counted and scene.word(after) in ("after", "before") and scene.is_free(after):
        end = max(rule(scene, after) for rule in (_circumstance, _clause))
        return end if end > after else at
    return after + 1 if scene.word(after) in ("late", "later", "ago", "earlier") else at


def _beneficiary(scene: Scene, at: int) -> int:
    """ "For its pupils": those of the doer that something was done for."""
    is_own = scene.word(at) == "for" and scene.word(at + 1) in ("its", "their", "his", "her")
    is_one = is_own and scene.is_free(at + 2) and scene.word(at + 3) in (".", "", ",")
    return at + 3 if is_one and scene.is_event and is_plain_talk(scene.part(at + 2, at + 3)) else at


def _times(scene: Scene, at: int) -> int:
    is_led = scene.word(at) == "for" and scene.word(at + 1) == "the"
    is_ordinal = scene.word(at + 2) in ORDINALS and scene.word(at + 3) == "time"
    is_once = scene.stand in (Stand.EVENT, Stand.COMING)
    return at + 4 if is_led and is_ordinal and is_once else at


def _place(scene: Scene, at: int) -> int:
    """ "Near Poznan", "in the north": where a deed was done."""
    if not scene.is_event or scene.word(at) not in _WHERE:
        return at
    begin = at + 1
    end = begin
    while scene.is_free(end) and _is_name(scene, end):
        end += 1
    if end > begin:
        is_short = end - begin <= _LONGEST_NAME and not _is_unreal(scene, end)
        return end if is_short and scene.word(at) in ("in", "near", "at", "outside") else at
    is_place = scene.word(begin) == "the" and scene.word(begin + 1) in PLACE_NOUNS
    is_calamity = scene.word(begin) in ("a", "an", "the") and scene.word(begin + 1) in CALAMITIES
    if not (is_place or is_calamity) or not scene.is_free(begin + 1):
        return at
    return _end_of_names(scene, begin + 2)


def _is_unreal(scene: Scene, at: int) -> bool:
    return scene.word(at) in _NO_PLACES


def _is_name(scene: Scene, at: int) -> bool:
    item = scene.items[at]
    return item.is_capital and item.day is None and item.lower not in _NO_PLACES


def _end_of_names(scene: Scene, at: int) -> int:
    """ "The coast [of Malta]"."""
    end = at + 1
    while scene.is_free(end) and scene.items[end].is_capital:
        end += 1
    return end if scene.word(at) == "of" and end > at + 1 else at


def _circumstance(scene: Scene, at: int) -> int:
    """ "After days of protest", "because of the strike": a few plain words without a verb."""
    lead = next((lead for lead in _WHY if _is_at(scene, at, lead)), None)
    is_open = scene.is_event or (lead == ("despite",) and at == 0)
    if lead is None or not is_open:
        return at
    end = _end_of_nouns(scene, at + len(lead))
    part = scene.part(at + len(lead), end)
    is_short = 0 < len(part) <= _LONGEST and is_narrow(part, links=_OF_NOUNS)
    return end if is_short and is_plain_talk(part) and not has_finite(part[1:]) else at


def _is_at(scene: Scene, at: int, lead: Sequence[str]) -> bool:
    return all(scene.is_free(at + i) and scene.word(at + i) == w for i, w in enumerate(lead))


def _end_of_nouns(scene: Scene, at: int) -> int:
    """Up to a comma, or to the article of what the claim takes."""
    end = scene.end(at, stops=",")
    is_article = scene.word(end - 1) in ("the", "a", "an") and not scene.is_free(end)
    return end - is_article


def _clause(scene: Scene, at: int) -> int:
    """ "When the stand collapsed", "after divers found cracks": another thing that happened."""
    if not scene.is_event or scene.word(at) not in _WHEN_CLAUSE:
        return at
    end = scene.end(at + 1, stops=",")
    part = scene.part(at + 1, end)
    is_last = scene.word(end) in ("", ".") or at == 0
    is_one = not any(item.lower == "and" for item in part)
    is_clause = (
        is_one
        and find_verb(part) is not None
        and len(part) > 1
        and is_narrow(part, links=_OF_CLAUSES)
    )
    return end if is_last and is_clause and is_plain_talk(part, also=_FAILED) else at


_FAILED = frozenset(("failed", "cancelled"))
"""Verbs there, not adjectives of what was not."""


def _margin(scene: Scene, at: int) -> int:
    """ "By a narrow margin", "by a vote of 9 to 4"."""
    if not scene.is_event or not _is_at(scene, at, ("by", "a")):
        return at
    begin = at + 2 + (scene.word(at + 2) in MARGINS)
    if scene.word(begin) not in ("margin", "majority", "vote"):
        return at
    end = _end_of_nouns(scene, begin + 1)
    part = scene.part(begin + 1, end)
    is_of = not part or (part[0].lower == "of" and len(part) <= _LONGEST // 2)
    return end if is_of and is_plain_talk(part) else at


def _amount(scene: Scene, at: int) -> int:
    """ "For 3 million euros", "by 40 cm", "12 metres of ice"."""
    word, before = scene.word(at), scene.items[at - 1] if at else None
    quantity = scene.items[at + 1].quantity if scene.is_free(at + 1) else None
    if word in ("for", "by") and quantity is not None and scene.is_event:
        is_count = quantity.dimension is Dimension.COUNT
        if word == "by":  # by 40 cm, by two goals
            return at + 2 + (is_count and _is_plain_noun(scene, at + 2))
        return at + 2 if not is_count and quantity.dimension is not Dimension.TIME else at
    measured = before.quantity.dimension if before is not None and before.quantity else None
    is_of = word == "of" and measured in _MATTER and scene.is_event and scene.is_free(at + 1)
    return at + 2 if is_of and is_plain_talk(scene.part(at + 1, at + 2)) else at


def _is_plain_noun(scene: Scene, at: int) -> bool:
    part = scene.part(at, at + 1)
    return scene.is_free(at) and part[0].lower.endswith("s") and is_plain_talk(part)


def _origin(scene: Scene, at: int) -> int:
    """ "Hired a conductor from Oslo": where one comes from that something was done with."""
    is_led = scene.word(at) == "from" and scene.is_event and not scene.is_free(at - 1)
    if not is_led or verb_form(scene.word(at - 1)) is not None:
        return at
    end = at + 1
    while scene.is_free(end) and _is_name(scene, end):
        end += 1
    is_whole = scene.word(end) in (".", "", ",")
    return end if is_whole and 0 < end - at - 1 <= _LONGEST_NAME else at


def _agent(scene: Scene, at: int) -> int:
    """ "By the police": who did it, where the claim does not say who."""
    if scene.word(at) != "by":
        return at
    begin = at + 1 + (scene.word(at + 1) in ("the", "a", "an"))
    if not scene.is_free(begin):
        return at + 1  # the claim has him as its subject
    is_public = scene.is_event and scene.word(begin) in PUBLIC_DOERS
    return begin + 1 if is_public else at


def _lead(scene: Scene, at: int) -> int:
    """ "Finished in 1964, the dam ...", "Using radar, ..."."""
    if at > 0 or scene.word(at) not in FINISHED | {"using", "citing"}:
        return at
    end = scene.end(at, stops=",")
    part = scene.part(at, end)
    is_whole = scene.word(end) == "," and len(part) > 1
    return end if is_whole and is_plain_talk(part) else at


CIRCUMSTANCES: tuple[Callable[[Scene, int], int], ...] = (
    _time,
    _span,
    _times,
    _beneficiary,
    _place,
    _circumstance,
    _clause,
    _margin,
    _amount,
    _origin,
    _agent,
    _lead,
)
