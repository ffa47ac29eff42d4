"""The words that decide: verbs, synonyms, opposites, and what makes a sentence less than a statement.

Written for this program. A word that stands in no table keeps its own meaning and nothing else: it
can be matched by itself only, so a gap costs answers, never truth.
"""

from __future__ import annotations

_REGULAR = """
accept acquire act add admit adopt advise affect agree aid aim allow amend announce answer apologise appear apply
appoint approach approve argue arrange arrest arrive ask assert attack attend award back ban bar base block board
boil bomb borrow boycott burn call cancel capture carry cause celebrate change charge chase check circle cite claim clean
clear climb close coach collapse collect command comment commission compete complain complete conceal conclude
confirm congratulate consider construct consume contain contest continue contract control convict cook copy correct
cost cover crash create criticise cross cure cycle damage dance decide declare decline decrease defeat defend delay
deliver demand demolish deny depart deploy deport describe design destroy detain detect determine develop devastate die direct
disagree disappear discover discuss dismiss dissolve distribute divorce donate double draft drop earn elect
eliminate embrace emerge employ enable end enforce enjoy enter erupt escape establish estimate evacuate evict examine exceed execute exist
expand expect expel explain explode export express extend face fail favour fear feature file fill film fine finish
fire fix flood follow force found fund gain gather generate govern graduate grant greet guard guarantee guide halt
hammer hand happen hate head heal help hike hire honour hope host house hunt hurt ignore impose improve include increase infect
inform injure insist inspect install insult intend interview introduce invade invent invest investigate invite
involve issue jail join jump kick kill kiss lack land last launch learn lease license lift like limit link list live load locate lock
lower maintain manage march mark marry match measure meet melt mention merge miss move murder name need negotiate nominate
note obtain occupy occur offer open operate oppose order organise overturn own paint park pass pay perform permit phone
pilot plan plant play please pledge point poison post postpone praise predict prefer prepare present preserve prevent
print privatise produce prohibit promise promote propose prosecute protect protest prove publish pull punish purchase
push qualify question race raid raise rate reach react read reappoint rebuild receive recommend record recover recruit reduce refuse regret
reject relate release rely remain remember remove rename rent repair repeal repeat replace report represent request require rescue
reserve resign resist resolve respect respond rest restore restrict result resume retain retire retreat return reveal review
reward risk rob rule sack sail save score search seize select sentence separate serve settle shelter shout show sign
sink slow smash smoke solve sponsor stage start state stay stop store strand struggle study succeed sue suffer suggest supply
support suppose surrender surprise surround survive suspect suspend switch talk target tax tell test thank threaten torture total
tour trace trade train transfer trap travel treat trigger try turn undermine unite unveil upgrade uphold urge use
vaccinate value vandalise visit vote vow wait walk want warn wash watch weigh welcome wish witness work worry wound
wreck yield accuse attempt employ contaminate freeze fell plunge fall rise hold
believe doubt guess wonder imagine dream reckon figure suspect acknowledge allege dispute question stress tweet post
confess boast joke brag speculate
seat handle reopen restart relaunch resettle relocate rename reform revise remake repay reunite quote rely cater employ staff
score shoot equip enrol enroll graduate occupy oversee overtake outnumber outlaw abolish adapt adjust advance allocate alter analyse
annul assemble assign assist assume attach attract audit avoid behave betray bless block blow bother breach breed brief broadcast calm
cast cease chair chase chop clash coin compare compensate compile compose comprise compromise condemn conduct confiscate conquer constitute
contribute convert convince counter crack crown crush debate debut decorate dedicate default defy define demonstrate denounce depend
derail descend deserve dig diminish disappoint disclose display dispatch displace disrupt distribute disturb dominate dump elaborate embark
emit encourage endorse endure engage enhance ensure entertain equal evolve exceed exchange exclude excuse exhibit expose extract
fade fasten fetch finance flow foster frame fuel fulfil fund gamble generate glance grab grade grasp guess guide harm harvest haul
hesitate highlight hit hook host identify illustrate import imprison incorporate indicate induce inflict influence inherit initiate inject
innovate inspire instruct integrate interpret interrupt intervene isolate justify kidnap knock label lag lecture level liberate
lift loot manufacture merit mine mix mobilise model modify monitor mount narrow navigate notice notify nurse object observe offset
omit orbit originate outline overcome overlook pack participate patrol peak penetrate perceive persist persuade pile pitch plunder ponder portray possess
practise pray preach preside press presume prevail probe proceed process proclaim progress project prompt propel pump pursue quarrel
rally rank reassure rebel reckon reconstruct recycle redesign reflect refund regain register regulate reinforce rejoin release relieve
renew renounce renovate repel reproduce resemble reshape reverse revive revolt revolve ruin rush sacrifice salute scale scan scare scatter
schedule score scrap seal secure seize sense shape share shatter shift shock sign simplify situate skip snatch soar sort spark specialise
spill split spot squeeze stabilise stretch strip strengthen submit subsidise substitute sustain sweep swell tackle tap taste
tempt terminate thrive tie tighten tolerate top touch track transform translate transmit transport triple trust twist undertake unify
unlock update urge utilise vanish vary veto venture verify violate wage warrant waste weaken wield withstand wrap wreck
retract debunk quash deem rule hint imply maintain testify recall swear
""".split()  # noqa: SIM905

