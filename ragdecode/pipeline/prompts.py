"""Turns a question with its evidence into the token ids of every view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ragdecode.decoding.intervention import Evidence
from ragdecode.documents.document import Document
from ragdecode.documents.splitting import split
from ragdecode.indexing.bm25.words import splitter
from ragdecode.pipeline.evidence_spans import Marks
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.relevance import most_relevant
from ragdecode.pipeline.template import PromptTemplate
from ragdecode.pipeline.turn import Turn
from ragdecode.pipeline.views import ViewPlan
from ragdecode.spec.index import SplitSpec

if TYPE_CHECKING:
    from ragdecode.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prompt:
    """What a view reads.

    Attributes:
        text: The rendered prompt, special tokens written out.
        ids: Its token ids.
        evidence: Where it shows the passages, if that was asked for.
    """

    text: str
    ids: Sequence[int]
    evidence: tuple[Evidence, ...] = ()


class PromptRenderer:
    """Renders prompts under the pipeline's tokenizer, which all views share, but for those of foreign models.

    Args:
        views: The views.
        tokenizer: The pipeline's.
        foreign: Tokenizers of models with another vocabulary, by model key.
    """

    def __init__(
        self, views: Sequence[ViewPlan], tokenizer: Tokenizer, foreign: Mapping[str, Tokenizer] | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._foreign = foreign or {}
        self._split = lru_cache(maxsize=256)(self._texts)
        self._words = lru_cache(maxsize=4096)(splitter("none"))
        self._templates = {view.name: PromptTemplate(view.prompt, self._of(view).neutralise) for view in views}

    def is_foreign(self, view: ViewPlan) -> bool:
        """Whether a view is shown to a model with another vocabulary."""
        return view.model in self._foreign

    def _of(self, view: ViewPlan) -> Tokenizer:
        return self._foreign.get(view.model, self._tokenizer)

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
            view.name: self._chat(
                self._of(view),
                self._templates[view.name].messages(question, self._shown(view, question, passages), history),
                view.prompt.answer_prefix,
            )
            for view in views
            if view.only is None or view.only <= len(passages)
        }

    def with_evidence(
        self,
        views: Sequence[ViewPlan],
        question: str,
        passages: Sequence[Passage],
        history: Sequence[Turn],
        prompts: Mapping[str, Prompt],
    ) -> dict[str, Prompt]:
        """The prompts, with the token spans of the passages in them; of foreign models' views nothing is known."""
        found = dict(prompts)
        for view in views:
            prompt = found.get(view.name)
            if prompt is not None and not self.is_foreign(view):
                found[view.name] = replace(prompt, evidence=self._evidence(view, question, passages, history, prompt))
        return found

    def _evidence(
        self, view: ViewPlan, question: str, passages: Sequence[Passage], history: Sequence[Turn], prompt: Prompt
    ) -> tuple[Evidence, ...]:
        """Where a view's prompt shows the passages, in order of place; empty where that cannot be told."""
        # two passages may have the same name, or be parts of one: they are told apart by their place
        placed = [replace(item, id=str(place)) for place, item in enumerate(passages)]
        shown = self._shown(view, question, placed)
        marks = Marks.of(prompt.text, len(shown))
        marked = [
            replace(item, id=passages[int(item.id)].id, text=marks.mark(index, item.text))
            for index, item in enumerate(shown)
        ]
        messages = self._templates[view.name].messages(question, marked, history)
        text = self._text(self._tokenizer, messages, view.prompt.answer_prefix)
        return tuple(
            Evidence(start, stop, passage=int(shown[index].id), score=shown[index].score)
            for start, stop, index in marks.spans(text, prompt.text, self._offsets(prompt.text))
        )

    def follow(self, view: ViewPlan, target: Prompt, turns: Sequence[Turn] = ()) -> Prompt:
        """What a drafter's own view shows where a request brings the target's prompt, or a chat, as it is."""
        if not self.is_foreign(view):
            return target
        tokenizer = self._of(view)
        if not turns:
            return Prompt(target.text, tokenizer.encode(target.text, special=True))
        clean = tokenizer.neutralise
        return self._chat(tokenizer, [{"role": turn.role, "content": clean(turn.content)} for turn in turns], "")

    def _shown(self, view: ViewPlan, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The passages that a view shows, in the order in which they are given."""
        if view.only is not None:
            passages = passages[view.only - 1 : view.only]
        if view.tokens is not None:
            parts = [part for passage in passages for part in self._parts(passage, view.tokens)]
            # a part has not the score of the whole
            passages = [replace(part, score=0.0) for part in parts] if len(parts) > len(passages) else parts
        if view.top_k is None or view.by == "place":
            return list(passages)[: view.top_k]
        return most_relevant(question, passages, view.top_k, self._words)

    def _parts(self, passage: Passage, tokens: int) -> list[Passage]:
        """A passage in parts of at most so many tokens."""
        return [replace(passage, text=text) for text in self._split(passage.text, tokens)]

    def _texts(self, text: str, tokens: int) -> list[str]:
        return [part.text for part in split(Document(text), "", SplitSpec(tokens=tokens, overlap=0), self._offsets)]

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        return list(self._tokenizer.fast.encode(text, add_special_tokens=False).offsets)

    def chat(self, messages: Sequence[Mapping[str, str]], answer_prefix: str = "") -> Prompt:
        """The prompt of a chat whose contents are already neutralised, open for the answer."""
        return self._chat(self._tokenizer, messages, answer_prefix)

    def _chat(self, tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], answer_prefix: str) -> Prompt:
        text = self._text(tokenizer, messages, answer_prefix)
        return Prompt(text, tokenizer.encode(text, special=True))

    def _text(self, tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], answer_prefix: str) -> str:
        if tokenizer.has_chat_template or tokenizer is self._tokenizer:
            text = tokenizer.render_chat([dict(message) for message in messages], add_generation_prompt=True)
        else:  # a draft model needs no template: it reads what it can
            text = tokenizer.named_tokens.get("bos_token", "")
            text += "".join(f"{message['content']}\n\n" for message in messages)
        return text + answer_prefix

    def turns(self, turns: Sequence[Turn]) -> Prompt:
        """The prompt of a chat as it is, its contents neutralised."""
        clean = self._tokenizer.neutralise
        return self.chat([{"role": turn.role, "content": clean(turn.content)} for turn in turns])

    def exact(self, text: str) -> Prompt:
        """The prompt as it stands: special-token strings become their ids, nothing is added."""
        return Prompt(text, self._tokenizer.encode(text, special=True))
