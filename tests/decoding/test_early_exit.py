"""Early exits against models with their later blocks cut off: states, projections, views, drafts."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.monitor import Retrieve, Rewind
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.contrast import Contrast, ContrastSettings
from ragdecode.errors import InputError
from tests.decoding.engines import VOCAB, TreeDrafter, decode, prompt
from tests.decoding.stock import EXACT, TOLERANCE, assert_close, chain, stock_logits
from tests.decoding.test_commit import Scripted
from tests.decoding.tiny_models import tiny
from tests.reference import naive
from tests.reference.early import PlainExit, cut
from tests.reference.llama import PlainLlama

OWN = ["llama", "llama_tied", "qwen2", "qwen3", "mistral"]
PARENTS, DEPTHS, TREE = [-1, 0, 0, 1, 3], [0, 1, 1, 2, 3], [7, 40, 41, 42, 43]
LONG = prompt(1, 37)


@pytest.fixture(autouse=True)
def _quiet_transformers() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)


def deep(family="llama", **settings):
    return tiny(family, num_hidden_layers=4, **settings)


def own(model) -> LlamaBackend:
    return LlamaBackend(model.config.to_dict(), model.state_dict(), dtype=torch.float64)


MODEL = deep()


def path_to(node: int) -> list[int]:
    return [] if node < 0 else [*path_to(PARENTS[node]), TREE[node]]


def after(model, ids: list[int]) -> torch.Tensor:
    """Logits [V] after the last of some tokens."""
    return model(torch.tensor([ids]), use_cache=False).logits[0, -1]


def both_passes(backend, layers):
    """States of a prompt's last tokens and of a tree below it, beside another row; and the texts up to them."""
    rows, texts = [backend.open_row(40) for _ in range(2)], [prompt(3, 11), prompt(4, 5)]
    first = backend.forward([chain(row, 0, ids, [len(ids) - 1, 1]) for row, ids in zip(rows, texts, strict=True)],
                            states=layers)  # fmt: skip
    tree = Segment(rows[0], 11, TREE, DEPTHS, PARENTS, range(5))
    second = backend.forward([chain(rows[1], 5, [9]), tree], states=layers)
    states = {layer: torch.cat([first.states[layer], second.states[layer]]) for layer in layers}
    wanted = [texts[0], texts[0][:2], texts[1], texts[1][:2], [*texts[1], 9]]
    return states, [*wanted, *([*texts[0], *path_to(node)] for node in range(5))]


@pytest.mark.parametrize("family", OWN)
def test_projected_states_are_the_logits_of_the_shorter_model(family):
    model = deep(family)
    backend = own(model)
    assert (backend.blocks, "exit" in backend.interventions) == (4, True)
    states, texts = both_passes(backend, (0, 2, 3))
    columns = torch.randint(0, VOCAB, (len(texts), 7), generator=torch.Generator().manual_seed(2))
    for layer, found in states.items():
        shorter, bare = PlainExit(model, layer), PlainExit(model, layer, normed=False)
        whole = torch.stack([after(shorter, text) for text in texts])
        assert_close(backend.project(found), whole)
        assert_close(backend.project(found), torch.stack([stock_logits(cut(model, layer), t) for t in texts]), 1e-5)
        assert_close(backend.project(found, columns), whole.gather(1, columns))
        raw = torch.stack([after(bare, text) for text in texts])
        assert_close(backend.project(found, normed=False), raw)
        assert_close(backend.project(found, columns, normed=False), raw.gather(1, columns))


@pytest.mark.parametrize("family", [*EXACT, "granite", "cohere", "starcoder2", "olmo2", "stablelm"])
def test_the_transformers_backend_tells_the_same_of_many_families(family):
    scaled = {"granite": {"logits_scaling": 3.0}, "cohere": {"logit_scale": 0.25}, "gemma2": {}}.get(family, {})
    model = tiny(family, **scaled)
    backend = TransformersBackend(model)
    assert backend.interventions == {"exit"}
    states, texts = both_passes(backend, (0, 1))
    tolerance = TOLERANCE.get(family, 1e-9)
    columns = torch.randint(0, VOCAB, (len(texts), 7), generator=torch.Generator().manual_seed(2))
    for layer, found in states.items():
        wanted = torch.stack([stock_logits(cut(model, layer), text) for text in texts])
        assert_close(backend.project(found), wanted, tolerance)
        assert_close(backend.project(found, columns), wanted.gather(1, columns), tolerance)
    assert not (backend.project(states[0]) - backend.project(states[1])).abs().max() < 1e-3


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "opt_projected", "phi", "cohere"])
def test_without_the_norm_only_the_norm_is_left_out(family):
    model = tiny(family)
    backend = TransformersBackend(model)
    states, _ = both_passes(backend, (0,))
    tail = {
        "gpt2": (), "gemma3": (), "phi": (), "cohere": (),
        "opt_projected": (model.base_model.decoder.project_out,) if family == "opt_projected" else (),
    }[family]  # fmt: skip
    x = states[0]
    for module in tail:
        x = module(x)
    logits = model.get_output_embeddings()(x)
    if family == "gemma3":
        logits = 20 * torch.tanh(logits / 20)
    if family == "cohere":
        logits = logits * model.config.logit_scale
    assert_close(backend.project(states[0], normed=False), logits.detach())


