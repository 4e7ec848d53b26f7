"""Speech as ids in plain numpy: wave -> ids -> wave, from the folder this file lies in.

    import speech_tokenizer
    speech = speech_tokenizer.load("exported")
    ids_T = speech.encode(speech_tokenizer.read_wav("hello.wav"))   # codes_TQ with Q codebooks
    wave_S = speech.decode(ids_T)                    # 16 kHz; speech.voices are who can say it

Letters: S sample, T frame, Q codebook, E feature, M mel bin, V id, N voice, P place in a unit, W
warp. It needs numpy and the silence.py beside it; audiopalm wrote both (Apache-2.0) and is not
needed to use them. The ids are those of audiopalm; what each step is, and its source, stands in
tokenizers/units.py and mel_rvq.py there.
"""

import json
import sys
import unicodedata
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import silence  # beside this file

RATE_HZ = 16_000
HOP, WINDOW, TRANSFORM = 160, 400, 512  # samples: 10 ms, 25 ms, the next power of two
SAID_WINDOW, BREATH_HZ = 320, 4_500.0  # of synthesis
LOWEST_HZ, HIGHEST_HZ, PITCH_WINDOW, PITCH_TRANSFORM, VOICED = 65.0, 420.0, 640, 1_024, 0.5
SILENCE = np.float32(1e-10)
SPEECH_DB, CLEAR_DB = (27.0, 37.0), (22.0, 32.0)  # under the loud frames: 1 from here, 0 from there
LEAK_BINS = 16  # of a transform, into which a window spreads a constant
LARGEST_WARP, WARP_SPREAD, WHITENING, SILENT_AT, PEAKS_DB = 1.32, 0.15, 0.5, 3.0, 12.5
BINS, LOW_HZ, HIGH_HZ = 40, 60.0, 7_600.0  # of the spectra that voices speak with
SLOPPY, PLACEHOLDER = 64, 2**31 - 2**16  # bytes that writers miscount, and that stand for none
CORRECTIONS, CORRECTION, LARGEST_CHANGE, PEAK = 4, 1.2, 2.0, 0.7


def _plain(name):
  """Returns a name in its one form, however it is spelled."""
  return " ".join(unicodedata.normalize("NFC", name).split())


def load(folder, name="speech_tokenizer.safetensors"):
  """Returns the speech tokenizer of an exported folder, Units or ResidualCodes."""
  arrays, about = read_safetensors(Path(folder) / name)
  if about["kind"] == "MelRVQ":
    return ResidualCodes(arrays, about["settings"])
  return Units(arrays, about["settings"], about["voices"], about["voice"])


def read_safetensors(path):
  """Returns ({name: array}, what is said about them)."""
  data = Path(path).read_bytes()
  length = int.from_bytes(data[:8], "little")
  header = json.loads(data[8 : 8 + length])
  about = json.loads(header.pop("__metadata__")["about"])
  kinds = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4"}
  arrays = {}
  for key, entry in header.items():
    first, last = (8 + length + at for at in entry["data_offsets"])
    arrays[key] = np.frombuffer(data[first:last], kinds[entry["dtype"]]).reshape(entry["shape"])
  return arrays, about


def read_wav(path):
  """Returns wave_S of a 16-bit WAV at 16 kHz, channels averaged; ValueError where they cancel, and
  for a file that was cut. Lengths that a pipe left open are those of what is there."""
  with wave.open(str(path)) as file:
    if (file.getframerate(), file.getsampwidth()) != (RATE_HZ, 2):
      raise ValueError(
        f"{path} has {file.getframerate()} Hz and {8 * file.getsampwidth()} bits, expected "
        f"{RATE_HZ} Hz and 16 bits. Convert it: sox IN.wav -r {RATE_HZ} -b 16 OUT.wav"
      )
    promised, channels = file.getnframes(), file.getnchannels()
    data = file.readframes(promised)
  samples_SC = np.frombuffer(data, "<i2").reshape(-1, channels).astype(np.float32) / 32768
  missing = 2 * channels * promised - len(data)
  if not len(data) or (missing > SLOPPY and 2 * channels * promised < PLACEHOLDER):
    raise ValueError(
      f"{path} holds {len(samples_SC)} of the {promised} samples that its header promises. Copy it "
      "again, or convert it."
    )
  wave_S = samples_SC.mean(axis=1, dtype=np.float32)
  if channels * np.var(wave_S) < np.var(samples_SC, axis=0).mean() / 4:
    raise ValueError(f"The {channels} channels of {path} cancel: sox IN.wav OUT.wav remix 1")
  return wave_S


