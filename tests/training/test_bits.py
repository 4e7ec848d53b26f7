import jax
import jax.numpy as jnp
import numpy as np

from audiopalm.training import bits

NOISE = np.random.default_rng(0).standard_normal((8, 6, 4)).astype(np.float32)


def test_the_number_of_an_array_is_the_same_on_any_mesh():
  mesh = jax.make_mesh((4, 2), ("a", "b"))
  for spec in (jax.P(), jax.P("a"), jax.P("b", None, "a"), jax.P(("a", "b"))):
    placed = jax.device_put(NOISE, jax.NamedSharding(mesh, spec))
    assert bits.sums({"x": placed}) == bits.sums({"x": NOISE})


def test_any_bit_that_changes_is_seen():
  words = NOISE.view(np.uint32)
  whole = bits.sums([NOISE])
  for at in np.ndindex(2, 6, 4):
    for bit in (0, 13, 31):
      changed = words.copy()
      changed[at] ^= np.uint32(1 << bit)
      assert bits.differing(bits.sums([changed.view(np.float32)]), whole) == ["0"]


def test_elements_that_change_places_are_seen():
  assert bits.sums([NOISE[::-1]]) != bits.sums([NOISE])
  assert bits.sums([NOISE.swapaxes(0, 1)]) != bits.sums([NOISE])


def test_every_kind_of_number_has_bits():
  tree = {"a": jnp.int32(3), "b": (jnp.ones(5, jnp.bfloat16), jnp.zeros((), jnp.uint8))}
  assert list(bits.sums(tree)) == ["a", "b/0", "b/1"]
  other = {"a": jnp.int32(4), "b": tree["b"]}
  assert bits.differing(bits.sums(tree), bits.sums(other)) == ["a"]
  assert bits.differing({"a": 1, "b": 2}, {"a": 1}) == ["b"]