#: base, past, participle
_IRREGULAR = """
be was been; have had had; do did done; go went gone; take took taken; give gave given; get got got; make made made;
come came come; see saw seen; know knew known; think thought thought; say said said; tell told told; find found found;
leave left left; feel felt felt; bring brought brought; begin began begun; keep kept kept; hold held held; write wrote written;
stand stood stood; hear heard heard; let let let; mean meant meant; set set set; meet met met; run ran run; pay paid paid;
sit sat sat; speak spoke spoken; lie lay lain; lead led led; grow grew grown; lose lost lost; fall fell fallen; send sent sent;
build built built; rebuild rebuilt rebuilt; understand understood understood; draw drew drawn; break broke broken; spend spent spent;
cut cut cut; rise rose risen; drive drove driven; buy bought bought; wear wore worn; choose chose chosen; win won won;
seek sought sought; throw threw thrown; catch caught caught; teach taught taught; sell sold sold; fight fought fought;
steal stole stolen; hit hit hit; bite bit bitten; freeze froze frozen; shoot shot shot; shut shut shut; sing sang sung;
sink sank sunk; strike struck struck; swim swam swum; forget forgot forgotten; fly flew flown; eat ate eaten; drink drank drunk;
beat beat beaten; become became become; bear bore born; burst burst burst; cost cost cost; deal dealt dealt; dig dug dug;
forbid forbade forbidden; hide hid hidden; hurt hurt hurt; lend lent lent; put put put; quit quit quit; read read read;
ride rode ridden; ring rang rung; shake shook shaken; shine shone shone; sleep slept slept; spread spread spread;
swear swore sworn; tear tore torn; wake woke woken; withdraw withdrew withdrawn; overthrow overthrew overthrown;
uphold upheld upheld; undergo underwent undergone; show showed shown; prove proved proven; feed fed fed; flee fled fled
"""

IRREGULAR = {
    base: (past, participle)
    for base, past, participle in (entry.split() for entry in _IRREGULAR.split(";"))
}
VERBS = frozenset(_REGULAR) | frozenset(IRREGULAR)

BE = frozenset(["be", "is", "are", "was", "were", "been", "being", "am"])
AUXILIARIES = BE | frozenset(
    [
        "has",
        "have",
        "had",
        "having",
        "do",
        "does",
        "did",
        "will",
        "would",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "can",
        "could",
    ]
)

#: words that stand for the first of their line
_SAME = """
buy purchase acquire
found establish
begin start commence
defeat beat
injure hurt wound
leave depart
cure heal
die perish
choose select
halt stop
finish complete
destroy demolish
happen occur
build construct
receive get
film movie
fire blaze
company firm corporation
doctor physician
car automobile
big large
small little
house home
child kid
job post
roughly about
lawyer attorney
road street
illness disease
kilometre kilometer km
"""
SYNONYMS = {
    word: line.split()[0] for line in _SAME.strip().splitlines() for word in line.split()[1:]
}
PHRASAL = {("pass", "away"): "die", ("set", "up"): "found", ("shut", "down"): "close"}

