"""The words that decide: verbs, synonyms, opposites, what makes a sentence less than a statement.

The tables stand in ``words.txt``, written for this program. A word that stands in none of them
keeps its own meaning and nothing else: it can be matched by itself only.
"""

from __future__ import annotations

from importlib.resources import files


def _read() -> dict[str, str]:
    tables: dict[str, list[str]] = {}
    name = ""
    text = files("gigafactory.chat.truth").joinpath("words.txt").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            tables[name] = []
        elif line and not line.startswith("#"):
            tables[name].append(line)
    return {name: " ".join(lines) for name, lines in tables.items()}


_TABLES = _read()


def _words(name: str) -> frozenset[str]:
    return frozenset(_TABLES[name].split())


def _entries(name: str) -> list[list[str]]:
    return [entry.split() for entry in _TABLES[name].split(";")]


#: base, past and participle
IRREGULAR = {base: (past, participle) for base, past, participle in _entries("irregular")}
VERBS = _words("verbs") | frozenset(IRREGULAR)

BE = frozenset(("be", "is", "are", "was", "were", "been", "being", "am"))
_HELPING = "has have had having do does did will would shall should may might must can could"
MODALS = frozenset(("will", "would", "shall", "should", "may", "might", "must", "can", "could"))
AUXILIARIES = BE | frozenset(_HELPING.split(" "))

#: words, and the one that stands for them
SYNONYMS = {word: first for first, *others in _entries("synonyms") for word in others}
PHRASAL = {
    ("pass", "away"): "die",
    ("set", "up"): "found",
    ("shut", "down"): "close",
    ("turn", "down"): "reject",
}

OPPOSITES = frozenset(frozenset(pair) for pair in _entries("opposites"))
_NEGATING_PREFIXES = ("un", "in", "im", "non", "non-", "dis")


def are_opposite(one: str, other: str) -> bool:
    """Whether both cannot hold of the same thing at once."""
    if frozenset((one, other)) in OPPOSITES:
        return True
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return len(shorter) > 3 and any(longer == prefix + shorter for prefix in _NEGATING_PREFIXES)


STATES = _words("states")
_POINTING = "the a an this that these those its his her their our my your"
DETERMINERS = frozenset(_POINTING.split(" "))
INDEFINITE = frozenset(("a", "an"))
PREPOSITIONS = _words("prepositions")
TIME_PREPOSITIONS = frozenset(("in", "on", "at", "during"))
#: "late in May", "shortly before noon"
EDGES_OF_TIME = frozenset(("late", "early", "shortly", "soon", "just"))
RELATIVES = frozenset(("who", "which", "that", "whom", "whose", "where"))
FILLERS = _words("fillers")
PRONOUNS = _words("pronouns")
PERSONAL = frozenset(("he", "she"))

NEGATIONS = _words("negations")
#: verbs that say that the next verb did not happen
NEGATING_CHAINS = frozenset(("fail", "refuse", "decline", "forget", "neglect"))
OPEN_CHAINS = _words("open chains")

POSSIBLE = _words("possible")
PROBABLE = _words("probable")
ALLEGED = _words("alleged")
CONDITIONAL = _words("conditional")
FUTURE = frozenset(("will", "shall"))
FIGURATIVE = frozenset(("literally", "basically", "metaphorically", "figuratively"))
DILUTING = _words("diluting")
RETRACTIONS = _words("retractions")
NOT_QUITE = _words("not quite")
FICTION = _words("fiction")

REPORTS = _words("reports")
BELIEFS = _words("beliefs")

PRIVATIVE = _words("privative")
TITLES = _words("titles")
SCOPED = _words("scoped")
LIMITS = _words("limits")
CLAUSE_OPENERS = _words("clause openers")
TIME_NOUNS = _words("time nouns")

UNIQUE_DOER = _words("unique doer")
SYMMETRIC = _words("symmetric")
#: verbs that do one thing to two together
JOINING = _words("joining")
REPEATABLE = _words("repeatable")

PLAIN_ADJECTIVES = _words("plain adjectives")
_ADJECTIVE_ENDINGS = ("al", "ous", "ive", "ful", "less", "able", "ible", "ish", "ary", "ic")


def is_harmless_adjective(word: str) -> bool:
    """Whether a thing with this word before it is still the thing without it."""
    if word in PRIVATIVE or word in DILUTING:
        return False
    return word in PLAIN_ADJECTIVES or (len(word) > 5 and word.endswith(_ADJECTIVE_ENDINGS))


HARMLESS_ADVERBS = _words("harmless adverbs")
ADVERBS_OF_NOW = _words("adverbs of now")
PLAIN_QUALITIES = _words("plain qualities")
PLACE_NOUNS = _words("place nouns")
CALAMITIES = _words("calamities")
PUBLIC_DOERS = _words("public doers")
OUTCOMES = _words("outcomes")
ABOUT_TALK = _words("talk about talk")
BESIDE = _words("beside")
FINISHED = _words("finished")
UNREAL_PLACES = _words("unreal places")
THINGS = _words("things")
COLOURS = _words("colours")
ONE_OF_PAIRS = _words("one of pairs")
PLAIN_REPORTS = _words("plain reports")
SPEAKERS = _words("speakers")
LEAVING_OUT = _words("leaving out")
ALL_OR_ONE = _words("all or one")
NO_SUPERLATIVES = _words("no superlatives")
STATIVE = _words("stative")
AGAIN_AND_AGAIN = _words("again and again")
POINTING_BACK = _words("pointing back")
POINTING_ON = _words("pointing on")
GOING_ON = _words("going on")
HELPERS = _words("helpers")
COUNTS = _words("counts")
MARGINS = _words("margins")
ORDINALS = _words("ordinals")
OF_TIME = _words("of time")
POINTS_IN_TIME = _words("points in time")
KIN = _words("kin and crew")

IRONY_WORDS = _words("irony words")
IRONY_OPENINGS = tuple(tuple(entry) for entry in _entries("irony openings"))
IRONIC_PHRASES = tuple(" ".join(entry) for entry in _entries("irony phrases"))
IRONY_SIGNS = frozenset("😂🤣💀😜🤡🙄😏🔥😹🤪🤭")
SLANG = {word: frozenset(near) for word, *near in _entries("slang")}
