import jax.numpy as jnp
import numpy as np

from audiopalm.nn import masks


def drawn(mask_LJ):
  return ["".join("x" if cell else "." for cell in row) for row in np.asarray(mask_LJ)]


def sight(*rows_BL):
  rows = masks.Rows(*rows_BL)
  return masks.seen(rows, rows)


def test_rows_see_their_past_and_their_block_inside_their_segment():
  segments_BL = jnp.array([[1, 1, 1, 1, 2, 2]])
  positions_BL = jnp.array([[0, 1, 2, 3, 0, 1]])
  visible_BL = jnp.array([[1, 1, 0, 0, 0, 0]])
  assert drawn(sight(segments_BL, positions_BL, visible_BL)[0]) == [
    "xx....",
    "xx....",
    "xxx...",
    "xxxx..",
    "....x.",
    "....xx",
  ]


def test_blocks_of_one_number_in_two_segments_do_not_meet():
  segments_BL = jnp.array([[1, 1, 2, 2]])
  positions_BL = jnp.array([[0, 1, 0, 1]])
  assert drawn(sight(segments_BL, positions_BL, jnp.ones((1, 4), jnp.int32))[0]) == [
    "xx..",
    "xx..",
    "..xx",
    "..xx",
  ]


def test_a_window_counts_the_row_itself():
  positions_BL = jnp.arange(4)[None]
  assert drawn(masks.within(2, positions_BL, positions_BL)[0]) == ["xxxx", "xxxx", ".xxx", "..xx"]
  assert np.asarray(masks.within(0, positions_BL, positions_BL)).all()
