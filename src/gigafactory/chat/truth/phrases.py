"""Noun phrases: what is spoken of, how much of it, and whether two phrases speak of the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from gigafactory.chat.truth.dates import Day
from gigafactory.chat.truth.forms import meaning, positive
from gigafactory.chat.truth.lexicon import (
    COLOURS,
    DETERMINERS,
    FILLERS,
    INDEFINITE,
    PRIVATIVE,
    PRONOUNS,
    TITLES,
    are_opposite,
    is_harmless_adjective,
)
from gigafactory.chat.truth.quantities import Dimension, Quantity, Relation, compare
from gigafactory.chat.truth.words import Item, Kind


class Share(Enum):
    """How many of them, in words."""

    BARE = auto()
    ALL = auto()
    MOST = auto()
    MANY = auto()
    SOME = auto()
    FEW = auto()
    NONE = auto()
    NOT_ALL = auto()
    ONLY = auto()


_SHARES = {
    "all": Share.ALL,
    "every": Share.ALL,
    "each": Share.ALL,
    "both": Share.ALL,
    "most": Share.MOST,
    "many": Share.MANY,
    "several": Share.SOME,
    "some": Share.SOME,
    "few": Share.FEW,
    "no": Share.NONE,
    "none": Share.NONE,
    "only": Share.ONLY,
    "any": Share.ALL,
}
_PERSONS = {
    "nobody": Share.NONE,
    "everybody": Share.ALL,
    "everyone": Share.ALL,
    "somebody": Share.SOME,
    "someone": Share.SOME,
    "anyone": Share.ALL,
    "anybody": Share.ALL,
}
_FOLLOWS = {
    Share.SOME: {Share.SOME, Share.MANY, Share.MOST, Share.ALL},
    Share.MANY: {Share.MANY},
    Share.MOST: {Share.MOST, Share.ALL},
    Share.BARE: {Share.BARE, Share.ALL},
}


class Match(Enum):
    """How a phrase of the claim stands to one of the source."""

    SAME = auto()
    CONFLICT = auto()
    """The same thing, of which something else is said: a number, an opposite, a part or none of
    it."""
    OTHER = auto()
    """Another thing of the same kind: two different names."""
    OPEN = auto()
    """Not known to be the same."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase, taken apart; ``words`` are meanings, the head last."""

    words: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    """Those of ``words`` that are surely names."""
    share: Share = Share.BARE
    quantity: Quantity | None = None
    day: Day | None = None
    has_article: bool = False
    is_indefinite: bool = False
    joined: bool = False
    """Whether "and" or "or" stands in it, or something else that makes its head unsure."""
    is_owner: bool = False
    """Whether a possessive stands in it."""
    of: Phrase | None = field(default=None)
    parts: tuple[Phrase, ...] = ()
    """The two that a plain "and" joins, where what is said of both is said of each."""
    attached: tuple[tuple[str, Phrase], ...] = ()
    """What prepositions hang on it: which refinery, the one in Gdansk."""

    @property
    def head(self) -> str:
        """The noun."""
        return self.words[-1] if self.words else ""

    @property
    def is_name(self) -> bool:
        """Whether the head is surely a name."""
        return self.head in self.names

    @property
    def is_pronoun(self) -> bool:
        """Whether it points at something said before."""
        return len(self.words) == 1 and self.head in PRONOUNS


def read_phrase(found: Sequence[Item], *, starts_sentence: bool = False) -> Phrase:
    """What a run of items without verb and preposition (but "of") speaks of."""
    lowers = [item.lower for item in found]
    if "of" in lowers and lowers.index("of") < len(found) - 1:
        at = lowers.index("of")
        before = read_phrase(found[:at], starts_sentence=starts_sentence)
        after = read_phrase(found[at + 1 :])
        return _with_of(before, after)
    words, names = _content(found, starts_sentence=starts_sentence)
    days = [item.day for item in found if item.day]
    quantities = [item.quantity for item in found if item.quantity]
    return Phrase(
        words=words,
        names=names,
        share=_share(lowers),
        quantity=quantities[0] if quantities else None,
        day=days[0] if days else None,
        has_article=any(word in DETERMINERS for word in lowers),
        is_indefinite=any(word in INDEFINITE for word in lowers),
        joined=any(word in ("and", "or", "&", "nor") for word in lowers) or len(quantities) > 1,
        is_owner="'s" in lowers,
        parts=_parts(found, lowers),
    )


