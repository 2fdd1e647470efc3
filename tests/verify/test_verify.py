"""The self-check: passes on sound models of many kinds, and every check fails where something is broken."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import VERIFIED, tiny_folder, tiny_module, tiny_tokenizer
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions import Ablate, Floor, Plan, Set
from persona_lens.interventions.operations.layer_pass import Applied, LayerPass
from persona_lens.interventions.operations.operation import Shift
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens, Track
from persona_lens.model import backends
from persona_lens.model.backends import NativeBackend
from persona_lens.model.blocks import as_forward_hook
from persona_lens.model.persona_model import PersonaModel as Model
from persona_lens.verify import CHECKS, Finding, Measure, VerifyReport, check, verify

Patch = pytest.MonkeyPatch


def tiny(architecture: str = "llama") -> PersonaModel:
    return PersonaModel.load(tiny_module(architecture), tokenizer=tiny_tokenizer())


def broken(report: VerifyReport) -> dict[str, list[str]]:
    """Which measures do not hold, by failed check."""
    return {
        result.name: [measure.what for measure in result.measures if not measure.holds]
        for result in report.failures
    }


@pytest.mark.parametrize("architecture", VERIFIED)
def test_every_check_passes_on_tiny_models_of_many_architectures(architecture: str) -> None:
    report = verify(tiny(architecture))
    assert [result.verdict for result in report.results] == ["passed"] * len(CHECKS), str(report)


def test_templates_that_lose_the_system_text_of_a_finished_conversation_are_checked() -> None:
    template = (
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last and m.role == 'user' and messages[0].role == 'system' %}{{ messages[0].content }}\n\n"
        "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    module, tokenizer = tiny_module("llama"), tiny_tokenizer()
    report = verify(PersonaModel.load(module, tokenizer=tokenizer, chat_template=template))
    assert [result.verdict for result in report.results] == ["passed"] * len(CHECKS), str(report)


@pytest.mark.embedded
def test_every_check_passes_on_the_embedded_chat_model(smol_auto: PersonaModel) -> None:
    report = verify(smol_auto)
    assert {result.verdict for result in report.results} == {"passed"}, str(report)
    frame = report.frame().set_index(["check", "measure"])
    assert frame.loc[("sinks", "largest"), "value"] > 100


# Those that need no logits: a vocabulary of 262,144 takes minutes where a processor has no bfloat16.
OF_THE_MODEL_ITSELF = ("bos", "groups", "repeatable", "sinks", "floor")


@pytest.mark.embedded
def test_residuals_tokens_and_plans_are_right_on_the_embedded_base_model_in_bfloat16() -> None:
    model = PersonaModel.load("gemma-3-270m", dtype=torch.bfloat16, device="cpu")
    report = verify(model, only=OF_THE_MODEL_ITSELF)
    assert {result.verdict for result in report.results} == {"passed"}, str(report)


# Each check fails where what it looks for is so ------------------------------------------------------


def test_numbers_that_overflow_are_found_and_said_to_be_the_reason() -> None:
    module = tiny_module("llama")
    with torch.no_grad():
        module.model.layers[1].mlp.down_proj.weight.fill_(torch.inf)
    report = verify(PersonaModel.load(module, tokenizer=tiny_tokenizer()))
    assert broken(report)["repeatable"] == ["not finite", "difference"]
    notes = {result.name: result.note for result in report.failures}
    assert "the residual stream is not finite" in notes["floor"]
    assert {"bos", "groups"}.isdisjoint(notes)


def test_a_bridge_on_other_weights_is_found(monkeypatch: Patch) -> None:
    model = tiny()
    other = PersonaModel.load(tiny_module("llama", seed=1), tokenizer=tiny_tokenizer()).bridge
    monkeypatch.setattr(Model, "bridge", property(lambda self: other))
    assert broken(verify(model, only=["bridge", "lens-hooks"])) == {
        "bridge": ["difference"],
        "lens-hooks": ["difference"],
    }


def test_positions_that_count_pads_are_found(monkeypatch: Patch) -> None:
    def counting_pads(mask: torch.Tensor) -> torch.Tensor:
        return torch.arange(mask.shape[1]).expand_as(mask)

    monkeypatch.setattr(backends, "_positions", counting_pads)
    found = broken(verify(tiny("gpt2"), only=["padding"]))
    assert "residuals" in found["padding"]


def test_a_plan_that_moves_at_strength_zero_is_found(monkeypatch: Patch) -> None:
    def heedless(self, projection, *, at, strength):
        return -projection

    monkeypatch.setattr(Ablate, "shift", heedless)
    found = broken(verify(tiny(), only=["zero-strength"]))
    assert "difference" in found["zero-strength"]


def test_an_operation_that_does_not_follow_its_formula_is_found(monkeypatch: Patch) -> None:
    def backwards(self, projection, *, at, strength):
        return (projection - self.targets[at]) * strength

    monkeypatch.setattr(Set, "shift", backwards)
    report = verify(tiny(), only=["operations", "floor"])
    assert broken(report) == {"operations": ["error"]}
    assert "largest error: set" in report.failures[0].note


def test_a_floor_that_does_not_hold_is_found(monkeypatch: Patch) -> None:
    def half_way(self, projection, *, at, strength):
        return (self.thresholds[at] - projection).clamp(min=0) * strength * 0.9

    monkeypatch.setattr(Floor, "shift", half_way)
    found = broken(verify(tiny(), only=["floor", "operations"]))
    assert found == {"floor": ["short of the floor"], "operations": ["error"]}


def test_pads_that_are_touched_are_found(monkeypatch: Patch) -> None:
    chosen = Track.columns

    def pads_too(self: Track, where) -> np.ndarray:
        columns = chosen(self, where)
        present = self.tokens.present[:, self.start : self.stop]
        columns = columns.copy()
        columns[:, : present.shape[1]] |= ~present
        return columns

    monkeypatch.setattr(Track, "columns", pads_too)
    found = broken(verify(tiny(), only=["floor", "operations"]))
    assert "beside" in found["floor"]
    assert "miscounted in the receipt" in found["floor"]
    assert found["operations"] == ["beside"]


def test_a_touched_first_token_is_found(monkeypatch: Patch) -> None:
    described = BatchTokens.of_transcripts

    def without_exclusions(*arguments, **options) -> BatchTokens:
        tokens = described(*arguments, **options)
        groups = tokens.groups.copy()
        groups[tokens.excluded] = 1  # as if BOS were the user's
        return replace(tokens, excluded=np.zeros_like(tokens.excluded), groups=groups)

    monkeypatch.setattr(BatchTokens, "of_transcripts", without_exclusions)
    assert "beside" in broken(verify(tiny(), only=["floor"]))["floor"]


def test_strengths_given_to_the_wrong_rows_are_found(monkeypatch: Patch) -> None:
    right = Shift.apply

    def turned_round(self: Shift, given: LayerPass) -> Applied:
        strength = given.strength
        if isinstance(strength, torch.Tensor):
            given = given._replace(strength=strength.flip(0))
        return right(self, given)

    monkeypatch.setattr(Shift, "apply", turned_round)
    assert broken(verify(tiny(), only=["row-strengths"]))["row-strengths"][0] == "difference"


def test_sampled_tokens_that_are_passed_over_are_found(monkeypatch: Patch) -> None:
    def none_of_them(self: BatchTokens, where, ahead: int) -> np.ndarray:
        return np.zeros(len(self), dtype=bool)

    monkeypatch.setattr(BatchTokens, "chosen_later", none_of_them)
    found = broken(verify(tiny(), only=["cache"]))
    assert {"log-probs", "mean residuals"} <= set(found["cache"])


def test_hooks_at_half_the_strength_are_found(monkeypatch: Patch) -> None:
    hooks = Plan.hooks
    monkeypatch.setattr(Plan, "hooks", lambda self, *a, **options: hooks(0.5 * self, *a, **options))
    assert broken(verify(tiny(), only=["lens-hooks"])) == {"lens-hooks": ["difference"]}


def test_a_hook_left_behind_is_found(monkeypatch: Patch) -> None:
    @contextmanager
    def careless(self: NativeBackend, taps):
        handles = [
            self.layers[layer].register_forward_hook(as_forward_hook(tap))
            for layer, tap in taps.items()
        ]
        yield
        for handle in handles:  # not reached if the block raises
            handle.remove()

    monkeypatch.setattr(NativeBackend, "taps", careless)
    assert "left by an error" in broken(verify(tiny(), only=["hooks-gone"]))["hooks-gone"]


def test_a_doubled_bos_is_found() -> None:
    model = tiny()
    prompt = model.encoder.prompt

    def doubled(messages):
        single = prompt(messages)
        rows = {name: getattr(single, name) for name in ("ids", "groups", "turns")}
        return replace(
            single, **{name: np.concatenate([row[:1], row]) for name, row in rows.items()}
        )

    model.encoder.prompt = doubled
    assert broken(verify(model, only=["bos"])) == {"bos": ["at the start"]}


def test_groups_off_by_one_are_found() -> None:
    model = tiny()
    encode = model.encoder.encode

    def shifted(messages):
        transcript = encode(messages)
        return replace(transcript, groups=np.roll(transcript.groups, 1))

    model.encoder.encode = shifted
    report = verify(model, only=["groups"])
    assert broken(report) == {"groups": ["wrong"]}
    assert "decodes to" in report.failures[0].note


def test_a_late_sink_is_pointed_out_and_passes() -> None:
    model = tiny()
    model.__dict__["sinks"] = {0: 30.0, 9: 12.0}
    (result,) = verify(model, only=["sinks"]).results
    assert result.verdict == "passed"
    assert "unusually far back: [9]" in result.note


def test_a_plan_that_never_acts_passes_no_check_of_plans(monkeypatch: Patch) -> None:
    monkeypatch.setattr(PlanRun, "taps", lambda self: {})
    found = broken(verify(tiny()))
    vacuous = {"logits", "padding", "zero-strength", "operations", "floor", "row-strengths"}
    assert set(found) == vacuous | {"cache", "lens-hooks", "hooks-gone"}


# The frame around the checks -------------------------------------------------------------------------


def test_a_model_without_a_bridge_is_told_why(monkeypatch: Patch) -> None:
    def refuse(self: PersonaModel) -> None:
        raise ValueError("no adapter for MambaForCausalLM\nsee the list")

    monkeypatch.setattr(Model, "bridge", property(refuse))
    report = verify(tiny(), only=["bridge", "lens-hooks"])
    assert report.passed
    assert {result.verdict for result in report.results} == {"not applicable"}
    assert report.results[0].note == "no bridge can be built: no adapter for MambaForCausalLM"


@pytest.mark.parametrize("mark", ["hf_device_map", "hf_quantizer"])
def test_a_bridge_that_would_wrap_the_module_in_place_is_not_built(mark: str) -> None:
    model = tiny()
    setattr(model.held.backend.module, mark, {"": "cpu"})
    report = verify(model, only=["bridge"])
    assert [result.verdict for result in report.results] == ["not applicable"]
    assert "in place" in report.results[0].note
    assert model.held.roots == [model.held.backend.module]


def test_hooks_of_the_users_make_the_bridge_the_only_way_to_run() -> None:
    model = tiny()
    model.bridge.add_hook(model.hook_name(0), lambda residual, hook: residual)
    (result,) = verify(model, only=["bridge"]).results
    assert result.verdict == "not applicable"


def test_a_check_that_raises_has_failed_and_the_others_run() -> None:
    called: list[str] = []

    @check("own", title="mine", meaning="mine is broken")
    def own(subject) -> Finding:
        raise RuntimeError("no such thing")

    try:
        report = verify(tiny(), on_check=lambda entry: called.append(entry.name))
    finally:
        del CHECKS["own"]
    assert [result.name for result in report.results] == called
    assert called[0] == "bos"
    assert called[-1] == "own"
    assert [result.name for result in report.failures] == ["own"]
    assert report.failures[0].note == "RuntimeError: no such thing"


def test_nan_never_passes() -> None:
    assert not Measure("x", np.nan, "", at_most=1).holds
    assert not Measure("x", np.nan, "", at_least=1).holds
    assert Measure("x", np.nan, "").holds


def test_the_report_explains_a_failure_in_every_form(monkeypatch: Patch) -> None:
    monkeypatch.setattr(PlanRun, "taps", lambda self: {})
    report = verify(tiny(), only=["bos", "floor"])
    frame = report.frame()
    assert list(frame["check"].unique()) == ["bos", "floor"]
    assert not frame.loc[frame["measure"] == "short of the floor", "holds"].item()
    text = str(report)
    assert "2 checks in" in text
    assert "1 passed, 1 failed" in text
    assert "capped activations are not where the cap says" in text
    assert "floor failed: short of the floor" in report._repr_html_()
    with pytest.raises(ModelError, match="1 of 2 checks failed"):
        report.raise_for_failures()
    verify(tiny(), only=["bos"]).raise_for_failures()


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ModelError, match="'cash'"):
        verify(tiny(), only=["cash"])


def test_a_model_under_a_plan_is_refused() -> None:
    model = tiny()
    with model.intervene(Plan(())), pytest.raises(InterventionError, match="while a plan acts"):
        verify(model)


def test_the_command_ends_with_status_one_if_a_check_fails(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    folder = tiny_folder(tmp_path / "tiny", "llama")
    arguments = ["verify", "--model", str(folder), "--dtype", "float32", "--only", "bos,floor"]
    sound = CliRunner().invoke(cli.app, arguments)
    assert sound.exit_code == 0, sound.output
    assert "2 passed" in sound.output
    monkeypatch.setattr(PlanRun, "taps", lambda self: {})
    assert CliRunner().invoke(cli.app, arguments).exit_code == 1


def test_the_command_explains_itself_with_an_example() -> None:
    result = CliRunner().invoke(cli.app, ["verify", "--help"])
    assert "persona-lens verify --model" in result.output
