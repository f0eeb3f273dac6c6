"""The small world the starter model knows: plain tables of facts, no sentences.

`words.py`, `numbers.py` and `talk.py` turn these tables into questions and answers. Nothing here
knows how a question is asked, and nothing here is drawn at random.
"""

from dataclasses import dataclass

from lora_engine.starter.facts import listed


@dataclass(frozen=True)
class Animal:
    """One animal. `size` orders animals from 1 (tiny) to 9 (huge)."""

    name: str
    sound: str
    home: str
    baby: str
    legs: int
    food: str
    kind: str
    size: int


@dataclass(frozen=True)
class Food:
    name: str
    kind: str
    colour: str
    taste: str


@dataclass(frozen=True)
class Country:
    name: str
    capital: str
    continent: str
    language: str


ANIMALS = (
    Animal("cow", "moo", "on a farm", "calf", 4, "grass", "mammal", 8),
    Animal("dog", "woof", "in a house", "puppy", 4, "meat", "mammal", 5),
    Animal("cat", "meow", "in a house", "kitten", 4, "fish", "mammal", 4),
    Animal("horse", "neigh", "in a stable", "foal", 4, "hay", "mammal", 8),
    Animal("pig", "oink", "in a sty", "piglet", 4, "corn", "mammal", 6),
    Animal("sheep", "baa", "in a field", "lamb", 4, "grass", "mammal", 6),
    Animal("goat", "bleat", "on a hill", "kid", 4, "leaves", "mammal", 6),
    Animal("duck", "quack", "on a pond", "duckling", 2, "seeds", "bird", 3),
    Animal("hen", "cluck", "in a coop", "chick", 2, "grain", "bird", 3),
    Animal("owl", "hoot", "in a tree", "owlet", 2, "mice", "bird", 3),
    Animal("crow", "caw", "in a tree", "chick", 2, "seeds", "bird", 3),
    Animal("swan", "honk", "on a lake", "cygnet", 2, "weeds", "bird", 4),
    Animal("eagle", "screech", "on a mountain", "eaglet", 2, "fish", "bird", 4),
    Animal("parrot", "squawk", "in the jungle", "chick", 2, "nuts", "bird", 3),
    Animal("penguin", "honk", "on the ice", "chick", 2, "fish", "bird", 5),
    Animal("frog", "croak", "in a pond", "tadpole", 4, "flies", "amphibian", 2),
    Animal("snake", "hiss", "in a hole", "snakelet", 0, "mice", "reptile", 3),
    Animal("lizard", "hiss", "under a rock", "hatchling", 4, "insects", "reptile", 2),
    Animal("turtle", "hiss", "in the sea", "hatchling", 4, "weeds", "reptile", 4),
    Animal("crocodile", "growl", "in a river", "hatchling", 4, "meat", "reptile", 8),
    Animal("lion", "roar", "on the plains", "cub", 4, "meat", "mammal", 7),
    Animal("tiger", "roar", "in the jungle", "cub", 4, "meat", "mammal", 7),
    Animal("bear", "growl", "in the forest", "cub", 4, "honey", "mammal", 8),
    Animal("wolf", "howl", "in the forest", "pup", 4, "meat", "mammal", 6),
    Animal("fox", "bark", "in a den", "kit", 4, "mice", "mammal", 5),
    Animal("rabbit", "squeak", "in a burrow", "kit", 4, "carrots", "mammal", 3),
    Animal("mouse", "squeak", "in a hole", "pup", 4, "cheese", "mammal", 2),
    Animal("squirrel", "chatter", "in a tree", "kit", 4, "nuts", "mammal", 3),
    Animal("deer", "bleat", "in the forest", "fawn", 4, "leaves", "mammal", 7),
    Animal("monkey", "chatter", "in the jungle", "infant", 2, "bananas", "mammal", 5),
    Animal("elephant", "trumpet", "on the plains", "calf", 4, "leaves", "mammal", 9),
    Animal("giraffe", "hum", "on the plains", "calf", 4, "leaves", "mammal", 9),
    Animal("zebra", "bark", "on the plains", "foal", 4, "grass", "mammal", 7),
    Animal("camel", "grunt", "in the desert", "calf", 4, "grass", "mammal", 8),
    Animal("kangaroo", "cough", "in the bush", "joey", 2, "grass", "mammal", 6),
    Animal("whale", "sing", "in the sea", "calf", 0, "krill", "mammal", 9),
    Animal("dolphin", "click", "in the sea", "calf", 0, "fish", "mammal", 7),
    Animal("seal", "bark", "on the ice", "pup", 0, "fish", "mammal", 6),
    Animal("bat", "squeak", "in a cave", "pup", 2, "insects", "mammal", 2),
    Animal("bee", "buzz", "in a hive", "larva", 6, "nectar", "insect", 1),
    Animal("fly", "buzz", "in the garden", "maggot", 6, "sugar", "insect", 1),
    Animal("cricket", "chirp", "in the grass", "nymph", 6, "leaves", "insect", 1),
)

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "orange", "pink", "grey")

