"""The Piper process of a voice, whose .onnx file is its argument; `serving` has the protocol.

    request   {"text": "hello", "speaker": null}

The model adds random noise; here the noise is scaled to zero and a single thread is used, so that
the same request gives the same samples. piper-tts is GPL-3.0; like espeak-ng it is loaded nowhere
else.
"""

import json
import sys
from pathlib import Path

from audiopalm.data_pipelines.speech import serving


def load() -> serving.Speak:
  import onnxruntime
  import piper

  model = Path(sys.argv[1])
  config = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = options.inter_op_num_threads = 1
  voice = piper.PiperVoice(
    session=onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]),
    config=piper.PiperConfig.from_dict(config),
  )

  def speak(request: dict) -> tuple[dict, bytes]:
    speaker = request["speaker"]
    if speaker is not None and not 0 <= speaker < voice.config.num_speakers:
      raise serving.Refusal(
        f"Piper's {model.name} has no speaker {speaker}: it has {voice.config.num_speakers}"
      )
    options = piper.SynthesisConfig(speaker_id=speaker, noise_scale=0.0, noise_w_scale=0.0)
    chunks = [chunk.audio_int16_bytes for chunk in voice.synthesize(request["text"], options)]
    return {"rate_hz": voice.config.sample_rate}, b"".join(chunks)

  return speak


if __name__ == "__main__":
  serving.serve("Piper", load)