_OPPOSITE = """
rise fall; increase decrease; grow shrink; win lose; open closed; open close; approve reject; uphold overturn;
grant deny; accept reject; accept refuse; deep shallow; wide narrow; safe unsafe; safe dangerous; guilty innocent;
first last; cheap expensive; hot cold; warm cold; alive dead; survive die; legal illegal; true false; full empty;
old new; old young; high low; long short; fast slow; heavy light; strong weak; big small; large small; rich poor; raise lower;
early late; more less; more fewer; better worse; public private; male female; allow forbid; allow ban; permit prohibit;
hire dismiss; include exclude; agree disagree; love hate; improve worsen; support oppose; strengthen weaken;
begin finish; confirm deny; convict acquit; remember forget; happy sad; rough smooth; wet dry; married unmarried;
possible impossible; healthy sick; present absent; north south; east west; left right; up down; above below; before after
"""
OPPOSITES = frozenset(frozenset(pair.split()) for pair in _OPPOSITE.split(";"))
_NEGATING_PREFIXES = ("un", "in", "im", "non", "non-", "dis")


def are_opposite(one: str, other: str) -> bool:
    """Whether both cannot hold of the same thing at once."""
    if frozenset((one, other)) in OPPOSITES:
        return True
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return len(shorter) > 3 and any(longer == prefix + shorter for prefix in _NEGATING_PREFIXES)


#: participles that describe a state, not something done
STATES = frozenset(
    [
        "closed",
        "tired",
        "married",
        "drunk",
        "injured-looking",
        "located",
        "alone",
        "born",
        "based",
        "situated",
        "dead",
        "unsafe",
        "interested",
        "retired",
        "bored",
        "excited",
        "satisfied",
        "broken",
        "lost",
    ]
)

DETERMINERS = frozenset(
    [
        "the",
        "a",
        "an",
        "this",
        "that",
        "these",
        "those",
        "its",
        "his",
        "her",
        "their",
        "our",
        "my",
        "your",
    ]
)
INDEFINITE = frozenset(("a", "an"))
PREPOSITIONS = frozenset(
    [
        "aboard",
        "regarding",
        "concerning",
        "like",
        "besides",
        "opposite",
        "versus",
        "throughout",
        "amongst",
        "beneath",
        "underneath",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "to",
        "with",
        "without",
        "into",
        "onto",
        "over",
        "under",
        "near",
        "during",
        "after",
        "before",
        "since",
        "until",
        "till",
        "through",
        "across",
        "against",
        "among",
        "between",
        "behind",
        "beside",
        "beyond",
        "despite",
        "inside",
        "outside",
        "toward",
        "towards",
        "via",
        "within",
        "along",
        "around",
        "about",
        "than",
        "as",
        "because",
        "while",
        "when",
        "where",
        "although",
        "though",
        "whereas",
        "if",
        "unless",
        "except",
        "upon",
        "off",
        "out",
        "up",
        "down",
        "below",
        "above",
        "per",
        "amid",
        "following",
    ]
)
DILUTING = frozenset(
    [
        "nearly",
        "almost",
        "rarely",
        "seldom",
        "hardly",
        "barely",
        "scarcely",
        "partly",
        "partially",
        "half",
        "virtually",
        "practically",
        "somewhat",
        "sometimes",
        "occasionally",
        "theoretically",
        "technically",
        "nominally",
        "effectively",
        "briefly",
        "temporarily",
        "once",
        "briefly",
        "initially",
        "originally",
        "mostly",
        "largely",
        "mainly",
        "usually",
        "often",
        "generally",
        "typically",
        "normally",
        "tentatively",
        "formerly",
        "previously",
    ]
)
"""Adverbs that take something away from what is said."""

RETRACTIONS = frozenset(
    [
        "annul",
        "annulled",
        "retract",
        "retracted",
        "withdrawn",
        "quashed",
        "overturned",
        "debunked",
        "refuted",
        "disproved",
        "disproven",
        "false",
        "untrue",
        "wrong",
        "wrongly",
        "incorrect",
        "incorrectly",
        "misleading",
        "mistaken",
        "mistakenly",
        "fabricated",
        "fake",
        "correction",
        "corrected",
        "erroneous",
        "erroneously",
        "baseless",
        "unfounded",
        "denied",
        "denies",
        "myth",
        "hoax",
        "revoked",
        "rescinded",
        "reversed",
    ]
)
"""Words that take back what stands beside them; a claim that has them itself may still be supported."""

