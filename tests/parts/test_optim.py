from audiopalm.parts import optim


def test_every_option_arrives_in_the_settings():
  made = optim.adamw(2e-3, end_lr=1e-5, warmup_steps=7, decay="linear", b1=0.8, b2=0.9, eps=1e-6)
  assert (made.name, made.peak_lr, made.end_lr, made.warmup_steps) == ("adamw", 2e-3, 1e-5, 7)
  assert (made.decay, made.b1, made.b2, made.eps) == ("linear", 0.8, 0.9, 1e-6)


def test_adafactor_keeps_no_first_moment_unless_asked():
  assert optim.adafactor().b1 == 0.0
  assert optim.adafactor(5e-5, decay="constant", b1=0.9).b1 == 0.9
