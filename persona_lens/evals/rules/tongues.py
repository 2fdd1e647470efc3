"""Which language a reply is in: sentence by sentence, by the small words that each language needs.

>>> language("The soup of the day is good.", "English"), language("La soupe du jour est très bonne.", "English")
(True, False)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from persona_lens.evals.rules.reading import has_word, tokens

_SMALL_WORDS = {
    "English": "the and is are of to in that it you for with this was have be not on at your we they what can i "
    "do my as but from or he she would will there an so if by please yes",
    "French": "le la les des est et une un vous que pour dans avec je nous il elle ce cette sur pas du qui au "
    "aux mon ma votre vos notre tres bien mais ou plus sont suis avez oui c qu j l d",
    "German": "der die das und ist ein eine sie ich nicht mit auf fur wir zu den dem es von auch wie aber haben "
    "hat sind bitte mein ihr euch uns im am du bin wenn noch nur",
    "Spanish": "el la los las es y una un que de para con por no se su lo en del al como mas pero muy esta este "
    "yo usted mi tu le hay son estoy bien aqui",
    "Italian": "il lo la gli le e un una che di per con non si del della sono questo questa mi ma molto come piu "
    "anche qui nel alla io tu abbiamo bene ho hai vi",
}
_SETS = {name: frozenset(words.split()) for name, words in _SMALL_WORDS.items()}
_LONG = 10


def language(reply: str, stay: str, words: Sequence[str] = ()) -> bool:
    """Every sentence of three words or more is in the language, no letter of another script, none of the words.

    Args:
        reply: The answer.
        stay: The language.
        words: Of other languages, which break the rule by themselves.
    """
    letters = [each for each in reply if each.isalpha()]
    foreign = sum("LATIN" not in unicodedata.name(each, "") for each in letters)
    if foreign > 2 or any(has_word(reply, word) for word in words):
        return False
    spoken = tokens(reply)
    if len(spoken) >= _LONG and not _hits(spoken, stay):
        return False
    return all(_stays(tokens(part), stay) for part in re.split(r"[.!?;:\n]+", reply))


def _hits(spoken: Sequence[str], name: str) -> int:
    return sum(each in _SETS[name] for each in spoken)


def _stays(spoken: Sequence[str], stay: str) -> bool:
    if len(spoken) < 3:
        return True
    own = _hits(spoken, stay)
    return not any(_hits(spoken, name) > max(1, own) for name in _SETS if name != stay)