NOT_QUITE = frozenset(
    [
        "very",
        "always",
        "entirely",
        "fully",
        "only",
        "just",
        "necessarily",
        "exactly",
        "completely",
        "quite",
        "really",
    ]
)
"""Behind "not" they leave open what is the case."""

IRONIC_PHRASES = (
    "said nobody",
    "said no one",
    "own mind",
    "in my dreams",
    "in your dreams",
    "my foot",
    "as if",
    "all but",
)

CLAUSE_OPENERS = frozenset(
    [
        "because",
        "while",
        "when",
        "although",
        "though",
        "whereas",
        "if",
        "unless",
        "as",
        "than",
        "after",
        "before",
        "since",
        "until",
        "till",
        "where",
    ]
)

LIMITS = frozenset(["except", "unless", "apart", "excluding", "barring", "without", "aside"])
FICTION = frozenset(
    [
        "novel",
        "film",
        "movie",
        "simulation",
        "dream",
        "game",
        "play",
        "book",
        "series",
        "episode",
        "joke",
        "script",
        "exercise",
        "drill",
        "model",
        "comic",
        "cartoon",
        "story",
        "tale",
        "sketch",
        "parody",
        "satire",
        "fiction",
        "thriller",
        "drama",
        "musical",
        "video-game",
        "universe",
        "fantasy",
        "scenario",
        "rehearsal",
        "trailer",
    ]
)
"""What happens in one of these has not happened."""

REPEATABLE = frozenset(
    [
        "rise",
        "fall",
        "increase",
        "decrease",
        "grow",
        "shrink",
        "win",
        "lose",
        "score",
        "visit",
        "play",
        "meet",
        "vote",
        "beat",
        "defeat",
        "sell",
        "buy",
        "earn",
        "travel",
        "perform",
        "strike",
        "hold",
        "publish",
        "fine",
        "arrest",
        "pay",
        "cost",
        "attack",
        "bomb",
        "flood",
        "shoot",
        "rescue",
        "cancel",
        "run",
        "march",
        "protest",
    ]
)
"""Verbs of what can happen again: on another day is no contradiction."""

HARMLESS_LINKS = frozenset(
    [
        "because",
        "despite",
        "although",
        "though",
        "whereas",
        "while",
        "since",
        "after",
        "before",
        "during",
        "following",
        "amid",
    ]
)
"""Adjuncts that do not narrow what is said."""

TIME_NOUNS = frozenset(
    [
        "spring",
        "summer",
        "autumn",
        "fall",
        "winter",
        "year",
        "month",
        "week",
        "night",
        "weekend",
        "decade",
        "century",
        "morning",
        "evening",
        "time",
        "season",
    ]
)

PLAIN_ADJECTIVES = frozenset(
    [
        "new",
        "old",
        "young",
        "big",
        "large",
        "huge",
        "small",
        "little",
        "long",
        "short",
        "tall",
        "high",
        "low",
        "good",
        "great",
        "bad",
        "red",
        "blue",
        "green",
        "white",
        "black",
        "grey",
        "famous",
        "local",
        "popular",
        "modern",
        "ancient",
        "main",
        "major",
        "minor",
        "rich",
        "poor",
        "strong",
        "weak",
        "heavy",
        "light",
        "dark",
        "bright",
        "late",
        "early",
        "beautiful",
        "ugly",
        "busy",
        "quiet",
        "whole",
        "entire",
        "first",
        "second",
        "third",
        "last",
        "next",
        "recent",
        "current",
        "nearby",
        "crowded",
        "empty",
        "full",
        "wooden",
        "golden",
        "stone",
        "european",
        "african",
        "asian",
        "american",
        "british",
        "french",
        "german",
        "italian",
        "spanish",
        "russian",
        "chinese",
        "japanese",
        "indian",
        "mexican",
        "canadian",
        "brazilian",
        "swedish",
        "norwegian",
        "danish",
        "dutch",
        "polish",
        "turkish",
        "greek",
        "irish",
        "scottish",
        "english",
        "highly",
        "very",
        "quite",
    ]
)
_ADJECTIVE_ENDINGS = ("al", "ous", "ive", "ful", "less", "able", "ible", "ish", "ary", "ic")


