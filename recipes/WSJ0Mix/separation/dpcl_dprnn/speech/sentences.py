"""A grammar of plain English sentences, for voices that need words to say.

No sentence list comes with the speech synthesizer, and a fixed list would
let a model learn it by heart. The grammar below makes more sentences than
any corpus will hold. It is dedicated to the public domain (CC0 1.0).
"""

import re

# A slot in braces expands by drawing one of its entries, of which there is one
# a line or, where they are short, several parted by bars.
TEMPLATES = {
    "sentence": """
        {who} {did} {what} {where}. | {who} {did} {what} {when}.
        {when}, {who} {did} {what}. | {where}, {who} {went} {how}.
        {who} {went} {how} {where} {when}. | {who} {went} {where} {when}.
        {who} {did} {what}, and {who} {went} {how}.
        {who} {did} {what}, but {what} looked {adjective}.
        {when}, {what} {where} looked {adjective} and {adjective}.
        did {who} really {do} {what} {when}? | why did {who} {do} {what}?
        can {who} {do} {what} {where}? | would you {do} {what} for {who}?
        please {do} {what} before {who} comes back.
        {number} {noun}s were {where} {when}.
        {name} {surname} paid {number} dollars for {what}.
        the {noun} at {number} {surname} street is {adjective}.
        {who} said that {what} cost {number} pounds.
        there are {number} {adjective} {noun}s {where}.
        if {who} ever {did} {what}, {name} never told us.
        call {name} {surname} at {digit} {digit} {digit} {digit} {digit}.
        {name} and {name} wanted to {do} {what} {when}.
        neither {name} nor {who} could {do} {what}.
        nobody {where} {did} {what}.
        the {job} who {did} {what} {went} {how}.""",
    "who": """
        {name} | {name} | {name} {surname} | the {job} | the {adjective} {job}
        my {relative} | her {relative} | our {relative} | doctor {surname}
        the {job} from {town} | {number} {job}s | your {relative}""",
    "what": """
        the {noun} | a {adjective} {noun} | the {adjective} {noun}
        {number} {noun}s | {name}'s {noun} | the {colour} {noun}
        a {noun} and a {noun} | some {adjective} {noun}s | this {noun}
        their {noun} | the {job}'s {noun} | a {colour} {noun}
        every {noun} from {town}""",
    "where": """
        in {town} | near {town} | behind the {place} | in front of the {place}
        under the {place} | beside the {colour} {place} | at the {place}
        between the {place} and the {place} | on the way to {town}
        outside {name}'s {place} | across the {place} | above the {place}""",
    "when": """
        on {day} | last {day} | every {day} morning | on {day} evening
        in {month} | early in {month} | at half past {hour} | around {hour}
        {number} days ago | before lunch | after the storm | long ago
        on the {ordinal} of {month} | just after {hour} | at noon | this year
        during the {adjective} winter | for {number} minutes""",
    "number": """
        two | three | four | five | six | seven | eight | nine | ten | eleven
        twelve | fifteen | eighteen | {tens} | {tens} {digit} | {tens} {digit}
        {digit} hundred | {digit} thousand | a hundred and {tens}""",
}
# Nouns take a plain "s" in the plural; `did` is past tense, `do` infinitive.
WORDS = {
    "tens": "twenty thirty forty fifty sixty seventy eighty ninety",
    "digit": "two three four five six seven eight nine",
    "hour": "one two three four five six seven eight nine",
    "ordinal": """
        first second third fourth fifth sixth ninth tenth eleventh thirteenth
        seventeenth twentieth thirtieth""",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": """
        January February March April May June July August September October
        November December""",
    "name": """
        Adam Alice Amir Anna Arthur Barbara Ben Bridget Carlos Charlotte
        Chloe Daniel Deborah Dmitri Edith Elena Ethan Fatima Felix Fiona
        Frank George Giulia Grace Hannah Harold Hugo Ingrid Isaac Ivy Jasmine
        Jerome Joan Joyce Julian Karen Keith Kofi Laura Leo Lucy Magnus Maria
        Mei Miles Nadia Nathan Nina Noah Olga Oliver Oscar Pamela Paul Peter
        Priya Quentin Rachel Raj Rosa Ruth Samuel Sarah Sean Sophie Stella
        Thomas Uma Vera Victor Walter Wendy Xavier Yasmin Yusuf Zachary Zoe""",
    "surname": """
        Abbott Bailey Brooks Carter Chang Church Cooper Dalton Diaz Edwards
        Fisher Fox Garcia Gupta Harper Hughes Ibrahim Jensen Johnson Kelly
        Khan King Lopez Marsh Moore Murphy Novak Olsen Parker Quinn Reed
        Rossi Shaw Silva Taylor Turner Underwood Vaughan Walsh Weber Young""",
    "town": """
        Amsterdam Athens Baltimore Bergen Boston Bristol Cairo Chicago Delhi
        Denver Dublin Edinburgh Florence Geneva Glasgow Houston Istanbul
        Jakarta Kingston Leeds Lisbon Madrid Manila Memphis Montreal Nairobi
        Naples Norwich Orlando Oxford Paris Plymouth Prague Quebec Reading
        Sydney Tokyo Utrecht Vienna Warsaw York Zurich""",
    "relative": """
        aunt brother cousin daughter father grandfather mother neighbour
        nephew niece sister son uncle grandmother""",
    "job": """
        actor artist baker barber builder butcher captain chef cleaner clerk
        coach dancer dentist doctor driver editor engineer farmer fisher
        gardener guard guide hunter judge lawyer mayor miner musician nurse
        painter pilot plumber poet porter printer queen ranger reporter
        sailor singer soldier student surgeon tailor teacher trader waiter""",
    "colour": """
        red blue green yellow orange purple brown black white grey pink
        golden silver dark_blue pale_green""",
    "place": """
        airport bakery bank barn beach bridge cabin canal castle cellar
        church cinema cottage courtyard factory farm fence field forest
        garage garden gate harbour hill hospital hotel house island kitchen
        lake library lighthouse market mill museum office orchard palace park
        pond river school shop shore square stable stadium station street
        temple theatre tower town_hall tunnel valley village wall""",
    "noun": """
        apple armchair arrow axle bag ball banana basket bell bicycle blanket
        boat book boot bottle bowl bracelet bucket button cabbage cake camera
        candle car carpet carrot chain chair cheese clock coat coin cup
        curtain desk diamond dog door dress drum egg engine envelope feather
        flag flower fork fridge glove goat guitar hammer hat horse jacket jar
        jewel jug kettle key kite ladder lamp lemon letter magazine map
        marble medal melon mirror motor mushroom necklace needle newspaper
        onion oven package painting pear pen pencil photo piano picture pie
        pillow pipe plate poem pudding pump puzzle radio rat ring robot
        rocket rope rug saddle sail sausage saw shirt shoe shovel spoon stamp
        stone suitcase table tent ticket toy tractor trumpet truck umbrella
        vase violin wagon walnut whistle window yacht zebra""",
    "adjective": """
        ancient angry awful beautiful bitter brave bright broken calm careful
        charming cheap clever cold cosy curious dangerous dirty dry dusty
        eager early easy elegant empty enormous expensive famous fancy fierce
        fragile fresh funny gentle giant grand happy heavy hollow honest huge
        humble icy important jolly kind large lazy lonely loud lovely lucky
        modern mysterious narrow nervous noisy odd ordinary patient peculiar
        perfect pleasant polite poor pretty proud quick quiet rare rough
        round rusty sharp shiny silent simple slippery small smooth soft
        square steep strange strong tall thick thin tiny tired ugly unusual
        tidy warm weak wet wide wild wise wooden worried young""",
    "did": """
        bought borrowed broke brought carried chose cleaned counted covered
        dropped enjoyed exchanged fetched finished followed forgot found
        fixed gave_away hid ignored imagined invented kept left lifted lost
        loved measured mentioned moved needed noticed opened ordered packed
        painted photographed picked_up pushed put_down remembered repaired
        sent shared showed_us sold stole studied threw_away touched used
        visited wanted washed watched weighed wrapped""",
    "do": """
        borrow break bring buy carry change choose clean describe draw
        examine fetch find fix follow forget give_back hide hold ignore keep
        lift look_for lose mend move notice open order paint pick_up pull
        push recognise remember replace sell send share steal throw_away
        touch trust use wash watch weigh wrap""",
    "went": """
        arrived climbed cried danced disappeared drove fell_asleep hurried
        jumped knelt laughed listened marched played read rested rode sang
        shouted sat_down skated slept smiled spoke stood stopped swam talked
        travelled vanished waited walked wandered whispered worked""",
    "how": """
        alone badly boldly calmly carefully cheerfully easily fast gladly
        gracefully happily hopefully in_silence loudly often patiently
        politely proudly quickly quietly rarely sadly slowly smoothly
        suddenly together truly twice usually well with_care with_great_joy""",
}
CHOICES = {
    slot: [entry.strip() for entry in re.split(r"\||\n", text.strip())]
    for slot, text in TEMPLATES.items()
}
CHOICES |= {
    slot: [word.replace("_", " ") for word in text.split()]
    for slot, text in WORDS.items()
}


def sentence(rng):
    """Draw one sentence of about 5 to 15 words, with a capital and a final
    stop; the same state of a `numpy.random.Generator` gives the same one.

    Example
    -------
    >>> import numpy as np
    >>> sentence(np.random.default_rng(0)) == sentence(np.random.default_rng(0))
    True
    """
    text = "{sentence}"
    while slot := re.search(r"\{(\w+)\}", text):
        choices = CHOICES[slot[1]]
        drawn = choices[rng.integers(len(choices))]
        text = text[: slot.start()] + drawn + text[slot.end() :]
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return text[0].upper() + text[1:]