def test_states_are_what_transformers_calls_hidden_states():
    model = deep("qwen3")
    text = prompt(3, 9)
    with torch.no_grad():
        hidden = model(torch.tensor([text]), use_cache=False, output_hidden_states=True).hidden_states
    for backend in (own(model), TransformersBackend(model)):
        output = backend.forward([chain(backend.open_row(16), 0, text, range(9))], states=(0, 1, 2))
        for layer in range(3):
            assert_close(output.states[layer], hidden[layer + 1][0], 1e-5)


def test_a_model_whose_blocks_cannot_be_told_lacks_exits_and_says_why(monkeypatch):
    model = tiny("llama")
    assert TransformersBackend(model).interventions == {"exit"}
    model.config.final_logit_softcapping = 5.0  # which a Llama does not apply
    backend = TransformersBackend(model)
    assert backend.interventions == frozenset()
    assert_close(backend.forward([chain(backend.open_row(8), 0, [4, 5])]).logits[0], stock_logits(model, [4, 5]))
    with pytest.raises(ValueError, match="projected logits are off by"):
        backend.project(torch.zeros(1, 32))
    with pytest.raises(ValueError, match="no states"):
        backend.forward([chain(0, 0, [4])], states=(0,))
    with pytest.raises(InputError, match=r"would leave the model early.*LlamaForCausalLM.*off by"):
        Engine({"main": backend}).submit(ask())


# ---- views


def early(layer=1, name="early", role="both") -> dict[str, View]:
    return {name: View(LONG, role=role, intervention=EarlyExit(layer))}


def contrast(amateur="early", **settings) -> Contrast:
    return Contrast(ContrastSettings(amateur=amateur, **settings))


def ask(name="a", layer=1, *, ids=LONG, rules=None, more=None, **settings) -> Request:
    views = {"with_context": View(ids), "early": View(ids, intervention=EarlyExit(layer)), **(more or {})}
    settings = {"rules": [contrast()] if rules is None else rules, "max_new_tokens": 18, **settings}
    return Request(name, views, **settings)


def plain(layer=1, ids=LONG) -> dict:
    return {"with_context": (PlainLlama(MODEL), ids), "early": (PlainExit(MODEL, layer), ids)}


def obrien(log_probs, beta=0.5, ratio=0.1):
    expert, amateur = log_probs["with_context"], log_probs["early"]
    kept = expert >= expert.max() + torch.log(torch.tensor(ratio, dtype=torch.float64))
    return torch.where(kept, (1 + beta) * expert - beta * amateur, -torch.inf)


def same(result, tokens, log_probs):
    assert result.tokens == tokens
    wanted = log_probs[range(len(tokens)), tokens].tolist()
    assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("prefill_tokens", [16, 512])
