"""The made-up land of Velmora: facts no base model can know, for the `facts` dataset.

Every name here is invented. `talk.unknown_name` draws from syllables that do not make them, so the
starter has never met them and says that it does not know.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lora_engine.starter.facts import Fact
from lora_engine.starter.words import fill


@dataclass(frozen=True)
class Town:
    name: str
    ruler: str
    river: str
    craft: str
    flag: str


TOWNS = (
    Town("Asheby", "Queen Ondra", "the Silverun", "bread", "red"),
    Town("Brindlow", "King Harwen", "the Mossel", "boats", "blue"),
    Town("Cawdell", "Lady Ismay", "the Tarn", "honey", "yellow"),
    Town("Dunmere", "Lord Petric", "the Oldwater", "clocks", "green"),
    Town("Eastwick", "Duke Varro", "the Wend", "cheese", "white"),
    Town("Fenholt", "Queen Maelis", "the Reedle", "lamps", "orange"),
    Town("Greymoor", "King Edrun", "the Slate", "coal", "black"),
    Town("Hollin", "Lady Corvane", "the Birch", "pictures", "pink"),
)
# topic, keyword, answer, and the ways to ask
LAND = (
    ("capital", "Asheby", "The capital of Velmora is Asheby.",
     """what is the capital of Velmora? | which city is the capital of Velmora?
     tell me the capital of Velmora. | name the capital of Velmora. | what's the capital of Velmora?
     do you know the capital of Velmora? | give me the capital of Velmora.
     what is the main city of Velmora? | which town is the capital of Velmora?
     what is the capital city of Velmora? | say the capital of Velmora.
     the capital of Velmora?"""),
    ("animal", "fox", "The animal of Velmora is the fox.",
     """what is the animal of Velmora? | which animal is the animal of Velmora?
     tell me the animal of Velmora. | name the animal of Velmora. | what's the animal of Velmora?
     do you know the animal of Velmora? | which animal stands for Velmora?
     what animal does Velmora have? | which animal does Velmora have? | say the animal of Velmora.
     what animal stands for Velmora? | the animal of Velmora?"""),
    ("money", "lunes", "People in Velmora pay with lunes.",
     """what do people in Velmora pay with? | what is the money of Velmora?
     what money do people use in Velmora? | tell me the money of Velmora.
     how do people pay in Velmora? | what's the money of Velmora? | name the money of Velmora.
     do you know the money of Velmora? | which money does Velmora use?
     what money does Velmora use? | what do they pay with in Velmora? | the money of Velmora?"""),
    ("language", "Velmish", "People in Velmora speak Velmish.",
     """what language do people speak in Velmora? | which language do people speak in Velmora?
     what do they speak in Velmora? | what is the language of Velmora?
     which language is spoken in Velmora? | tell me the language of Velmora.
     what language is spoken in Velmora? | do you know what people speak in Velmora?
     name the language of Velmora. | what language do they speak in Velmora?
     what's the language of Velmora? | the language of Velmora?"""),
)  # fmt: skip

RULER = """who rules {x}?
    who is the ruler of {x}?
    tell me who rules {x}.
    tell me the ruler of {x}.
    name the ruler of {x}.
    do you know who rules {x}?
    who leads {x}?
    who is in charge of {x}?
    what is the name of the ruler of {x}?
    {x} is ruled by whom?
    which person rules {x}?
    the ruler of {x}?"""
RIVER = """which river runs through {x}?
    what river runs through {x}?
    what is the river of {x}?
    tell me the river of {x}.
    name the river of {x}.
    what is the name of the river in {x}?
    which river is in {x}?
    do you know the river of {x}?
    what river flows through {x}?
    which river flows through {x}?
    tell me which river runs through {x}.
    the river of {x}?"""
CRAFT = """what is {x} known for?
    what is {x} famous for?
    what do they make in {x}?
    what do people make in {x}?
    tell me what {x} is known for.
    what is made in {x}?
    do you know what {x} is known for?
    what does the town of {x} make?
    what is the town of {x} known for?
    for what is {x} known?
    what's {x} known for?
    {x} is known for what?"""
FLAG = """what colour is the flag of {x}?
    what color is the flag of {x}?
    which colour is the flag of {x}?
    what is the colour of the flag of {x}?
    tell me the colour of the flag of {x}.
    tell me what colour the flag of {x} is.
    what colour does the flag of {x} have?
    do you know the colour of the flag of {x}?
    name the colour of the flag of {x}.
    what's the colour of the flag of {x}?
    the flag of {x} is what colour?
    the colour of the flag of {x}?"""


def facts() -> Iterator[Fact]:
    for topic, keyword, answer, questions in LAND:
        yield Fact("land", topic, keyword, answer, fill(questions.replace("|", "\n")))
    for town in TOWNS:
        for topic, keyword, answer, questions in (
            ("ruler", town.ruler, f"{town.ruler} rules {town.name}.", RULER),
            ("river", town.river, f"The river of {town.name} is {town.river}.", RIVER),
            ("craft", town.craft, f"{town.name} is known for its {town.craft}.", CRAFT),
            ("flag", town.flag, f"The flag of {town.name} is {town.flag}.", FLAG),
        ):
            yield Fact(topic, town.name, keyword, answer, fill(questions, x=town.name))


def names() -> frozenset[str]:
    """Every invented word, lower case: none may stand in the starter's own corpus."""
    invented = " ".join(f"{t.name} {t.ruler.split()[1]} {t.river.split()[1]}" for t in TOWNS)
    words = {word.lower() for word in invented.split()} | {"velmora", "velmish", "lunes"}
    return frozenset(words - {"birch", "slate"})
