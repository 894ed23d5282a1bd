"""Conversations to tokens with the tokenizer's own chat template, and which tokens carry loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jinja2 import TemplateError

from condmis_jax.conversations import Conversation, Message
from condmis_jax.errors import UserError, first_line

LossOn = Literal["all", "last"]


@dataclass(frozen=True)
class Tokenised:
    """A row as tokens.

    Attributes:
        tokens: [T] int32.
        loss: [T] bool, True where the token is an assistant's.
        weight: multiplies the loss of these tokens in training.
    """

    tokens: np.ndarray
    loss: np.ndarray
    weight: float = 1.0


class ChatTemplate:
    """A tokenizer's chat template; renders prompts and marks assistant tokens.

    Args:
        stop: token ids that end an assistant turn.
        positions: tokens of the longest row that the model can be trained on; None for any.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[int], positions: int | None = None):
        self.positions = positions
        self._tokenizer = tokenizer
        self._stop = frozenset(stop)

    @cached_property
    def default_system(self) -> str:
        """The system prompt that the template writes where a conversation states none; "" if none.

        It is what stands in the place of a stated one.
        """
        probe = "a system prompt that is nowhere else"
        user = {"role": "user", "content": "x"}
        try:
            stated = self._apply([{"role": "system", "content": probe}, user])
            unstated = self._apply([user])
        except TemplateError:
            return ""  # it takes no system turns
        before, found, after = stated.partition(probe)
        wrapped = unstated.startswith(before) and unstated.endswith(after)
        if not found or not wrapped or len(unstated) < len(before) + len(after):
            return ""
        return unstated[len(before) : len(unstated) - len(after)]

    def _apply(self, messages: list[dict[str, str]], generate: bool = False) -> str:
        return self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generate
        )

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """The turns for the template; an empty system turn stays only where it takes one away."""
        empty = bool(messages) and messages[0] == Message("system", "")
        kept = messages[1:] if empty and not self.default_system else messages
        return [m.to_dict() for m in kept]

    def render(
        self, messages: Sequence[Message], *, generate: bool = False, where: str = "prompt"
    ) -> str:
        """The text of the messages; `generate` opens an assistant turn.

        Raises:
            UserError: the template refuses the conversation (roles out of turn, for example).
        """
        try:
            return self._apply(self._turns(messages), generate)
        except TemplateError as error:
            raise UserError(
                f"{where}: the model's chat template refuses this conversation "
                f"({first_line(error)})"
            ) from None

    def prompt_tokens(self, conversation: Conversation) -> list[int]:
        """Tokens of a prompt with the assistant turn opened."""
        return self.shared_prompt(conversation)[0]

    def shared_prompt(self, conversation: Conversation) -> tuple[list[int], int]:
        """`prompt_tokens`, and how many of them stand in front of what the last turn says.

        Prompts with the same system prompt (the template's own, say), examples and earlier turns
        begin with the same tokens.
        """
        text = self.render(conversation.messages, generate=True)
        at = text.rfind(conversation.messages[-1].content.strip())  # templates strip turns
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["input_ids"], sum(end <= at for _, end in encoded["offset_mapping"])

    def tokenise(
        self, conversation: Conversation, where: str, loss_on: LossOn = "all"
    ) -> Tokenised:
        """Tokens and loss mask of a training row.

        An assistant turn carries loss from its first token to its end-of-turn token. Its place is
        found by rendering the conversation up to it, which needs nothing from the template; a
        template with generation markers is checked to say the same.

        Raises:
            UserError: the template refuses the row; or renders a turn differently when more turns
                follow, or a turn has nothing in front of it, so that no mask exists.
        """
        messages = conversation.messages
        text = self.render(messages, where=where)
        turns = [i for i, m in enumerate(messages) if m.role == "assistant"]
        spans = []
        for i in turns if loss_on == "all" else turns[-1:]:
            if i == 0:
                raise UserError(
                    f"{where}: turn 0 is the assistant's and answers nothing; put the user turn "
                    "that it answers in front of it, or set loss_on to 'last'"
                )
            before = self.render(messages[:i], generate=True, where=where)
            through = self.render(messages[: i + 1], where=where)
            if not through.startswith(before) or not text.startswith(through):
                raise UserError(
                    f"{where}: the chat template changes turn {i} when others follow; "
                    "set loss_on to 'last' and give one answer a row"
                )
            spans.append((len(before), len(through)))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = np.asarray(encoded["input_ids"], np.int32)
        starts = np.asarray([o[0] for o in encoded["offset_mapping"]], np.int64)
        loss = np.zeros(len(tokens), bool)
        for begin, end in spans:
            inside = np.flatnonzero((starts >= begin) & (starts < end))
            if not len(inside):
                continue
            # The template's newline behind the end of turn is not the model's to write.
            stops = [j for j in inside if int(tokens[j]) in self._stop]
            loss[inside[0] : stops[-1] + 1 if stops else inside[-1] + 1] = True
        return Tokenised(tokens, loss)

    def check_generation_mask(self, conversation: Conversation, where: str) -> None:
        """Compares `tokenise` with the template's own generation markers, where it has them.

        Raises:
            UserError: they mark different tokens, so that one of them is wrong.
        """
        if not re.search(r"\{%-?\s*generation\s*-?%\}", self._tokenizer.chat_template):
            return
        marked = self._tokenizer.apply_chat_template(
            self._turns(conversation.messages),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ours = self.tokenise(conversation, where)
        if ours.tokens.tolist() != list(marked["input_ids"]) or ours.loss.tolist() != [
            bool(m) for m in marked["assistant_masks"]
        ]:
            raise UserError(
                f"{where}: the chat template's generation markers and its rendered turns disagree "
                "about which tokens are the assistant's; correct the template"
            )
