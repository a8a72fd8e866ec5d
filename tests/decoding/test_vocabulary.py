"""Two vocabularies compared by bytes: translations, drafts written again, shared tokens."""

from __future__ import annotations

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.drafters.draft_model import DraftModel, DraftModelSettings
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.vocabulary.rewriting import UNSETTLED, UNSETTLED_CLASS, continue_in, rewrite
from ragdecode.decoding.vocabulary.shared import SharedTokens
from ragdecode.decoding.vocabulary.translation import Translation
from ragdecode.decoding.vocabulary.utf8 import complete, leading_rest
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.models.token_bytes import TokenBytes
from ragdecode.spec.model import ModelSpec
from tests.decoding.codecs import TableCodec, random_vocabulary

TEXTS = [
    "The bridge of Tollin has 12 arches, and the café — über 🍰 — none.\n\n  x = (1, 2)",
    "Wer weiß?  Niemand.",
] * 3


def trained(kind: str, size: int, seed: int = 0):
    """A real tokenizer of one of the two kinds."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    text = [word for line in TEXTS for word in random.Random(seed).sample(line.split(" "), len(line.split(" ")))]
    text = [" ".join(text)] * 3
    if kind == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=seed % 2 == 1)
        tokenizer.decoder = decoders.ByteLevel()
        special, alphabet = ["<s>"], pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        if kind == "metaspace":
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        else:
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        special, alphabet = ["<s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))], []
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    setup = json.loads(tokenizer.to_str())  # bytes are ordinary pieces
    setup["added_tokens"] = [token for token in setup["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(setup))
    return tokenizer, {0, 1} if kind != "byte_level" else {0}


def vocabulary(kind: str, size: int = 330, seed: int = 0) -> Vocabulary:
    tokenizer, control = trained(kind, size, seed)
    return Vocabulary(TokenBytes(tokenizer, control))


KINDS = {kind: vocabulary(kind, 340, seed) for seed, kind in enumerate(["byte_level", "fallback", "metaspace"])}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [TEXTS[0], " leading space", "no space", "a\tb\r\n c", "", "🍰"])
def test_bytes_of_tokens_are_the_text_and_nothing_is_put_before_it(kind, text):
    known = KINDS[kind]
    ids = known.read(text.encode())
    assert ids is not None
    assert known.write(ids) == text.encode()
    assert known.writes(0) is None


def test_pieces_are_compared_by_bytes_however_they_are_spelt():
    tokenizer, _ = trained("byte_level", 340)
    assert KINDS["byte_level"].ids[b" the"] == tokenizer.token_to_id("Ġthe")
    fallback = KINDS["fallback"]
    assert b"\n" in fallback.ids
    assert fallback.ids[b"\xf0"] == trained("fallback", 340, 1)[0].token_to_id("<0xF0>")
    # an ordinary piece is preferred to the byte that spells the same
    assert fallback.ids[b"e"] == trained("fallback", 340, 1)[0].token_to_id("e")


@given(st.binary(max_size=12), st.text(max_size=6))
def test_where_characters_end(noise, text):
    data = text.encode()
    assert complete(data) == len(data)
    for cut in range(len(data) + 1):
        whole = data[: complete(data[:cut])]
        assert text.startswith(whole.decode())
        assert cut - len(whole) < 4
        assert (data[:cut] + data[cut : cut + leading_rest(data[cut:])]).decode() in text
    assert 0 <= complete(noise) <= len(noise)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_translation_says_the_same_whatever_is_added_and_taken_back(data):
    names = st.sampled_from(sorted(KINDS))
    source, target = KINDS[data.draw(names)], KINDS[data.draw(names)]
    translation, answer = Translation(source, target), []
    for _ in range(data.draw(st.integers(1, 8))):
        if answer and data.draw(st.booleans()) and data.draw(st.booleans()):
            answer = answer[: data.draw(st.integers(0, len(answer)))]
            translation.rewind(len(answer))
        else:
            # real text, or tokens of any kind, parts of characters among them
            more = data.draw(
                st.one_of(
                    st.text("ab éß🍰\n.", max_size=30).map(lambda text: source.read(text.encode()) or []),
                    st.lists(st.integers(0, len(source.tokens) - 1), max_size=30),
                )
            )
            answer = [*answer, *more]
            translation.extend(more)
        assert translation.ids is not None
        assert target.write(translation.ids) == source.write(answer)
        behind, text = translation.behind()
        assert answer[len(answer) - len(behind) :] == behind
        assert source.write(behind) == text


def test_adding_to_a_translation_leaves_its_beginning_alone():
    source, target = KINDS["byte_level"], KINDS["fallback"]
    text = TEXTS[0] * 5
    translation, before = Translation(source, target), []
    for token in source.read(text.encode()) or []:
        translation.extend([token])
        now = translation.ids or []
        kept = max(len(before) - 24, 0)
        assert now[:kept] == before[:kept]
        before = now
    # and in the end it reads as if it had been read at once
    assert before == target.read(text.encode())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_drafts_written_again_always_continue_the_text(data):
    """Every path says a prefix of what some path of the draft says, after the answer as it stands."""
    names = st.sampled_from(sorted(KINDS))
    target, draft = KINDS[data.draw(names)], KINDS[data.draw(names)]
    answer = data.draw(st.lists(st.integers(0, len(target.tokens) - 1), max_size=20))
    translation = Translation(target, draft)
    translation.extend(answer)
    count = data.draw(st.integers(1, 8))
    parents = [data.draw(st.integers(-1, node - 1)) for node in range(count)]
    tokens = [data.draw(st.integers(0, len(draft.tokens) - 1)) for _ in range(count)]
    scores: list[float] = []
    for parent in parents:
        scores.append(0.8 * (1.0 if parent < 0 else scores[parent]))
    again = rewrite(Draft(tokens, parents, scores), draft, target, *translation.behind())
    texts = set()
    for node in range(count):
        path = [node]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        texts.add(draft.write(tokens[step] for step in reversed(path)))
    paths: list[list[int]] = []
    for token, parent, score in zip(again.tokens, again.parents, again.scores, strict=True):
        assert parent < len(paths)
        paths.append([*(paths[parent] if parent >= 0 else []), token])
        written = target.write(paths[-1])
        assert any(text.startswith(written) for text in texts)
        assert 0 < score <= (again.scores[parent] if parent >= 0 else 1.0)
    siblings = list(zip(again.parents, again.tokens, strict=True))
    assert len(set(siblings)) == len(siblings)


def table(*words: str | bytes) -> Vocabulary:
    return Vocabulary(TableCodec([word.encode() if isinstance(word, str) else word for word in words]))


def test_what_follows_is_read_together_with_what_stands_before():
    target = table("a", "b", "c", "ab", "bc", "cc", " ")
    # alone "bc" is one token; after "a" the tokenizer takes "ab" over the border, which cannot be: read alone
    assert continue_in(target, [0], b"a", b"bc") == [4]
    # after "c", "cc" would be taken; with " " between them nothing crosses
    assert continue_in(target, [2], b"c", b" cc") == [6, 5]
    assert continue_in(target, [], b"", b"abc") == [3, 2]


def test_an_unfinished_character_is_left_out_and_one_that_was_begun_is_finished():
    target = table("a", "é", *(bytes([byte]) for byte in "é🍰".encode()))
    cake = "🍰".encode()
    assert target.write(continue_in(target, [0], b"a", b"a" + cake[:3])) == b"a"
    assert continue_in(target, [0], b"a", cake[:2]) == []
    begun = target.ids[b"\xc3"]
    assert continue_in(target, [begun], b"\xc3", b"\xa9a") == [target.ids[b"\xa9"], 0]


def test_the_last_token_counts_less_where_more_text_might_change_it():
    target = table("the", "them", " cat", " ")
    source = table("th", "e", " cat", None)
    tree = Draft([0, 1, 2, 3, 2], [-1, 0, 1, 2, 3], [0.9, 0.8, 0.7, 0.6, 0.5], classes=[3, 4, 5, 6, 7])
    again = rewrite(tree, source, target, [], b"")
    assert (list(again.tokens), list(again.scores), list(again.classes)) == ([0, 2], [0.8, 0.7], [4, 5])
    short = rewrite(Draft([0, 1], [-1, 0], [0.9, 0.8]), source, target, [], b"")
    assert (list(short.tokens), list(short.scores)) == ([0], [0.8 * UNSETTLED])
    assert list(short.classes) == [UNSETTLED_CLASS]


def test_a_text_that_a_vocabulary_cannot_write_has_no_translation_until_it_is_gone():
    source, target = table("a", "z"), table("a")
    translation = Translation(source, target)
    translation.extend([0, 1])
    assert translation.ids is None
    translation.extend([0])
    assert translation.ids is None
    translation.rewind(1)
    assert translation.ids == [0]


@pytest.mark.parametrize("seed", range(5))
def test_the_intersection_is_accepted_at_least_as_often_as_the_union(seed):
    """Against a reference that walks over byte strings; acceptance of one draw is sum min(p, q)."""
    target, draft = random_vocabulary(97, seed), random_vocabulary(83, seed + 40)
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(97, generator=generator, dtype=torch.float64).mul(3).softmax(-1)
    q = torch.randn(83, generator=generator, dtype=torch.float64).mul(3).log_softmax(-1)
    shared = SharedTokens(target, draft)
    restricted = shared.restrict(q[None], 97)[0].exp()
    union = dict.fromkeys({*filter(None, target.tokens), *filter(None, draft.tokens)}, 0.0)
    assert restricted.sum() == pytest.approx(1)
    both = [text for text in union if text in target.ids and text in draft.ids]
    assert shared.size == len(both)
    mass = sum(q[draft.ids[text]].exp() for text in both)
    for text in both:
        ours, theirs = target.ids[text], draft.ids[text]
        assert restricted[ours] == pytest.approx(float(q[theirs].exp() / mass))
        assert shared.to_draft([ours]) == [theirs]
        assert ours in shared
    assert 0 not in shared
    accepted_of_union = sum(min(float(p[target.ids[text]]), float(q[draft.ids[text]].exp())) for text in both)
    accepted = float(torch.minimum(p, restricted).sum())
    assert accepted >= accepted_of_union - 1e-12
    assert accepted > 1.05 * accepted_of_union  # and more where much is not shared


def test_draws_for_rejection_are_of_the_shared_tokens():
    """What is told as drawn from is the restricted distribution itself, in the target's tokens."""
    target, draft = random_vocabulary(97, 1), random_vocabulary(83, 2)
    spec = ModelSpec.model_validate({"source": {"path": {"path": "nowhere"}}})
    drafter = DraftModel(DraftModelSettings(model=spec, depth=2, gain=0.0))
    assert drafter.draws
    assert not DraftModel(DraftModelSettings(model=spec, match="strings")).draws
    request = Request(
        "a",
        {"with_context": View([3, 4]), "draft_model": View([5], model="small", role="draft")},
        drafters=[drafter],
        sampling=Sampling(temperature=1.0),
        verification="rejection",
        vocabularies={"main": target, "small": draft},
    )
    growing = drafter.start(request).propose(6)
    generator, looks, answers = torch.Generator().manual_seed(1), [next(growing)], []
    try:
        while True:
            nodes = 1 + len(looks[-1].draft.tokens)
            answers.append(torch.randn(nodes, 83, generator=generator, dtype=torch.float64).mul(2).log_softmax(-1))
            looks.append(growing.send(answers[-1][looks[-1].wanted]))
    except StopIteration as done:
        tree = done.value
    assert len(looks) == 2
    assert all(look.answer == [] for look in looks)
    shared = SharedTokens(target, draft)
    assert torch.equal(tree.drawn[-1], shared.restrict(answers[0], 97)[0].log_softmax(-1))
    assert len(set(tree.tokens)) > 1
    assert all(token in shared for token in tree.tokens)
    level = [token for token, parent in zip(tree.tokens, tree.parents, strict=True) if parent < 0]
    # the draft model was asked in its own ids
    asked = [draft.writes(token) for token in looks[1].draft.tokens]
    assert asked
    assert set(asked) <= {target.writes(token) for token in level}