def write_wav(path, wave_S):
  """Writes wave_S as a 16-bit WAV at 16 kHz."""
  with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE_HZ)
    file.writeframes((np.clip(wave_S, -1, 1) * 32767).astype("<i2").tobytes())


class Units:
  """k-means units of speaker-normalised MFCCs, and how each voice says each of them."""

  def __init__(self, arrays, settings, voices, voice):
    self.settings, self.voices, self.default_voice = settings, voices, voice
    self.spread_E, self.centroids_VE = arrays["spread_E"], arrays["centroids_VE"]
    self.variance, self.durations_V = float(arrays["variance"][0]), arrays["durations_V"]
    self.log_mel_NVPM, self.log_pitch_NV = arrays["log_mel_NVPM"], arrays["log_pitch_NV"]
    self.voicing_NV = arrays["voicing_NV"]
    self.frames = round(100 / settings["rate_hz"])  # of 10 ms in a unit
    reach = np.linspace(-1, 1, settings["warps"]) if settings["warps"] > 1 else np.zeros(1)
    self.warps = np.exp(reach * np.log(LARGEST_WARP))
    self.filters_EM = np.concatenate(
      [
        mel_filters(settings["bins"], settings["low_hz"], settings["high_hz"], float(warp))
        for warp in self.warps
      ],
      axis=1,
    )

  def encode(self, wave_S):
    """Returns ids_T of a 16 kHz wave (float, full scale 1): one unit each 1 / rate_hz s begun."""
    wave_S = silence.on_grid(np.asarray(wave_S, np.float32), HOP * self.frames, RATE_HZ)
    cepstra = self._cepstra(power(wave_S, 1))
    features_WTE = self._features(cepstra)
    ids_T = self._heard(features_WTE, cepstra.clear_T)[1].astype(np.int32)
    if self.settings["collapse"]:
      ids_T = ids_T[np.concatenate([[True], ids_T[1:] != ids_T[:-1]])]
    return ids_T

  def decode(self, ids_T, voice=None):
    """Returns wave_S at 16 kHz in one of `voices`."""
    ids_T = np.asarray(ids_T, np.int64).reshape(-1)
    if not len(ids_T):
      return np.zeros(0, np.float32)
    if self.settings["collapse"]:
      ends_T = np.round(np.cumsum(self.durations_V[ids_T])).astype(int)
      ids_T = np.repeat(ids_T, np.maximum(np.diff(ends_T, prepend=0), 1))
    named = {_plain(name): name for name in self.voices}
    voice = named.get(_plain(voice), voice) if voice else self.default_voice
    if voice not in self.voices:
      raise ValueError(f"Unknown voice {voice!r}. Known: {', '.join(self.voices)}.")
    wave_S = self._said(ids_T, self.voices.index(voice))
    return PEAK * wave_S / max(float(np.abs(wave_S).max()), 1.0)

  def _cepstra(self, power_TE):
    settings = self.settings
    speech_T, clear_T, loud_db = speech(power_TE)
    log_mel_TM = np.log(power_TE @ self.filters_EM + SILENCE)
    floor = (loud_db + PEAKS_DB - settings["floor_db"]) * np.log(10) / 10
    log_mel_TM = np.maximum(log_mel_TM, np.float32(floor))
    log_mel_TWM = log_mel_TM.reshape(len(log_mel_TM), settings["warps"], settings["bins"])
    cepstra_TWE = log_mel_TWM @ cosine_basis(settings["bins"], settings["coefficients"])
    cepstra_TWE -= weighted_mean(cepstra_TWE, clear_T)
    deviation_WE = np.sqrt(weighted_mean(np.square(cepstra_TWE), clear_T))
    return Cepstra(cepstra_TWE, deviation_WE, speech_T, clear_T)

  def _features(self, cepstra):
    frames, warps, coefficients = cepstra.values_TWE.shape
    silent_E = np.zeros_like(self.spread_E)
    silent_E[0] = -SILENT_AT * self.spread_E[0] ** (1 - WHITENING)
    level_TWE = cepstra.values_TWE * self._gain(cepstra) - silent_E
    level_TE = level_TWE.reshape(frames, -1) * cepstra.speech_T[:, None]
    around = self.frames
    level_TE = np.pad(level_TE, ((around - 1, around - 1 + (2 - frames) % around), (0, 0)))
    slope_TE = self.settings["slope_weight"] * slopes(level_TE)
    level_TWE, slope_TWE = (
      part_TE.reshape(-1, around, warps * coefficients)
      .mean(axis=1)
      .reshape(-1, warps, coefficients)
      for part_TE in (level_TE, slope_TE)
    )
    own_TWE = np.concatenate([level_TWE + silent_E, slope_TWE], axis=2)
    near_TWE = np.float32(self.settings["context_weight"]) * own_TWE
    features_TWE = np.concatenate([own_TWE[1:-1], near_TWE[:-2], near_TWE[2:]], axis=2)
    return np.ascontiguousarray(features_TWE.transpose(1, 0, 2), np.float32)

  def _gain(self, cepstra):
    return self.spread_E ** (1 - WHITENING) / np.maximum(cepstra.deviation_WE, 0.1 * self.spread_E)

  def _heard(self, features_WTE, clear_T):
    """Returns (warp, ids_T): the likeliest warp, and the centroids nearest to its features."""
    warps, units = features_WTE.shape[:2]
    flat_TE = features_WTE.reshape(warps * units, -1)
    ids_WT, distance_WT = (
      values.reshape(warps, units) for values in nearest(flat_TE, self.centroids_VE)
    )
    clear_T = clear_T[1:-1]  # of the wave: a frame on each side only hears it
    clear_T = np.pad(clear_T, (0, -len(clear_T) % self.frames)).reshape(units, -1).mean(axis=1)
    surprise_W = np.square(np.log(self.warps) / WARP_SPREAD)
    warp = int(np.argmin(distance_WT @ clear_T / self.variance + surprise_W))
    return warp, ids_WT[warp]

  def _said(self, ids_T, voice):
    """Says units, listens, and moves the spectrum where one would not be heard as itself."""
    wanted_TM, excitation_TE = self._planned(ids_T, voice)
    filter_TM = wanted_TM
    best_S, fewest = np.zeros(0, np.float32), len(ids_T) + 1
    for turn in range(CORRECTIONS + 1):
      wave_S = sound(filter_TM, excitation_TE, LOW_HZ, HIGH_HZ)
      power_TE = power(wave_S, 1)
      cepstra = self._cepstra(power_TE)
      features_WTE = self._features(cepstra)
      warp, heard_T = self._heard(features_WTE, cepstra.clear_T)
      missed_T = heard_T != ids_T
      if missed_T.sum() < fewest:
        best_S, fewest = wave_S, missed_T.sum()
      if not fewest:
        break
      if not turn:
        heard_TM = np.log(power_TE[1:-1] @ mel_filters(BINS, LOW_HZ, HIGH_HZ) + SILENCE)
        filter_TM = filter_TM + np.clip(wanted_TM - heard_TM, -2, 2)
      near_T = np.convolve(np.pad(missed_T, 1), np.ones(3), "valid")[:, None] > 0
      lacking_TE = CORRECTION * near_T * (self.centroids_VE[ids_T] - features_WTE[warp])
      change_TM = self._change(lacking_TE, cepstra, warp)
      wanted_TM, filter_TM = wanted_TM + change_TM, filter_TM + change_TM
    return best_S

  def _planned(self, ids_T, voice):
    places = self.log_mel_NVPM.shape[2]
    log_mel_TM = self.log_mel_NVPM[voice, ids_T].reshape(-1, BINS)
    log_pitch_T = np.repeat(self.log_pitch_NV[voice, ids_T], places)
    voicing_T = np.repeat(self.voicing_NV[voice, ids_T], places)
    pitch_T = np.exp(smooth(log_pitch_T[:, None], 5)[:, 0])
    return smooth(log_mel_TM, 3), excitation(pitch_T, smooth(voicing_T[:, None], 3)[:, 0])

  def _change(self, lacking_TE, cepstra, warp):
    settings, count = self.settings, self.settings["coefficients"]
    gain_E = self._gain(cepstra)[warp]
    level_TE, slope_TE = lacking_TE[:, :count] / gain_E, lacking_TE[:, count : 2 * count] / gain_E
    place_P = np.arange(self.frames) - (self.frames - 1) / 2
    place_P = place_P[:, None] / max(settings["slope_weight"], 1)
    change_TE = (level_TE[:, None] + place_P * slope_TE[:, None]).reshape(-1, count)
    change_TE = change_TE @ cosine_basis(settings["bins"], count).T
    plain_hz = centres_hz(settings["bins"], settings["low_hz"], settings["high_hz"])
    at_hz = warped_hz(plain_hz, self.warps[warp], settings["high_hz"])[1:-1]
    lines_EM = between(at_hz, centres_hz(BINS, LOW_HZ, HIGH_HZ)[1:-1])
    return np.clip(smooth(change_TE @ lines_EM, 3), -LARGEST_CHANGE, LARGEST_CHANGE)