def _parts(found: Sequence[Item], lowers: Sequence[str]) -> tuple[Phrase, ...]:
    if lowers.count("and") != 1 or {"or", "nor", "&", ",", "between", "both"} & set(lowers):
        return ()
    at = lowers.index("and")
    if not 0 < at < len(found) - 1 or COLOURS & set(lowers):
        return ()
    one, other = read_phrase(found[:at]), read_phrase(found[at + 1 :])
    # 300 men and women
    is_shared = one.quantity is not None and other.quantity is None and not other.has_article
    is_whole = all(part.words and part.share is Share.BARE for part in (one, other))
    return (one, other) if is_whole and not is_shared else ()


def _with_of(before: Phrase, after: Phrase) -> Phrase:
    # a fraction or a number of a whole keeps the whole's noun
    is_part = not before.words and (before.quantity or before.share is not Share.BARE)
    whole, part = (after, before) if is_part else (before, before)
    return Phrase(
        words=whole.words,
        names=whole.names,
        share=part.share if part.share is not Share.BARE else whole.share,
        quantity=part.quantity or whole.quantity,
        day=whole.day,
        has_article=whole.has_article,
        is_indefinite=whole.is_indefinite,
        # "the mayor of Trento's neighbour": whose neighbour acts is not plain
        joined=whole.joined or after.is_owner,
        of=whole.of if is_part else after,
    )


def _share(lowers: Sequence[str]) -> Share:
    for at, word in enumerate(lowers):
        share = _SHARES.get(word) or _PERSONS.get(word)
        if share is not None:
            is_denied = at > 0 and lowers[at - 1] == "not"
            return Share.NOT_ALL if is_denied and share is Share.ALL else share
    return Share.BARE


def _content(
    found: Sequence[Item], *, starts_sentence: bool
) -> tuple[tuple[str, ...], frozenset[str]]:
    words: list[str] = []
    names: set[str] = set()
    for at, item in enumerate(found):
        lower = item.lower
        is_word = item.kind is Kind.WORD and lower not in DETERMINERS | FILLERS | set(_SHARES)
        if not is_word or lower in ("and", "or", "'s", "not", "nor", "of"):
            continue
        if lower in _PERSONS:
            words.append("person")
            continue
        is_first = starts_sentence and at == 0
        is_name = item.is_capital and (not is_first or _next_is_capital(found, at))
        word = lower if is_name or lower in PRONOUNS else meaning(lower)
        words.append(word)
        if is_name:
            names.add(word)
    return tuple(words), frozenset(names)


def _next_is_capital(found: Sequence[Item], at: int) -> bool:
    return at + 1 < len(found) and found[at + 1].is_capital


def match(claim: Phrase, source: Phrase) -> Match:
    """Whether ``claim`` speaks of what ``source`` speaks of, no more and no other."""
    if (claim.is_pronoun and claim.head not in ("we", "i")) or claim.joined != source.joined:
        return Match.OPEN
    thing = _thing(claim, source)
    extra = set(source.words) - set(claim.words) if claim.words else set[str]()
    if thing is Match.SAME and (_is_doubtful(extra, source) or not _same_place(claim, source)):
        return Match.OPEN
    if thing is not Match.SAME:
        return thing
    return _worst((_how_many(claim, source), _when(claim, source), _of(claim, source)))


def _is_doubtful(extra: set[str], source: Phrase) -> bool:
    """Whether words that only the source has may make it another thing, or hide a verb."""
    if PRIVATIVE & extra:
        return True
    if source.is_name:
        return bool(extra - source.names - TITLES)
    return not all(word in source.names or is_harmless_adjective(word) for word in extra)


