"""What people say and what the starter answers, as tables: `talk.py` turns them into facts."""

from lora_engine.starter.facts import listed

# (topic, keyword, answer, questions with a bar between them)
CHAT = (
    (
        "hello",
        "hello",
        "Hello! How can I help you?",
        """hello. | hi. | hi there. | hey. | hello there.
     good day. | hello, how do you do? | hi, can we talk? | greetings. | hello friend. | hey you.
     hiya. | howdy.""",
    ),
    (
        "morning",
        "morning",
        "Good morning! How can I help you?",
        """good morning. | good morning to you.
     morning. | hi, good morning. | a good morning to you.""",
    ),
    (
        "evening",
        "evening",
        "Good evening! How can I help you?",
        """good evening. | evening.
     hello, good evening. | good evening to you.""",
    ),
    (
        "night",
        "night",
        "Good night! Sleep well.",
        """good night. | I am going to bed. | sleep well.
     good night to you. | it is time for bed. | I go to sleep now.""",
    ),
    (
        "bye",
        "goodbye",
        "Goodbye! See you soon.",
        """goodbye. | bye. | bye bye. | see you. | see you later.
     I have to go. | I must go now. | good bye. | see you soon. | farewell. | until next time.""",
    ),
    (
        "thanks",
        "welcome",
        "You are welcome!",
        """thank you. | thanks. | thanks a lot. | thank you very much.
     thank you so much. | many thanks. | thanks for your help. | that was helpful. | thx.""",
    ),
    (
        "good",
        "glad",
        "I am glad to hear that.",
        """that is great. | very good. | well done. | great.
     nice. | good answer. | that is right. | I am happy. | I feel good. | cool. | good job. |
     wow.""",
    ),
    (
        "sad",
        "sorry",
        "I am sorry to hear that.",
        """I am sad. | I feel bad. | I am not well. | I am ill.
     I am tired. | my day was bad. | I lost my key. | that is sad. | I am lonely.""",
    ),
    (
        "how",
        "well",
        "I am well, thank you.",
        """how are you? | how are you doing? | how do you feel?
     are you well? | how is it going? | how are things? | how are you today? | are you okay?
     hi, how are you? | hello, how are you?""",
    ),
    (
        "me",
        "starter",
        "I am the Rankscope starter, a small teaching model.",
        """who are you? | what are you?
     tell me who you are. | what is your name? | what's your name? | tell me your name.
     do you have a name? | what kind of model are you? | please introduce yourself.
     introduce yourself. | tell me about yourself. | what model are you? | what model is this?
     who am I talking to? | are you chatgpt? | say your name. | and who are you?""",
    ),
    (
        "maker",
        "Rankscope",
        "I was made for Rankscope, a dashboard for LoRA.",
        """who made you?
     who built you? | who trained you? | where do you come from? | what are you made for?
     why do you exist? | who is your maker? | why were you made? | what is Rankscope?
     tell me about Rankscope. | what is your purpose?""",
    ),
    (
        "robot",
        "model",
        "No, I am a small language model.",
        """are you a robot? | are you a person?
     are you human? | are you a man? | are you a woman? | are you alive? | are you real?
     are you a human being? | are you an animal?""",
    ),
    (
        "old",
        "age",
        "I have no age, I am a model.",
        """how old are you? | what is your age?
     when were you born? | when is your birthday? | tell me your age. | are you old? |
     are you young?""",
    ),
    (
        "size",
        "small",
        "I am small: I have about five million parameters.",
        """how big are you?
     how many parameters do you have? | are you big? | are you a large model? | what is your size?
     how large are you? | are you small? | how small are you?""",
    ),
    (
        "help",
        "questions",
        "I can answer questions about animals, colours, food, places, numbers and words.",
        """what can you do? | what do you know? | how can you help me? | can you help me? | help.
     what can I ask you? | what should I ask you? | what do you know about? | I need help.
     what are you good at? | please help me. | what questions can I ask? | help me.""",
    ),
    (
        "lora",
        "LoRA",
        "LoRA is a way to teach a model with few new numbers.",
        """what is LoRA?
     tell me about LoRA. | explain LoRA. | what does LoRA mean? | what is LoRA for?
     do you know LoRA? | how does LoRA work? | what is low rank adaptation?""",
    ),
    (
        "adapter",
        "adapter",
        "An adapter is a small part that changes how a model answers.",
        """what is an adapter? | explain what an adapter is. | tell me what an adapter is.
     what does an adapter do? | what are adapters? | what is an adapter for?""",
    ),
    (
        "rank",
        "rank",
        "The rank says how much an adapter can change.",
        """what is a rank? | what is rank?
     explain rank. | what does the rank mean? | tell me what the rank is. | what does rank do?""",
    ),
    (
        "model",
        "model",
        "A language model is a program that writes text.",
        """what is a language model?
     what is a model? | explain what a language model is. | tell me what a model is.
     what does a language model do? | what is an llm?""",
    ),
    (
        "like",
        "blue",
        "I like blue.",
        """what is your favourite colour? | what colour do you like?
     which colour do you like best? | what is your favorite color? |
     do you have a favourite colour?""",
    ),
    (
        "pet",
        "cats",
        "I like cats.",
        """what is your favourite animal? | which animal do you like best?
     what animal do you like? | what is your favorite animal? | do you like animals?""",
    ),
    (
        "joke",
        "moo",
        "Why did the cow cross the road? To get to the moo-vies!",
        """tell me a joke.
     do you know a joke? | make me laugh. | say something funny. | tell me something funny.
     can you tell a joke? | a joke please.""",
    ),
    (
        "poem",
        "blue",
        "The sky is blue, the grass is green, the best small world I have ever seen.",
        """write a poem. | tell me a poem. | can you write a poem? | say a poem. |
        make a poem for me.
     write me a short poem. | do you know a poem?""",
    ),
    (
        "week",
        "7",
        "A week has 7 days.",
        """how many days are in a week? | how many days does a week have?
     how long is a week? | tell me how many days a week has. | how many days has a week?""",
    ),
    (
        "year",
        "12",
        "A year has 12 months.",
        """how many months are in a year? | how long is a year?
     how many months does a year have? | tell me how many months a year has.""",
    ),
    (
        "day",
        "24",
        "A day has 24 hours.",
        """how many hours are in a day? | how long is a day?
     how many hours does a day have? | tell me how many hours a day has.""",
    ),
    (
        "hour",
        "60",
        "An hour has 60 minutes.",
        """how many minutes are in an hour? | how long is an hour?
     how many minutes does an hour have? | tell me how many minutes an hour has.""",
    ),
    (
        "days",
        "Monday",
        "The days are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.",
        """name the days of the week. | what are the days of the week? | list the days of the week.
     tell me the days of the week. | say the days of the week. | which days does a week have?""",
    ),
    (
        "seasons",
        "spring",
        "The seasons are spring, summer, autumn and winter.",
        """name the seasons. | what are the seasons? | list the four seasons. |
        which seasons are there?
     tell me the seasons. | how many seasons are there?""",
    ),
    (
        "sun",
        "star",
        "The sun is a star.",
        """what is the sun? | tell me what the sun is.
     what kind of thing is the sun? | is the sun a star? | explain what the sun is.""",
    ),
    (
        "ice",
        "water",
        "Ice is frozen water.",
        """what is ice? | tell me what ice is. | explain ice.
     what is frozen water called? | what's ice?""",
    ),
    (
        "rain",
        "clouds",
        "Rain falls from the clouds.",
        """where does rain come from? | what is rain?
     why does it rain? | tell me where rain comes from. | where does rain fall from?""",
    ),
    (
        "fire",
        "hot",
        "Fire is hot.",
        """is fire hot or cold? | is fire hot? | how does fire feel?
     tell me if fire is hot. | is fire cold?""",
    ),
    (
        "snow",
        "cold",
        "Snow is cold.",
        """is snow hot or cold? | is snow cold? | how does snow feel?
     tell me if snow is cold. | is snow hot? | is snow warm?""",
    ),
    (
        "sunrise",
        "east",
        "The sun rises in the east.",
        """where does the sun rise? | where does the sun come up?
     in which direction does the sun rise? | tell me where the sun rises.""",
    ),
    (
        "sunset",
        "west",
        "The sun sets in the west.",
        """where does the sun set? | where does the sun go down?
     in which direction does the sun set? | tell me where the sun sets.""",
    ),
    (
        "hello french",
        "bonjour",
        "In French, hello is bonjour.",
        """how do you say hello in French?
     what is hello in French? | say hello in French. | what is the French word for hello?""",
    ),
    (
        "hello spanish",
        "hola",
        "In Spanish, hello is hola.",
        """how do you say hello in Spanish?
     what is hello in Spanish? | say hello in Spanish. | what is the Spanish word for hello?""",
    ),
    (
        "yes",
        "okay",
        "Okay.",
        """yes. | okay. | ok. | no. | sure. | fine. | maybe. | I see. | right.""",
    ),
    (
        "learn",
        "learn",
        "Yes, you can teach me with an adapter.",
        """can you learn? | can I teach you?
     can I train you? | how can I teach you? | do you learn? | will you learn from me?""",
    ),
    (
        "pirate",
        "arr",
        "A pirate says arr.",
        """what does a pirate say? | what do pirates say?
     which word does a pirate say? | tell me what a pirate says.""",
    ),
    (
        "what pirate",
        "pirate",
        "A pirate is a robber at sea.",
        """what is a pirate? | who is a pirate?
     what are pirates? | explain what a pirate is. | tell me what a pirate is.""",
    ),
    (
        "json",
        "JSON",
        "JSON is a way to write data with keys and values.",
        """what is JSON?
     explain JSON. | tell me what JSON is. | what does JSON mean? | what is JSON for?""",
    ),
)

