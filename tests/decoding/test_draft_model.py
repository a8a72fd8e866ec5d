"""Draft models with the same vocabulary and with another one: they change speed only."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.drafters.draft_model import DraftModel, DraftModelSettings
from ragdecode.decoding.drafters.rasd import Rasd, RasdSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve, Rewind
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.sampling import warp
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.errors import InputError
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.settings import NoSettings
from tests.decoding.codecs import TableCodec, fixed_width_vocabulary, random_vocabulary
from tests.decoding.engines import VOCAB, backend, decode, model, prompt, request
from tests.decoding.tiny_models import tiny
from tests.reference import naive

OTHER = 83
SPEC = ModelSpec.model_validate({"name": "small", "source": {"path": {"path": "nowhere"}}})
TEMPERATURES = [Sampling(), Sampling(temperature=0.7, seed=3), Sampling(temperature=1.0, top_p=0.9, seed=4)]
CAD = [Cad(CadSettings(alpha=0.5))]


def drafter(match: str = "auto", **settings) -> DraftModel:
    return DraftModel(DraftModelSettings(model=SPEC, match=match, **settings))


def other_backend(seed: int = 5, vocab: int = OTHER) -> LlamaBackend:
    stock = tiny("llama", vocab_size=vocab, seed=seed)
    return LlamaBackend(stock.config.to_dict(), stock.state_dict(), dtype=torch.float64)


def permuted_backend(order: list[int]) -> LlamaBackend:
    """The target's own model, its token i called order[i]."""
    stock = model()
    state = dict(stock.state_dict())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        table = torch.empty_like(state[name])
        table[order] = state[name]
        state[name] = table
    return LlamaBackend(stock.config.to_dict(), state, dtype=torch.float64)


def drafted(name: str, seed: int, length: int, draft_prompt=None, model_key: str = "small", **settings) -> Request:
    own = prompt(seed, length)
    views = {
        "with_context": View(own),
        "without_context": View(prompt(seed + 50, 7)),
        "draft_model": View(draft_prompt or own, model=model_key, role="draft"),
    }
    return Request(name, views, **settings)


def plain(name: str, seed: int, length: int, **settings):
    views = {"with_context": prompt(seed, length), "without_context": prompt(seed + 50, 7)}
    return decode(Engine({"main": backend()}), request(name, views, **settings))[name]


@pytest.mark.parametrize("sampling", TEMPERATURES, ids=["T0", "T0.7", "T1"])
@pytest.mark.parametrize("rules", [[], CAD], ids=["plain", "cad"])
def test_tokens_are_those_of_the_undrafted_run(sampling, rules):
    settings = {"sampling": sampling, "rules": rules, "max_new_tokens": 20}
    engine = Engine({"main": backend(), "small": backend(seed=9)}, max_batch=2)
    requests = [drafted(f"r{i}", i, 6 + 3 * i, drafters=[drafter()], **settings) for i in range(3)]
    for name, result in decode(engine, *requests).items():
        i = int(name[1:])
        assert result.tokens == plain(name, i, 6 + 3 * i, **settings).tokens
        assert result.stats.drafted > 0


VOCABULARIES = {"main": random_vocabulary(VOCAB, 1), "small": random_vocabulary(OTHER, 2)}


@pytest.mark.parametrize("sampling", TEMPERATURES, ids=["T0", "T0.7", "T1"])
@pytest.mark.parametrize("match", ["auto", "strings", "intersection"])
@pytest.mark.parametrize("rules", [[], CAD], ids=["plain", "cad"])
def test_another_vocabulary_changes_speed_only(match, sampling, rules):
    settings = {"sampling": sampling, "rules": rules, "max_new_tokens": 24, "max_draft_nodes": 10}
    engine = Engine({"main": backend(), "small": other_backend()}, max_batch=2, foreign=["small"])
    short = [token % OTHER for token in prompt(7, 11)]
    requests = [
        drafted(f"r{i}", i, 6 + 3 * i, short, drafters=[drafter(match)], vocabularies=VOCABULARIES, **settings)
        for i in range(3)
    ]
    results = decode(engine, *requests)
    for i in range(3):
        assert results[f"r{i}"].tokens == plain(f"r{i}", i, 6 + 3 * i, **settings).tokens
    assert sum(result.stats.drafted for result in results.values()) > 10