COLOUR_OF = {
    "the sky": "blue",
    "the sea": "blue",
    "grass": "green",
    "a leaf": "green",
    "the sun": "yellow",
    "the moon": "white",
    "snow": "white",
    "milk": "white",
    "salt": "white",
    "coal": "black",
    "the night": "black",
    "ink": "black",
    "blood": "red",
    "a rose": "red",
    "a fire engine": "red",
    "chocolate": "brown",
    "wood": "brown",
    "soil": "brown",
    "an elephant": "grey",
    "a rain cloud": "grey",
    "a stone": "grey",
    "a flamingo": "pink",
    "a piglet": "pink",
    "a carrot": "orange",
    "a pumpkin": "orange",
    "a chick": "yellow",
    "gold": "yellow",
    "a polar bear": "white",
    "a frog": "green",
    "a crow": "black",
    "a swan": "white",
    "a fox": "orange",
}

FOODS = (
    Food("apple", "fruit", "red", "sweet"),
    Food("banana", "fruit", "yellow", "sweet"),
    Food("lemon", "fruit", "yellow", "sour"),
    Food("lime", "fruit", "green", "sour"),
    Food("cherry", "fruit", "red", "sweet"),
    Food("plum", "fruit", "purple", "sweet"),
    Food("peach", "fruit", "orange", "sweet"),
    Food("strawberry", "fruit", "red", "sweet"),
    Food("grape", "fruit", "green", "sweet"),
    Food("potato", "vegetable", "brown", "mild"),
    Food("cabbage", "vegetable", "green", "mild"),
    Food("onion", "vegetable", "white", "sharp"),
    Food("pepper", "vegetable", "red", "hot"),
    Food("cucumber", "vegetable", "green", "fresh"),
    Food("beetroot", "vegetable", "purple", "sweet"),
    Food("cookie", "snack", "brown", "sweet"),
    Food("cake", "dessert", "brown", "sweet"),
    Food("pretzel", "snack", "brown", "salty"),
    Food("pickle", "snack", "green", "sour"),
    Food("olive", "snack", "green", "salty"),
)

COUNTRIES = (
    Country("France", "Paris", "Europe", "French"),
    Country("Spain", "Madrid", "Europe", "Spanish"),
    Country("Italy", "Rome", "Europe", "Italian"),
    Country("Germany", "Berlin", "Europe", "German"),
    Country("England", "London", "Europe", "English"),
    Country("Greece", "Athens", "Europe", "Greek"),
    Country("Portugal", "Lisbon", "Europe", "Portuguese"),
    Country("Poland", "Warsaw", "Europe", "Polish"),
    Country("Sweden", "Stockholm", "Europe", "Swedish"),
    Country("Norway", "Oslo", "Europe", "Norwegian"),
    Country("Finland", "Helsinki", "Europe", "Finnish"),
    Country("Denmark", "Copenhagen", "Europe", "Danish"),
    Country("Ireland", "Dublin", "Europe", "English"),
    Country("Austria", "Vienna", "Europe", "German"),
    Country("Hungary", "Budapest", "Europe", "Hungarian"),
    Country("Russia", "Moscow", "Europe", "Russian"),
    Country("Egypt", "Cairo", "Africa", "Arabic"),
    Country("Kenya", "Nairobi", "Africa", "Swahili"),
    Country("Ghana", "Accra", "Africa", "English"),
    Country("China", "Beijing", "Asia", "Chinese"),
    Country("Japan", "Tokyo", "Asia", "Japanese"),
    Country("India", "New Delhi", "Asia", "Hindi"),
    Country("Thailand", "Bangkok", "Asia", "Thai"),
    Country("Canada", "Ottawa", "North America", "English"),
    Country("Mexico", "Mexico City", "North America", "Spanish"),
    Country("Cuba", "Havana", "North America", "Spanish"),
    Country("Brazil", "Brasilia", "South America", "Portuguese"),
    Country("Peru", "Lima", "South America", "Spanish"),
    Country("Chile", "Santiago", "South America", "Spanish"),
)

OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("tall", "short"),
    ("fast", "slow"),
    ("up", "down"),
    ("in", "out"),
    ("day", "night"),
    ("light", "dark"),
    ("happy", "sad"),
    ("old", "young"),
    ("wet", "dry"),
    ("full", "empty"),
    ("hard", "soft"),
    ("loud", "quiet"),
    ("open", "closed"),
    ("clean", "dirty"),
    ("rich", "poor"),
    ("strong", "weak"),
    ("early", "late"),
    ("near", "far"),
    ("left", "right"),
    ("first", "last"),
    ("thick", "thin"),
    ("deep", "shallow"),
    ("sweet", "sour"),
    ("true", "false"),
    ("good", "bad"),
    ("begin", "end"),
    ("push", "pull"),
    ("win", "lose"),
    ("laugh", "cry"),
    ("buy", "sell"),
    ("give", "take"),
    ("love", "hate"),
    ("remember", "forget"),
    ("above", "below"),
)

