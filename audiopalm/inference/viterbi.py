"""Forced alignment: the likeliest path of a text through the log-probabilities of a CTC model.

Source: Graves et al., "Connectionist temporal classification", 2006; the best path in place of the
sum over all.
"""

import numpy as np

from audiopalm.errors import RecordError

BLANK = -1  # no token


def best_path(log_probs_TV: np.ndarray, ids_N: np.ndarray, *, blank: int) -> np.ndarray:
  """Returns tokens_T, the likeliest path: which of `ids_N` each frame shows, BLANK for none.

  `log_probs_TV` are of all ids, of which `blank` is one. A path has each token for one frame or
  more, in order, with any number of blanks around them, at least one between two equal tokens.
  RecordError where there are fewer frames than the tokens take.

      frames   0  1  2  3  4  5          tokens "a b b"
      path     -  a  a  b  -  b          tokens_T  -1 0 0 1 -1 2
  """
  ids_N = np.asarray(ids_N, int)
  frames, count = len(log_probs_TV), len(ids_N)
  least = count + int((ids_N[1:] == ids_N[:-1]).sum())
  if frames < least:
    raise RecordError(
      f"{count} tokens take at least {least} frames, the recording has {frames}: too short for its "
      "text. Correct the text, or leave it out."
    )
  # State 2 n + 1 is token n, even states are blanks.
  states_N = np.full(2 * count + 1, blank)
  states_N[1::2] = ids_N
  skips_N = np.zeros(len(states_N), bool)  # states that may follow the last but one
  skips_N[3::2] = ids_N[1:] != ids_N[:-1]
  score_N = np.full(len(states_N), -np.inf)
  score_N[:2] = log_probs_TV[0, states_N[:2]]
  steps_TN = np.zeros((frames, len(states_N)), np.int8)
  moved_3N = np.full((3, len(states_N)), -np.inf)
  for frame in range(1, frames):
    moved_3N[0] = score_N
    moved_3N[1, 1:] = score_N[:-1]
    moved_3N[2, 2:] = np.where(skips_N[2:], score_N[:-2], -np.inf)
    steps_TN[frame] = moved_3N.argmax(axis=0)
    score_N = moved_3N.max(axis=0) + log_probs_TV[frame, states_N]
  state = 2 * count
  if count and score_N[-2] >= score_N[-1]:
    state -= 1
  path_T = np.zeros(frames, int)
  for frame in range(frames - 1, -1, -1):
    path_T[frame] = state
    state -= int(steps_TN[frame, state])
  return np.where(path_T % 2 == 1, path_T // 2, BLANK)
