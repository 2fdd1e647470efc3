"""Which tokens the paper's code averages for a reply, told by hand for one template of each family."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from persona_lens.errors import TranscriptError
from persona_lens.transcripts import TranscriptEncoder
from persona_lens.transcripts.paper_span import MAX_TOKENS, paper_messages, paper_reply

TEMPLATES = Path(__file__).parent.parent / "templates"
CHATML = ["<|im_start|>", "<|im_end|>"]
GEMMA = ["<bos>", "<start_of_turn>", "<end_of_turn>"]
LLAMA = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def encoder(template: str, special: list[str], words: tuple[str, ...] = ()) -> TranscriptEncoder:
    """Bytes as tokens, one token for each special text and word, and one for two newlines in a row."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    newline = "Ċ"
    vocabulary = {
        token: index for index, token in enumerate([*special, *words, *alphabet, newline * 2])
    }
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[(newline, newline)]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(special)
    backend.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=special[0],
        eos_token=special[-1],
        additional_special_tokens=special,
        chat_template=(TEMPLATES / f"{template}.jinja").read_text("utf-8"),
    )
    return TranscriptEncoder(tokenizer)


def averaged(made: TranscriptEncoder, reply: str, system: str = "", *, qwen: bool = False) -> str:
    """Text of the averaged tokens."""
    answer = {"role": "assistant", "content": reply}
    transcript, chosen = paper_reply(made, [*paper_messages("Why?", system), answer], qwen=qwen)
    return str(made.tokenizer.decode(transcript.ids[chosen]))


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize(
    ("template", "special"), [("chatml", CHATML), ("gemma2", GEMMA), ("llama3", LLAMA)]
)
def test_the_reply_alone_where_it_is_found(template: str, special: list[str], system: str) -> None:
    made = encoder(template, special)
    assert averaged(made, "Because.\nIt is so.", system) == "Because.\nIt is so."
    assert averaged(made, "Why?") == "Why?"  # what the user said as well: the last one counts


def test_a_reply_that_the_template_trims_counts_with_the_end_of_its_turn() -> None:
    assert averaged(encoder("gemma2", GEMMA), "So. ") == "So.<end_of_turn>\n"
    assert averaged(encoder("llama3", LLAMA), "So. ") == "So."  # special tokens at the end go


def test_a_reply_whose_beginning_merges_with_the_template_counts_with_what_merged() -> None:
    # "assistant\n" and "\nSo." meet in one token of two newlines, which "\nSo." by itself has not.
    assert averaged(encoder("chatml", CHATML), "\nSo.") == "\n\nSo.<|im_end|>\n"


def test_qwen_between_its_marks_without_thoughts_and_blank_ends() -> None:
    made = encoder("qwen3", CHATML, ("assistant", "user", "<think>", "</think>"))
    assert averaged(made, "So.", qwen=True) == "So."
    assert averaged(made, "So. \n\n", qwen=True) == "So."
    assert averaged(made, "<think>\nHm.\n</think>\n\nSo.", qwen=True) == "So."
    # A block in the middle lies within the span, which has no holes.
    middle = "So. <think>Hm.</think> Yes."
    assert averaged(made, middle, qwen=True).startswith(("So. <think>", "Yes."))
    with pytest.raises(TranscriptError, match="not marked as in Qwen's template"):
        averaged(encoder("gemma2", GEMMA), "So.", qwen=True)


def test_nothing_is_read_beyond_the_limit_and_nothing_of_an_empty_reply() -> None:
    made = encoder("chatml", CHATML)
    messages = [*paper_messages("Why?"), {"role": "assistant", "content": "a" * 3000}]
    transcript, chosen = paper_reply(made, messages, qwen=False)
    assert len(transcript) == MAX_TOKENS
    assert chosen[-1]
    assert averaged(made, "") == ""


def test_a_question_is_no_reply() -> None:
    with pytest.raises(TranscriptError, match="ends with the assistant"):
        paper_reply(encoder("chatml", CHATML), paper_messages("Why?"), qwen=False)