def is_harmless_adjective(word: str) -> bool:
    """Whether a thing with this word before it is still the thing without it."""
    if word in PRIVATIVE or word in DILUTING:
        return False
    return word in PLAIN_ADJECTIVES or (len(word) > 5 and word.endswith(_ADJECTIVE_ENDINGS))


TIME_PREPOSITIONS = frozenset(("in", "on", "at", "during"))
RELATIVES = frozenset(["who", "which", "that", "whom", "whose", "where"])
FILLERS = frozenset(
    [
        "also",
        "just",
        "then",
        "there",
        "here",
        "now",
        "very",
        "quite",
        "already",
        "still",
        "today",
        "yesterday",
        "indeed",
        "however",
        "meanwhile",
        "again",
        "finally",
        "later",
        "soon",
        "eventually",
        "please",
        "successfully",
        "officially",
    ]
)
"""Words that a claim need not repeat."""

PRONOUNS = frozenset(
    [
        "he",
        "she",
        "it",
        "they",
        "him",
        "her",
        "them",
        "this",
        "these",
        "those",
        "i",
        "we",
        "you",
        "me",
        "us",
    ]
)
PERSONAL = frozenset(("he", "she"))

NEGATIONS = frozenset(["not", "never", "neither", "nor", "hardly", "barely", "scarcely", "no-one"])
#: verbs whose chain says that the next verb did not happen
NEGATING_CHAINS = frozenset(["fail", "refuse", "decline", "forget", "neglect"])
#: verbs whose chain leaves open whether the next verb happens
OPEN_CHAINS = frozenset(
    [
        "want",
        "plan",
        "expect",
        "hope",
        "intend",
        "try",
        "attempt",
        "wish",
        "promise",
        "threaten",
        "seek",
        "vow",
        "pledge",
        "need",
        "like",
        "schedule",
        "consider",
        "agree",
        "offer",
        "propose",
        "aim",
        "suppose",
        "prepare",
        "decide",
        "accuse",
        "suspect",
        "allege",
    ]
)

POSSIBLE = frozenset(
    ["may", "might", "could", "possibly", "perhaps", "maybe", "can", "potentially"]
)
PROBABLE = frozenset(["probably", "likely", "presumably", "seemingly", "apparently"])
ALLEGED = frozenset(
    [
        "allegedly",
        "reportedly",
        "supposedly",
        "purportedly",
        "rumour",
        "rumours",
        "rumor",
        "rumors",
        "allegation",
        "allegations",
        "alleged",
        "rumoured",
        "rumored",
        "accused",
        "suspected",
        "accusation",
        "accusations",
        "claims",
        "unconfirmed",
    ]
)
CONDITIONAL = frozenset(
    ["if", "unless", "would", "should", "provided", "assuming", "hypothetically"]
)
FUTURE = frozenset(["will", "shall"])
FORMER = frozenset(("used",))
FIGURATIVE = frozenset(["literally", "basically", "metaphorically", "figuratively"])

REPORTS = frozenset(
    [
        "say",
        "tell",
        "claim",
        "announce",
        "state",
        "report",
        "argue",
        "insist",
        "add",
        "explain",
        "write",
        "tweet",
        "post",
        "assert",
        "confirm",
        "warn",
        "declare",
        "suggest",
        "admit",
        "deny",
        "predict",
        "estimate",
        "note",
        "reveal",
        "vow",
        "acknowledge",
        "allege",
        "stress",
        "confess",
        "boast",
        "testify",
        "swear",
        "maintain",
        "dispute",
        "question",
        "recall",
    ]
)
BELIEFS = frozenset(
    [
        "reckon",
        "figure",
        "speculate",
        "joke",
        "imply",
        "hint",
        "believe",
        "think",
        "hope",
        "fear",
        "suspect",
        "expect",
        "assume",
        "guess",
        "wonder",
        "doubt",
        "dream",
        "imagine",
        "wish",
    ]
)