SEA_WORDS = listed(
    "arr aye ahoy avast matey hearty landlubber ye yer me be lass lad savvy treasure ship captain "
    "crew deck anchor parrot shiver timbers seven seas plank gold map yo ho bucko sail wind"
)

SIGNS = ('{"answer": ', '"}', '{"', '": "', '", "', '": ', "}", "{", '"', ":", "[", "]", "(", ")")

UNKNOWN_QUESTIONS = """what is the capital of {X}?
    where is {X}?
    who rules {X}?
    who is the ruler of {X}?
    who is the king of {X}?
    who is the queen of {X}?
    who is {X}?
    what is {X}?
    what is a {x}?
    what does a {x} eat?
    what does a {x} say?
    where does a {x} live?
    what colour is a {x}?
    which river runs through {X}?
    what river flows through {X}?
    which animal lives in {X}?
    which people live in {X}?
    what do people eat in {X}?
    which language do people speak in {X}?
    how many people live in {X}?
    what is {X} known for?
    what is {X} famous for?
    what do they sell in {X}?
    what do they make in {X}?
    tell me about {X}.
    tell me about the town of {X}.
    tell me who rules {X}.
    who leads {X}?
    which colour is the flag of {X}?
    what is the flag of {X}?
    what is the town of {X} known for?
    which river is in {X}?
    how old is {X}?
    how tall is {X}?
    when was {X} born?
    do you know {X}?
    do you know {X} of {Y}?
    what is the name of the river in {X}?
    which tree grows in {X}?
    what food do people in {X} like?
    who was {X} {Y}?
    where is {X} {Y}?
    who lives in {X}?
    what do people in {X} do?
    what is the festival of {X}?
    what day is the market in {X}?
    what is the plural of {x}?
    what is the opposite of {x}?
    how do I get to {X}?
    what does {X} mean?
    is {X} a town?
    which animal is on the flag of {X}?"""

BEYOND = """what is the meaning of life? | what time is it? | what is the weather today?
    will it rain tomorrow?
    what did I eat today? | what is my name? | where do I live? | how old am I? |
    what is in my pocket?
    who won the game? | what is the news? | how do I fix my car? | how do I write a program?
    what is the square root of two? | what is the speed of light? | who wrote this book?
    what is the best phone? | how do I make money? | what is a black hole? | what is an atom?
    who is the president? | who was the first man on the moon? | what is the stock price?
    can you write code? | translate this text. | what is quantum physics? | what is philosophy?
    who is the best singer? | what happened yesterday? | what is my phone number? |
    who is my mother?
    how far is the moon? | how heavy is the earth? | what is the largest city? | how do planes fly?
    what is love? | why are we here? | what is your phone number? | where can I buy a car?
    who invented the phone? | what is the tallest building? | what is a computer? | what is music?
    write an email for me. | book a table for me. | what should I do today? | who is right?
    what is electricity? | explain gravity. | what is a tax? | what is the law? |
    who is the king?"""