class Cepstra(NamedTuple):
  """Cepstra of a wave, their deviation in clear speech, and which frames are speech and clear."""

  values_TWE: np.ndarray
  deviation_WE: np.ndarray
  speech_T: np.ndarray
  clear_T: np.ndarray


class ResidualCodes:
  """Residual k-means over log-mel frames: each codebook quantises what those before left."""

  voices, default_voice = (), None  # who speaks is in the codes

  def __init__(self, arrays, settings):
    self.settings, self.centroids_QVE = settings, arrays["centroids_QVE"]
    self.stacked = round(100 / settings["rate_hz"])  # spectra of 10 ms in a frame
    self.mel_weight = np.float32((self.stacked * settings["mels"]) ** -0.5)
    self.band = settings["low_hz"], settings["high_hz"]
    self.filters_EM = mel_filters(settings["mels"], *self.band)

  def encode(self, wave_S):
    """Returns codes_TQ of a 16 kHz wave: one row each 1 / rate_hz s begun."""
    frames_TE, codes = self._frames(wave_S), []
    for centroids_VE in self.centroids_QVE:
      ids_T, _ = nearest(frames_TE, centroids_VE)
      frames_TE = frames_TE - centroids_VE[ids_T]
      codes.append(ids_T)
    return np.stack(codes, axis=1).astype(np.int32)

  def decode(self, codes_TQ, voice=None):
    """Returns wave_S at 16 kHz."""
    codes_TQ = np.asarray(codes_TQ, np.int64)
    if not len(codes_TQ):
      return np.zeros(0, np.float32)
    settings, levels = self.settings, np.arange(len(self.centroids_QVE))
    frames_TE = self.centroids_QVE[levels, codes_TQ].sum(axis=1)
    log_mel_TM = frames_TE[:, :-2].reshape(-1, settings["mels"]) / self.mel_weight
    pitch_T = np.clip(2.0 ** (frames_TE[:, -2] / settings["pitch_weight"]), LOWEST_HZ, HIGHEST_HZ)
    voicing_T = np.clip(frames_TE[:, -1] / settings["voicing_weight"], 0, 1)
    excitation_TE = excitation(held(pitch_T, self.stacked), held(voicing_T, self.stacked))
    filter_TM = log_mel_TM
    for _ in range(2):
      power_TE = power(sound(filter_TM, excitation_TE, *self.band))
      lacking_TM = log_mel_TM - np.log(power_TE @ self.filters_EM + SILENCE)
      filter_TM = filter_TM + np.clip(lacking_TM, -LARGEST_CHANGE, LARGEST_CHANGE)
    wave_S = sound(filter_TM, excitation_TE, *self.band)
    return wave_S / max(1.0, float(np.abs(wave_S).max()))

  def _frames(self, wave_S):
    settings = self.settings
    mel_TM = np.log(power(wave_S) @ self.filters_EM + SILENCE)
    mel_TM = np.maximum(mel_TM, mel_TM.max() - np.float32(settings["floor_db"] * np.log(10) / 10))
    pitch_T, voicing_T = steady_pitch(wave_S)
    rest = -len(mel_TM) % self.stacked
    mel_TM = np.pad(mel_TM, ((0, rest), (0, 0)), mode="edge")
    columns = [mel_TM.reshape(-1, self.stacked * settings["mels"]) * self.mel_weight]
    for values_T, weight in (
      (np.log2(pitch_T), settings["pitch_weight"]),
      (voicing_T, settings["voicing_weight"]),
    ):
      padded_T = np.pad(values_T, (0, rest), mode="edge")
      columns.append(weight * padded_T.reshape(-1, self.stacked).mean(axis=1, keepdims=True))
    return np.concatenate(columns, axis=1).astype(np.float32)


