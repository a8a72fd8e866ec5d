"""Turns a question with its evidence into the token ids of every view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.template import PromptTemplate
from ragdecode.pipeline.turn import Turn
from ragdecode.pipeline.views import ViewPlan

if TYPE_CHECKING:
    from ragdecode.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prompt:
    """What a view reads.

    Attributes:
        text: The rendered prompt, special tokens written out.
        ids: Its token ids.
    """

    text: str
    ids: Sequence[int]


class PromptRenderer:
    """Renders prompts under the pipeline's tokenizer, which all views share."""

    def __init__(self, views: Sequence[ViewPlan], tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._templates = {view.name: PromptTemplate(view.prompt, tokenizer.neutralise) for view in views}

    def render(
        self,
        views: Sequence[ViewPlan],
        question: str,
        passages: Sequence[Passage],
        history: Sequence[Turn] = (),
    ) -> dict[str, Prompt]:
        """The prompts of the views, by name; each view shows its own share of the passages.

        Raises:
            InputError: A template fails.
        """
        return {
            view.name: self.chat(
                self._templates[view.name].messages(question, list(passages)[: view.top_k], history),
                view.prompt.answer_prefix,
            )
            for view in views
        }

    def chat(self, messages: Sequence[Mapping[str, str]], answer_prefix: str = "") -> Prompt:
        """The prompt of a chat whose contents are already neutralised, open for the answer."""
        text = self._tokenizer.render_chat([dict(message) for message in messages], add_generation_prompt=True)
        return self.exact(text + answer_prefix)

    def turns(self, turns: Sequence[Turn]) -> Prompt:
        """The prompt of a chat as it is, its contents neutralised."""
        clean = self._tokenizer.neutralise
        return self.chat([{"role": turn.role, "content": clean(turn.content)} for turn in turns])

    def exact(self, text: str) -> Prompt:
        """The prompt as it stands: special-token strings become their ids, nothing is added."""
        return Prompt(text, self._tokenizer.encode(text, special=True))