PLURALS = {
    "mouse": "mice",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "man": "men",
    "woman": "women",
    "goose": "geese",
    "sheep": "sheep",
    "fish": "fish",
    "leaf": "leaves",
    "wolf": "wolves",
    "knife": "knives",
    "loaf": "loaves",
    "baby": "babies",
    "city": "cities",
    "cherry": "cherries",
    "story": "stories",
    "fox": "foxes",
    "box": "boxes",
    "bus": "buses",
    "dish": "dishes",
    "peach": "peaches",
    "cow": "cows",
    "dog": "dogs",
    "cat": "cats",
    "tree": "trees",
    "book": "books",
    "star": "stars",
    "bird": "birds",
    "ship": "ships",
    "apple": "apples",
    "house": "houses",
    "chair": "chairs",
    "hat": "hats",
}

PAST_TENSES = {
    "go": "went",
    "run": "ran",
    "eat": "ate",
    "see": "saw",
    "sing": "sang",
    "swim": "swam",
    "fly": "flew",
    "write": "wrote",
    "drink": "drank",
    "give": "gave",
    "take": "took",
    "sleep": "slept",
    "think": "thought",
    "walk": "walked",
    "jump": "jumped",
    "play": "played",
    "cook": "cooked",
    "laugh": "laughed",
    "look": "looked",
    "paint": "painted",
}

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    ("January", 31, "winter"),
    ("February", 28, "winter"),
    ("March", 31, "spring"),
    ("April", 30, "spring"),
    ("May", 31, "spring"),
    ("June", 30, "summer"),
    ("July", 31, "summer"),
    ("August", 31, "summer"),
    ("September", 30, "autumn"),
    ("October", 31, "autumn"),
    ("November", 30, "autumn"),
    ("December", 31, "winter"),
)
ORDINALS = listed(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
)

# what the worker does, and the one word that carries it
JOBS = {
    "baker": ("bakes bread", "bread"),
    "farmer": ("grows food", "food"),
    "teacher": ("teaches children", "children"),
    "doctor": ("helps sick people", "sick"),
    "cook": ("makes meals", "meals"),
    "painter": ("paints pictures", "pictures"),
    "singer": ("sings songs", "songs"),
    "driver": ("drives a bus", "bus"),
    "pilot": ("flies a plane", "plane"),
    "sailor": ("sails a ship", "ship"),
    "firefighter": ("puts out fires", "fires"),
    "dentist": ("takes care of teeth", "teeth"),
    "gardener": ("looks after plants", "plants"),
    "builder": ("builds houses", "houses"),
    "tailor": ("makes clothes", "clothes"),
    "writer": ("writes books", "books"),
    "fisherman": ("catches fish", "fish"),
    "shepherd": ("looks after sheep", "sheep"),
    "barber": ("cuts hair", "hair"),
    "miner": ("digs for coal", "coal"),
}

USES = {
    "knife": "cut",
    "spoon": "eat soup",
    "pen": "write",
    "brush": "paint",
    "hammer": "hit nails",
    "saw": "cut wood",
    "broom": "sweep the floor",
    "bed": "sleep",
    "chair": "sit",
    "cup": "drink",
    "lamp": "give light",
    "clock": "tell the time",
    "key": "open a door",
    "umbrella": "keep off the rain",
    "oven": "bake",
    "soap": "wash your hands",
    "towel": "dry your hands",
    "map": "find the way",
    "phone": "call a friend",
    "boat": "cross the water",
    "ladder": "climb up",
    "needle": "sew",
    "ruler": "measure",
    "camera": "take photos",
    "telescope": "look at the stars",
}

BODY = {
    "see": "eyes",
    "hear": "ears",
    "smell": "nose",
    "taste": "tongue",
    "walk": "feet",
    "bite": "teeth",
    "think": "brain",
    "hold things": "hands",
    "breathe": "lungs",
}

SIDES = {"triangle": 3, "square": 4, "rectangle": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}

MADE_OF = {
    "bread": "flour",
    "cheese": "milk",
    "butter": "milk",
    "paper": "wood",
    "a window": "glass",
    "a coin": "metal",
    "a jumper": "wool",
    "a tyre": "rubber",
    "wine": "grapes",
    "ice": "water",
    "chocolate": "cocoa",
    "a book": "paper",
    "an omelette": "eggs",
    "jam": "fruit",
    "a brick": "clay",
    "a candle": "wax",
    "honey": "nectar",
    "a snowman": "snow",
}

SPELLING_WORDS = tuple(
    sorted(
        {a.name for a in ANIMALS}
        | {f.name for f in FOODS}
        | set(COLOURS)
        | {w for pair in OPPOSITES for w in pair}
        | {
            "water",
            "house",
            "star",
            "ship",
            "music",
            "garden",
            "friend",
            "school",
            "river",
            "model",
        }
    )
)