@pytest.mark.parametrize("sampling", TEMPERATURES[:2], ids=["T0", "T0.7"])
@pytest.mark.parametrize("match", ["tokens", "strings", "intersection"])
def test_it_extends_and_prunes_what_was_retrieved(match, sampling):
    """As the generator of RASD, which shows it drafts in the target's tokens, unknown ones among them."""
    foreign = match != "tokens"
    spec = {"draft_model": {"model": SPEC.model_dump(), "match": match}}
    settings = {"sampling": sampling, "max_new_tokens": 24, "max_draft_nodes": 12}
    joined = Rasd(RasdSettings.model_validate({"retrieve": ["prompt_lookup"], "generate": spec, "extend": True}))
    item = drafted("a", 2, 30, [5, 6, 7], drafters=[joined], vocabularies=VOCABULARIES if foreign else {}, **settings)
    small = other_backend() if foreign else backend(seed=9)
    result = decode(Engine({"main": backend(), "small": small}, foreign=["small"] * foreign), item)["a"]
    assert result.tokens == plain("a", 2, 30, **settings).tokens
    assert set(result.stats.sources) == {"prompt_lookup", "draft_model"}


def same_model(match: str, sampling: Sampling, **settings):
    """The target's own model under permuted ids, with tokens of which any text has one reading."""
    main, small = fixed_width_vocabulary(VOCAB, 1), fixed_width_vocabulary(VOCAB, 2)
    order = [small.ids[text] for text in main.tokens]
    own = prompt(3, 12)
    item = drafted(
        "a",
        3,
        12,
        [order[token] for token in own],
        drafters=[drafter(match, depth=4, width=1, branch=1, gain=0.0)],
        vocabularies={"main": main, "small": small},
        sampling=sampling,
        max_new_tokens=21,
        max_draft_nodes=5,
        **settings,
    )
    engine = Engine({"main": backend(), "small": permuted_backend(order)}, foreign=["small"])
    return decode(engine, item)["a"]


@pytest.mark.parametrize(
    ("match", "sampling"),
    [("strings", TEMPERATURES[0]), *(("intersection", sampling) for sampling in TEMPERATURES)],
)
def test_a_draft_model_that_equals_the_target_is_always_right(match, sampling):
    """Also under the noise of sampling, which the intersection shares by the target's ids."""
    result = same_model(match, sampling)
    assert result.tokens == plain("a", 3, 12, sampling=sampling, max_new_tokens=21).tokens
    assert result.stats.accepted == result.stats.drafted
    assert result.stats.steps <= 6  # the first pass, then 5 tokens each


@pytest.mark.parametrize("sampling", TEMPERATURES, ids=["T0", "T0.7", "T1"])
def test_a_draft_model_that_equals_the_target_is_always_right_with_its_vocabulary(sampling):
    item = drafted(
        "a",
        3,
        12,
        drafters=[drafter("tokens", depth=4, width=1, branch=1, gain=0.0)],
        sampling=sampling,
        max_new_tokens=21,
        max_draft_nodes=5,
    )
    result = decode(Engine({"main": backend(), "small": backend()}), item)["a"]
    assert result.tokens == plain("a", 3, 12, sampling=sampling, max_new_tokens=21).tokens
    assert result.stats.accepted == result.stats.drafted
    assert result.stats.steps <= 6


