"""The performance page, rendered from made-up results."""

import json

import figures
import pytest
import render

CONDITIONS = {
  "command": "python benchmarks/it.py",
  "commit": "abc1234",
  "machine": "2 cores, Made Up, no accelerator",
  "python": "3.12.1",
  "versions": {"jax": "0.10.2"},
}
ONE = figures.spread([1.0, 3.0, 2.0])
RESULTS = {
  "decode_speed": {
    "sizes": {
      "4M": {
        "layers": 4, "width": 256,
        "same": {name: {"tokens": 0.5, "rows": 9} for name in ("ours", "transformers")},
        "tokens_per_s": {"ours": figures.spread([2_000.0, 3_000.0]), "transformers": ONE},
      }
    },
  },
  "data_speed": {
    "records": 3_000,
    "rows": {
      512: {
        "rows_per_s": ONE, "tokens_per_s": ONE,
        "first_s": {10: ONE, 10_000_000: ONE}, "later_s": {10: ONE, 10_000_000: ONE},
      }
    },
  },
  "prepare_speed": {
    "records": 100, "audio_h": 1.5,
    "workers": {
      2: {
        "hours_per_hour": ONE, "streams_hours_per_hour": ONE,
        "stages_s": {"tokenizers": ONE, "streams": ONE, "rows": ONE},
        "worker_real_time": {n: ONE for n in ("source", "units", "text", "other", "all")},
      }
    },
  },
  "scaling": {
    "row_length": 256, "base": {"rows": 8, "layers": 4, "vocabulary": 4_096},
    "axes": {
      "vocabulary": {
        "step_ms": {2_048: ONE}, "unit": 1_000, "ms_per_unit": 12.25, "ms_at_none": 3.0,
      },
    },
    "devices": {"fsdp": {number: ONE for number in (1, 2, 4, 8)}},
  },
  "step_speed": {
    "sizes": {
      "4M": {
        "product_gflop_per_s": {"product": 200.0, "torch_product": 100.0},
        "contenders": {
          name: {"tokens_per_s": ONE, "gflop_per_s": 50.0} for name in ("ours", "torch")
        },
        "ours_over": {"ours": 1.0, "torch": 1.5},
      }
    },
  },
  "plan_ranking": {
    "kendall_tau": 0.7, "pairs": 12,
    "meshes": [
      {
        "mesh": {"fsdp": 8}, "predicted_s": 0.5, "measured_s": ONE,
        "of_which": {"arithmetic": 0.1, "memory": 0.2, "links": 0.2},
      }
    ],
  },
  "checkpoint_stall": {
    "parameters": 42_000_000, "checkpoint_bytes": 504 * 2**20, "step_s": ONE, "call_s": ONE,
    "verify_s": ONE, "stall_s": ONE, "share": ONE,
  },
  "accelerator_speed": {
    "runs": [
      {
        "model": "1b", "row_length": 2_048, "segments": 1, "attention": "xla",
        "tokens_per_s": ONE, "mfu": 0.4, "peak_memory_gib": 20.0,
      },
      {
        "model": "1b", "row_length": 2_048, "segments": 8, "attention": "cudnn",
        "failed": "it does not fit",
      },
    ],
  },
}  # fmt: skip


def written(folder, name, on="laptop", **changes):
  path = folder / f"{name}-{on}.json"
  path.write_text(json.dumps(CONDITIONS | RESULTS[name] | changes), encoding="utf-8")


@pytest.mark.parametrize("name", render.BENCHMARKS)
def test_a_benchmark_without_results_names_the_missing_file(name, tmp_path):
  text = render.page(tmp_path)
  assert f"no file `benchmarks/results/{name}-MACHINE.json`" in text


@pytest.mark.parametrize("name", render.BENCHMARKS)
def test_a_section_has_complete_tables_and_its_conditions(name, tmp_path):
  written(tmp_path, name)
  text = render.rendered(tmp_path, name)
  assert any(
    spread in text
    for spread in ("2 (1 to 3)", "2.0 (1.0 to 3.0)", "2.00 (1.00 to", "2.000 (1.000 to")
  )
  assert "laptop: 2 cores, Made Up, no accelerator; commit abc1234; Python 3.12.1, jax" in text
  lines = text.splitlines()
  assert max(len(line) for line in lines if line and line[0] not in "|-") <= 100
  for start, line in enumerate(lines):
    if set(line) <= set("|-: ") and line:  # below a header
      width = line.count("|")
      table = [lines[start - 1], *lines[start : lines.index("", start)]]
      assert {row.count("|") for row in table} == {width}


def test_all_machines_are_in_one_table(tmp_path):
  written(tmp_path, "decode_speed")
  written(tmp_path, "decode_speed", "h200", machine="16 cores, Other, NVIDIA H200")
  text = render.rendered(tmp_path, "decode_speed")
  rows = [line for line in text.splitlines() if line.startswith(("| laptop", "| h200"))]
  assert len(rows) == 4 and "2,500 (2,000 to 3,000)" in rows[0]
  assert "| transformers | 2 (1 to 3) | 1250.00 | 1250.00 | 50.0 % |" in rows[1]
  assert "Ours in bfloat16 was not measured on h200, laptop" in text.replace("\n", " ")
  assert "- h200: 16 cores, Other, NVIDIA H200" in text


def test_our_speedup_with_bfloat16_products_has_a_column(tmp_path):
  size = RESULTS["step_speed"]["sizes"]["4M"]
  fast = {"tokens_per_s": figures.spread([3.0]), "gflop_per_s": 75.0}
  with_it = size | {"contenders": size["contenders"] | {"ours_bfloat16": fast, "ours_plain": fast}}
  written(tmp_path, "step_speed", "laptop")
  assert "It was not measured on laptop" in render.rendered(tmp_path, "step_speed").replace(
    "\n", " "
  )
  written(tmp_path, "step_speed", "laptop", sizes={"4M": with_it})
  text = render.rendered(tmp_path, "step_speed")
  assert "not measured" not in text and "plain" not in text
  assert "| transformers | 2 (1 to 3) | 50 | 25 % | 1.00 | 1.50 |" in text


def test_files_with_other_names_are_ignored(tmp_path):
  written(tmp_path, "scaling")
  (tmp_path / "scaling.json").write_text("{}")
  (tmp_path / "decode_speed_old-laptop.json").write_text("{}")
  assert len(render.results_of(tmp_path, "scaling")) == 1
  assert render.results_of(tmp_path, "decode_speed") == []
