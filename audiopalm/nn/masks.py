"""Who sees whom: attention masks from segments, positions and both-ways blocks, never from a
system's name."""


def seen(segments_BL, positions_BL, visible_BL):
  """Returns bool [B, L, J]: row i sees row j if both are in one segment and j is not later, or in
  i's both-ways block.

  segments 1 1 1 1 2 2     row 0:  x x . . . .
  visible  1 1 0 0 0 0     row 1:  x x . . . .
                           row 2:  x x x . . .
                           row 3:  x x x x . .
                           row 4:  . . . . x .
                           row 5:  . . . . x x
  """
  one_segment = segments_BL[:, :, None] == segments_BL[:, None, :]
  past = positions_BL[:, :, None] >= positions_BL[:, None, :]
  block = (visible_BL[:, :, None] == visible_BL[:, None, :]) & (visible_BL[:, :, None] > 0)
  return one_segment & (past | block)


def within(window, positions_BL, positions_BJ):
  """Returns bool [B, L, J]: fewer than `window` rows back, for a scalar window; 0 is no limit.

  Rows ahead count as near: a both-ways block is seen whole in that direction. Source: Mistral 7B,
  arXiv:2310.06825, section 2; the window includes the row itself.
  """
  return (positions_BL[:, :, None] - positions_BJ[:, None, :] < window) | (window == 0)