def nearest(features_TE, centroids_VE):
  """Returns (ids_T, squared distance_T) of each frame's nearest centroid."""
  score_TV = features_TE @ centroids_VE.T
  score_TV -= 0.5 * np.square(centroids_VE).sum(axis=1)
  ids_T = score_TV.argmax(axis=1)
  best_T = np.take_along_axis(score_TV, ids_T[:, None], axis=1)[:, 0]
  return ids_T, np.maximum(np.square(features_TE).sum(axis=1) - 2 * best_T, 0)


def framed(wave_S, window, beyond=0):
  """Returns frames_TS: windows centred on the middle of every 10 ms, `beyond` more at both ends."""
  count = -(-len(wave_S) // HOP) + 2 * beyond
  before = (window - HOP) // 2 + beyond * HOP
  after = max(0, (count - 1) * HOP + window - before - len(wave_S))
  padded_S = np.pad(np.asarray(wave_S, np.float32), (before, after))
  return np.lib.stride_tricks.sliding_window_view(padded_S, window)[::HOP][:count]


def hann(window):
  phase = 2 * np.pi * np.arange(window) / window
  return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def power(wave_S, beyond=0):
  """Returns power_TE of a wave's frames, without offset; white noise of variance 1 has 1."""
  wave_S = np.asarray(wave_S, np.float32)
  centred_S = wave_S - wave_S.mean(dtype=np.float64).astype(np.float32)
  spectrum_TE = np.fft.rfft(framed(centred_S, WINDOW, beyond) * hann(WINDOW), TRANSFORM, axis=1)
  leak_E = np.fft.rfft(hann(WINDOW), TRANSFORM)[:LEAK_BINS]
  spectrum_TE[:, :LEAK_BINS] -= spectrum_TE[:, :1] * (leak_E / leak_E[0])
  power_TE = np.square(spectrum_TE.real) + np.square(spectrum_TE.imag)
  return (power_TE / np.square(hann(WINDOW)).sum()).astype(np.float32)


def speech(power_TE):
  """Returns (speech_T, clear_T, loud_db): how far frames are speech, and free of noise, 0 to 1."""
  heard_E = mel_filters(24, LOW_HZ, HIGH_HZ).mean(axis=1)
  level_T = 10 * np.log10(power_TE @ heard_E + SILENCE)
  shares, loud_db = [], silence.loud_db(level_T)
  for highest_db, lowest_db in (SPEECH_DB, CLEAR_DB):
    from_db = max(loud_db - lowest_db, silence.SILENT_DB)
    shares.append(np.clip((level_T - from_db) / (lowest_db - highest_db), 0, 1).astype(np.float32))
  return *shares, loud_db


def weighted_mean(values_TWE, weights_T):
  total = weights_T @ values_TWE.reshape(len(weights_T), -1)
  return (total / max(float(weights_T.sum()), 1e-3)).reshape(values_TWE.shape[1:])


def to_mel(hz):
  return 2595 * np.log10(1 + np.asarray(hz) / 700)


def centres_hz(bins, low_hz, high_hz):
  mel = np.linspace(to_mel(low_hz), to_mel(high_hz), bins + 2)
  return 700 * (10 ** (mel / 2595) - 1)


def warped_hz(hz, warp, high_hz):
  knee_hz = 0.8 * high_hz / max(warp, 1.0)
  return np.interp(hz, (0, knee_hz, high_hz), (0, warp * knee_hz, high_hz))


def between(known_hz, wanted_hz):
  """Returns lines_ME that read values at `known_hz` at `wanted_hz`, linear in mel."""
  known_mel, wanted_mel = to_mel(known_hz), to_mel(wanted_hz)
  lines = [np.interp(wanted_mel, known_mel, row) for row in np.eye(len(known_hz))]
  return np.array(lines, np.float32)


def mel_filters(bins, low_hz, high_hz, warp=1.0):
  """Returns filters_EM: triangles evenly spaced in mel, each with weights that sum to 1."""
  edges_hz = warped_hz(centres_hz(bins, low_hz, high_hz), warp, high_hz)
  bins_hz = np.arange(TRANSFORM // 2 + 1)[:, None] * RATE_HZ / 2 / (TRANSFORM // 2)
  left, centre, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
  rise, fall = (bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)
  filters_EM = np.clip(np.minimum(rise, fall), 0, None)
  empty = np.flatnonzero(filters_EM.sum(axis=0) == 0)
  filters_EM[np.abs(bins_hz - centre[empty]).argmin(axis=0), empty] = 1
  return (filters_EM / filters_EM.sum(axis=0)).astype(np.float32)


def cosine_basis(bins, count):
  """Returns basis_ME, the first columns of the orthonormal cosine transform."""
  basis_ME = np.cos(np.pi / bins * (np.arange(bins)[:, None] + 0.5) * np.arange(count))
  basis_ME *= np.sqrt(np.where(np.arange(count) == 0, 1, 2) / bins)
  return basis_ME.astype(np.float32)


def slopes(values_TE, reach=2):
  """Returns each value's change per frame, by a line through `reach` frames either side."""
  count = len(values_TE)
  padded_TE = np.pad(values_TE, ((reach, reach), (0, 0)), mode="edge")
  steps = range(1, reach + 1)
  total_TE = sum(
    step * (padded_TE[reach + step :][:count] - padded_TE[reach - step :][:count]) for step in steps
  )
  return total_TE / (2 * sum(step * step for step in steps))


def smooth(values_TM, width):
  """Returns the mean over `width` frames with triangular weights, the ends held."""
  weights = np.bartlett(width + 2)[1:-1]
  weights = (weights / weights.sum()).astype(np.float32)
  reach = width // 2
  padded_TM = np.pad(values_TM, ((reach, reach), (0, 0)), mode="edge")
  return sum(w * padded_TM[step : step + len(values_TM)] for step, w in enumerate(weights))


def pitch(wave_S):
  """Returns (pitch_T in Hz, periodicity_T in 0..1): the highest peaks of the autocorrelation."""
  frames_TS = framed(wave_S, PITCH_WINDOW)
  frames_TS = (frames_TS - frames_TS.mean(axis=1, keepdims=True)) * hann(PITCH_WINDOW)
  shortest, longest = int(RATE_HZ / HIGHEST_HZ), int(RATE_HZ / LOWEST_HZ) + 1
  lags_TS = autocorrelation(frames_TS)[:, : longest + 1]
  own_S = autocorrelation(hann(PITCH_WINDOW)[None])[0, : longest + 1]
  ratio_TS = lags_TS / (lags_TS[:, :1] + np.float32(1e-9)) / (own_S / own_S[0])
  inner_TS = ratio_TS[:, shortest:-1]
  peak_TS = (inner_TS >= ratio_TS[:, shortest - 1 : -2]) & (inner_TS > ratio_TS[:, shortest + 1 :])
  height_TS = np.where(peak_TS, inner_TS, 0)
  highest_T = height_TS.max(axis=1)
  lag_T = (height_TS >= 0.8 * highest_T[:, None]).argmax(axis=1)
  return RATE_HZ / (lag_T + shortest), np.clip(highest_T, 0, 1)


def autocorrelation(frames_TS):
  spectrum_TE = np.fft.rfft(frames_TS, PITCH_TRANSFORM, axis=1)
  return np.fft.irfft(np.square(spectrum_TE.real) + np.square(spectrum_TE.imag), axis=1)


def steady_pitch(wave_S):
  """Returns (pitch_T, voicing_T 0 or 1), the pitch carried over frames that are not voiced."""
  pitch_T, periodicity_T = pitch(wave_S)
  voicing_T = periodicity_T > VOICED
  if not voicing_T.any():
    return np.full(len(pitch_T), np.sqrt(LOWEST_HZ * HIGHEST_HZ)), voicing_T.astype(np.float32)
  voiced = np.flatnonzero(voicing_T)
  log_pitch_T = np.interp(np.arange(len(pitch_T)), voiced, np.log(pitch_T[voiced]))
  return np.exp(log_pitch_T), voicing_T.astype(np.float32)


def held(values_T, stacked):
  """Returns the values of 10 ms frames: a line through the middles of longer ones."""
  middles = (np.arange(len(values_T)) + 0.5) * stacked
  return np.interp(np.arange(len(values_T) * stacked) + 0.5, middles, values_T)


def excitation(pitch_T, voicing_T):
  """Returns excitation_TE: pulses where frames are voiced, noise where not, flat in frequency."""
  samples = len(pitch_T) * HOP
  middles = (np.arange(len(pitch_T)) + 0.5) * HOP
  step_S = np.exp(np.interp(np.arange(samples), middles, np.log(pitch_T))) / RATE_HZ
  phase_S = np.cumsum(step_S)
  beat = np.flatnonzero(np.floor(phase_S[1:]) > np.floor(phase_S[:-1])) + 1
  late, height = (phase_S[beat] % 1) / step_S[beat], 1 / np.sqrt(step_S[beat])
  pulses_S = np.zeros(samples, np.float32)
  pulses_S[beat] = height * (1 - late)
  pulses_S[beat - 1] += height * late
  noise_S = np.random.default_rng(0).standard_normal(samples, np.float32)
  hz_E = np.arange(TRANSFORM // 2 + 1) * RATE_HZ / TRANSFORM
  shared_E = (2 + np.cos(2 * np.pi * hz_E / RATE_HZ)) / 3
  pulses_TE = windowed(pulses_S) / np.sqrt(shared_E).astype(np.float32)
  breath_E = 0.5 / (1 + np.exp(-(hz_E - BREATH_HZ) / 500))
  voiced_TE = (voicing_T[:, None] * (1 - breath_E)).astype(np.float32)
  return np.sqrt(voiced_TE) * pulses_TE + np.sqrt(1 - voiced_TE) * windowed(noise_S)


def windowed(wave_S):
  return np.fft.rfft(framed(wave_S, SAID_WINDOW) * hann(SAID_WINDOW), TRANSFORM, axis=1)


def sound(log_mel_TM, excitation_TE, low_hz, high_hz):
  """Returns wave_S: the excitation through minimum-phase filters with that spectrum."""
  hz_E = np.arange(TRANSFORM // 2 + 1) * RATE_HZ / TRANSFORM
  lines_ME = between(centres_hz(log_mel_TM.shape[1], low_hz, high_hz)[1:-1], hz_E)
  cepstrum_TS = np.fft.irfft(0.5 * (log_mel_TM @ lines_ME), TRANSFORM, axis=1)
  cepstrum_TS[:, 1 : TRANSFORM // 2] *= 2
  cepstrum_TS[:, TRANSFORM // 2 + 1 :] = 0
  filter_TE = np.exp(np.fft.rfft(cepstrum_TS, axis=1))
  frames_TS = np.fft.irfft(excitation_TE * filter_TE, TRANSFORM, axis=1)
  frames = len(frames_TS)
  parts = -(-TRANSFORM // HOP)
  total_TS = np.zeros((frames + parts, HOP), np.float32)
  for part in range(parts):
    piece_TS = frames_TS[:, part * HOP : (part + 1) * HOP]
    total_TS[part : part + frames, : piece_TS.shape[1]] += piece_TS
  before = (SAID_WINDOW - HOP) // 2
  return total_TS.ravel()[before : before + frames * HOP]


if __name__ == "__main__":  # python speech_tokenizer.py IN.wav OUT.wav: through ids and back
  here = load(Path(__file__).parent)
  write_wav(sys.argv[2], here.decode(here.encode(read_wav(sys.argv[1]))))
