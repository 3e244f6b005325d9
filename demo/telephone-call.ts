/**
 * A recording to send: what a telephone sounds like, as WAV (RIFF, 16 bit PCM, mono).
 */

const RATE = 44_100

/** Ring-back tone (400 Hz, on for 2 s of 6) and then a voice-like murmur, `seconds` long. */
export function telephoneCall(seconds: number): Buffer {
  const samples = RATE * seconds
  const wav = Buffer.alloc(44 + samples * 2)
  wav.write('RIFF', 0, 'latin1')
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write('WAVEfmt ', 8, 'latin1')
  wav.writeUInt32LE(16, 16) // length of the format chunk
  wav.writeUInt16LE(1, 20) // PCM
  wav.writeUInt16LE(1, 22) // mono
  wav.writeUInt32LE(RATE, 24)
  wav.writeUInt32LE(RATE * 2, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36, 'latin1')
  wav.writeUInt32LE(samples * 2, 40)
  for (let i = 0; i < samples; i++) {
    const t = i / RATE
    wav.writeInt16LE(Math.round(amplitude(t) * 0x3fff), 44 + i * 2)
  }
  return wav
}

function amplitude(t: number): number {
  const wave = (hertz: number) => Math.sin(2 * Math.PI * hertz * t)
  if (t < 12) return t % 6 < 2 ? wave(400) * 0.5 : 0
  const syllable = Math.max(0, Math.sin(2 * Math.PI * 2.3 * t)) * (0.6 + 0.4 * Math.sin(2 * Math.PI * 0.21 * t))
  const pitch = 130 + 25 * Math.sin(2 * Math.PI * 0.4 * t)
  return syllable * (wave(pitch) * 0.5 + wave(pitch * 2) * 0.25 + wave(pitch * 5.1) * 0.12)
}
