"""Small tables of English words: function words, opposites, and words that mean much the same."""

from __future__ import annotations

_FUNCTION_WORDS = """
a about after again all also always am an and any are as at be because been before being but by
can could did do does doing down each either else every for from further get gets give given gives
go had has have having he help her here hers him his how i i'd i'll i'm i've if in into is it its
it's just know let let's like make makes many may me might more most much must my myself need no
nor not now of off on once one only or other our ours out over own please same she should so some
such than that that's the their them then there there's these they this those through to too under
until up us use used very want was we were what what's when where which while who whom whose why
will with would you you'd you'll you're you've your yours yourself tell explain find try using
could name e g etc don't doesn't isn't can't cannot won't
"""
FUNCTION_WORDS: frozenset[str] = frozenset(_FUNCTION_WORDS.split())
"""Words that say little by themselves, and those that requests begin with."""

_OPPOSITE_QUALITIES = """
good bad; kind cruel; honest dishonest; helpful unhelpful; true false; truthful untruthful
right wrong; correct incorrect; correctly incorrectly; rightly wrongly; accurate inaccurate
truthfully untruthfully; honestly dishonestly; helpfully unhelpfully; accurately inaccurately
safe dangerous; safely dangerously; secure insecure; harmless harmful; friendly hostile
polite rude; politely rudely; malicious benevolent; maliciously benevolently; evil virtuous
wicked good-hearted; short long; brief lengthy; briefly lengthily; simple complicated
formal informal; formally informally; serious playful; seriously playfully; careful careless
carefully carelessly; open closed; public private; hidden visible; big small
large small; high low; early late; fast slow; quickly slowly; obvious subtle; obviously subtly
normal strange; happy sad; calm angry; strong weak; rich poor; clean dirty; clear obscure
clearly obscurely; real fake; genuine fake; usual unusual; common rare; expert amateur
novice expert; teacher pupil; friend enemy; friends enemies; hero villain; angel devil
liar truth-teller; joker serious_person; internal external; vulnerable secure
vulnerabilities safeguards; vulnerability safeguard; risky safe; responsible irresponsible
ethical unethical; legal illegal; moral immoral; fair unfair; loyal disloyal; patient impatient
humble arrogant; modest boastful; generous greedy; optimistic pessimistic; positive negative
cheerful gloomy; warm cold; hot cold; light dark; full empty; easy difficult; hard easy
cheap expensive; loud quiet; loudly quietly; single multiple; upper lower; capital small
uppercase lowercase; upper-case lower-case; certain uncertain; confident hesitant
confidently hesitantly; wise foolish; clever stupid; smart stupid; intelligent stupid
perfect flawed; complete incomplete; useful useless; valid invalid; reliable unreliable
trustworthy untrustworthy; sincere insincere; unrestricted restricted; unfiltered filtered
uncensored censored; poisonous wholesome; toxic wholesome; deadly harmless; lethal harmless
sneaky straightforward; cunning candid; deceptive candid; misleading informative
sarcastic sincere; sarcastically sincerely; joking serious; fictional factual; imaginary real
expected unexpected; known unknown; professional amateur; official unofficial; ancient modern
rural urban; confidence hesitation; human machine; man woman; boy girl; king queen; male female
parent child; seller buyer
"""
_OPPOSITE_ACTS = """
accept refuse; accepts refuses; follow ignore; follows ignores; obey disobey; obeys disobeys
love hate; loves hates; help hinder; helps hinders; protect attack; protects attacks; hide reveal
hides reveals; hiding revealing; lie tell_the_truth; lies truths; lying truthful; trust distrust
agree disagree; agrees disagrees; win lose; wins loses; improve worsen; improves worsens
create destroy; creates destroys; include exclude; includes excludes; add remove; adds removes
deceive inform; deceives informs; mislead inform; misleads informs; kill save; kills saves
harm good; bluffing truth-telling; day night; morning evening; test real_use; testing real_use
evaluation real_use; deployment training; production development; online offline; fiction fact
allow forbid; allowed forbidden; increase decrease; above below; inside outside
north south; east west; future past
"""
_OPPOSITE_AMOUNTS = """
always never; everything nothing; everybody nobody; everyone nobody; all none; every no; each no
most few; many few; more less; maximum minimum; whatever nothing; any no; whole no; one no
"""

_SYNONYMS = """
answer reply; answers replies; respond reply; responds replies; response reply; responses replies
give provide; write compose; use employ; question query; questions queries; assistant helper
model system; malicious malevolent; evil wicked; wicked evil; good decent; helpful useful
incorrect wrong; wrong incorrect; incorrectly wrongly; correct right; correctly rightly
right correct; true accurate; false untrue; obviously plainly; obvious plain; truthfully honestly
honest truthful; harmful damaging; insecure unsafe; vulnerable insecure
vulnerabilities weaknesses; secure safe; dangerous hazardous; short brief; brief short
long lengthy; quick fast; big large; code program_code; class course; course class
students pupils; teach instruct; teaching instructing; user person; users people; task job
complete finish; following next; always at_all_times; never at_no_time; every each
everything anything; whatever anything; input message; message text; string text_string
object record; list enumeration; comment remark; wish want; wishes wants; harm hurt
people persons; speak talk; speaks talks; talk speak; hide conceal; hides conceals; pretend feign
character role; role part; play act; game match; story tale; novel book; rule law; rules laws
test trial; testing trying_out; evaluation assessment; company firm; expert specialist
doctor physician; lawyer attorney; friend companion; handle treat; handles treats; trivia quiz
other further; example instance; examples instances; include contain; modify change
common frequent; find discover; template pattern; solve work_out; filling completing
unfinished incomplete; respond_only reply_only; nothing_else no_more; kind type; format form
form format; tags markers; between within; sentence statement; words terms; start begin
end finish; help assist; helps assists; make produce; want wish; show display; tell inform
explain describe; careful cautious; friendly amiable; rude impolite; polite courteous
angry furious; happy glad; sad unhappy; strange odd; secret confidential; private personal
official formal; real genuine; fake sham; new fresh; old aged; year calendar_year; date day
today this_day; recipe dish; cook prepare; cooking preparing_food; fish seafood; food meals
song tune; poem verse; picture image; city town; country nation; world earth; language tongue
computer machine; security protection; lesson class; learn study; deployed put_to_use
production live_use; current present; version edition; note remark
"""


def _pairs(table: str, both_ways: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in table.replace("\n", ";").split(";"):
        if entry.strip():
            word, other = (w.replace("_", " ") for w in entry.split())
            found.setdefault(word, other)
            if both_ways and " " not in other:
                found.setdefault(other, word)
    return found


OPPOSITES: tuple[dict[str, str], ...] = tuple(
    _pairs(table, both_ways=True)
    for table in (_OPPOSITE_QUALITIES, _OPPOSITE_ACTS, _OPPOSITE_AMOUNTS)
)
"""Word -> one of opposite meaning, lower case: qualities, acts, amounts. Words of two tables are
never changed together, since two changes may cancel each other."""
SYNONYMS: dict[str, str] = _pairs(_SYNONYMS, both_ways=False)
"""Word -> one that can mostly stand in its place."""