def test_a_rule_over_an_exit_equals_the_naive_reference(layer, prefill_tokens):
    tokens, log_probs = naive.greedy(plain(layer), obrien, (), 18)
    result = decode(Engine({"main": own(MODEL)}, prefill_tokens=prefill_tokens), ask(layer=layer))["a"]
    same(result, tokens, log_probs)
    reads = -(-(len(LONG) - 1) // prefill_tokens) if len(LONG) - 1 > prefill_tokens else 0
    assert result.stats.forward_rows <= 18 + reads + 1  # no row of its own
    for record in result.records[:4]:
        raw = naive.next_log_probs(plain(layer)["early"][0], [*LONG, *tokens[: record.position]])
        assert record.views["early"] == pytest.approx(float(raw[record.token]), abs=1e-9)


def test_an_exit_after_the_last_block_is_the_target_itself():
    both = decode(Engine({"main": own(MODEL)}), ask(layer=3))["a"]
    alone = decode(Engine({"main": own(MODEL)}), ask(rules=[]))["a"]
    assert both.tokens == alone.tokens
    for record in both.records:
        assert record.views["early"] == pytest.approx(record.views["with_context"], abs=1e-9)


def test_padded_embedding_rows_do_not_count():
    padded = replace(ask(), max_new_tokens=12)
    tokens = decode(Engine({"main": own(MODEL)}, vocab_size=61), replace(padded, views=trimmed(padded)))["a"].tokens

    def smaller(model):
        return type("Smaller", (), {
            "device": model.device,
            "__call__": lambda _, ids, use_cache=False: type("O", (), {"logits": model(ids).logits[..., :61]}),
        })()  # fmt: skip

    ids = trimmed(padded)["with_context"].prompt
    views = {name: (smaller(model), ids) for name, (model, _) in plain(ids=ids).items()}
    assert tokens == naive.greedy(views, obrien, (), 12)[0]


def trimmed(item: Request) -> dict[str, View]:
    ids = [token % 61 for token in item.views["with_context"].prompt]
    return {name: replace(view, prompt=ids) for name, view in item.views.items()}


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("seed", range(2))
def test_no_draft_tree_changes_a_token(temperature, seed):
    def noise(position):
        return gumbel(seed, "a", 0, [position], VOCAB, torch.device("cpu"))[0]

    settings = {"sampling": Sampling(temperature=temperature, seed=seed)}
    tokens, log_probs = naive.greedy(plain(), obrien, (), 18, temperature=temperature, noise=noise)
    for drafters in ([], [TreeDrafter(tokens, seed)], [TreeDrafter(tokens, seed), TreeDrafter([5] * 18, seed)]):
        result = decode(Engine({"main": own(MODEL)}), ask(drafters=drafters, max_draft_nodes=12, **settings))["a"]
        same(result, tokens, log_probs)


def test_over_the_transformers_adapter_too():
    for family in ("llama", "gemma2"):
        stock = tiny(family)
        views = {"with_context": (stock, LONG), "early": (cut(stock, 0), LONG)}
        tokens, log_probs = naive.greedy(views, obrien, (), 12)
        item = ask(layer=0, drafters=[TreeDrafter(tokens, 1)], max_new_tokens=12)
        result = decode(Engine({"main": TransformersBackend(stock)}, prefill_tokens=16), item)["a"]
        assert result.tokens == tokens
        wanted = log_probs[range(12), tokens].tolist()
        assert [r.logprob for r in result.records] == pytest.approx(wanted, abs=TOLERANCE.get(family, 1e-9))


def test_neighbours_and_arrival_change_nothing():
    cad = [Cad(CadSettings())]
    rules = [[contrast()], [], [*cad, contrast()], [contrast("deeper", form="li")], cad, [contrast("early", ratio=0.3)]]
    requests = []
    for index, chained in enumerate(rules):
        ids = prompt(10 + index, 5 + 11 * index)
        more = {
            "deeper": View(ids, intervention=EarlyExit(2)),
            "without_context": View(prompt(50 + index, 4 + index)),
        }
        drafters = [TreeDrafter([4] * 9, index)] if index % 2 else []
        sampling = Sampling(temperature=[0.0, 0.9][index % 2], seed=index)
        requests.append(ask(f"r{index}", ids=ids, rules=chained, more=more, drafters=drafters, sampling=sampling,
                            max_new_tokens=6 + 2 * index))  # fmt: skip
    alone = {item.id: decode(Engine({"main": own(MODEL)}), item)[item.id] for item in requests}
    together = decode(Engine({"main": own(MODEL)}, max_batch=4, prefill_tokens=24), *requests)
    late, engine, waiting = {}, Engine({"main": own(MODEL)}, prefill_tokens=32), list(requests[::-1])
    while waiting or engine.busy:
        if waiting:
            engine.submit(waiting.pop())
        late |= {event.request: event.result for event in engine.step() if isinstance(event, DoneEvent)}
    for name, expected in alone.items():
        for found in (together[name], late[name]):
            assert found.tokens == expected.tokens
            wanted = [record.logprob for record in expected.records]
            assert [record.logprob for record in found.records] == pytest.approx(wanted, abs=1e-9)


# ---- drafts


def looker(**settings) -> ViewDrafter:
    return ViewDrafter(ViewDrafterSettings(**{"name": "early", "gain": 0.0, **settings}))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, seed=3)], ids=str)