def test_the_row_reads_what_was_accepted_once():
    """A step feeds the draft row the new tokens and the looked-at tree, not the answer again."""
    small = other_backend()
    fed = []
    forward = small.forward

    def counted(segments, **kwargs):
        fed.append([(segment.base, len(segment.tokens)) for segment in segments])
        return forward(segments, **kwargs)

    small.forward = counted
    item = drafted(
        "a", 1, 20, [token % OTHER for token in prompt(7, 40)], drafters=[drafter("intersection", depth=2, gain=0.0)],
        vocabularies=VOCABULARIES, max_new_tokens=60,
    )  # fmt: skip
    decode(Engine({"main": backend(), "small": small}, foreign=["small"]), item)
    late = [count for calls in fed[len(fed) // 2 :] for _, count in calls]
    assert max(late) < 70  # the last tokens of the answer may be read again, all of it never
    assert sum(late) / len(late) < 25


class Back(Monitor):
    """Goes back once, to the fifth token, at the twelfth."""

    part_name = "back"

    def start(self, request):
        return BackSession()


class BackSession(MonitorSession):
    def __init__(self):
        self.done = False

    def observe(self, token):
        if token.position != 12 or self.done:
            return None
        self.done = True
        return Rewind(to=5)

    def rewind(self, length):
        pass

    def record(self):
        return None


@pytest.mark.parametrize("match", ["tokens", "strings", "intersection"])
@pytest.mark.parametrize("sampling", TEMPERATURES[:2], ids=["T0", "T0.7"])
def test_a_rewind_takes_the_draft_row_back(match, sampling):
    settings = {"sampling": sampling, "max_new_tokens": 24, "monitors": [Back(NoSettings())]}
    foreign = match != "tokens"
    item = drafted(
        "a", 2, 9, [5, 6, 7], drafters=[drafter(match)], vocabularies=VOCABULARIES if foreign else {}, **settings
    )
    small = other_backend() if foreign else backend(seed=9)
    result = decode(Engine({"main": backend(), "small": small}, foreign=["small"] * foreign), item)["a"]
    assert result.tokens == plain("a", 2, 9, **settings).tokens
    assert result.notes


class Again(Back):
    """Retrieves once, at the twelfth token; the answer goes on under other prompts."""

    part_name = "again"

    def start(self, request):
        return AgainSession()


class AgainSession(BackSession):
    def observe(self, token):
        return Retrieve("more") if super().observe(token) else None


@pytest.mark.parametrize("match", ["tokens", "strings", "intersection"])
def test_new_evidence_gives_the_draft_row_another_prompt(match):
    foreign = match != "tokens"
    new = {"with_context": prompt(8, 30), "without_context": prompt(9, 9), "draft_model": [7, *prompt(4, 25)]}
    new["draft_model"] = [token % OTHER for token in new["draft_model"]]
    settings = {
        "max_new_tokens": 24,
        "monitors": [Again(NoSettings())],
        "retrieve": lambda query: {name: View(ids) for name, ids in new.items()},
    }
    item = drafted(
        "a", 2, 9, [5, 6, 7], drafters=[drafter(match)], vocabularies=VOCABULARIES if foreign else {}, **settings
    )
    small = other_backend() if foreign else backend(seed=9)
    result = decode(Engine({"main": backend(), "small": small}, foreign=["small"] * foreign), item)["a"]
    assert result.tokens == plain("a", 2, 9, **settings).tokens
    assert result.tokens != plain("a", 2, 9, max_new_tokens=24).tokens


def test_an_answer_that_outgrows_the_draft_row_is_decoded_without_drafts():
    """Tokens of many letters become many tokens of one letter."""
    wide = Vocabulary(TableCodec([None, None, None, *(bytes([97 + i % 26]) * (5 + i // 26) for i in range(94))]))
    narrow = Vocabulary(TableCodec([None, None, None, *(bytes([97 + i]) for i in range(26))]))
    for match in ("strings", "intersection"):
        item = drafted(
            "a", 2, 9, [5, 6, 7], drafters=[drafter(match)], vocabularies={"main": wide, "small": narrow},
            max_new_tokens=30,
        )  # fmt: skip
        engine = Engine({"main": backend(), "small": other_backend(vocab=29)}, foreign=["small"])
        assert decode(engine, item)["a"].tokens == plain("a", 2, 9, max_new_tokens=30).tokens


def test_a_foreign_model_is_for_drafters_that_translate():
    engine = Engine({"main": backend(), "small": other_backend()}, foreign=["small"])
    item = drafted("a", 1, 5, drafters=[drafter("tokens")])
    with pytest.raises(InputError, match="another vocabulary; not all that read it translate"):
        engine.submit(item)
    item = drafted("a", 1, 5, drafters=[drafter(), drafter("tokens")], vocabularies=VOCABULARIES)
    with pytest.raises(InputError, match="not all that read it translate"):
        engine.submit(item)
    views = {"with_context": View(prompt(1, 5)), "without_context": View([3, 4], model="small")}
    with pytest.raises(InputError, match="another vocabulary"):
        engine.submit(Request("b", views, rules=CAD))
    with pytest.raises(InputError, match="a model"):
        Engine({"small": other_backend()}, foreign=["small"])


@pytest.mark.parametrize("match", ["tokens", "intersection"])
def test_rejection_gives_the_same_distribution(match):
    """Two tokens of 250 answers against the exact law over the nine paths that top-k leaves."""
    foreign, own, count = match != "tokens", prompt(3, 6), 250
    sampling = Sampling(temperature=1.2, top_k=3)
    exact: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(2):
        exact = {
            (*path, token): weight * float(share)
            for path, weight in exact.items()
            for token, share in enumerate(
                warp(naive.next_log_probs(model(), [*own, *path])[None], sampling)[0].exp().tolist()
            )
            if share > 0
        }
    assert len(exact) == 9
    views = {"with_context": View(own), "draft_model": View(own if not foreign else [5, 6], "small", "draft")}
    part = drafter(match, depth=2, width=2, branch=2, gain=0.0)
    requests = [
        Request(
            f"r{i}",
            views,
            drafters=[part],
            sampling=sampling,
            verification="rejection",
            vocabularies=VOCABULARIES if foreign else {},
            max_new_tokens=3,
        )
        for i in range(count)
    ]
    small = other_backend() if foreign else permuted_backend([*range(1, VOCAB), 0])
    engine = Engine({"main": backend(), "small": small}, max_batch=100, foreign=["small"] * foreign)
    seen: dict[tuple[int, ...], int] = dict.fromkeys(exact, 0)
    results = decode(engine, *requests)
    for result in results.values():
        seen[tuple(result.tokens[:2])] += 1  # none outside the support
    distance = sum(abs(seen[path] / count - share) for path, share in exact.items()) / 2
    assert distance < 0.12  # less than twice what chance gives
    assert sum(result.stats.drafted for result in results.values()) > count
