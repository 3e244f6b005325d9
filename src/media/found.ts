/** What a container's walker finds out. */
export interface Found {
  contentType: string
  /** `undefined` or 0 where it can't be told. */
  seconds: number | undefined
  /** The sound's codec, by the names of `codecs.ts`; `undefined` where there is no sound track. */
  codec: string | undefined
}