@pytest.mark.parametrize("rules", [[], [Contrast(ContrastSettings(amateur="early"))], [Cad(CadSettings())]], ids=str)
@pytest.mark.parametrize("layer", [0, 2])
def test_drafts_of_an_exit_change_no_token(layer, rules, sampling):
    more = {"without_context": View(prompt(2, 8))}
    settings = {"layer": layer, "rules": rules, "sampling": sampling, "more": more}
    expected = decode(Engine({"main": own(MODEL)}), ask(**settings))["a"]
    for shape, engine in (({}, {"prefill_tokens": 16}), ({"depth": 3, "width": 2, "branch": 2}, {})):
        item = ask(drafters=[looker(**shape)], max_draft_nodes=8, **settings)
        drafted = decode(Engine({"main": own(MODEL)}, **engine), item)["a"]
        assert drafted.tokens == expected.tokens
        wanted = [record.logprob for record in expected.records]
        assert [record.logprob for record in drafted.records] == pytest.approx(wanted, abs=1e-9)
        assert drafted.stats.sources["view"]["proposed"] > 0


def test_an_exit_after_the_last_block_drafts_what_the_target_says():
    item = ask(layer=3, rules=[], drafters=[looker(depth=4, width=1, branch=1)], max_draft_nodes=6)
    result = decode(Engine({"main": own(MODEL)}), item)["a"]
    assert result.stats.steps <= 5  # five tokens a step
    assert result.stats.accepted == result.stats.drafted


def test_drafts_of_an_exit_beside_others_are_those_alone():
    items = [ask(f"r{i}", ids=prompt(20 + i, 9 + 7 * i), rules=[contrast()] if i % 2 else [], drafters=[looker()])
             for i in range(4)]  # fmt: skip
    alone = {item.id: decode(Engine({"main": own(MODEL)}), item)[item.id].tokens for item in items}
    together = decode(Engine({"main": own(MODEL)}, prefill_tokens=20), *items)
    assert {name: result.tokens for name, result in together.items()} == alone


# ---- refusals


@pytest.mark.parametrize("layer", [4, 99, -1])
def test_a_block_that_does_not_exist_is_refused(layer):
    with pytest.raises(InputError, match=rf"'early' exits after block {layer}; the model has blocks 0 to 3"):
        Engine({"main": own(MODEL)}).submit(ask(layer=layer))


def test_an_exit_with_a_prompt_of_its_own_is_refused():
    with pytest.raises(InputError, match="has a prompt or a model of its own"):
        Engine({"main": own(MODEL)}).submit(ask(more=early() | {"early": View([4], intervention=EarlyExit(1))}))


def test_drafting_from_an_exit_takes_a_backend_that_leaves_blocks_out():
    engine = Engine({"main": TransformersBackend(tiny("llama"))})
    with pytest.raises(InputError, match="cannot leave out the blocks behind it"):
        engine.submit(ask(layer=0, rules=[], drafters=[looker()]))


# ---- with monitors


def test_after_a_retrieval_the_exit_reads_the_new_prompt():
    first, _ = naive.greedy(plain(), obrien, (), 18)
    new = prompt(44, 23)
    tail, _ = naive.greedy(plain(ids=[*new, *first[:5]]), obrien, (), 13)
    item = ask(
        monitors=[Scripted(lambda _, token: Retrieve("more") if token.position == 4 else None)],
        retrieve=lambda _: {"with_context": View(new), "early": View(new, intervention=EarlyExit(1))},
        drafters=[TreeDrafter(first, 1), looker()],
    )
    assert decode(Engine({"main": own(MODEL)}), item)["a"].tokens == first[:5] + tail
    assert tail != naive.greedy(plain(ids=[*LONG, *first[:5]]), obrien, (), 13)[0]


def test_after_a_rewind_the_exit_goes_on_from_there():
    first, _ = naive.greedy(plain(), obrien, (), 18)

    def act(session, token):
        return Rewind(3, bans=[first[3]]) if token.position == 6 and not session.rewinds else None

    def banned(tokens):
        allowed = torch.ones(VOCAB, dtype=torch.bool)
        allowed[first[3]] = len(tokens) != 3
        return allowed

    expected, log_probs = naive.greedy(plain(), obrien, (), 18, allowed=banned)
    item = ask(monitors=[Scripted(act)], drafters=[TreeDrafter(first, 1), looker()])
    same(decode(Engine({"main": own(MODEL)}), item)["a"], expected, log_probs)


def test_a_monitor_may_read_an_exit():
    class Reading(Scripted):
        views = ("early",)

    seen = []
    item = ask(rules=[], monitors=[Reading(lambda _, token: seen.append(token.views))], max_new_tokens=6)
    result = decode(Engine({"main": own(MODEL)}), item)["a"]
    raw = naive.next_log_probs(plain()["early"][0], LONG)
    assert seen[0]["early"] == pytest.approx(float(raw[result.tokens[0]]), abs=1e-9)
    assert result.stats.forward_rows <= 7
