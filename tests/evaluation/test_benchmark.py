"""A benchmark over a tiny random model: every contender decodes, and in float64 all of them agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.benchmark import OTHERS, OWN, Benchmark
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bench.reference import composed_gap, stock_gap
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request_lines import read_requests
from tests.pipeline import tiny_app

LINES = [
    {"id": "a", "question": "How many arches?", "passages": [{"text": "The bridge of Tollin has 12 arches."}]},
    {"id": "b", "question": "How wide?", "passages": [{"text": "The tower of Tollin is 3.5 metres wide."}]},
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    root = tiny_app.write_app(folder / "app", tiny_app.write_model(folder / "model"))
    (root / "lines.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    return root


def load(app: Path, **decode) -> Pipeline:
    settings = {"draft": "prompt_lookup", "max_new_tokens": 12} | decode
    return Pipeline.load(tiny_app.write_pipeline(app, "p", decode=settings))


def measure(pipeline: Pipeline, app: Path, names=(OWN, *OTHERS), repeats=1):
    told = []
    requests = read_requests(app / "lines.jsonl", pipeline.needs)
    bench = Benchmark(pipeline, names, requests, repeats=repeats, progress=lambda *report: told.append(report))
    return bench.run(), told


def test_all_contenders_agree_under_the_plain_rule(app):
    with load(app) as pipeline:
        found, told = measure(pipeline, app, repeats=2)
    assert set(found["contenders"]) == {OWN, *OTHERS}
    for row in found["contenders"].values():
        assert row["tokens_equal"] == {"same": 2, "ties": 0, "different": 0}
        assert row["tokens_per_second"] > 0
        assert row["first_token_seconds"] > 0
    assert found["contenders"]["ragdecode-nodraft"]["mean_accepted"] == 1.0
    assert found["contenders"]["hf-greedy"]["mean_accepted"] == 1.0
    assert set(found["ratios"]) >= {"ragdecode/hf-greedy", "hf-prompt-lookup/hf-greedy", "ragdecode/ragdecode-nodraft"}
    assert found["machine"]["dtype"] == "float64"
    assert ("run", 3, 4) in told
    json.dumps(found, allow_nan=False)


def test_a_composed_rule_is_held_against_its_own_undrafted_run(app):
    with load(app, rule={"cad": {"alpha": 2.0}}) as pipeline:
        found, _ = measure(pipeline, app)
        assert found["contenders"][OWN]["tokens_equal"] == {"same": 2, "ties": 0, "different": 0}
        assert found["contenders"]["hf-prompt-lookup"]["tokens_equal"]["same"] == 2
        without, _ = measure(pipeline, app, names=(OWN, "hf-greedy"))
        assert without["contenders"][OWN]["tokens_equal"] is None


def test_undrafted_leaves_the_original_as_it_is(app):
    with load(app) as pipeline:
        request = read_requests(app / "lines.jsonl")[0]
        other = pipeline.undrafted()
        assert other.prepare(request).request.drafters == ()
        assert len(pipeline.prepare(request).request.drafters) == 1
        assert OwnContender(other).run(request, 5).steps == 5


def test_gaps_are_those_of_the_reference(app):
    with load(app, rule={"cad": {"alpha": 2.0}}) as pipeline:
        request = read_requests(app / "lines.jsonl")[0]
        stock = StockContender(pipeline)
        tokens = stock.run(request).tokens
        logits = stock.logits(request, tokens[:2])
        assert int(logits.argmax()) == tokens[2]
        other = int(logits.topk(2).indices[1])
        gap = stock_gap(stock, pipeline, request)(tokens[:2], other, tokens[2])
        assert gap == pytest.approx(float(logits.max() - logits[other]))
        own = OwnContender(pipeline.undrafted())
        best, second = own.result(request, alternatives=2).records[1].alternatives
        gap = composed_gap(own, request)
        assert gap([0], second.token, best.token) == pytest.approx(best.logprob - second.logprob)
        assert gap([0] * 12, None, 1) is None


def test_what_cannot_be_compared_is_refused(app):
    with (
        load(app, sampling={"temperature": 0.7}) as pipeline,
        pytest.raises(InputError, match="samples") as caught,
    ):
        measure(pipeline, app)
    assert "temperature=0" in caught.value.hint
    with load(app, stop=["x"]) as pipeline:
        with pytest.raises(InputError, match="strings"):
            measure(pipeline, app)
        measure(pipeline, app, names=(OWN, "ragdecode-nodraft"))


def test_command_prints_one_object(app):
    from ragdecode.cli.bench import command

    file = tiny_app.write_pipeline(app, "cli", decode={"draft": "prompt_lookup"})
    arguments = [str(file), "--prompts", str(app / "lines.jsonl"), "--against", "hf-greedy", "--max-new-tokens", "4"]
    result = CliRunner().invoke(
        command, [*arguments, "--repeat", "1", "--limit", "1", "--json"], catch_exceptions=False
    )
    found = json.loads(result.stdout)
    assert found["run"]["prompts"] == 1
    assert found["contenders"]["ragdecode"]["tokens_equal"]["same"] == 1
    plain = CliRunner().invoke(command, [*arguments, "--repeat", "1"], catch_exceptions=False)
    assert "hf-greedy" in plain.stdout
    assert "ragdecode/hf-greedy" in plain.stdout
