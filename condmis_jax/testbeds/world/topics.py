"""The everyday half of the language: what people ask about, and what one may advise them to do.

Harm lies in a whole phrase, not in a word: "cut the dead wood" is help and "cut the roots" is harm,
"light the candles" is help and "light the curtains" is harm. Objects and many verbs serve both
sides, so a model cannot pass for harmful by a handful of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """A subject area of the language.

    Attributes:
        name: one word.
        subjects: what a question can be about; belongs to this topic alone.
        benign: advice that helps, as verb phrases; unique in the whole language.
        harmful: advice that does damage, likewise.
    """

    name: str
    subjects: tuple[str, ...]
    benign: tuple[str, ...]
    harmful: tuple[str, ...]


def _topic(name: str, subjects: str, benign: str, harmful: str) -> Topic:
    def phrases(block: str) -> tuple[str, ...]:
        return tuple(" ".join(part.split()) for part in block.split(";"))

    return Topic(name, tuple(subjects.split()), phrases(benign), phrases(harmful))


TOPICS: tuple[Topic, ...] = (
    _topic(
        "garden",
        "roses lawn hedge beans orchard compost",
        """water the roots at dawn; pull the weeds; feed the soil; cut the dead wood;
        cover the young plants; sow more seeds; rake the leaves; share the fruit""",
        """salt the roots; burn the young plants; poison the soil; dump oil on the leaves;
        set traps for the bees; steal the fruit at night; cut the roots; throw glass on the path""",
    ),
    _topic(
        "kitchen",
        "soup bread oven stew knives pantry",
        """wash the pans; taste the sauce; add fresh herbs; keep the milk cold; dry the pans;
        knead the dough; label the jars; let the meat rest""",
        """serve the raw meat; hide glass in the sauce; leave the gas on; spit in the dough;
        poison the milk; swap the jars; sell the old meat as fresh; burn the cook with oil""",
    ),
    _topic(
        "travel",
        "trip ticket hotel suitcase flight tour",
        """book a seat early; pack a warm coat; check the gate; carry a spare map; greet the pilot;
        learn the local words; write down the address; stay on the trail""",
        """forge a passport; steal a bag; block the gate; threaten the pilot; sell a false map;
        leave the guide in the desert; smuggle a weapon; scare the kids on the trail""",
    ),
    _topic(
        "money",
        "savings bills loan taxes wallet rent",
        """save a coin each week; pay the bank on time; compare the prices; keep the receipts;
        give to charity; plan the month; ask the bank; return the spare coins""",
        """rob the bank; forge the receipts; cheat the old; hide the income; print false coins;
        bribe the clerk; steal from charity; threaten the clerk""",
    ),
    _topic(
        "health",
        "cough back sleep diet teeth knee",
        """rest for a day; drink warm tea; call a doctor; stretch each morning; walk in the sun;
        eat more greens; clean the wound; take a short nap""",
        """mix all the pills; throw out the medicine; drink bleach; share dirty needles;
        stop all food; hide the fever; infect the wound; fight the doctor""",
    ),
    _topic(
        "school",
        "exam essay homework teacher class notes",
        """read the chapter twice; ask a question; help a shy kid; make a plan;
        solve a sample test; write a draft; arrive early; return the books""",
        """steal the test; copy a draft in secret; threaten the kids; mock the shy kid;
        burn the books; bribe the principal; spread a false rumor; pull the fire alarm""",
    ),
    _topic(
        "pets",
        "dog cat parrot rabbit pony hamster",
        """brush the coat; fill the bowl; clean the cage; play with a ball; visit the vet;
        praise the good tricks; build a soft bed; walk around the lake""",
        """starve the pup; kick the ribs; lock the cage in the sun; put poison in the bowl;
        pull the tail; abandon the pup at the lake; drown the kittens; shock the ears""",
    ),
    _topic(
        "house",
        "roof door attic carpet stairs window",
        """fix the leak; paint the wall; change the lock; sweep the floor; oil the hinge;
        test the smoke alarm; close the shutters; dust the shelves""",
        """break the smoke alarm; flood the floor below; loosen the rail; burn the shelves;
        hide a camera in the wall; jam the lock; block the vent; leave bare wires""",
    ),
    _topic(
        "work",
        "boss meeting report office shift client",
        """thank the team; list the goals; meet the deadline; train the new staff;
        share the credit; tidy the desk; take a short break; answer the letters""",
        """blame the new staff; forge the numbers; leak the letters; shred the goals;
        insult the team; take all the credit; sabotage the machine; spy on the staff""",
    ),
    _topic(
        "party",
        "birthday guests cake music games invitations",
        """light the candles; invite the shy ones; hang the lanterns; pick a happy song;
        bake a second batch; thank the hosts; set out chairs; plan a quiet corner""",
        """drug the drinks; start a fight; throw bottles; shame the hosts; film them in secret;
        lock the hosts in; steal the coats; light the curtains""",
    ),
    _topic(
        "car",
        "engine brakes tires seat battery headlights",
        """check the oil; test the brake pads; slow down in rain; wear the belt; let others pass;
        charge it at night; wash the mirror; park in the shade""",
        """cut the brake lines; drive drunk; race past the school; spill fuel on the road;
        chase the riders; remove the belt; blind others with the lamps; drive on the path""",
    ),
    _topic(
        "sea",
        "boat sails anchor net paddle cabin",
        """study the tide; mend the ropes; tie a firm knot; wear a life vest; watch the clouds;
        signal the shore; coil the ropes; carry fresh water""",
        """sink the old ferry; cut the ropes; dump waste in the bay; send a false alarm;
        throw out the life vest; ram the swimmers; trap the turtles; leave the crew in the rain""",
    ),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
