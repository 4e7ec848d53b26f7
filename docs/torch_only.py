"""Transcribes, translates and speaks with an exported run in PyTorch, without audiopalm or JAX.

  pip install torch transformers safetensors scipy
  python torch_only.py exported asr --audio hello.wav --source en
  python torch_only.py exported mt  --text "how much is it" --source en --target fr
  python torch_only.py exported tts --text "how much is it" --target en --out said.wav

For runs with one column, which are exported as a class of transformers. `--source` and `--target`
are the languages of the roles in the task's tag. Text is printed. Speech is written to --out, in
the first training voice of its language, or in --voice, another voice of the speech tokenizer.
"""

import argparse
import sys
import unicodedata

import torch
import transformers


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder")
  parser.add_argument("task")
  parser.add_argument("--audio")
  parser.add_argument("--text")
  parser.add_argument("--source")
  parser.add_argument("--target")
  parser.add_argument("--voice")
  parser.add_argument("--out")
  args = parser.parse_args()

  sys.path.insert(0, args.folder)
  import silence  # both are in the folder
  import speech_tokenizer

  units = speech_tokenizer.load(args.folder)
  tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder)
  model = transformers.AutoModelForCausalLM.from_pretrained(
    args.folder,
    attn_implementation="eager",  # other implementations in transformers 4 ignore soft-caps
  )
  task = model.generation_config.tasks[args.task]

  languages = {role: vars(args)[role] for role in ("source", "target") if vars(args)[role]}
  tag = next(tag for tag in task["tags"] if languages.items() <= tag.items())
  if args.audio is not None:
    # Adds the same silence to both ends as `audiopalm generate`.
    wave = silence.with_ends(speech_tokenizer.read_wav(args.audio), speech_tokenizer.RATE_HZ)
    ids = units.encode(wave)
    content = "".join(f"<|unit_{id_}|>" for id_ in ids)
  else:
    # Normalizes as in training: NFC, and one space for each run of white space.
    content = " ".join(unicodedata.normalize("NFC", args.text).split())
  prompt = task["prompt"].replace("{tag}", tag["tag"])
  prompt = prompt.replace(f"{{{task['inputs'][0]}}}", content)

  tokens = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
  answers = {}
  for output in task["outputs"]:
    mask = {name: value for name, value in output.items() if name != "stream"}
    before = tokens.shape[1] if mask["begin_suppress_tokens"] else tokens.shape[1] - 1
    tokens = model.generate(tokens, max_new_tokens=task["max_new_tokens"], **mask)
    end = -1 if tokens[0, -1] in torch.tensor(mask["eos_token_id"]) else None
    answers[output["stream"]] = tokens[0, before:end]

  first = tokenizer.convert_tokens_to_ids("<|unit_0|>")
  for stream, ids in answers.items():
    if stream.endswith(".units"):
      wave = units.decode(ids.numpy() - first, args.voice or tag.get("voice"))
      speech_tokenizer.write_wav(args.out, wave)
      print(args.out)
    else:
      print(tokenizer.decode(ids))
  return 0


if __name__ == "__main__":
  sys.exit(main())