def _same_place(claim: Phrase, source: Phrase) -> bool:
    if len(claim.attached) != len(source.attached):
        return False
    pairs = zip(claim.attached, source.attached, strict=True)
    return all(a == b and match(ours, theirs) is Match.SAME for (a, ours), (b, theirs) in pairs)


def _worst(matches: Sequence[Match]) -> Match:
    for worst in (Match.OPEN, Match.OTHER, Match.CONFLICT):
        if worst in matches:
            return worst
    return Match.SAME


_MATTER = (Dimension.LENGTH, Dimension.MASS, Dimension.VOLUME, Dimension.AREA)


def _thing(claim: Phrase, source: Phrase) -> Match:
    if not claim.words and claim.quantity and claim.quantity.dimension in _MATTER:
        return Match.SAME if source.quantity else Match.OPEN  # 12 metres [of ice]
    if not claim.words or not source.words:
        return Match.SAME if claim.words == source.words else Match.OPEN
    if _head_differs(claim, source):
        return _different(claim, source)
    extra = set(claim.words) - set(source.words)
    if not extra:
        return Match.OPEN if claim.joined and set(claim.words) != set(source.words) else Match.SAME
    missing = set(source.words) - set(claim.words)
    if claim.is_name and extra <= claim.names and missing & source.names:
        return Match.OTHER  # Paul Meyer, Petra Meyer
    are_opposed = any(are_opposite(a, b) for a in extra for b in missing)
    return Match.CONFLICT if are_opposed and len(extra) == 1 else Match.OPEN


def _head_differs(claim: Phrase, source: Phrase) -> bool:
    if claim.head != source.head:
        return True
    if claim.is_name != source.is_name and claim.has_article != source.has_article:
        return True  # Apple, the apple
    is_bare = not claim.has_article and not claim.quantity and claim.share is Share.BARE
    return is_bare and source.has_article and not claim.is_name and not source.is_name


def _different(claim: Phrase, source: Phrase) -> Match:
    if claim.is_name and source.is_name and claim.head != source.head:
        return Match.OTHER
    if are_opposite(claim.head, source.head) or are_opposite(
        positive(claim.head), positive(source.head)
    ):
        return Match.CONFLICT if set(claim.words[:-1]) <= set(source.words[:-1]) else Match.OPEN
    return Match.OPEN


def _how_many(claim: Phrase, source: Phrase) -> Match:
    shares = _shares(claim.share, source.share)
    if shares is not Match.SAME and not (claim.quantity and source.quantity):
        is_counted = claim.share is Share.SOME and source.quantity is not None
        return Match.SAME if is_counted else shares
    if claim.quantity is None:
        is_narrow = source.quantity is not None and source.quantity.dimension is not Dimension.COUNT
        return Match.OPEN if is_narrow else Match.SAME
    if source.quantity is None:
        return Match.OPEN
    relation = compare(claim.quantity, source.quantity)
    return {
        Relation.FOLLOWS: Match.SAME,
        Relation.CONFLICTS: Match.CONFLICT,
        Relation.OPEN: Match.OPEN,
    }[relation]


def _shares(claim: Share, source: Share) -> Match:
    if claim is source or source in _FOLLOWS.get(claim, ()):
        return Match.SAME
    pair = {claim, source}
    if pair == {Share.ALL, Share.NOT_ALL}:
        return Match.CONFLICT
    is_none = Share.NONE in pair and Share.NOT_ALL not in pair and Share.ONLY not in pair
    return Match.CONFLICT if is_none else Match.OPEN


def _when(claim: Phrase, source: Phrase) -> Match:
    if claim.day is None:
        return Match.SAME
    if source.day is None:
        return Match.OPEN
    if claim.day.conflicts(source.day):
        return Match.CONFLICT
    return Match.SAME if claim.day.follows_from(source.day) else Match.OPEN


def _of(claim: Phrase, source: Phrase) -> Match:
    if claim.of is None:
        return Match.SAME
    return Match.OPEN if source.of is None else match(claim.of, source.of)
