/** What browsers play, as Chromium showed; test/plays-in-browsers.test.ts asks it again. */

/** Containers that Chromium opens, by the media type after the slash, with the codecs that it decodes inside. */
const CODECS_BY_CONTAINER: Readonly<Record<string, readonly string[]>> = {
  aac: ['aac'],
  mpeg: ['mp3'],
  flac: ['flac'],
  wav: ['pcm', 'mulaw', 'alaw', 'mp3'],
  ogg: ['opus', 'vorbis', 'flac'],
  webm: ['opus', 'vorbis'],
  matroska: ['opus', 'vorbis', 'aac', 'mp3', 'flac', 'pcm'],
  mp4: ['aac', 'mp3', 'opus', 'flac', 'pcm'],
  '3gpp': ['aac'],
  '3gpp2': ['aac'],
}

const containerOf = (contentType: string) => contentType.slice(contentType.indexOf('/') + 1)

export const playsInBrowsers = (contentType: string, codec: string | undefined): boolean => {
  const container = containerOf(contentType)
  const codecs = Object.hasOwn(CODECS_BY_CONTAINER, container) ? CODECS_BY_CONTAINER[container] : undefined
  return codec !== undefined && (codecs?.includes(codec) ?? false)
}

/**
 * The best guess where the codec is not known: what such files mostly hold. Phones' 3GP is AMR as often as not; an address
 * to download it from serves in both cases.
 */
export const typeMostlyPlays = (contentType: string): boolean => {
  const container = containerOf(contentType)
  return Object.hasOwn(CODECS_BY_CONTAINER, container) && !container.startsWith('3gpp')
}
