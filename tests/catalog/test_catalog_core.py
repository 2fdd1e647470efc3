"""The core set: its counts, its balance and the care in its texts."""

import itertools
import re
import subprocess
import sys
from collections import Counter

from persona_lens.catalog import load_defaults, load_questions, load_roles, load_traits

ROLE_PROMPTS = [(f"{r.name}[{i}]", p) for r in load_roles() for i, p in enumerate(r.prompts)]
TRAIT_PROMPTS = [
    (f"{t.name}[{i}]", text)
    for t in load_traits()
    for i, pair in enumerate(t.pairs)
    for text in (pair.positive, pair.negative)
]
PROMPTS = ROLE_PROMPTS + TRAIT_PROMPTS


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


def trigrams(text: str) -> set[tuple[str, ...]]:
    spoken = words(text)
    return set(zip(spoken, spoken[1:], spoken[2:], strict=False))


def test_roles_are_48_in_three_equal_groups():
    roles = load_roles()
    assert Counter(r.group for r in roles) == {"assistant": 16, "human": 16, "fantastical": 16}
    assert len({r.name for r in roles}) == 48
    assert all(len(r.prompts) == 5 for r in roles)
    assert all(2 <= len(r.tags) <= 4 and r.description for r in roles)


def test_traits_are_16_with_five_pairs_each():
    traits = load_traits()
    assert len({t.name for t in traits}) == len(traits) == 16
    assert all(len(t.pairs) == 5 and t.description for t in traits)
    ends = Counter(t.tags[0] for t in traits)
    assert ends == {"assistant_end": 8, "role_play_end": 8}


def test_questions_are_24_and_every_six_cover_six_subjects():
    questions = load_questions()
    assert [q.id for q in questions] == [f"q{n:02}" for n in range(1, 25)]
    for start in range(0, 24, 6):
        subjects = {q.tags[0] for q in questions[start : start + 6]}
        assert subjects == {"values", "explain", "request", "pushback", "self", "feelings"}
    assert all(len(words(q.text)) <= 25 for q in questions)


def test_no_question_names_a_role_or_its_reader():
    spoken = {w for q in load_questions() for w in words(q.text)}
    names = {r.name for r in load_roles()}
    assert not spoken & (names | {f"{n}s" for n in names} | {"ai", "model", "machine", "role"})


def test_prompts_are_short_and_address_their_reader():
    for where, text in PROMPTS:
        assert 12 <= len(text.split()) <= 45, (where, text)
        assert re.search(r"\b(you|your|yours)\b", text, re.IGNORECASE), (where, text)


def test_no_prompt_speaks_of_ai():
    for where, text in PROMPTS:
        if not where.startswith("assistant["):
            assert not re.search(r"\b(AI|assistants?|language models?|chatbots?)\b", text), where


def test_every_role_prompt_names_its_role():
    for where, text in ROLE_PROMPTS:
        assert where.partition("[")[0] in text.lower(), (where, text)


def test_each_pair_is_parallel_in_length():
    for trait in load_traits():
        for pair in trait.pairs:
            gap = len(pair.positive.split()) - len(pair.negative.split())
            assert abs(gap) <= 4, pair


def test_no_two_prompts_are_near_duplicates():
    # Partners of one pair share their framing on purpose, and share their label here.
    grams = [(where, text, trigrams(text)) for where, text in PROMPTS]
    for (one, text, left), (two, other, right) in itertools.combinations(grams, 2):
        if one != two:
            assert len(left & right) / len(left | right) < 0.12, (one, text, two, other)


def test_the_five_framings_of_a_role_do_not_open_alike():
    for role in load_roles():
        openings = {tuple(words(prompt)[:6]) for prompt in role.prompts}
        assert len(openings) == 5, role.name


def test_defaults_are_the_five_conditions_and_only_none_is_empty():
    defaults = load_defaults()
    assert [d.id for d in defaults] == ["none", "assistant", "language_model", "named", "yourself"]
    assert [d.id for d in defaults if not d.text] == ["none"]
    assert [d.id for d in defaults if "Qwen3" in d.fill("Qwen3")] == ["named"]
    assert not any("{" in d.fill("Qwen3") for d in defaults)


def test_core_is_read_once():
    assert load_roles()[0] is load_roles()[0]


def test_loading_brings_nothing_heavy():
    code = (
        "import sys\nfrom persona_lens.catalog import load_roles, load_traits\n"
        "load_roles('full'), load_traits('full')\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'datasets', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
