/** File name extensions that are taken in and served, each with the media type it stands for. */

const TYPE_BY_EXTENSION: Readonly<Record<string, string>> = {
  aac: 'audio/aac',
  mp3: 'audio/mpeg',
  mp2: 'audio/mpeg', // RFC 3003
  m4a: 'audio/mp4',
  mp4: 'audio/mp4',
  wav: 'audio/wav',
  ogg: 'audio/ogg',
  oga: 'audio/ogg',
  opus: 'audio/ogg', // RFC 7845 §9
  amr: 'audio/amr',
  awb: 'audio/amr-wb', // RFC 4867 §8.2
  '3gp': 'audio/3gpp',
  '3gpp': 'audio/3gpp',
  '3ga': 'audio/3gpp',
  webm: 'audio/webm',
  weba: 'audio/webm',
  mka: 'audio/matroska', // RFC 9559 §27.3
  flac: 'audio/flac',
  caf: 'audio/x-caf',
  aiff: 'audio/aiff',
  aif: 'audio/aiff',
  au: 'audio/basic',
  wma: 'audio/x-ms-wma',
}

const extensionOf = (filename: string): string => /\.([^./\\]+)$/.exec(filename)?.[1]?.toLowerCase() ?? ''

/** The type that a file name's extension, in any case, stands for; `undefined` for one that is not served. */
export const mediaTypeOfExtension = (filename: string): string | undefined => {
  const extension = extensionOf(filename)
  return Object.hasOwn(TYPE_BY_EXTENSION, extension) ? TYPE_BY_EXTENSION[extension] : undefined
}

export const isServedExtension = (filename: string): boolean => mediaTypeOfExtension(filename) !== undefined

/** Each with its dot. */
export const servedExtensions = (): string[] => Object.keys(TYPE_BY_EXTENSION).map((extension) => `.${extension}`)
