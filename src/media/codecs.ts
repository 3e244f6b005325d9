/** What browsers play, as Chromium showed; test/faults/plays-in-browsers.test.ts asks it again. */

/** Containers that Chromium opens, by the media type after the slash, with the codecs that it decodes inside. */
const CODECS_BY_CONTAINER: Readonly<Record<string, readonly string[]>> = {
  aac: ['aac'],
  mpeg: ['mp3'],
  flac: ['flac'],
  wav: ['pcm', 'mulaw', 'alaw', 'mp3'],
  ogg: ['opus', 'vorbis', 'flac'],
  webm: ['opus', 'vorbis'],
  matroska: ['opus', 'vorbis', 'aac', 'mp3', 'flac', 'pcm', 'mulaw', 'alaw'],
  mp4: ['aac', 'mp3', 'opus', 'vorbis', 'flac', 'pcm', 'mulaw', 'alaw'],
  '3gpp': ['aac'],
  '3gpp2': ['aac'],
}

const containerOf = (contentType: string) => contentType.slice(contentType.indexOf('/') + 1)

export const playsInBrowsers = (contentType: string, codec: string | undefined): boolean => {
  const container = containerOf(contentType)
  const codecs = Object.hasOwn(CODECS_BY_CONTAINER, container) ? CODECS_BY_CONTAINER[container] : undefined
  return codec !== undefined && (codecs?.includes(codec) ?? false)
}

/** Browsers look for frames a little further, and for a head behind tags, not for all kinds of it. */
const MAX_ZEROS_AHEAD = 5000
const FRAMES: readonly string[] = ['aac', 'mpeg']
const NOT_BEHIND_TAGS: readonly string[] = ['mp4', '3gpp', '3gpp2', 'webm', 'matroska']

export function playsBehind(ahead: { tags: number; zeros: number }, contentType: string): boolean {
  const container = containerOf(contentType)
  if (FRAMES.includes(container)) return ahead.zeros <= MAX_ZEROS_AHEAD
  return ahead.zeros === 0 && (ahead.tags === 0 || !NOT_BEHIND_TAGS.includes(container))
}

/**
 * The best guess where the codec is not known: what such files mostly hold. Phones' 3GP is AMR as often as not; an address
 * to download it from serves in both cases.
 */
export const typeMostlyPlays = (contentType: string): boolean => {
  const container = containerOf(contentType)
  return Object.hasOwn(CODECS_BY_CONTAINER, container) && !container.startsWith('3gpp')
}
