"""Messages in, token ids and token groups out, for any Hugging Face chat template.

Which tokens are the user's, which the model's, which mere template? Every mean and every
intervention of this package rests on the answer, so it is proved, not guessed:

1. The conversation is rendered to text once and tokenised once. Chat templates write their own
   BOS, so nothing is added to it, and a BOS doubled at the start is removed.
2. A second rendering, with sentinels in place of the messages, shows which characters each message
   occupies (``rendering``).
3. Character offsets carry that over to tokens, and every group is decoded back and compared with
   its text (``alignment``).
4. Replies are appended as the ids that were sampled and never tokenised again (``replies``).

Examples:
    >>> from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    >>> from transformers import PreTrainedTokenizerFast
    >>> bpe = Tokenizer(models.BPE())
    >>> bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> bpe.decoder = decoders.ByteLevel()
    >>> bpe.train_from_iterator(["user assistant system Boo Who are you"], trainers.BpeTrainer(
    ...     initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    ...     special_tokens=["<|im_start|>", "<|im_end|>"]))
    >>> chatml = (
    ...     "{% for m in messages %}<|im_start|>{{ m.role }}\\n{{ m.content }}<|im_end|>\\n{% endfor %}"
    ...     "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}")
    >>> encoder = TranscriptEncoder(PreTrainedTokenizerFast(tokenizer_object=bpe), chat_template=chatml)

Examples:
    >>> messages = encoder.messages("Who are you?", system="Be a ghost.")
    >>> prompt = encoder.prompt(messages)               # ends in the generation prompt
    >>> prompt.text.splitlines()[-1]
    '<|im_start|>assistant'
    >>> bpe.decode(prompt.ids[prompt.mask("user", turn=-1)])
    'Who are you?'
    >>> whole = encoder.encode([*messages, {"role": "assistant", "content": "Boo!"}])
    >>> bpe.decode(whole.ids[whole.mask("assistant")])
    'Boo!'
    >>> said = encoder.with_reply(prompt, bpe.encode("Boo!<|im_end|>").ids)     # ids as sampled
    >>> bpe.decode(said.ids[said.mask("assistant")]), Group.of_code(said.groups[-1])
    ('Boo!', <Group.SPECIAL: 'special'>)

What to know about groups:

- ``template`` is all the template writes: headers, date lines, default system prompts, think tags,
  empty think blocks, the generation prompt. Its special tokens are ``special``.
- ``thinking`` is what stands inside think tags or in ``reasoning_content``. Most templates drop it
  from earlier turns; then it has no tokens.
- Tokens inside a message keep its group, even where the message spells out a special token and so
  becomes one: a user who writes ``<|im_end|>`` does end the turn as far as the model can tell, but
  its id counts as the user's.
- A template without a system role (Gemma 2) gets the system text before the first user message, a
  blank line between, as in the paper's code; its tokens still are of group ``system``.
"""

from persona_lens.transcripts.defaults import PLAIN_TEMPLATE
from persona_lens.transcripts.encoder import TranscriptEncoder
from persona_lens.transcripts.groups import Group, Transcript

__all__ = ["PLAIN_TEMPLATE", "Group", "Transcript", "TranscriptEncoder"]
