import jax
import jax.numpy as jnp
import numpy as np

from audiopalm import bits

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


def test_the_host_adds_up_the_same_number_from_any_parts():
  for array in (NOISE, NOISE[0, 0, 0], NOISE.astype(jnp.bfloat16), np.arange(150_000) % 7):
    array = np.asarray(jnp.asarray(array))
    wanted = bits.sums([array])["0"]
    assert bits.part_sum(array, (0,) * array.ndim, array.shape) == wanted
  parts = [(slice(a, a + 5), slice(b, b + 2), slice(None)) for a in (0, 5) for b in (0, 2, 4)]
  origins = [(a, b, 0) for a in (0, 5) for b in (0, 2, 4)]
  shares = [
    bits.part_sum(NOISE[part], origin, NOISE.shape)
    for part, origin in zip(parts, origins, strict=True)
  ]
  assert sum(shares) % 2**32 == bits.sums([NOISE])["0"]
