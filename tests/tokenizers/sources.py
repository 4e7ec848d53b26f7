"""Tiny tokenizers of the kinds that text models come with, as the files of their folders."""

import io
import json

import sentencepiece

TEXTS = [f"the {a} {b} at {n} o'clock, né à Paris" for a in ("red", "old") for b in ("train", "bus")
         for n in range(12)]  # fmt: skip
SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level():
  """Returns a tokenizer.json like that of Llama 3 and Qwen: BPE over bytes, specials behind."""
  from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, processors, trainers
  from tokenizers import pre_tokenizers as pre

  made = Tokenizer(models.BPE(ignore_merges=True))
  made.pre_tokenizer = pre.Sequence(
    [
      pre.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+|[^\s\p{L}\p{N}]+"), "isolated"),
      pre.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  made.decoder = decoders.ByteLevel()
  alphabet = pre.ByteLevel.alphabet()
  trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
  made.train_from_iterator(TEXTS, trainer)
  made.add_special_tokens(["<|begin|>", "<|end|>"])
  made.add_tokens([AddedToken("<tool>", normalized=False)])
  begin = ("<|begin|>", made.token_to_id("<|begin|>"))
  made.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[begin])
  made.enable_truncation(max_length=4)
  return made.to_str().encode()


def bpe_of_pieces():
  """Returns one like that of Llama 2, Mistral and Gemma: BPE over characters, bytes for others."""
  from tokenizers import Tokenizer, decoders, models, normalizers, trainers

  made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
  made.normalizer = normalizers.Sequence(
    [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
  )
  made.decoder = decoders.Sequence(
    [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(),
     decoders.Strip(" ", 1, 0)]
  )  # fmt: skip
  trainer = trainers.BpeTrainer(
    vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False
  )
  made.train_from_iterator(TEXTS, trainer)
  return _special_only(made, ("<unk>", "<s>", "</s>"))


def unigram():
  """Returns one of unigrams, whose special tokens are pieces too."""
  from tokenizers import Tokenizer, decoders, models, pre_tokenizers

  letters = sorted(set("".join(TEXTS).replace(" ", "")) | set("<>/s"))
  words = sorted({SPACE + word for text in TEXTS for word in text.split()})
  vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((byte, -20.0) for byte in BYTES)]
  vocabulary += [(SPACE, -4.0), *((letter, -8.0) for letter in letters)]
  vocabulary += [(word, -6.0) for word in words]
  made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
  made.pre_tokenizer = pre_tokenizers.Metaspace()
  made.decoder = decoders.Sequence(
    [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(),
     decoders.Strip(" ", 1, 0)]
  )  # fmt: skip
  made.add_special_tokens(["<unk>", "<s>", "</s>"])
  return made.to_str().encode()


def _special_only(made, names):
  """Returns the JSON in which these are the only added tokens: bytes are pieces like others."""
  found = json.loads(made.to_str())
  found["added_tokens"] = [t for t in found["added_tokens"] if t["content"] in names]
  return json.dumps(found).encode()


JSON = {"byte level": byte_level, "bpe of pieces": bpe_of_pieces, "unigram": unigram}


def sentence_piece():
  """Returns a tokenizer.model with the control symbols <s> and </s>."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS), model_writer=model, model_type="bpe", vocab_size=330,
    byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
    hard_vocab_limit=False, minloglevel=2,
  )  # fmt: skip
  return model.getvalue()
