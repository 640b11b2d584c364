"""silero-vad: is somebody speaking? One window of sound and the state after the last in, a probability and the next state out."""

import zipfile

import numpy as np

MODEL = "silero_vad/data/silero_vad_16k_op15.onnx"
# The model hears 512 samples, 32 ms, and the 64 before them.
RATE, WINDOW, CONTEXT = 16000, 512, 64
# Vowels by their three formants in Hz, as measured by Peterson and Barney (1952) for men.
VOWELS = {"i": (270, 2290, 3010), "a": (730, 1090, 2440), "u": (300, 870, 2240), "e": (530, 1840, 2480)}


def build(wheels):
    with zipfile.ZipFile(next(wheels.glob("silero_vad-*.whl"))) as wheel:
        model = wheel.read(MODEL)
    streams = np.stack([windows(voice(pitch, order)) for pitch, order in ((110, "aieu"), (140, "uaie"))])
    first = {"input": streams[0, :1], "state": np.zeros((2, 1, 128), np.float32), "sr": np.array(RATE, np.int64)}
    return model, {"stream": streams}, first


def voice(pitch, order):
    """Synthetic speech, since no package carries any: vowels from pulses through formants, 0.3 s each, with pauses of 0.5 s."""
    rng = np.random.Generator(np.random.PCG64(7))
    parts = []
    for vowel in order:
        parts += [np.zeros(RATE // 2), syllable(pitch, VOWELS[vowel], rng)]
    sound = np.concatenate([*parts, np.zeros(RATE // 2)])
    noise = rng.normal(0, 1e-4, len(sound))
    return (sound / np.abs(sound).max() * 0.5 + noise).astype(np.float32)


def syllable(pitch, formants, rng):
    length = int(RATE * 0.3)
    glide = pitch * (1 + 0.15 * np.sin(np.linspace(0, 3, length)))
    sound = (np.diff(np.floor(np.cumsum(glide) / RATE), prepend=0) > 0) + rng.normal(0, 0.01, length)
    for formant in formants:
        sound = resonance(sound, formant, 60 + formant * 0.04)
    return sound / np.abs(sound).max() * np.sin(np.linspace(0, np.pi, length)) ** 0.3


def resonance(sound, frequency, width):
    """A filter of two poles."""
    radius = np.exp(-np.pi * width / RATE)
    first, second = 2 * radius * np.cos(2 * np.pi * frequency / RATE), -radius * radius
    out = [0.0, 0.0]
    for sample in sound:
        out.append(sample + first * out[-1] + second * out[-2])
    return np.array(out[2:])


def windows(sound):
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
    count = len(sound) // WINDOW
    return np.stack([padded[i * WINDOW : i * WINDOW + WINDOW + CONTEXT] for i in range(count)])