PRIVATIVE = frozenset(
    [
        "former",
        "fake",
        "alleged",
        "proposed",
        "planned",
        "mock",
        "so-called",
        "toy",
        "virtual",
        "possible",
        "potential",
        "would-be",
        "supposed",
        "ex",
        "future",
        "fictional",
        "imaginary",
        "counterfeit",
        "self-proclaimed",
        "aspiring",
        "failed",
        "cancelled",
        "unofficial",
        "attempted",
        "suspected",
        "fictitious",
        "parody",
        "pretend",
    ]
)
"""Adjectives that say that the thing is not what the noun says."""

TITLES = frozenset(
    [
        "president",
        "minister",
        "prime",
        "mayor",
        "governor",
        "senator",
        "doctor",
        "captain",
        "coach",
        "striker",
        "goalkeeper",
        "king",
        "queen",
        "prince",
        "princess",
        "judge",
        "general",
        "colonel",
        "professor",
        "director",
        "chairman",
        "chairwoman",
        "chief",
        "executive",
        "officer",
        "chancellor",
        "pope",
        "bishop",
        "actor",
        "actress",
        "singer",
        "author",
        "novelist",
        "poet",
        "painter",
        "scientist",
        "engineer",
        "physicist",
        "economist",
        "champion",
        "mr",
        "mrs",
        "ms",
        "dr",
        "sir",
        "dame",
        "founder",
        "inspector",
        "detective",
        "sergeant",
        "pilot",
        "driver",
        "lawyer",
        "midfielder",
        "defender",
        "miss",
        "lady",
        "lord",
        "secretary",
        "ambassador",
    ]
)
"""What may stand before a name without making it another one."""

SCOPED = frozenset(
    [
        "ban",
        "forbid",
        "forbidden",
        "prohibit",
        "bar",
        "allow",
        "permit",
        "permitted",
        "legal",
        "illegal",
        "free",
        "mandatory",
        "require",
        "compulsory",
        "banned",
        "prohibited",
        "allowed",
    ]
)
"""What holds only as far as the rest of its sentence says."""

UNIQUE_DOER = frozenset(
    [
        "write",
        "win",
        "direct",
        "found",
        "lead",
        "invent",
        "discover",
        "command",
        "compose",
        "design",
        "own",
        "head",
        "succeed",
        "assassinate",
        "paint",
    ]
)
"""Verbs of which one doer excludes another for the same thing."""

SYMMETRIC = frozenset(["marry", "meet", "divorce", "resemble", "equal", "join", "merge", "match"])

IRONY_WORDS = frozenset(
    [
        "lol",
        "lmao",
        "rofl",
        "lmfao",
        "haha",
        "hahaha",
        "jk",
        "satire",
        "parody",
        "meme",
        "shitpost",
        "til",
        "smh",
        "kek",
        "sarcasm",
        "satirical",
        "parodies",
        "hoax",
        "irony",
        "/s",
    ]
)
IRONY_OPENINGS = (
    ("yeah", "right"), ("oh", "sure"), ("sure",), ("oh", "great"), ("great",), ("oh", "yeah"), ("yeah",), ("imagine",),
    ("oh", "wow"), ("wow",), ("sources", "say"), ("breaking", ":"), ("just", "kidding"), ("hot", "take"),
)  # fmt: skip
IRONY_SIGNS = frozenset("😂🤣💀😜🤡🙄😏🔥😹🤪🤭")

#: words with a second sense: the word, and what around it says that the second one is meant
SLANG = {
    "brick": frozenset(
        [
            "shot",
            "shots",
            "shooting",
            "game",
            "three",
            "threes",
            "quarter",
            "points",
            "basketball",
            "hoop",
            "rim",
            "arc",
            "deep",
            "playoff",
            "playoffs",
            "nba",
            "field-goal",
            "tonight",
            "half",
            "free",
            "throws",
            "layup",
        ]
    ),
    "bomb": frozenset(["comedy", "joke", "movie", "set", "stand-up", "dropped", "deep"]),
    "murder": frozenset(["verse", "beat", "mic", "guitar", "solo", "serve"]),
    "kill": frozenset(["joke", "outfit", "stage", "vibe", "mic"]),
    "fire": frozenset(["album", "track", "verse", "mixtape", "beat"]),
    "goat": frozenset(["player", "game", "league", "ever"]),
    "robbed": frozenset(["award", "oscar", "referee", "ref", "vote"]),
}
