"""A benchmark over a tiny random model: every contender decodes, and in float64 all of them agree."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import torch
from click.testing import CliRunner

from ragdecode.decoding.events import DoneEvent, TokenEvent
from ragdecode.decoding.request import Result, Stats
from ragdecode.errors import InputError
from ragdecode.evaluation.bench.assisted import first_layers
from ragdecode.evaluation.bench.benchmark import Benchmark
from ragdecode.evaluation.bench.contenders import OTHERS, OWN
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bench.plot import check_plot
from ragdecode.evaluation.bench.reference import composed_gap, stock_gap
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request_lines import read_requests
from tests.pipeline import tiny_app

LINES = [
    {"id": "a", "question": "How many arches?", "passages": [{"text": "The bridge of Tollin has 12 arches."}]},
    {"id": "b", "question": "How wide?", "passages": [{"text": "The tower of Tollin is 3.5 metres wide."}]},
]
SPEED = {"tokens_per_second", "decode_tokens_per_second", "tokens_per_second_interval"}
#: what DESIGN promises, and what came later
ROW = SPEED | {
    "decode_tokens_per_second_interval", "steps", "mean_accepted", "first_token_seconds", "peak_memory_mb",
    "tokens_equal", "new_tokens", "nodes_per_step", "sources", "note",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    root = tiny_app.write_app(folder / "app", tiny_app.write_model(folder / "model"))
    (root / "lines.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    return root


def load(app: Path, **decode) -> Pipeline:
    settings = {"draft": "prompt_lookup", "governor": "off", "max_new_tokens": 12} | decode
    return Pipeline.load(tiny_app.write_pipeline(app, "p", decode=settings))


def measure(pipeline: Pipeline, app: Path, names=(OWN, *OTHERS), repeats=1, **more):
    told = []
    requests = read_requests(app / "lines.jsonl", pipeline.needs)
    bench = Benchmark(pipeline, names, requests, repeats=repeats, progress=lambda *report: told.append(report), **more)
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
        prepared = own.pipeline.prepare(request, alternatives=2).request
        (result,) = (event.result for event in own.pipeline.run(prepared) if isinstance(event, DoneEvent))
        best, second = result.records[1].alternatives
        gap = composed_gap(own, request)
        assert gap(result.tokens[:1], second.token, best.token) == pytest.approx(best.logprob - second.logprob)
        assert gap(result.tokens[:1], best.token, second.token) is None  # that is not what it picked
        assert gap([0], second.token, best.token) is None  # it never was there


def test_sampling_is_compared_with_the_undrafted_run_alone(app):
    with load(app, sampling={"temperature": 0.7, "seed": 3}) as pipeline:
        found, _ = measure(pipeline, app)
    for name in (OWN, "ragdecode-nodraft"):
        assert found["contenders"][name]["tokens_equal"] == {"same": 2, "ties": 0, "different": 0}
    for name in ("hf-greedy", "hf-prompt-lookup", "hf-assisted"):
        assert found["contenders"][name]["tokens_equal"] is None
    assert found["run"]["temperature"] == 0.7
    assert "tokens are not compared" in found["run"]["notes"][0]


def test_batches_decode_prompts_together(app):
    with load(app) as pipeline:
        found, told = measure(pipeline, app, batches=(1, 2))
    assert list(found["batches"]) == ["1", "2"]
    assert found["contenders"] == found["batches"]["1"]["contenders"]
    together = found["batches"]["2"]["contenders"]
    assert set(together) == {OWN, "ragdecode-nodraft", "hf-greedy"}
    for row in together.values():
        assert row["tokens_equal"] == {"same": 2, "ties": 0, "different": 0}
        assert row["new_tokens"] == found["contenders"]["hf-greedy"]["new_tokens"]
        assert row["decode_tokens_per_second"] > 0
    assert together["ragdecode-nodraft"]["mean_accepted"] == 1.0
    assert "hf-prompt-lookup, hf-assisted" in found["run"]["notes"][0]
    assert ("run 2 together", 0, 1) in told


def test_the_turn_of_a_batch_counts_what_came_after_all_first_tokens(app, monkeypatch):
    clock = iter(float(second) for second in range(100))
    with load(app, draft=[]) as pipeline:
        requests = read_requests(app / "lines.jsonl")
        own = OwnContender(pipeline)
        own.prepare(requests[0])
        prepared = [pipeline.prepare(request).request for request in requests]
        script = [("a", True), ("a", True), ("b", True), ("a", True), ("b", True), ("b", True)]
        results = {item.id: _result(item.id, 3) for item in prepared}

        def run(*asked):
            for name, _ in script:
                yield TokenEvent(name, None, "")
            yield from (DoneEvent(name, results[name]) for name in ("a", "b"))

        monkeypatch.setattr(pipeline, "run", run)
        monkeypatch.setattr("ragdecode.evaluation.bench.own.time.perf_counter", lambda: next(clock))
        turn = own.turn(requests)
    assert turn.tokens == 6
    assert turn.decoded == 3  # a, b, b
    assert [item.first_token_seconds for item in turn.runs] == [1.0, 2.0]
    assert [item.seconds for item in turn.runs] == [3.0, 4.0]
    assert (turn.seconds, turn.decode_seconds) == (5.0, 3.0)


def _result(name, count):
    return Result(name, [1] * count, "", "length", [], Stats(committed=count, steps=count), {})


def test_prefixes_of_earlier_turns_do_not_help(app, monkeypatch):
    with load(app) as pipeline:
        request = read_requests(app / "lines.jsonl")[0]
        own, reused = OwnContender(pipeline), []
        run = pipeline.run

        def watched(*asked):
            for event in run(*asked):
                if isinstance(event, DoneEvent):
                    reused.append(event.result.stats.reused_tokens)
                yield event

        monkeypatch.setattr(pipeline, "run", watched)
        own.run(request)
        list(watched(pipeline.prepare(request).request))
        own.run(request)
    assert reused[0] == reused[2] == 0
    assert reused[1] > 0  # else this shows nothing


def test_the_assistant_is_cut_from_the_target_and_shares_its_tensors(app):
    with load(app) as pipeline:
        model = pipeline.model.hf_model()
        assistant, label = first_layers(model)
        assert label == "assistant: first 1 of 2 layers of the target"
        assert len(assistant.model.layers) == 1
        theirs = model.model.layers[0].mlp.up_proj.weight
        assert assistant.model.layers[0].mlp.up_proj.weight.data_ptr() == theirs.data_ptr()
        ids = torch.arange(3, 20)[None]
        with torch.inference_mode():
            hidden = model(ids, output_hidden_states=True).hidden_states[1]
            wanted = model.lm_head(model.model.norm(hidden))
            assert torch.equal(assistant(ids).logits, wanted)
        found, _ = measure(pipeline, app, names=(OWN, "hf-greedy", "hf-assisted"))
    assert found["contenders"]["hf-assisted"]["note"] == label
    assert found["contenders"]["hf-assisted"]["steps"] > 0


def test_what_cannot_be_compared_is_refused(app, monkeypatch):
    with load(app, stop=["x"]) as pipeline:
        with pytest.raises(InputError, match="strings"):
            measure(pipeline, app)
        measure(pipeline, app, names=(OWN, "ragdecode-nodraft"))
    with load(app) as pipeline:
        with pytest.raises(InputError, match="needs as many prompts; there are 2"):
            measure(pipeline, app, batches=(3,))
        with pytest.raises(InputError, match=r"engine\.max_batch 8"):
            measure(pipeline, app, batches=(9,))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError, match="llama_cpp and gguf") as caught:
            measure(pipeline, app, names=(OWN, "llama-cpp"))
    assert "pip install llama-cpp-python gguf" in caught.value.hint


@pytest.fixture
def command(app):
    from ragdecode.cli.bench import command

    file = tiny_app.write_pipeline(app, "cli", decode={"draft": "prompt_lookup", "governor": "off"})

    def call(*more, against="hf-greedy"):
        arguments = [file, "--prompts", app / "lines.jsonl", "--against", against, "--max-new-tokens", "4", *more]
        return CliRunner().invoke(command, [str(item) for item in arguments])

    return call


def test_command_prints_one_object_and_writes_it(command, tmp_path):
    out = tmp_path / "found.json"
    result = command("--repeat", "1", "--limit", "1", "--json", "--out", out)
    found = json.loads(result.stdout)
    assert json.loads(out.read_text()) == found
    assert set(found) == {"contenders", "ratios", "batches", "machine", "run"}
    assert found["run"]["prompts"] == 1
    assert found["contenders"]["ragdecode"]["tokens_equal"]["same"] == 1
    for row in found["contenders"].values():
        assert set(row) == ROW
    assert found["contenders"]["ragdecode"]["nodes_per_step"] >= 1
    for ratio in found["ratios"].values():
        assert ratio.keys() >= SPEED


def test_the_output_is_as_documented(command):
    text = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    schema = json.loads(text.partition("```json\n")[2].partition("```")[0])
    result = command("--repeat", "2", "--batch", "2,1", "--json", against=",".join(OTHERS))
    found = json.loads(result.stdout)
    jsonschema.validate(found, schema)
    assert found["run"]["batch"] == 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"contenders": {"ragdecode": {"steps": 1}}}, schema)


def test_command_prints_tables(command):
    result = command("--repeat", "1", "--batch", "1,2", against="ragdecode-nodraft,hf-greedy,hf-assisted")
    assert result.exit_code == 0
    for text in ("ragdecode/hf-greedy", "95 %", "prompt_lookup", "2 prompts together", "note: hf-assisted: assistant"):
        assert text in result.stdout


def test_plots_are_whole_images(command, tmp_path):
    from PIL import Image

    picture, drawing = tmp_path / "speed.png", tmp_path / "speed.svg"
    assert command("--repeat", "2", "--batch", "1,2", "--plot", picture).exit_code == 0
    with Image.open(picture) as image:
        image.load()
        assert min(image.size) > 300
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24)) > 20  # bars, text: not one blank colour
    assert command("--repeat", "1", "--plot", drawing).exit_code == 0
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--plot", "speed.gif"], "its name must end with .png or .svg"),
        (["--plot", "no/where.png"], "its folder does not exist"),
        (["--out", "no/where.json"], "its folder does not exist"),
        (["--batch", "one"], "comma-separated list of numbers"),
        (["--batch", "0"], "no size of a batch"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(command, more, message, monkeypatch):
    monkeypatch.setattr(Benchmark, "run", lambda self: pytest.fail("it ran"))
    result = command(*more)
    told = f"{result.output}{result.exception}"
    assert message in told
    assert isinstance(result.exception, InputError) or result.exit_code == 2


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="matplotlib") as caught:
        check_plot(Path("speed.png"))
    assert "ragdecode[plots]" in caught.value.hint
